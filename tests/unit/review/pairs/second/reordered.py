# === base
import torch
import torch.nn as nn


def build_training(cfg, train_set, val_set):
    device = torch.device(cfg.device)
    model = cfg.arch(num_classes=cfg.classes).to(device)
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.smoothing)
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, cfg.milestones)
    scaler = torch.cuda.amp.GradScaler(enabled=cfg.amp)
    train_loader = torch.utils.data.DataLoader(train_set, cfg.batch, shuffle=True, num_workers=cfg.workers)
    val_loader = torch.utils.data.DataLoader(val_set, cfg.batch * 2, num_workers=cfg.workers)
    if cfg.compile:
        model = torch.compile(model)
    return model, criterion, optimizer, scheduler, scaler, train_loader, val_loader


def summary(model):
    return sum(p.numel() for p in model.parameters()) / 1e6
# === copy: reordered
from types import SimpleNamespace

import torch
import torch.nn as nn
from torchvision.models import convnext_tiny


def build_training(cfg, train_set, val_set):
    train_loader = torch.utils.data.DataLoader(train_set, cfg.batch, shuffle=True, num_workers=cfg.workers)
    val_loader = torch.utils.data.DataLoader(val_set, cfg.batch * 2, num_workers=cfg.workers)
    scaler = torch.cuda.amp.GradScaler(enabled=cfg.amp)
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.smoothing)
    device = torch.device(cfg.device)
    model = cfg.arch(num_classes=cfg.classes).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, cfg.milestones)
    if cfg.compile:
        model = torch.compile(model)
    return model, criterion, optimizer, scheduler, scaler, train_loader, val_loader


MOTHS = SimpleNamespace(device="cuda:0", arch=convnext_tiny, classes=412, smoothing=0.1, lr=0.02,
                        milestones=[20, 30], amp=True, batch=96, workers=8, compile=False)
# === base
import torch


def binary_report(scores, labels, threshold=0.5):
    scores = torch.as_tensor(scores).float()
    labels = torch.as_tensor(labels).bool()
    pred = scores >= threshold
    tp = (pred & labels).sum().item()
    fp = (pred & ~labels).sum().item()
    fn = (~pred & labels).sum().item()
    tn = (~pred & ~labels).sum().item()
    precision = tp / max(tp + fp, 1)
    recall = tp / max(tp + fn, 1)
    specificity = tn / max(tn + fp, 1)
    accuracy = (tp + tn) / max(len(labels), 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-12)
    return {"precision": precision, "recall": recall, "specificity": specificity, "accuracy": accuracy, "f1": f1}


def best_threshold(scores, labels, grid):
    return max(grid, key=lambda t: binary_report(scores, labels, t)["f1"])
# === copy: reordered
import torch


class FraudNet(torch.nn.Module):
    def __init__(self, cats, nums):
        super().__init__()
        self.emb = torch.nn.ModuleList(torch.nn.Embedding(c + 1, min(50, c // 2 + 1)) for c in cats)
        width = sum(e.embedding_dim for e in self.emb) + nums
        self.mlp = torch.nn.Sequential(torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 1))

    def forward(self, cat, num):
        e = [emb(cat[:, i]) for i, emb in enumerate(self.emb)]
        return self.mlp(torch.cat([*e, num], 1)).squeeze(1)


def binary_report(scores, labels, threshold=0.5):
    labels = torch.as_tensor(labels).bool()
    scores = torch.as_tensor(scores).float()
    pred = scores >= threshold
    tn = (~pred & ~labels).sum().item()
    tp = (pred & labels).sum().item()
    fn = (~pred & labels).sum().item()
    fp = (pred & ~labels).sum().item()
    accuracy = (tp + tn) / max(len(labels), 1)
    recall = tp / max(tp + fn, 1)
    precision = tp / max(tp + fp, 1)
    f1 = 2 * precision * recall / max(precision + recall, 1e-12)
    specificity = tn / max(tn + fp, 1)
    return {"precision": precision, "recall": recall, "specificity": specificity, "accuracy": accuracy, "f1": f1}
# === base
import torch
import torch.nn as nn


class Attention(nn.Module):
    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.q = nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(dim, dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, context, mask=None):
        b, n, d = x.shape
        m = context.shape[1]
        q = self.q(x).view(b, n, self.heads, -1).transpose(1, 2)
        k = self.k(context).view(b, m, self.heads, -1).transpose(1, 2)
        v = self.v(context).view(b, m, self.heads, -1).transpose(1, 2)
        scores = q @ k.transpose(-2, -1) * self.scale
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None, :], float("-inf"))
        weights = self.drop(scores.softmax(-1))
        return self.out((weights @ v).transpose(1, 2).reshape(b, n, d))
