# === base
import time

import torch


def fit(model, criterion, optimizer, scheduler, loaders, device, num_epochs, patience=5):
    best, bad, history = float("inf"), 0, []
    for epoch in range(num_epochs):
        started = time.time()
        for phase in ("train", "val"):
            model.train(phase == "train")
            running = 0.0
            for inputs, targets in loaders[phase]:
                inputs, targets = inputs.to(device), targets.to(device)
                with torch.set_grad_enabled(phase == "train"):
                    loss = criterion(model(inputs), targets)
                if phase == "train":
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                running += loss.item() * inputs.size(0)
            history.append((epoch, phase, running / len(loaders[phase].dataset)))
        scheduler.step(history[-1][2])
        if history[-1][2] < best:
            best, bad = history[-1][2], 0
            torch.save(model.state_dict(), "best.pt")
        else:
            bad += 1
        if bad >= patience:
            break
        print(f"epoch {epoch} took {time.time() - started:.1f}s")
    return history
# === copy: extracted, renamed
import time

import torch


def run_phase(net, loss_fn, opt, loader, dev, training):
    net.train(training)
    total = 0.0
    for x, y in loader:
        x, y = x.to(dev), y.to(dev)
        with torch.set_grad_enabled(training):
            loss = loss_fn(net(x), y)
        if training:
            opt.zero_grad()
            loss.backward()
            opt.step()
        total += loss.item() * x.size(0)
    return total / len(loader.dataset)


def train_model(net, loss_fn, opt, sched, loaders, dev, epochs, patience=5):
    lowest, waited, log = float("inf"), 0, []
    for epoch in range(epochs):
        begin = time.time()
        for phase in ("train", "val"):
            log.append((epoch, phase, run_phase(net, loss_fn, opt, loaders[phase], dev, phase == "train")))
        sched.step(log[-1][2])
        if log[-1][2] < lowest:
            lowest, waited = log[-1][2], 0
            torch.save(net.state_dict(), "best.pt")
        else:
            waited += 1
        if waited >= patience:
            break
        print(f"epoch {epoch} took {time.time() - begin:.1f}s")
    return log
# === copy: docstring, hints, statements
import logging
import time

import torch
from torch import nn

logger = logging.getLogger(__name__)


def fit(model: nn.Module, criterion, optimizer, scheduler, loaders: dict, device: str, num_epochs: int, patience: int = 5):
    """Train with early stopping."""
    model.to(device)
    best, bad, history = float("inf"), 0, []
    for epoch in range(num_epochs):
        started = time.time()
        logger.info("epoch %s begins", epoch)
        for phase in ("train", "val"):
            model.train(phase == "train")
            running = 0.0
            for inputs, targets in loaders[phase]:
                inputs, targets = inputs.to(device), targets.to(device)
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, targets)
                if phase == "train":
                    optimizer.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                running += loss.item() * inputs.size(0)
            history.append((epoch, phase, running / len(loaders[phase].dataset)))
        scheduler.step(history[-1][2])
        if history[-1][2] < best:
            best, bad = history[-1][2], 0
            torch.save(model.state_dict(), "best.pt")
        else:
            bad += 1
        if bad >= patience:
            break
    return history
# === other: a loop of the same shape for k-means
import time

import torch


def kmeans(points, centroids, num_iters, device, tolerance=1e-4):
    best, history = float("inf"), []
    points = points.to(device)
    for iteration in range(num_iters):
        started = time.time()
        distances = torch.cdist(points, centroids)
        assignment = distances.argmin(dim=1)
        for k in range(centroids.size(0)):
            members = points[assignment == k]
            if len(members):
                centroids[k] = members.mean(dim=0)
        inertia = distances.gather(1, assignment[:, None]).pow(2).sum().item()
        history.append((iteration, inertia))
        if best - inertia < tolerance:
            break
        best = inertia
        print(f"iteration {iteration} took {time.time() - started:.1f}s")
    return history
# === other: a loop of another task
import torch
import torch.nn.functional as F


def distill(student, teacher, loader, optimizer, scheduler, device, num_epochs, temperature=4.0):
    teacher.eval()
    history = []
    for epoch in range(num_epochs):
        student.train()
        running = 0.0
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            with torch.no_grad():
                soft = F.softmax(teacher(inputs) / temperature, dim=-1)
            logits = student(inputs)
            hard_loss = F.cross_entropy(logits, targets)
            soft_loss = F.kl_div(F.log_softmax(logits / temperature, dim=-1), soft, reduction="batchmean")
            loss = 0.3 * hard_loss + 0.7 * temperature**2 * soft_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item() * inputs.size(0)
        scheduler.step()
        history.append((epoch, running / len(loader.dataset)))
    return history
# === other: a step of Lightning
import torch
import torch.nn.functional as F
import lightning as L


class Module(L.LightningModule):
    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        loss = F.cross_entropy(logits, y)
        accuracy = (logits.argmax(dim=-1) == y).float().mean()
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/acc", accuracy)
        return loss
