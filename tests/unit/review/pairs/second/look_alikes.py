# === base
"""argparse of an image classifier"""
import argparse


def parse_args():
    parser = argparse.ArgumentParser(description="Train an image classifier")
    parser.add_argument("--data", required=True, help="folder with train/ and val/")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--wd", type=float, default=1e-4)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--pretrained", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    print(parse_args())
# === other: another task
"""argparse of a speech synthesiser"""
import argparse


def parse_args():
    parser = argparse.ArgumentParser(description="Train a vocoder")
    parser.add_argument("--wavs", nargs="+", required=True)
    parser.add_argument("--mel-bins", type=int, default=80)
    parser.add_argument("--hop", type=int, default=256)
    parser.add_argument("--segment", type=int, default=8192, help="samples of a crop")
    parser.add_argument("--g-lr", type=float, default=2e-4)
    parser.add_argument("--d-lr", type=float, default=2e-4)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--lambda-mel", type=float, default=45.0)
    parser.add_argument("--resume", metavar="CKPT")
    parser.add_argument("--fp16", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    print(parse_args())
# === base
from dataclasses import dataclass, field


@dataclass
class TrainConfig:
    data_dir: str = "data"
    batch_size: int = 64
    epochs: int = 50
    lr: float = 1e-3
    weight_decay: float = 1e-4
    milestones: list = field(default_factory=lambda: [30, 40])
    num_workers: int = 4
    mixed_precision: bool = True
    seed: int = 42

    def __post_init__(self):
        if self.batch_size <= 0:
            raise ValueError("batch_size must be positive")
# === other: another task
from dataclasses import dataclass, field


@dataclass
class AgentConfig:
    env_id: str = "HalfCheetah-v4"
    gamma: float = 0.99
    tau: float = 0.005
    buffer_size: int = 1_000_000
    start_steps: int = 10_000
    hidden: list = field(default_factory=lambda: [256, 256])
    actor_lr: float = 3e-4
    critic_lr: float = 3e-4
    auto_alpha: bool = True

    def __post_init__(self):
        if not 0 < self.gamma <= 1:
            raise ValueError("gamma must lie in (0, 1]")
# === base
import torch


def train(model, loader, criterion, optimizer, device):
    model.train()
    total = 0.0
    for step, (x, y) in enumerate(loader):
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % 100 == 0:
            print(f"step {step}: {loss.item():.4f}")
    return total / len(loader)
# === other: another task
import torch


@torch.no_grad()
def evaluate(model, loader, device):
    model.eval()
    top1, top5, n = 0, 0, 0
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        ranked = model(x).topk(5, dim=1).indices
        hit = ranked == y[:, None]
        top1 += hit[:, 0].sum().item()
        top5 += hit.any(1).sum().item()
        n += len(y)
    return top1 / n, top5 / n
# === base
import torch
import torch.nn as nn
import torch.nn.functional as F


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(256, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.max_pool2d(torch.tanh(self.conv2(x)), 2)
        x = x.flatten(1)
        x = torch.tanh(self.fc1(x))
        x = torch.tanh(self.fc2(x))
        return self.fc3(x)
# === other: another task
import torch
import torch.nn as nn
import torch.nn.functional as F


class AudioCNN(nn.Module):
    def __init__(self, n_classes=35):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 32, 80, stride=16)
        self.bn1 = nn.BatchNorm1d(32)
        self.conv2 = nn.Conv1d(32, 64, 3)
        self.bn2 = nn.BatchNorm1d(64)
        self.gru = nn.GRU(64, 64, batch_first=True)
        self.fc = nn.Linear(64, n_classes)

    def forward(self, x):
        x = F.max_pool1d(F.relu(self.bn1(self.conv1(x))), 4)
        x = F.max_pool1d(F.relu(self.bn2(self.conv2(x))), 4)
        x, _ = self.gru(x.transpose(1, 2))
        x = x.mean(dim=1)
        return F.log_softmax(self.fc(x), dim=-1)
# === base
import torch.nn as nn


class Encoder(nn.Module):
    def __init__(self, in_ch, width, latent):
        super().__init__()
        self.conv1 = nn.Conv2d(in_ch, width, 4, stride=2, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width * 2, 4, stride=2, padding=1)
        self.norm2 = nn.BatchNorm2d(width * 2)
        self.act = nn.LeakyReLU(0.2)
        self.mu = nn.Linear(width * 2 * 64, latent)
        self.logvar = nn.Linear(width * 2 * 64, latent)
# === other: another task
import torch.nn as nn


class Seq2SeqDecoder(nn.Module):
    def __init__(self, vocab, dim, hidden, dropout):
        super().__init__()
        self.embed = nn.Embedding(vocab, dim)
        self.drop = nn.Dropout(dropout)
        self.rnn = nn.LSTMCell(dim + hidden, hidden)
        self.attn = nn.Linear(hidden * 2, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, vocab)
# === base
import torch
import torch.nn as nn


class DiceLoss(nn.Module):
    def __init__(self, smooth=1.0):
        super().__init__()
        self.smooth = smooth

    def forward(self, logits, target):
        prob = torch.sigmoid(logits).flatten(1)
        target = target.flatten(1)
        inter = (prob * target).sum(1)
        denom = prob.sum(1) + target.sum(1)
        dice = (2 * inter + self.smooth) / (denom + self.smooth)
        return 1 - dice.mean()
# === other: another task
import torch
import torch.nn as nn


class TverskyFocalLoss(nn.Module):
    def __init__(self, alpha=0.3, gamma=0.75):
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits, target):
        prob = logits.softmax(1)
        onehot = torch.zeros_like(prob).scatter_(1, target.unsqueeze(1), 1)
        tp = (prob * onehot).sum((2, 3))
        fp = (prob * (1 - onehot)).sum((2, 3))
        fn = ((1 - prob) * onehot).sum((2, 3))
        tversky = tp / (tp + self.alpha * fp + (1 - self.alpha) * fn + 1e-6)
        return (1 - tversky).pow(self.gamma).mean()
