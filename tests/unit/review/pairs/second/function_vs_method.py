# === base
import torch


def validate(model, loader, criterion, device):
    model.eval()
    total_loss = 0.0
    correct = 0
    count = 0
    with torch.no_grad():
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            logits = model(x)
            total_loss += criterion(logits, y).item() * len(x)
            correct += (logits.argmax(-1) == y).sum().item()
            count += len(x)
    return total_loss / count, correct / count


def main():
    from torchvision.models import resnet50

    model = resnet50(num_classes=7)
    data = torch.load("skin_lesions_val.pt")
    print(validate(model, data, torch.nn.CrossEntropyLoss(), "cpu"))
# === copy: function vs method
import torch
import torch.nn as nn


class Trainer:
    def __init__(self, model, val_loader, lr, device):
        self.model = model.to(device)
        self.val_loader = val_loader
        self.device = device
        self.criterion = nn.CrossEntropyLoss()
        self.opt = torch.optim.RAdam(model.parameters(), lr)

    def validate(self):
        self.model.eval()
        total_loss = 0.0
        correct = 0
        count = 0
        with torch.no_grad():
            for x, y in self.val_loader:
                x, y = x.to(self.device), y.to(self.device)
                logits = self.model(x)
                total_loss += self.criterion(logits, y).item() * len(x)
                correct += (logits.argmax(-1) == y).sum().item()
                count += len(x)
        return total_loss / count, correct / count
# === base
import torch


class ReplayBuffer:
    def __init__(self, capacity, obs_dim, device):
        self.capacity = capacity
        self.device = device
        self.obs = torch.zeros(capacity, obs_dim)
        self.nxt = torch.zeros(capacity, obs_dim)
        self.act = torch.zeros(capacity, dtype=torch.long)
        self.rew = torch.zeros(capacity)
        self.size = 0

    def sample(self, batch_size):
        idx = torch.randint(0, self.size, (batch_size,))
        obs = self.obs[idx].to(self.device)
        nxt = self.nxt[idx].to(self.device)
        act = self.act[idx].to(self.device).unsqueeze(-1)
        rew = self.rew[idx].to(self.device)
        rew = (rew - rew.mean()) / (rew.std() + 1e-8)
        return obs, act, rew, nxt
# === copy: function vs method
import torch
import torch.nn.functional as F


def sample(storage, size, batch_size, device):
    idx = torch.randint(0, size, (batch_size,))
    obs = storage.obs[idx].to(device)
    nxt = storage.nxt[idx].to(device)
    act = storage.act[idx].to(device).unsqueeze(-1)
    rew = storage.rew[idx].to(device)
    rew = (rew - rew.mean()) / (rew.std() + 1e-8)
    return obs, act, rew, nxt


def dqn_update(q, q_target, storage, size, opt, gamma=0.99):
    obs, act, rew, nxt = sample(storage, size, 64, "cuda")
    with torch.no_grad():
        goal = rew + gamma * q_target(nxt).max(-1).values
    loss = F.smooth_l1_loss(q(obs).gather(1, act).squeeze(1), goal)
    opt.zero_grad()
    loss.backward()
    opt.step()
    return float(loss)
# === base
import torch
from torch.utils.data import Sampler


class BucketSampler(Sampler):
    def __init__(self, lengths, batch_size, bucket_size, seed=0):
        self.lengths = lengths
        self.batch_size = batch_size
        self.bucket_size = bucket_size
        self.seed = seed
        self.epoch = 0

    def make_batches(self):
        g = torch.Generator()
        g.manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=g).tolist()
        batches = []
        for start in range(0, len(order), self.bucket_size):
            bucket = order[start : start + self.bucket_size]
            bucket.sort(key=lambda i: self.lengths[i])
            for j in range(0, len(bucket), self.batch_size):
                batches.append(bucket[j : j + self.batch_size])
        perm = torch.randperm(len(batches), generator=g).tolist()
        return [batches[i] for i in perm]

    def __iter__(self):
        yield from self.make_batches()
        self.epoch += 1

    def __len__(self):
        return (len(self.lengths) + self.batch_size - 1) // self.batch_size
# === copy: function vs method
import torch


def make_batches(lengths, batch_size, bucket_size, seed, epoch):
    g = torch.Generator()
    g.manual_seed(seed + epoch)
    order = torch.randperm(len(lengths), generator=g).tolist()
    batches = []
    for start in range(0, len(order), bucket_size):
        bucket = order[start : start + bucket_size]
        bucket.sort(key=lambda i: lengths[i])
        for j in range(0, len(bucket), batch_size):
            batches.append(bucket[j : j + batch_size])
    perm = torch.randperm(len(batches), generator=g).tolist()
    return [batches[i] for i in perm]


def asr_epoch(model, utterances, epoch):
    lens = [u["frames"].shape[0] for u in utterances]
    for ids in make_batches(lens, 16, 512, 99, epoch):
        feats = torch.nn.utils.rnn.pad_sequence([utterances[i]["frames"] for i in ids], batch_first=True)
        model.step(feats, [utterances[i]["text"] for i in ids])
# === base
import torch


def should_stop(state, metric, patience, min_delta, mode):
    if state["best"] is None:
        state["best"] = metric
        return False
    if mode == "min":
        improved = metric < state["best"] - min_delta
    else:
        improved = metric > state["best"] + min_delta
    if improved:
        state["best"] = metric
        state["bad"] = 0
    else:
        state["bad"] += 1
    return state["bad"] >= patience


def loop(model, epochs, run_epoch):
    state = {"best": None, "bad": 0}
    for e in range(epochs):
        auc = run_epoch(model)
        torch.save(model.state_dict(), "last.pt")
        if should_stop(state, auc, 8, 1e-3, "max"):
            break
# === copy: function vs method
class EarlyStopping:
    def __init__(self, patience=10, min_delta=0.0, mode="min"):
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.best = None
        self.bad = 0

    def should_stop(self, metric):
        if self.best is None:
            self.best = metric
            return False
        if self.mode == "min":
            improved = metric < self.best - self.min_delta
        else:
            improved = metric > self.best + self.min_delta
        if improved:
            self.best = metric
            self.bad = 0
        else:
            self.bad += 1
        return self.bad >= self.patience


class Callbacks(list):
    def fire(self, event, **kw):
        for cb in self:
            getattr(cb, event, lambda **_: None)(**kw)
