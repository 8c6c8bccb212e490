# === base
import torch
import torch.nn.functional as F


def train_epoch(model, loader, optimizer, device, clip=1.0):
    model.train()
    total, correct, seen = 0.0, 0, 0
    for images, labels in loader:
        images = images.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        logits = model(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        total += loss.item() * labels.size(0)
        correct += (logits.argmax(dim=1) == labels).sum().item()
        seen += labels.size(0)
    return total / seen, correct / seen
# === copy: exact
import torch
from torch.nn import functional as F

BATCH = 128


def train_epoch(model, loader, optimizer, device, clip=1.0):
    model.train()
    total, correct, seen = 0.0, 0, 0
    for images, labels in loader:
        images = images.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        logits = model(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        total += loss.item() * labels.size(0)
        correct += (logits.argmax(dim=1) == labels).sum().item()
        seen += labels.size(0)
    return total / seen, correct / seen
# === copy: renamed
import torch
import torch.nn.functional as F


def one_pass(net, data, opt, dev, max_norm=1.0):
    net.train()
    running, hits, count = 0.0, 0, 0
    for x, y in data:
        x = x.to(dev, non_blocking=True)
        y = y.to(dev, non_blocking=True)
        opt.zero_grad(set_to_none=True)
        out = net(x)
        err = F.cross_entropy(out, y, label_smoothing=0.1)
        err.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), max_norm)
        opt.step()
        running += err.item() * y.size(0)
        hits += (out.argmax(dim=1) == y).sum().item()
        count += y.size(0)
    return running / count, hits / count
# === copy: method
import torch
import torch.nn.functional as F


class Trainer:
    def __init__(self, model, optimizer, device):
        self.model = model
        self.optimizer = optimizer
        self.device = device

    def run_epoch(self, loader):
        """Train once over the loader."""
        self.model.train()
        total, correct, seen = 0.0, 0, 0
        for images, labels in loader:
            images = images.to(self.device, non_blocking=True)
            labels = labels.to(self.device, non_blocking=True)
            self.optimizer.zero_grad(set_to_none=True)
            logits = self.model(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.optimizer.step()
            total += loss.item() * labels.size(0)
            correct += (logits.argmax(dim=1) == labels).sum().item()
            seen += labels.size(0)
        return total / seen, correct / seen
# === copy: extracted
import torch
import torch.nn.functional as F


def update(model, optimizer, images, labels, clip):
    optimizer.zero_grad(set_to_none=True)
    logits = model(images)
    loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss, logits


def train_epoch(model, loader, optimizer, device, clip=1.0):
    model.train()
    total, correct, seen = 0.0, 0, 0
    for images, labels in loader:
        images = images.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        loss, logits = update(model, optimizer, images, labels, clip)
        total += loss.item() * labels.size(0)
        correct += (logits.argmax(dim=1) == labels).sum().item()
        seen += labels.size(0)
    return total / seen, correct / seen
# === copy: statements
import logging

import torch
import torch.nn.functional as F

log = logging.getLogger(__name__)


def train_epoch(model, loader, optimizer, scheduler, device, clip=1.0):
    model.train()
    total, correct, seen = 0.0, 0, 0
    for step, (images, labels) in enumerate(loader):
        images = images.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        logits = model(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        scheduler.step()
        if step % 100 == 0:
            log.info("step %d loss %.4f", step, loss.item())
        total += loss.item() * labels.size(0)
        correct += (logits.argmax(dim=1) == labels).sum().item()
        seen += labels.size(0)
    return total / seen, correct / seen
# === other: a loop of the same shape for a GAN
import torch


def train_epoch(generator, critic, loader, opt_g, opt_c, device, z_dim=64):
    generator.train()
    critic.train()
    total_g, total_c, seen = 0.0, 0.0, 0
    for real, _ in loader:
        real = real.to(device, non_blocking=True)
        noise = torch.randn(real.size(0), z_dim, device=device)
        fake = generator(noise)
        opt_c.zero_grad(set_to_none=True)
        loss_c = critic(fake.detach()).mean() - critic(real).mean()
        loss_c.backward()
        opt_c.step()
        opt_g.zero_grad(set_to_none=True)
        loss_g = -critic(fake).mean()
        loss_g.backward()
        opt_g.step()
        total_g += loss_g.item()
        total_c += loss_c.item()
        seen += 1
    return total_g / seen, total_c / seen
# === other: a loop of the same shape for a VAE
import torch
import torch.nn.functional as F


def train_epoch(model, loader, optimizer, device, beta=1.0):
    model.train()
    total = 0.0
    for images, _ in loader:
        images = images.to(device)
        optimizer.zero_grad()
        recon, mu, logvar = model(images)
        rec = F.binary_cross_entropy(recon, images.flatten(1), reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss = rec + beta * kl
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader.dataset)
# === other: evaluation of a detector
import torch


def evaluate(model, loader, metric, device, threshold=0.5):
    model.eval()
    total, found, seen = 0.0, 0, 0
    for images, targets in loader:
        images = [image.to(device) for image in images]
        with torch.inference_mode():
            outputs = model(images)
        for output, target in zip(outputs, targets):
            keep = output["scores"] > threshold
            metric.update([{k: v[keep] for k, v in output.items()}], [target])
            found += int(keep.sum())
        seen += len(images)
    return metric.compute()["map_50"], found / seen