# === base
import json
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import Dataset


class CaptionDataset(Dataset):
    """COCO captions from the json file."""

    def __init__(self, root, annotation, transform=None):
        self.root = Path(root)
        self.transform = transform
        blob = json.loads(Path(annotation).read_text())
        names = {im["id"]: im["file_name"] for im in blob["images"]}
        self.items = [(names[a["image_id"]], a["caption"]) for a in blob["annotations"]]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        name, caption = self.items[index]
        image = Image.open(self.root / name).convert("RGB")
        if self.transform is not None:
            image = self.transform(image)
        return image, caption
# === other: another task
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.utils.data import Dataset


class EEGEpochs(Dataset):
    """Sleep recordings, one HDF5 file for each night."""

    def __init__(self, root, channels, epoch_s=30):
        self.files = sorted(Path(root).glob("*.h5"))
        self.channels = channels
        self.epoch_s = epoch_s
        self.index = []
        for k, file in enumerate(self.files):
            with h5py.File(file) as f:
                self.index += [(k, e) for e in range(len(f["stages"]))]

    def __len__(self):
        return len(self.index)

    def __getitem__(self, i):
        k, e = self.index[i]
        with h5py.File(self.files[k]) as f:
            fs = int(f.attrs["fs"])
            lo = e * self.epoch_s * fs
            x = np.stack([f[c][lo : lo + self.epoch_s * fs] for c in self.channels])
            stage = int(f["stages"][e])
        return torch.from_numpy(x).float(), stage
# === base
import torch


class Accuracy:
    def __init__(self, topk=1):
        self.topk = topk
        self.reset()

    def reset(self):
        self.correct = 0
        self.total = 0

    def update(self, logits, target):
        top = logits.topk(self.topk, dim=-1).indices
        self.correct += (top == target[:, None]).any(-1).sum().item()
        self.total += target.numel()

    def compute(self):
        return self.correct / max(self.total, 1)
