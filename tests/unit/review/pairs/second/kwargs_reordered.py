# === base
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler


def make_loader(dataset, batch_size, workers, distributed, seed):
    if distributed:
        sampler = DistributedSampler(dataset, shuffle=True, seed=seed, drop_last=True)
    else:
        sampler = RandomSampler(dataset)
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        pin_memory=True,
        drop_last=True,
        persistent_workers=workers > 0,
    )
    print(f"{len(dataset)} samples, {len(loader)} batches")
    return loader, sampler


def epoch(loader, sampler, e):
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(e)
    yield from loader
# === copy: kwargs reordered
import torch
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler

from lidar.sets import KittiOdometry


def make_loader(dataset, batch_size, workers, distributed, seed):
    if distributed:
        sampler = DistributedSampler(dataset, drop_last=True, seed=seed, shuffle=True)
    else:
        sampler = RandomSampler(dataset)
    loader = DataLoader(
        dataset,
        sampler=sampler,
        batch_size=batch_size,
        drop_last=True,
        pin_memory=True,
        persistent_workers=workers > 0,
        num_workers=workers,
    )
    print(f"{len(dataset)} samples, {len(loader)} batches")
    return loader, sampler


def smoke(root):
    loader, _ = make_loader(KittiOdometry(root), 2, 0, False, 0)
    cloud, pose = next(iter(loader))
    assert cloud.dtype == torch.float32
    assert pose.shape[-2:] == (4, 4)
# === base
import torch
import torch.nn as nn


def make_transformer(vocab, dim=512, heads=8, depth=6, dropout=0.1):
    embed = nn.Embedding(num_embeddings=vocab, embedding_dim=dim, padding_idx=0)
    layer = nn.TransformerEncoderLayer(
        d_model=dim,
        nhead=heads,
        dim_feedforward=4 * dim,
        dropout=dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    encoder = nn.TransformerEncoder(encoder_layer=layer, num_layers=depth, norm=nn.LayerNorm(dim))
    head = nn.Linear(in_features=dim, out_features=vocab, bias=False)
    nn.init.normal_(tensor=embed.weight, mean=0.0, std=0.02)
    head.weight = embed.weight
    return embed, encoder, head


class MLM(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.embed, self.encoder, self.head = make_transformer(vocab)

    def forward(self, ids):
        return self.head(self.encoder(self.embed(ids), src_key_padding_mask=ids.eq(0)))
# === copy: kwargs reordered
import torch.nn as nn


class ProteinTagger(nn.Module):
    def __init__(self, tags):
        super().__init__()
        self.embed, self.encoder, _ = make_transformer(26, dim=256)
        self.crf_emissions = nn.Linear(256, tags)

    def forward(self, residues, lengths):
        h = self.encoder(self.embed(residues))
        return [e[:n] for e, n in zip(self.crf_emissions(h), lengths.tolist())]


def make_transformer(vocab, dim=512, heads=8, depth=6, dropout=0.1):
    embed = nn.Embedding(embedding_dim=dim, num_embeddings=vocab, padding_idx=0)
    layer = nn.TransformerEncoderLayer(
        nhead=heads,
        d_model=dim,
        batch_first=True,
        norm_first=True,
        activation="gelu",
        dim_feedforward=4 * dim,
        dropout=dropout,
    )
    encoder = nn.TransformerEncoder(num_layers=depth, encoder_layer=layer, norm=nn.LayerNorm(dim))
    head = nn.Linear(bias=False, in_features=dim, out_features=vocab)
    nn.init.normal_(std=0.02, mean=0.0, tensor=embed.weight)
    head.weight = embed.weight
    return embed, encoder, head
# === base
import torch
import wandb


def start_run(cfg, model, resume_id=None):
    run = wandb.init(
        project="traffic-forecast",
        entity="mobility",
        config=vars(cfg),
        name=f"{cfg.arch}-{cfg.seed}",
        id=resume_id,
        resume="allow",
    )
    wandb.watch(model, log="gradients", log_freq=200)
    run.define_metric(name="val/mape", summary="min", step_metric="epoch")
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=0.9, nesterov=True, weight_decay=cfg.wd)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.3, patience=4, min_lr=1e-6)
    return run, optimizer, scheduler