# === copy: reordered
import torch.nn as nn


class CrossAttention(nn.Module):
    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.scale = (dim // heads) ** -0.5
        self.heads = heads
        self.drop = nn.Dropout(dropout)
        self.v = nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(dim, dim, bias=False)
        self.q = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x, context, mask=None):
        m = context.shape[1]
        b, n, d = x.shape
        k = self.k(context).view(b, m, self.heads, -1).transpose(1, 2)
        q = self.q(x).view(b, n, self.heads, -1).transpose(1, 2)
        scores = q @ k.transpose(-2, -1) * self.scale
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None, :], float("-inf"))
        weights = self.drop(scores.softmax(-1))
        v = self.v(context).view(b, m, self.heads, -1).transpose(1, 2)
        return self.out((weights @ v).transpose(1, 2).reshape(b, n, d))


class Captioner(nn.Module):
    def __init__(self, vocab, dim=384):
        super().__init__()
        self.words = nn.Embedding(vocab, dim)
        self.attend = CrossAttention(dim, 6, 0.1)
        self.norm = nn.LayerNorm(dim)

    def forward(self, ids, patches):
        w = self.words(ids)
        return self.norm(w + self.attend(w, patches)) @ self.words.weight.t()
# === base
import time

import torch


def benchmark(model, sample, warmup=10, iters=100):
    device = next(model.parameters()).device
    sample = sample.to(device)
    model.eval()
    times = []
    params = sum(p.numel() for p in model.parameters())
    for _ in range(warmup):
        model(sample)
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(iters):
        torch.cuda.synchronize(device)
        t0 = time.perf_counter()
        model(sample)
        torch.cuda.synchronize(device)
        times.append(time.perf_counter() - t0)
    times = torch.tensor(times)
    peak = torch.cuda.max_memory_allocated(device) / 2**20
    mean_ms = times.mean().item() * 1e3
    p95_ms = times.quantile(0.95).item() * 1e3
    return {"params": params, "mean_ms": mean_ms, "p95_ms": p95_ms, "peak_mib": peak}
# === copy: reordered
import time

import torch
from torch.ao.quantization import quantize_dynamic


def benchmark(model, sample, warmup=10, iters=100):
    params = sum(p.numel() for p in model.parameters())
    times = []
    model.eval()
    device = next(model.parameters()).device
    sample = sample.to(device)
    for _ in range(warmup):
        model(sample)
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(iters):
        torch.cuda.synchronize(device)
        t0 = time.perf_counter()
        model(sample)
        torch.cuda.synchronize(device)
        times.append(time.perf_counter() - t0)
    peak = torch.cuda.max_memory_allocated(device) / 2**20
    times = torch.tensor(times)
    p95_ms = times.quantile(0.95).item() * 1e3
    mean_ms = times.mean().item() * 1e3
    return {"params": params, "mean_ms": mean_ms, "p95_ms": p95_ms, "peak_mib": peak}


def compare(net, x):
    small = quantize_dynamic(net, {torch.nn.Linear}, dtype=torch.qint8)
    before, after = benchmark(net, x), benchmark(small, x)
    for k in before:
        print(f"{k:10s} {before[k]:12.2f} {after[k]:12.2f}")