# === other: another task
import torch


class PearsonR:
    def __init__(self, dim):
        self.dim = dim
        self.reset()

    def reset(self):
        self.n = 0
        self.sx = torch.zeros(self.dim)
        self.sy = torch.zeros(self.dim)
        self.sxy = torch.zeros(self.dim)
        self.sxx = torch.zeros(self.dim)
        self.syy = torch.zeros(self.dim)

    def update(self, pred, target):
        self.n += len(pred)
        self.sx += pred.sum(0)
        self.sy += target.sum(0)
        self.sxy += (pred * target).sum(0)
        self.sxx += pred.square().sum(0)
        self.syy += target.square().sum(0)

    def compute(self):
        cov = self.n * self.sxy - self.sx * self.sy
        vx = self.n * self.sxx - self.sx.square()
        vy = self.n * self.syy - self.sy.square()
        return cov / (vx * vy).sqrt().clamp(min=1e-8)
# === base
from .resnet import resnet18, resnet34
from .vit import vit_small, vit_base
from .convnext import convnext_tiny

MODELS = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "vit_s": vit_small,
    "vit_b": vit_base,
    "convnext_t": convnext_tiny,
}


def create_model(name, **kwargs):
    if name not in MODELS:
        raise KeyError(f"unknown model {name!r}, choose from {sorted(MODELS)}")
    return MODELS[name](**kwargs)
# === other: another task
import torch

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.01}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.9}),
}


def create_optimizer(name, params, lr, **overrides):
    cls, defaults = OPTIMIZERS[name.lower()]
    kwargs = {**defaults, **overrides}
    return cls(params, lr=lr, **kwargs)
# === base
class TokenBatch:
    def __init__(self, ids, mask):
        self.ids = ids
        self.mask = mask

    @property
    def batch_size(self):
        return self.ids.shape[0]

    @property
    def length(self):
        return self.ids.shape[1]

    @property
    def device(self):
        return self.ids.device

    @property
    def n_tokens(self):
        return int(self.mask.sum())
# === other: another task
class PointCloud:
    def __init__(self, xyz, feats=None):
        self.xyz = xyz
        self.feats = feats

    @property
    def n_points(self):
        return self.xyz.shape[-2]

    @property
    def device(self):
        return self.xyz.device

    @property
    def extent(self):
        return self.xyz.amax(-2) - self.xyz.amin(-2)

    @property
    def has_features(self):
        return self.feats is not None
# === base
import pytest
import torch

from pkg.losses import focal_loss


def test_focal_loss():
    logits = torch.tensor([[2.0, -1.0], [0.0, 0.0], [-3.0, 3.0]])
    target = torch.tensor([0, 1, 1])
    out = focal_loss(logits, target, gamma=0.0)
    ce = torch.nn.functional.cross_entropy(logits, target)
    assert out.shape == ()
    assert out.item() == pytest.approx(ce.item(), abs=1e-6)
    assert focal_loss(logits, target, gamma=2.0) < out
    assert focal_loss(logits, target, gamma=5.0) < focal_loss(logits, target, gamma=2.0)
    assert torch.isfinite(focal_loss(logits * 1e4, target))
# === other: another task
import numpy as np
import pytest

from pkg.data import sliding_split


def test_sliding_split():
    parts = sliding_split(np.arange(100), train=60, test=10, step=10)
    first = parts[0]
    assert len(parts) == 4
    assert first.train.tolist() == list(range(60))
    assert first.test.tolist() == list(range(60, 70))
    assert parts[-1].test[-1] == 99
    assert all(p.train[-1] < p.test[0] for p in parts)
    with pytest.raises(ValueError):
        sliding_split(np.arange(5), train=60, test=10, step=10)
# === base
import matplotlib.pyplot as plt


