# === base
import torch
import torch.nn as nn


def train_one_epoch(model, loader, criterion, optimizer, device):
    model.train()
    running_loss = 0.0
    correct = 0
    total = 0
    for inputs, labels in loader:
        inputs = inputs.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * inputs.size(0)
        correct += (outputs.argmax(1) == labels).sum().item()
        total += labels.size(0)
    return running_loss / total, correct / total


class SmallConv(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(64, classes)

    def forward(self, x):
        return self.head(self.body(x).flatten(1))
# === copy: renamed locals
"""Fine-tuning of the plant disease classifier."""
import torchvision


def train_one_epoch(net, dl, loss_fn, opt, dev):
    net.train()
    loss_sum = 0.0
    hits = 0
    seen = 0
    for x, y in dl:
        x = x.to(dev, non_blocking=True)
        y = y.to(dev, non_blocking=True)
        opt.zero_grad()
        logits = net(x)
        batch_loss = loss_fn(logits, y)
        batch_loss.backward()
        opt.step()
        loss_sum += batch_loss.item() * x.size(0)
        hits += (logits.argmax(1) == y).sum().item()
        seen += y.size(0)
    return loss_sum / seen, hits / seen


def freeze_backbone():
    net = torchvision.models.resnet18(weights="DEFAULT")
    for name, p in net.named_parameters():
        p.requires_grad = name.startswith("fc")
    return net
# === base
import torch


def box_iou(boxes1, boxes2):
    area1 = (boxes1[:, 2] - boxes1[:, 0]) * (boxes1[:, 3] - boxes1[:, 1])
    area2 = (boxes2[:, 2] - boxes2[:, 0]) * (boxes2[:, 3] - boxes2[:, 1])
    lt = torch.max(boxes1[:, None, :2], boxes2[:, :2])
    rb = torch.min(boxes1[:, None, 2:], boxes2[:, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[:, :, 0] * wh[:, :, 1]
    union = area1[:, None] + area2 - inter
    return inter / union


def assign_targets(anchors, gt, pos=0.5, neg=0.4):
    iou = box_iou(anchors, gt)
    best, idx = iou.max(dim=1)
    labels = torch.full((len(anchors),), -1)
    labels[best < neg] = 0
    labels[best >= pos] = 1
    return labels, idx
# === copy: renamed locals
import torch
from collections import defaultdict


def box_iou(pred, gold):
    pred_area = (pred[:, 2] - pred[:, 0]) * (pred[:, 3] - pred[:, 1])
    gold_area = (gold[:, 2] - gold[:, 0]) * (gold[:, 3] - gold[:, 1])
    top_left = torch.max(pred[:, None, :2], gold[:, :2])
    bottom_right = torch.min(pred[:, None, 2:], gold[:, 2:])
    sides = (bottom_right - top_left).clamp(min=0)
    overlap = sides[:, :, 0] * sides[:, :, 1]
    total = pred_area[:, None] + gold_area - overlap
    return overlap / total


def recall_at(dets, truths, thr=0.5):
    found = defaultdict(int)
    count = defaultdict(int)
    for image_id, truth in truths.items():
        count[image_id] = len(truth)
        if image_id in dets and len(truth):
            found[image_id] = int((box_iou(dets[image_id], truth).max(0).values > thr).sum())
    return sum(found.values()) / max(sum(count.values()), 1)
# === base
import numpy as np
import torch


def pad_collate(batch):
    batch = sorted(batch, key=lambda item: len(item[0]), reverse=True)
    lengths = torch.tensor([len(tokens) for tokens, _ in batch])
    longest = int(lengths.max())
    padded = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros(len(batch), longest, dtype=torch.bool)
    for i, (tokens, _) in enumerate(batch):
        padded[i, : len(tokens)] = torch.as_tensor(tokens)
        mask[i, : len(tokens)] = True
    labels = torch.tensor([label for _, label in batch])
    return {"input_ids": padded, "mask": mask, "lengths": lengths, "labels": labels}


class Reviews(torch.utils.data.Dataset):
    def __init__(self, npz):
        blob = np.load(npz, allow_pickle=True)
        self.ids, self.y = blob["ids"], blob["stars"]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, i):
        return self.ids[i], int(self.y[i])
# === copy: renamed locals
"""Intent classification, data side."""
import torch
from torch.utils.data import DataLoader


def pad_collate(samples):
    samples = sorted(samples, key=lambda s: len(s[0]), reverse=True)
    lens = torch.tensor([len(seq) for seq, _ in samples])
    width = int(lens.max())
    out = torch.zeros(len(samples), width, dtype=torch.long)
    valid = torch.zeros(len(samples), width, dtype=torch.bool)
    for row, (seq, _) in enumerate(samples):
        out[row, : len(seq)] = torch.as_tensor(seq)
        valid[row, : len(seq)] = True
    ys = torch.tensor([y for _, y in samples])
    return {"input_ids": out, "mask": valid, "lengths": lens, "labels": ys}


def loaders(train, dev, bs=32):
    yield DataLoader(train, bs, shuffle=True, collate_fn=pad_collate, drop_last=True)
    yield DataLoader(dev, bs * 4, collate_fn=pad_collate)
# === base
from pathlib import Path

import torch


def save_checkpoint(model, optimizer, epoch, metric, folder, keep=3):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "epoch": epoch,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "metric": metric,
    }
    path = folder / f"epoch_{epoch:04d}.pt"
    torch.save(state, path)
    old = sorted(folder.glob("epoch_*.pt"))[:-keep]
    for p in old:
        p.unlink()
    return path


class Trainer:
    def __init__(self, model, optimizer, folder):
        self.model, self.optimizer, self.folder = model, optimizer, folder
        self.best = float("-inf")

    def end_epoch(self, epoch, metric):
        if metric > self.best:
            self.best = metric
            save_checkpoint(self.model, self.optimizer, epoch, metric, self.folder)
# === copy: renamed locals
import logging
from pathlib import Path

import torch
import torch.nn as nn

log = logging.getLogger(__name__)


def save_checkpoint(net, opt, ep, score, out_dir, n_keep=3):
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    payload = {
        "epoch": ep,
        "model": net.state_dict(),
        "optimizer": opt.state_dict(),
        "metric": score,
    }
    target = out_dir / f"epoch_{ep:04d}.pt"
    torch.save(payload, target)
    stale = sorted(out_dir.glob("epoch_*.pt"))[:-n_keep]
    for f in stale:
        f.unlink()
    return target


def pretrain(ae: nn.Module, loader, epochs):
    opt = torch.optim.Adam(ae.parameters())
    for ep in range(epochs):
        total = 0.0
        for x, in loader:
            opt.zero_grad()
            loss = (ae(x) - x).pow(2).mean()
            loss.backward()
            opt.step()
            total += loss.item()
        log.info("ae %d %.5f", ep, total / len(loader))
        save_checkpoint(ae, opt, ep, -total, "ae_ckpt")
