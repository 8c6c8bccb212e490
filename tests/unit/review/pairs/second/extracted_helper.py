# === base
import numpy as np
import torch


def evaluate_retrieval(model, loader, device, ks=(1, 5, 10)):
    model.eval()
    queries, gallery = [], []
    with torch.no_grad():
        for image, text in loader:
            queries.append(model.encode_image(image.to(device)).cpu())
            gallery.append(model.encode_text(text.to(device)).cpu())
    q = torch.nn.functional.normalize(torch.cat(queries), dim=-1)
    g = torch.nn.functional.normalize(torch.cat(gallery), dim=-1)
    sim = q @ g.t()
    ranks = np.zeros(len(q))
    order = sim.argsort(dim=1, descending=True)
    for i in range(len(q)):
        ranks[i] = (order[i] == i).nonzero()[0].item()
    result = {f"R@{k}": float((ranks < k).mean()) for k in ks}
    result["median_rank"] = float(np.median(ranks)) + 1
    return result
# === copy: extracted helper
import json

import numpy as np
import torch


def _embed(model, loader, device):
    queries, gallery = [], []
    with torch.no_grad():
        for image, text in loader:
            queries.append(model.encode_image(image.to(device)).cpu())
            gallery.append(model.encode_text(text.to(device)).cpu())
    q = torch.nn.functional.normalize(torch.cat(queries), dim=-1)
    g = torch.nn.functional.normalize(torch.cat(gallery), dim=-1)
    return q, g


def evaluate_retrieval(model, loader, device, ks=(1, 5, 10)):
    model.eval()
    q, g = _embed(model, loader, device)
    sim = q @ g.t()
    ranks = np.zeros(len(q))
    order = sim.argsort(dim=1, descending=True)
    for i in range(len(q)):
        ranks[i] = (order[i] == i).nonzero()[0].item()
    result = {f"R@{k}": float((ranks < k).mean()) for k in ks}
    result["median_rank"] = float(np.median(ranks)) + 1
    return result


def write(path, model, loader):
    with open(path, "w") as f:
        json.dump(evaluate_retrieval(model, loader, "cuda"), f)
# === base
import time

import torch
from torch.nn.utils import clip_grad_norm_


def train_epoch(model, loader, opt, scaler, device, max_norm, log_every, writer, step):
    model.train()
    start = time.time()
    for i, (src, tgt) in enumerate(loader):
        src, tgt = src.to(device), tgt.to(device)
        with torch.autocast(device_type="cuda", dtype=torch.float16):
            logits = model(src, tgt[:, :-1])
            loss = torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.size(-1)), tgt[:, 1:].reshape(-1), ignore_index=0, label_smoothing=0.1
            )
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        norm = clip_grad_norm_(model.parameters(), max_norm)
        scaler.step(opt)
        scaler.update()
        opt.zero_grad(set_to_none=True)
        step += 1
        if i % log_every == 0:
            writer.add_scalar("loss", loss.item(), step)
            writer.add_scalar("grad_norm", norm.item(), step)
            writer.add_scalar("batches_per_s", (i + 1) / (time.time() - start), step)
    return step
# === copy: extracted helper
import time

import torch
from torch.nn.utils import clip_grad_norm_


def translation_loss(model, src, tgt):
    logits = model(src, tgt[:, :-1])
    return torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.size(-1)), tgt[:, 1:].reshape(-1), ignore_index=0, label_smoothing=0.1
    )


def train_epoch(model, loader, opt, scaler, device, max_norm, log_every, writer, step):
    model.train()
    start = time.time()
    for i, (src, tgt) in enumerate(loader):
        src, tgt = src.to(device), tgt.to(device)
        with torch.autocast(device_type="cuda", dtype=torch.float16):
            loss = translation_loss(model, src, tgt)
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        norm = clip_grad_norm_(model.parameters(), max_norm)
        scaler.step(opt)
        scaler.update()
        opt.zero_grad(set_to_none=True)
        step += 1
        if i % log_every == 0:
            writer.add_scalar("loss", loss.item(), step)
            writer.add_scalar("grad_norm", norm.item(), step)
            writer.add_scalar("batches_per_s", (i + 1) / (time.time() - start), step)
    return step


def bleu_inputs(model, loader, vocab):
    for src, tgt in loader:
        yield [vocab.decode(t) for t in model.greedy(src)], [vocab.decode(t) for t in tgt]
# === base
import cv2
import numpy as np
import torch


class CTSlices(torch.utils.data.Dataset):
    def __init__(self, files, size=256):
        self.files = files
        self.size = size

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        blob = np.load(self.files[index])
        volume = blob["hu"].astype(np.float32)
        volume = np.clip(volume, -1000, 400)
        volume = (volume + 1000) / 1400
        mid = volume.shape[0] // 2
        slices = []
        for z in (mid - 1, mid, mid + 1):
            slices.append(cv2.resize(volume[z], (self.size, self.size), interpolation=cv2.INTER_AREA))
        image = torch.from_numpy(np.stack(slices))
        label = torch.tensor(float(blob["malignant"]))
        return image, label
# === copy: extracted helper
import cv2
import numpy as np
import torch


def window(volume, low=-1000, high=400):
    volume = np.clip(volume, low, high)
    return (volume - low) / (high - low)


class NoduleDataset(torch.utils.data.Dataset):
    def __init__(self, files, size=256):
        self.files = files
        self.size = size

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        blob = np.load(self.files[index])
        volume = window(blob["hu"].astype(np.float32))
        mid = volume.shape[0] // 2
        slices = []
        for z in (mid - 1, mid, mid + 1):
            slices.append(cv2.resize(volume[z], (self.size, self.size), interpolation=cv2.INTER_AREA))
        image = torch.from_numpy(np.stack(slices))
        label = torch.tensor(float(blob["malignant"]))
        return image, label


def positive_share(files):
    return np.mean([np.load(f)["malignant"] for f in files])
# === base
import random

import numpy as np
import torch


def resume(path, model, optimizer, scheduler, device):
    checkpoint = torch.load(path, map_location=device, weights_only=False)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    random.setstate(checkpoint["rng"]["python"])
    np.random.set_state(checkpoint["rng"]["numpy"])
    torch.set_rng_state(checkpoint["rng"]["torch"].cpu())
    if torch.cuda.is_available() and checkpoint["rng"]["cuda"] is not None:
        torch.cuda.set_rng_state_all([s.cpu() for s in checkpoint["rng"]["cuda"]])
    epoch = checkpoint["epoch"] + 1
    best = checkpoint.get("best", float("inf"))
    print(f"resumed from {path} at epoch {epoch}")
    return epoch, best


def is_better(new, best):
    return new < best
# === copy: extracted helper
import random
import sys

import numpy as np
import torch


def restore_rng(rng):
    random.setstate(rng["python"])
    np.random.set_state(rng["numpy"])
    torch.set_rng_state(rng["torch"].cpu())
    if torch.cuda.is_available() and rng["cuda"] is not None:
        torch.cuda.set_rng_state_all([s.cpu() for s in rng["cuda"]])


def resume(path, model, optimizer, scheduler, device):
    checkpoint = torch.load(path, map_location=device, weights_only=False)
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    restore_rng(checkpoint["rng"])
    epoch = checkpoint["epoch"] + 1
    best = checkpoint.get("best", float("inf"))
    print(f"resumed from {path} at epoch {epoch}")
    return epoch, best


def show(path):
    for k, v in torch.load(path, map_location="cpu", weights_only=False).items():
        print(k, type(v).__name__, file=sys.stderr)