def plot_curves(history, path):
    fig, ax = plt.subplots(figsize=(6, 4))
    ax.plot(history["train_loss"], label="train")
    ax.plot(history["val_loss"], label="validation")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    ax.set_yscale("log")
    ax.legend()
    fig.tight_layout()
    fig.savefig(path, dpi=150)
    plt.close(fig)
# === other: another task
import matplotlib.pyplot as plt
import numpy as np


def plot_confusion(matrix, names, path):
    fig, ax = plt.subplots(figsize=(8, 8))
    norm = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    im = ax.imshow(norm, cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(np.arange(len(names)), names, rotation=60)
    ax.set_yticks(np.arange(len(names)), names)
    for i, j in np.ndindex(matrix.shape):
        ax.text(j, i, f"{matrix[i, j]}", ha="center", va="center")
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    fig.colorbar(im)
    fig.savefig(path, dpi=200)
    plt.close(fig)
# === base
import torch
from torch.utils.data import Sampler


class BalancedSampler(Sampler):
    """Draws every class equally often."""

    def __init__(self, labels, per_class, seed=0):
        self.labels = torch.as_tensor(labels)
        self.per_class = per_class
        self.gen = torch.Generator().manual_seed(seed)
        self.classes = self.labels.unique().tolist()

    def __iter__(self):
        picks = []
        for c in self.classes:
            pool = (self.labels == c).nonzero().flatten()
            picks.append(pool[torch.randint(len(pool), (self.per_class,), generator=self.gen)])
        idx = torch.cat(picks)
        yield from idx[torch.randperm(len(idx), generator=self.gen)].tolist()

    def __len__(self):
        return self.per_class * len(self.classes)
# === other: another task
import math

import torch
from torch.utils.data import Sampler


class ShardedSampler(Sampler):
    """Gives each rank a contiguous shard, same length everywhere."""

    def __init__(self, n, rank, world, seed=0):
        self.n = n
        self.rank = rank
        self.world = world
        self.seed = seed
        self.epoch = 0
        self.per_rank = math.ceil(n / world)

    def __iter__(self):
        g = torch.Generator()
        g.manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.n, generator=g).tolist()
        order += order[: self.per_rank * self.world - self.n]
        lo = self.rank * self.per_rank
        return iter(order[lo : lo + self.per_rank])

    def __len__(self):
        return self.per_rank
# === base
import torchvision.transforms as T


def build_transforms(size):
    train = T.Compose([
        T.RandomResizedCrop(size, scale=(0.08, 1.0)),
        T.RandomHorizontalFlip(),
        T.ColorJitter(0.4, 0.4, 0.4),
        T.ToTensor(),
        T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])
    val = T.Compose([
        T.Resize(int(size * 1.14)),
        T.CenterCrop(size),
        T.ToTensor(),
        T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])
    return train, val
# === other: another task
import torchaudio.transforms as T
import torch.nn as nn


def build_pipeline(sr, n_mels):
    train = nn.Sequential(
        T.Resample(44100, sr),
        T.MelSpectrogram(sr, n_fft=1024, hop_length=320, n_mels=n_mels),
        T.AmplitudeToDB(top_db=80),
        T.FrequencyMasking(24),
        T.TimeMasking(64),
    )
    val = nn.Sequential(
        T.Resample(44100, sr),
        T.MelSpectrogram(sr, n_fft=1024, hop_length=320, n_mels=n_mels),
        T.AmplitudeToDB(top_db=80),
    )
    return train, val
# === base
import torch


def save_checkpoint(path, model, optimizer, epoch):
    torch.save({
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": epoch,
    }, path)


def load_checkpoint(path, model, optimizer):
    ckpt = torch.load(path, map_location="cpu")
    model.load_state_dict(ckpt["model"])
    optimizer.load_state_dict(ckpt["optimizer"])
    return ckpt["epoch"]
# === other: another task
import torch


def export_onnx(path, model, height, width):
    model.eval()
    dummy = torch.randn(1, 3, height, width)
    torch.onnx.export(
        model,
        dummy,
        path,
        opset_version=17,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )


