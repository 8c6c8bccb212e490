# === base
import torch
from tqdm import tqdm


def train_one_epoch(model, loader, optimizer, criterion, device, epoch):
    model.train()
    total, correct, loss_sum = 0, 0, 0.0
    bar = tqdm(loader, desc=f"epoch {epoch}")
    for images, labels in bar:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        logits = model(images)
        loss = criterion(logits, labels)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * labels.size(0)
        correct += (logits.argmax(1) == labels).sum().item()
        total += labels.size(0)
        bar.set_postfix(loss=loss_sum / total, acc=correct / total)
    return loss_sum / total, correct / total


def lr_at(epoch, base=0.1):
    return base * 0.1 ** (epoch // 30)
# === copy: drifted
import torch
from torchvision.models import vit_b_16
from tqdm import tqdm


def train_one_epoch(model, loader, optimizer, criterion, device, epoch):
    model.train()
    total, correct, loss_sum = 0, 0, 0.0
    bar = tqdm(loader, desc=f"epoch {epoch}")
    for images, labels in bar:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        logits = model(images)
        loss = criterion(logits, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss_sum += loss.item() * labels.size(0)
        correct += (logits.argmax(1) == labels).sum().item()
        total += labels.size(0)
        bar.set_postfix(loss=loss_sum / total, acc=correct / total)
    return loss_sum / total, correct / total


def flowers_vit():
    m = vit_b_16(weights="IMAGENET1K_V1")
    m.heads.head = torch.nn.Linear(768, 102)
    return m
# === base
import torch
import torch.nn.functional as F


def nt_xent(z1, z2, temperature=0.5):
    n = z1.size(0)
    z = torch.cat([z1, z2], dim=0)
    z = F.normalize(z, dim=1)
    sim = z @ z.t() / temperature
    eye = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    sim = sim.masked_fill(eye, float("-inf"))
    pos = torch.cat([torch.arange(n, 2 * n), torch.arange(0, n)])
    pos = pos.to(z.device)
    loss = F.cross_entropy(sim, pos)
    acc = (sim.argmax(1) == pos).float().mean()
    return loss, acc


class ProjectionHead(torch.nn.Sequential):
    def __init__(self, d, out=128):
        super().__init__(torch.nn.Linear(d, d), torch.nn.ReLU(), torch.nn.Linear(d, out))
# === copy: drifted
import torch
import torch.nn.functional as F


def jitter_scale(x, sigma=0.1):
    return x * (1 + sigma * torch.randn(x.size(0), 1, x.size(2), device=x.device))


def nt_xent(z1, z2, temperature=0.07):
    n = z1.size(0)
    z = torch.cat([z1, z2], dim=0)
    z = F.normalize(z, dim=1)
    sim = z @ z.t() / temperature
    eye = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    sim = sim.masked_fill(eye, -1e9)
    pos = torch.cat([torch.arange(n, 2 * n), torch.arange(0, n)])
    pos = pos.to(z.device)
    loss = F.cross_entropy(sim, pos)
    acc = (sim.argmax(1) == pos).float().mean()
    return loss, acc


def pretrain_step(encoder, accel, opt):
    a, b = encoder(jitter_scale(accel)), encoder(accel.flip(-1))
    loss, acc = nt_xent(a, b)
    loss.backward()
    opt.step()
    opt.zero_grad()
    return loss.item(), acc.item()
# === base
import torch
import torch.nn.functional as F


def train_gan_step(G, D, opt_g, opt_d, real, z_dim, device):
    b = real.size(0)
    real = real.to(device)
    z = torch.randn(b, z_dim, device=device)
    fake = G(z)
    d_real = D(real)
    d_fake = D(fake.detach())
    loss_d = F.relu(1 - d_real).mean() + F.relu(1 + d_fake).mean()
    opt_d.zero_grad()
    loss_d.backward()
    opt_d.step()
    loss_g = -D(fake).mean()
    opt_g.zero_grad()
    loss_g.backward()
    opt_g.step()
    return {"d": loss_d.item(), "g": loss_g.item()}


def grid(G, z):
    with torch.no_grad():
        return (G(z).clamp(-1, 1) + 1) / 2
# === copy: drifted
import torch
import torch.nn.functional as F


def train_gan_step(G, D, opt_g, opt_d, real, z_dim, device):
    b = real.size(0)
    real = real.to(device)
    z = torch.randn(b, z_dim, device=device)
    fake = G(z)
    d_real = D(real)
    d_fake = D(fake.detach())
    loss_d = F.softplus(-d_real).mean() + F.softplus(d_fake).mean()
    opt_d.zero_grad()
    loss_d.backward()
    opt_d.step()
    loss_g = F.softplus(-D(fake)).mean()
    opt_g.zero_grad()
    loss_g.backward()
    opt_g.step()
    return {"d": loss_d.item(), "g": loss_g.item()}


def fid_features(inception, batches):
    return torch.cat([inception(F.interpolate(b, 299)).cpu() for b in batches])
# === base
import json
import os

import torch


def find_latest(folder):
    files = [f for f in os.listdir(folder) if f.startswith("ckpt_") and f.endswith(".pth")]
    if not files:
        return None, 0
    steps = [int(f[len("ckpt_"):-len(".pth")]) for f in files]
    step = max(steps)
    path = os.path.join(folder, f"ckpt_{step}.pth")
    size = os.path.getsize(path)
    if size < 1024:
        os.remove(path)
        return find_latest(folder)
    meta = {"path": path, "step": step, "size": size}
    with open(os.path.join(folder, "latest.json"), "w") as f:
        json.dump(meta, f)
    print("latest checkpoint", path)
    return path, step


def weights(folder):
    path, _ = find_latest(folder)
    return torch.load(path)["model"]
# === copy: drifted
import json
import os


def find_latest(folder):
    files = [f for f in os.listdir(folder) if f.startswith("ckpt_") and f.endswith(".pth")]
    if not files:
        return None, 0
    steps = [int(f[len("ckpt_"):-len(".pth")]) for f in files]
    step = max(steps)
    path = os.path.join(folder, f"ckpt_{step}.pth")
    size = os.path.getsize(path)
    if size < 4096:
        print("truncated checkpoint, dropping", path)
        os.remove(path)
        return find_latest(folder)
    meta = {"path": path, "step": step, "size": size}
    with open(os.path.join(folder, "latest.json"), "w") as f:
        json.dump(meta, f)
    print("latest checkpoint", path)
    return path, step


class Uploader:
    def __init__(self, bucket, folder):
        self.bucket, self.folder, self.sent = bucket, folder, -1

    def poll(self):
        path, step = find_latest(self.folder)
        if path and step > self.sent:
            self.bucket.blob(os.path.basename(path)).upload_from_filename(path)
            self.sent = step
