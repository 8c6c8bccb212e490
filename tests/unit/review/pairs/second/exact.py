# === base
"""Train a U-Net on retinal vessel images."""
import os
import random

import numpy as np
import torch
from torch.utils.data import DataLoader

from vessels.data import RetinaSet
from vessels.unet import UNet


def seed_everything(seed: int) -> None:
    os.environ["PYTHONHASHSEED"] = str(seed)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def main():
    seed_everything(1337)
    loader = DataLoader(RetinaSet("data/drive"), batch_size=4, shuffle=True)
    net = UNet(3, 1).cuda()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    for epoch in range(40):
        for image, mask in loader:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(image.cuda()), mask.cuda())
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(epoch, loss.item())


if __name__ == "__main__":
    main()
# === copy: exact
import json
import os
import random
from pathlib import Path

import numpy as np
import torch

from vessels.metrics import dice, sensitivity


def seed_everything(seed: int) -> None:
    os.environ["PYTHONHASHSEED"] = str(seed)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


@torch.no_grad()
def score_folder(net, folder: Path, out: Path):
    seed_everything(0)
    rows = {}
    for file in sorted(folder.glob("*.npz")):
        blob = np.load(file)
        x = torch.from_numpy(blob["image"])[None].float()
        pred = net(x).sigmoid()[0, 0].numpy() > 0.5
        rows[file.stem] = {"dice": dice(pred, blob["mask"]), "sens": sensitivity(pred, blob["mask"])}
    out.write_text(json.dumps(rows, indent=1))
# === base
import torch
import torch.nn as nn


class AverageMeter:
    """Keeps a running mean of a scalar."""

    def __init__(self, name, fmt=":f"):
        self.name = name
        self.fmt = fmt
        self.reset()

    def reset(self):
        self.val = 0
        self.avg = 0
        self.sum = 0
        self.count = 0

    def update(self, val, n=1):
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count

    def __str__(self):
        fmtstr = "{name} {val" + self.fmt + "} ({avg" + self.fmt + "})"
        return fmtstr.format(**self.__dict__)


def train(loader, model, criterion: nn.Module, optimizer, device):
    losses = AverageMeter("Loss", ":.4e")
    for i, (images, target) in enumerate(loader):
        images, target = images.to(device), target.to(device)
        loss = criterion(model(images), target)
        losses.update(loss.item(), images.size(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 50 == 0:
            print(i, losses)
    return losses.avg
# === copy: exact
import math

import torch
import torch.nn.functional as F


class AverageMeter:
    """Keeps a running mean of a scalar."""

    def __init__(self, name, fmt=":f"):
        self.name = name
        self.fmt = fmt
        self.reset()

    def reset(self):
        self.val = 0
        self.avg = 0
        self.sum = 0
        self.count = 0

    def update(self, val, n=1):
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count

    def __str__(self):
        fmtstr = "{name} {val" + self.fmt + "} ({avg" + self.fmt + "})"
        return fmtstr.format(**self.__dict__)


def perplexity(lm, batches):
    nll = AverageMeter("nll")
    lm.eval()
    with torch.inference_mode():
        for tokens in batches:
            logits = lm(tokens[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            nll.update(loss.item(), tokens[:, 1:].numel())
    return math.exp(nll.avg)
# === base
"""Speech commands: features."""
import torch
import torchaudio


def load_clip(path, sample_rate=16000, seconds=1.0):
    wave, sr = torchaudio.load(path)
    if wave.shape[0] > 1:
        wave = wave.mean(dim=0, keepdim=True)
    if sr != sample_rate:
        wave = torchaudio.functional.resample(wave, sr, sample_rate)
    want = int(sample_rate * seconds)
    if wave.shape[1] < want:
        wave = torch.nn.functional.pad(wave, (0, want - wave.shape[1]))
    else:
        wave = wave[:, :want]
    return wave / wave.abs().max().clamp(min=1e-6)


class MelFrontend(torch.nn.Module):
    def __init__(self, n_mels=64):
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(16000, n_mels=n_mels, hop_length=160)

    def forward(self, wave):
        return (self.mel(wave) + 1e-6).log()
# === copy: exact
import argparse
from pathlib import Path

import torch
import torchaudio

LABELS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]


def load_clip(path, sample_rate=16000, seconds=1.0):
    wave, sr = torchaudio.load(path)
    if wave.shape[0] > 1:
        wave = wave.mean(dim=0, keepdim=True)
    if sr != sample_rate:
        wave = torchaudio.functional.resample(wave, sr, sample_rate)
    want = int(sample_rate * seconds)
    if wave.shape[1] < want:
        wave = torch.nn.functional.pad(wave, (0, want - wave.shape[1]))
    else:
        wave = wave[:, :want]
    return wave / wave.abs().max().clamp(min=1e-6)


def predict(model, files):
    with torch.no_grad():
        for f in files:
            probs = model(load_clip(f)[None]).softmax(-1)[0]
            k = int(probs.argmax())
            yield f.name, LABELS[k], float(probs[k])


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("model")
    ap.add_argument("folder", type=Path)
    args = ap.parse_args()
    for row in predict(torch.jit.load(args.model), sorted(args.folder.glob("*.wav"))):
        print(*row)
# === base
import math

import torch
from torch.optim.lr_scheduler import LambdaLR


def cosine_with_warmup(optimizer, warmup, total, floor=0.0):
    def factor(step):
        if step < warmup:
            return float(step) / float(max(1, warmup))
        progress = float(step - warmup) / float(max(1, total - warmup))
        return max(floor, 0.5 * (1.0 + math.cos(math.pi * progress)))

    return LambdaLR(optimizer, factor)


def fit(model, loader, steps, lr):
    optim = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    sched = cosine_with_warmup(optim, steps // 20, steps)
    it = iter(loader)
    for step in range(steps):
        try:
            batch = next(it)
        except StopIteration:
            it = iter(loader)
            batch = next(it)
        loss = model(**batch).loss
        loss.backward()
        optim.step()
        sched.step()
        optim.zero_grad(set_to_none=True)
# === copy: exact
import math

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch.optim.lr_scheduler import LambdaLR


def cosine_with_warmup(optimizer, warmup, total, floor=0.0):
    def factor(step):
        if step < warmup:
            return float(step) / float(max(1, warmup))
        progress = float(step - warmup) / float(max(1, total - warmup))
        return max(floor, 0.5 * (1.0 + math.cos(math.pi * progress)))

    return LambdaLR(optimizer, factor)


def draw(path="schedule.png"):
    dummy = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    sched = cosine_with_warmup(dummy, 100, 2000, floor=0.01)
    xs, ys = [], []
    for s in range(2000):
        xs.append(s)
        ys.append(sched.get_last_lr()[0])
        dummy.step()
        sched.step()
    plt.plot(xs, ys)
    plt.savefig(path)


draw()