def export_torchscript(path, model):
    scripted = torch.jit.script(model.eval())
    torch.jit.freeze(scripted).save(path)
# === base
class StepLR:
    def __init__(self, optimizer, step_size, gamma=0.1):
        self.optimizer = optimizer
        self.step_size = step_size
        self.gamma = gamma
        self.base = [g["lr"] for g in optimizer.param_groups]
        self.t = 0

    def step(self):
        self.t += 1
        scale = self.gamma ** (self.t // self.step_size)
        for group, base in zip(self.optimizer.param_groups, self.base):
            group["lr"] = base * scale
# === other: another task
class PlateauLR:
    def __init__(self, optimizer, patience, factor=0.5, floor=1e-7):
        self.optimizer = optimizer
        self.patience = patience
        self.factor = factor
        self.floor = floor
        self.best = float("inf")
        self.wait = 0

    def step(self, loss):
        if loss < self.best:
            self.best = loss
            self.wait = 0
            return
        self.wait += 1
        if self.wait > self.patience:
            for group in self.optimizer.param_groups:
                group["lr"] = max(group["lr"] * self.factor, self.floor)
            self.wait = 0
# === base
"""Supervised classification."""
import torch
import torch.nn.functional as F


def run_epoch(model, loader, opt, device):
    model.train()
    losses = []
    for img, label in loader:
        img, label = img.to(device), label.to(device)
        logits = model(img)
        loss = F.cross_entropy(logits, label)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)
# === other: another task
"""Masked autoencoder pretraining."""
import torch


def run_epoch(model, loader, opt, scheduler, device, ratio=0.75):
    model.train()
    losses = []
    for img, _ in loader:
        img = img.to(device)
        patches = model.patchify(img)
        noise = torch.rand(patches.shape[:2], device=device)
        keep = noise.argsort(1) < int(patches.shape[1] * (1 - ratio))
        recon = model(img, keep)
        err = (recon - patches).square().mean(-1)
        loss = err[~keep].mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        scheduler.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)
# === base
import torch.nn as nn


def init_weights(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
# === other: another task
import math

import torch.nn as nn


def init_weights(m):
    if isinstance(m, nn.Conv2d):
        fan = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
        m.weight.data.normal_(0, math.sqrt(2.0 / fan))
    elif isinstance(m, nn.BatchNorm2d):
        m.weight.data.fill_(1)
        m.bias.data.zero_()
    elif isinstance(m, nn.GRU):
        for name, p in m.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(p)
# === base
import logging

log = logging.getLogger(__name__)


def log_train(epoch, epochs, loss, acc, lr, secs):
    log.info("=" * 60)
    log.info("epoch %d/%d", epoch + 1, epochs)
    log.info("loss      %.4f", loss)
    log.info("accuracy  %.2f%%", 100 * acc)
    log.info("lr        %.2e", lr)
    log.info("seconds   %.1f", secs)
# === other: another task
import logging

log = logging.getLogger(__name__)


def describe_data(train, val, classes, shape):
    log.info("-" * 40)
    log.info("train images: %d", len(train))
    log.info("val images: %d", len(val))
    log.info("classes: %s", ", ".join(classes))
    log.info("input: %s", "x".join(map(str, shape)))
    if len(val) * 20 < len(train):
        log.warning("validation set is less than 5%% of the training set")
# === base
import torch


def normalise_batch(batch, stats, device):
    out = {}
    for key, value in batch.items():
        if key in stats:
            mean, std = stats[key]
            out[key] = (value.to(device) - mean) / std
        else:
            out[key] = value.to(device)
    return out
# === other: another task
import torch


def summarise_grads(model, norms):
    out = {}
    for name, p in model.named_parameters():
        if p.grad is None:
            continue
        g = p.grad.norm().item()
        prev = norms.get(name, g)
        out[name] = 0.9 * prev + 0.1 * g
    return out
# === base
import torch
import torch.nn as nn


class ResidualBlock(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.short = nn.Identity() if stride == 1 and cin == cout else nn.Conv2d(cin, cout, 1, stride)

    def forward(self, x):
        h = torch.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        return torch.relu(h + self.short(x))
# === other: another task
import torch
import torch.nn as nn


class TransformerBlock(nn.Module):
    def __init__(self, dim, heads, ratio=4, p=0.1):
        super().__init__()
        self.ln1 = nn.LayerNorm(dim)
        self.attn = nn.MultiheadAttention(dim, heads, dropout=p, batch_first=True)
        self.ln2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim * ratio), nn.GELU(), nn.Linear(dim * ratio, dim))
        self.drop = nn.Dropout(p)

    def forward(self, x, mask=None):
        h = self.ln1(x)
        h, _ = self.attn(h, h, h, key_padding_mask=mask, need_weights=False)
        x = x + self.drop(h)
        return x + self.drop(self.mlp(self.ln2(x)))