def log_epoch(run, epoch, train, val):
    run.log({"epoch": epoch, "train/loss": train, "val/mape": val})
# === copy: kwargs reordered
import torch
import wandb
from torch.nn.utils import clip_grad_norm_


def start_run(cfg, model, resume_id=None):
    run = wandb.init(
        name=f"{cfg.arch}-{cfg.seed}",
        project="traffic-forecast",
        entity="mobility",
        id=resume_id,
        resume="allow",
        config=vars(cfg),
    )
    wandb.watch(model, log_freq=200, log="gradients")
    run.define_metric(name="val/mape", step_metric="epoch", summary="min")
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.lr, weight_decay=cfg.wd, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, min_lr=1e-6, mode="min", patience=4)
    return run, optimizer, scheduler


def tune(cfg, model, sensors):
    run, opt, sched = start_run(cfg, model)
    for epoch in range(cfg.epochs):
        for window, horizon in sensors:
            loss = (model(window) - horizon).abs().mean()
            loss.backward()
            clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
            opt.zero_grad()
        sched.step(loss)
    run.finish()
# === base
import argparse

import albumentations as A
from albumentations.pytorch import ToTensorV2


def xray_transforms(size, train):
    if train:
        return A.Compose([
            A.RandomResizedCrop(height=size, width=size, scale=(0.7, 1.0), ratio=(0.9, 1.1), p=1.0),
            A.ShiftScaleRotate(shift_limit=0.05, scale_limit=0.1, rotate_limit=10, border_mode=0, p=0.5),
            A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
            A.CoarseDropout(max_holes=6, max_height=24, max_width=24, p=0.3),
            A.Normalize(mean=(0.485,), std=(0.229,), max_pixel_value=255.0),
            ToTensorV2(),
        ])
    resize = A.LongestMaxSize(max_size=size, interpolation=1, p=1.0)
    pad = A.PadIfNeeded(min_height=size, min_width=size, border_mode=0, p=1.0)
    norm = A.Normalize(mean=(0.485,), std=(0.229,), max_pixel_value=255.0)
    return A.Compose([resize, pad, norm, ToTensorV2()])


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("--size", type=int, default=512)
    return p.parse_args()
# === copy: kwargs reordered
import albumentations as A
import cv2
import pandas as pd
from albumentations.pytorch import ToTensorV2


class ChestXray:
    def __init__(self, csv, size, train):
        self.frame = pd.read_csv(csv)
        self.tf = xray_transforms(size, train)

    def __len__(self):
        return len(self.frame)

    def __getitem__(self, i):
        row = self.frame.iloc[i]
        img = cv2.imread(row.path, 0)
        return self.tf(image=img)["image"], row.finding


def xray_transforms(size, train):
    if train:
        return A.Compose([
            A.RandomResizedCrop(width=size, height=size, p=1.0, scale=(0.7, 1.0), ratio=(0.9, 1.1)),
            A.ShiftScaleRotate(p=0.5, shift_limit=0.05, rotate_limit=10, scale_limit=0.1, border_mode=0),
            A.RandomBrightnessContrast(p=0.5, brightness_limit=0.2, contrast_limit=0.2),
            A.CoarseDropout(p=0.3, max_holes=6, max_width=24, max_height=24),
            A.Normalize(max_pixel_value=255.0, mean=(0.485,), std=(0.229,)),
            ToTensorV2(),
        ])
    resize = A.LongestMaxSize(p=1.0, max_size=size, interpolation=1)
    pad = A.PadIfNeeded(p=1.0, min_width=size, min_height=size, border_mode=0)
    norm = A.Normalize(max_pixel_value=255.0, mean=(0.485,), std=(0.229,))
    return A.Compose([resize, pad, norm, ToTensorV2()])
