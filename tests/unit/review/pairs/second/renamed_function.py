# === base
"""Molecule property regression."""
import torch


def evaluate(model, loader, device):
    model.eval()
    preds, targets = [], []
    with torch.no_grad():
        for graph, y in loader:
            graph = graph.to(device)
            out = model(graph)
            preds.append(out.squeeze(-1).cpu())
            targets.append(y)
    preds = torch.cat(preds)
    targets = torch.cat(targets)
    mae = (preds - targets).abs().mean().item()
    rmse = (preds - targets).pow(2).mean().sqrt().item()
    return {"mae": mae, "rmse": rmse}


def run(model, train_loader, val_loader, device, epochs=100):
    opt = torch.optim.Adam(model.parameters(), 3e-4)
    for e in range(epochs):
        model.train()
        for graph, y in train_loader:
            loss = torch.nn.functional.l1_loss(model(graph.to(device)).squeeze(-1), y.to(device))
            opt.zero_grad()
            loss.backward()
            opt.step()
        print(e, evaluate(model, val_loader, device))
# === copy: renamed function
import csv

import torch


def regression_report(net, batches, dev):
    net.eval()
    guesses, truth = [], []
    with torch.no_grad():
        for g, t in batches:
            g = g.to(dev)
            yhat = net(g)
            guesses.append(yhat.squeeze(-1).cpu())
            truth.append(t)
    guesses = torch.cat(guesses)
    truth = torch.cat(truth)
    abs_err = (guesses - truth).abs().mean().item()
    root_err = (guesses - truth).pow(2).mean().sqrt().item()
    return {"mae": abs_err, "rmse": root_err}


def compare(models, batches, dev, out):
    with open(out, "w", newline="") as fh:
        w = csv.writer(fh)
        w.writerow(["model", "mae", "rmse"])
        for name in sorted(models):
            r = regression_report(models[name], batches, dev)
            w.writerow([name, r["mae"], r["rmse"]])
# === base
import random

import torch
import torchvision.transforms.functional as TF


def augment_pair(image, mask, size=256):
    top = random.randint(0, image.shape[-2] - size)
    left = random.randint(0, image.shape[-1] - size)
    image = TF.crop(image, top, left, size, size)
    mask = TF.crop(mask, top, left, size, size)
    if random.random() < 0.5:
        image = TF.hflip(image)
        mask = TF.hflip(mask)
    if random.random() < 0.5:
        image = TF.vflip(image)
        mask = TF.vflip(mask)
    angle = random.choice([0, 90, 180, 270])
    image = TF.rotate(image, angle)
    mask = TF.rotate(mask, angle)
    return image, mask


class SatelliteTiles(torch.utils.data.Dataset):
    def __init__(self, tiles):
        self.tiles = tiles

    def __len__(self):
        return len(self.tiles)

    def __getitem__(self, i):
        return augment_pair(*self.tiles[i])
# === copy: renamed function
import random

import torchvision.transforms.functional as TF
from torchvision.io import read_image


def random_joint_transform(img, label, crop=256):
    y = random.randint(0, img.shape[-2] - crop)
    x = random.randint(0, img.shape[-1] - crop)
    img = TF.crop(img, y, x, crop, crop)
    label = TF.crop(label, y, x, crop, crop)
    if random.random() < 0.5:
        img = TF.hflip(img)
        label = TF.hflip(label)
    if random.random() < 0.5:
        img = TF.vflip(img)
        label = TF.vflip(label)
    deg = random.choice([0, 90, 180, 270])
    img = TF.rotate(img, deg)
    label = TF.rotate(label, deg)
    return img, label


def read_pair(stem, root):
    img = read_image(f"{root}/rgb/{stem}.png").float() / 255
    label = read_image(f"{root}/gt/{stem}.png").long()
    return random_joint_transform(img, label)
# === base
import torch
import torch.distributed as dist


def gather_all(tensor):
    if not dist.is_available() or not dist.is_initialized():
        return tensor
    world = dist.get_world_size()
    if world == 1:
        return tensor
    bucket = [torch.zeros_like(tensor) for _ in range(world)]
    dist.all_gather(bucket, tensor.contiguous())
    bucket[dist.get_rank()] = tensor
    return torch.cat(bucket, dim=0)


def clip_loss(img, txt, scale):
    img, txt = gather_all(img), gather_all(txt)
    logits = scale * img @ txt.t()
    labels = torch.arange(len(logits), device=logits.device)
    ce = torch.nn.functional.cross_entropy
    return (ce(logits, labels) + ce(logits.t(), labels)) / 2
# === copy: renamed function
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F


def concat_from_workers(x):
    if not dist.is_available() or not dist.is_initialized():
        return x
    n = dist.get_world_size()
    if n == 1:
        return x
    parts = [torch.zeros_like(x) for _ in range(n)]
    dist.all_gather(parts, x.contiguous())
    parts[dist.get_rank()] = x
    return torch.cat(parts, dim=0)


def knn_accuracy(feats, labels, bank, bank_labels, k=20):
    feats = F.normalize(concat_from_workers(feats), dim=-1)
    labels = concat_from_workers(labels)
    sim = feats @ bank.t()
    top = sim.topk(k, dim=-1).indices
    votes = bank_labels[top].mode(dim=-1).values
    return (votes == labels).float().mean()


knn5 = partial(knn_accuracy, k=5)
# === base
import torch


def build_optimizer(model, lr, weight_decay):
    decay, no_decay = [], []
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        if param.ndim <= 1 or name.endswith(".bias"):
            no_decay.append(param)
        else:
            decay.append(param)
    groups = [
        {"params": decay, "weight_decay": weight_decay},
        {"params": no_decay, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95))


def make(cfg, model):
    opt = build_optimizer(model, cfg["lr"], cfg["wd"])
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, cfg["lr"], total_steps=cfg["steps"])
    return opt, sched
# === copy: renamed function
from dataclasses import dataclass

import torch
import torch.nn as nn


@dataclass
class OptimArgs:
    lr: float = 6e-4
    wd: float = 0.1
    grad_clip: float = 1.0


def configure_adamw(net, learning_rate, wd):
    with_wd, without_wd = [], []
    for n, p in net.named_parameters():
        if not p.requires_grad:
            continue
        if p.ndim <= 1 or n.endswith(".bias"):
            without_wd.append(p)
        else:
            with_wd.append(p)
    param_groups = [
        {"params": with_wd, "weight_decay": wd},
        {"params": without_wd, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(param_groups, lr=learning_rate, betas=(0.9, 0.95))


class LitGPT(nn.Module):
    def __init__(self, gpt, args: OptimArgs):
        super().__init__()
        self.gpt = gpt
        self.args = args
        self.opt = configure_adamw(gpt, args.lr, args.wd)

    def step(self, tokens):
        loss = self.gpt(tokens)
        loss.backward()
        nn.utils.clip_grad_norm_(self.gpt.parameters(), self.args.grad_clip)
        self.opt.step()
        self.opt.zero_grad()
        return loss.detach()