# === base
import argparse

from seg.engine import Engine
from seg.data import make_loaders


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("config")
    ap.add_argument("--gpu", type=int, default=0)
    args = ap.parse_args()
    engine = Engine.from_yaml(args.config, device=f"cuda:{args.gpu}")
    train, val = make_loaders(engine.cfg)
    for epoch in range(engine.cfg.epochs):
        engine.train(train)
        miou = engine.validate(val)
        engine.save(epoch, miou)


if __name__ == "__main__":
    main()
# === other: another task
import argparse
import csv
from pathlib import Path

from seg.engine import Engine
from seg.data import TestFolder
from seg.rle import encode_mask


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoint")
    ap.add_argument("images", type=Path)
    ap.add_argument("--out", default="submission.csv")
    args = ap.parse_args()
    engine = Engine.from_checkpoint(args.checkpoint)
    with open(args.out, "w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["id", "rle"])
        for name, image in TestFolder(args.images):
            writer.writerow([name, encode_mask(engine.predict(image) > 0.5)])


if __name__ == "__main__":
    main()
# === base
import torch


def collate_text(batch, pad=0):
    ids, labels = zip(*batch)
    width = max(len(x) for x in ids)
    out = torch.full((len(ids), width), pad)
    for i, x in enumerate(ids):
        out[i, : len(x)] = torch.tensor(x)
    return out, torch.tensor(labels)
# === other: another task
import torch


def collate_graphs(batch):
    xs, edges, ys = zip(*batch)
    offset = 0
    shifted, owner = [], []
    for i, (x, e) in enumerate(zip(xs, edges)):
        shifted.append(e + offset)
        owner.append(torch.full((len(x),), i))
        offset += len(x)
    return torch.cat(xs), torch.cat(shifted, dim=1), torch.cat(owner), torch.stack(ys)
# === base
import torch


def cutout(img, size):
    h, w = img.shape[-2:]
    y = torch.randint(0, h, (1,)).item()
    x = torch.randint(0, w, (1,)).item()
    y0, y1 = max(0, y - size // 2), min(h, y + size // 2)
    x0, x1 = max(0, x - size // 2), min(w, x + size // 2)
    img = img.clone()
    img[..., y0:y1, x0:x1] = 0
    return img
# === other: another task
import torch
import torch.nn.functional as F


def elastic(img, alpha, sigma):
    h, w = img.shape[-2:]
    noise = torch.rand(1, 2, h // sigma, w // sigma) * 2 - 1
    flow = F.interpolate(noise, (h, w), mode="bicubic") * alpha
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    grid = torch.stack([xs, ys], -1)[None] + flow.permute(0, 2, 3, 1)
    return F.grid_sample(img[None], grid, align_corners=True)[0]
# === base
CONFIG = dict(
    model=dict(name="deeplabv3", backbone="resnet101", classes=21, stride=8),
    data=dict(root="/data/voc", crop=513, batch=16, workers=8),
    optim=dict(kind="sgd", lr=0.007, momentum=0.9, wd=1e-4),
    schedule=dict(kind="poly", power=0.9, iters=30000),
    log=dict(every=50, images=4),
)
# === other: another task
CONFIG = dict(
    model=dict(name="wav2vec2", layers=12, dim=768, vocab=32),
    data=dict(root="/data/librispeech", splits=["train-clean-100"], max_seconds=15.6),
    optim=dict(kind="adamw", lr=3e-5, betas=(0.9, 0.98), eps=1e-6),
    schedule=dict(kind="tri_stage", warmup=0.1, hold=0.4, decay=0.5),
    log=dict(every=200, audio=True),
)
# === base
import torch
import torch.nn.functional as F


def reconstruction_kl(x, recon, mu, logvar, beta=1.0):
    rec = F.binary_cross_entropy(recon, x, reduction="sum") / len(x)
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum() / len(x)
    loss = rec + beta * kl
    return loss, {"rec": rec.item(), "kl": kl.item(), "loss": loss.item()}
# === other: another task
import torch
import torch.nn.functional as F


def detection_loss(cls, box, anchors_cls, anchors_box, weight=2.0):
    pos = anchors_cls > 0
    c = F.cross_entropy(cls.permute(0, 2, 1), anchors_cls, reduction="none").mean()
    b = F.smooth_l1_loss(box[pos], anchors_box[pos], beta=1 / 9)
    total = c + weight * b
    return total, {"cls": c.item(), "box": b.item(), "total": total.item()}
# === base
import torch


class CsvLogger:
    def __init__(self, path, fields):
        self.path = path
        self.fields = fields
        with open(path, "w") as f:
            f.write(",".join(fields) + "\n")

    def log(self, **values):
        row = [str(values.get(k, "")) for k in self.fields]
        with open(self.path, "a") as f:
            f.write(",".join(row) + "\n")
# === other: another task
import json
import time


class JsonlLogger:
    def __init__(self, path, run, flush_every=20):
        self.file = open(path, "a")
        self.run = run
        self.flush_every = flush_every
        self.count = 0

    def log(self, step, metrics):
        record = {"run": self.run, "step": step, "time": time.time(), **metrics}
        self.file.write(json.dumps(record) + "\n")
        self.count += 1
        if self.count % self.flush_every == 0:
            self.file.flush()

    def close(self):
        self.file.close()
# === base
import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self, z=100, ch=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(z, ch * 4, 4, 1, 0), nn.BatchNorm2d(ch * 4), nn.ReLU(True),
            nn.ConvTranspose2d(ch * 4, ch * 2, 4, 2, 1), nn.BatchNorm2d(ch * 2), nn.ReLU(True),
            nn.ConvTranspose2d(ch * 2, ch, 4, 2, 1), nn.BatchNorm2d(ch), nn.ReLU(True),
            nn.ConvTranspose2d(ch, 3, 4, 2, 1), nn.Tanh(),
        )

    def forward(self, z):
        return self.net(z[:, :, None, None])
# === other: another task
import torch
from torch import nn
from torch.nn.utils import spectral_norm as sn


class Discriminator(nn.Module):
    def __init__(self, ch=64):
        super().__init__()
        self.net = nn.Sequential(
            sn(nn.Conv2d(3, ch, 4, 2, 1)), nn.LeakyReLU(0.2, True),
            sn(nn.Conv2d(ch, ch * 2, 4, 2, 1)), nn.LeakyReLU(0.2, True),
            sn(nn.Conv2d(ch * 2, ch * 4, 4, 2, 1)), nn.LeakyReLU(0.2, True),
            sn(nn.Conv2d(ch * 4, 1, 4, 1, 0)),
        )

    def forward(self, x):
        return self.net(x).flatten()
# === base
import pandas as pd
import torch
from torch.utils.data import Dataset


class HousePrices(Dataset):
    def __init__(self, csv, target="SalePrice"):
        df = pd.read_csv(csv)
        self.y = torch.tensor(df[target].to_numpy()).log1p().float()
        df = pd.get_dummies(df.drop(columns=[target, "Id"]), dummy_na=True)
        df = df.fillna(df.median())
        self.x = torch.tensor(df.to_numpy(dtype="float32"))

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]
# === other: another task
import torch
from torch.utils.data import Dataset


class CharText(Dataset):
    def __init__(self, path, block):
        text = open(path, encoding="utf8").read()
        self.chars = sorted(set(text))
        lookup = {c: i for i, c in enumerate(self.chars)}
        self.data = torch.tensor([lookup[c] for c in text])
        self.block = block

    def __len__(self):
        return len(self.data) - self.block - 1

    def __getitem__(self, i):
        chunk = self.data[i : i + self.block + 1]
        return chunk[:-1], chunk[1:]
# === base
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


def multilabel_report(model, loader):
    scores, truth = [], []
    for x, y in loader:
        scores.append(model.predict(x).sigmoid().cpu().numpy())
        truth.append(y.numpy())
    scores, truth = np.concatenate(scores), np.concatenate(truth)
    keep = truth.any(0) & ~truth.all(0)
    return {
        "auc": roc_auc_score(truth[:, keep], scores[:, keep]),
        "map": average_precision_score(truth[:, keep], scores[:, keep]),
    }
# === other: another task
import jiwer
import numpy as np


def transcription_report(model, loader, vocab):
    hyps, refs = [], []
    for feats, lengths, texts in loader:
        best = model.log_probs(feats).argmax(-1).cpu().numpy()
        for row, n in zip(best, lengths.tolist()):
            row = row[:n]
            row = row[np.insert(row[1:] != row[:-1], 0, True)]
            hyps.append("".join(vocab[k] for k in row if k != 0))
        refs.extend(texts)
    return {"wer": jiwer.wer(refs, hyps), "cer": jiwer.cer(refs, hyps)}
# === base
class EarlyStopping:
    def __init__(self, patience):
        self.patience = patience
        self.best = float("inf")
        self.bad = 0

    def on_epoch_end(self, trainer, metrics):
        if metrics["val_loss"] < self.best:
            self.best = metrics["val_loss"]
            self.bad = 0
        else:
            self.bad += 1
        if self.bad >= self.patience:
            trainer.stop = True
# === other: another task
import torch


class BestCheckpoint:
    def __init__(self, path, monitor="val_acc"):
        self.path = path
        self.monitor = monitor
        self.best = float("-inf")

    def on_epoch_end(self, trainer, metrics):
        value = metrics[self.monitor]
        if value <= self.best:
            return
        self.best = value
        torch.save(trainer.model.state_dict(), self.path)
        print(f"{self.monitor} improved to {value:.4f}")
# === base
import os

import torch
import torch.distributed as dist


def setup():
    dist.init_process_group("nccl")
    local = int(os.environ["LOCAL_RANK"])
    torch.cuda.set_device(local)
    return local


def reduce_mean(value, device):
    t = torch.tensor(float(value), device=device)
    dist.all_reduce(t, op=dist.ReduceOp.SUM)
    return (t / dist.get_world_size()).item()


def is_main():
    return not dist.is_initialized() or dist.get_rank() == 0
# === other: another task
import os
import subprocess

import torch
import torch.distributed as dist


def setup_slurm(port=29500):
    rank = int(os.environ["SLURM_PROCID"])
    world = int(os.environ["SLURM_NTASKS"])
    nodes = os.environ["SLURM_NODELIST"]
    host = subprocess.check_output(["scontrol", "show", "hostnames", nodes], text=True).split()[0]
    os.environ["MASTER_ADDR"] = host
    os.environ["MASTER_PORT"] = str(port)
    dist.init_process_group("nccl", rank=rank, world_size=world)
    torch.cuda.set_device(rank % torch.cuda.device_count())


def broadcast_config(cfg):
    box = [cfg]
    dist.broadcast_object_list(box, src=0)
    return box[0]
