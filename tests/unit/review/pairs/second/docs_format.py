# === base
import torch


def mixup(x, y, alpha=0.2):
    """Mixup of a batch.

    Args:
        x: images, (B, C, H, W)
        y: one-hot labels, (B, K)
        alpha: parameter of the Beta distribution
    """
    # no mixing
    if alpha <= 0:
        return x, y
    # draw the coefficient
    lam = torch.distributions.Beta(alpha, alpha).sample().item()
    perm = torch.randperm(x.size(0), device=x.device)
    # blend both
    mixed_x = lam * x + (1 - lam) * x[perm]
    mixed_y = lam * y + (1 - lam) * y[perm]
    return mixed_x, mixed_y


class SoftTargetCE(torch.nn.Module):
    def forward(self, logits, target):
        return -(target * logits.log_softmax(-1)).sum(-1).mean()
# === copy: docs format
"""Bird song: training utilities."""
import torch


def spec_mask(spec, f=16, t=32):
    f0 = torch.randint(0, spec.size(-2) - f, ()).item()
    t0 = torch.randint(0, spec.size(-1) - t, ()).item()
    spec[..., f0 : f0 + f, :] = 0
    spec[..., t0 : t0 + t] = 0
    return spec


def mixup(
    x,
    y,
    alpha=0.2,
):
    if alpha <= 0: return x, y
    lam = torch.distributions.Beta(
        alpha, alpha
    ).sample().item()
    perm = torch.randperm(
        x.size(0), device=x.device)

    mixed_x = (lam * x
               + (1 - lam) * x[perm])
    mixed_y = (lam * y
               + (1 - lam) * y[perm])
    return (mixed_x, mixed_y)
# === base
import torch
import torch.nn.functional as F


def gae(rewards, values, dones, last_value, gamma=0.99, lam=0.95):
    T = len(rewards)
    adv = torch.zeros_like(rewards)
    running = 0.0
    for t in reversed(range(T)):
        nxt = last_value if t == T - 1 else values[t + 1]
        alive = 1.0 - dones[t]
        delta = rewards[t] + gamma * nxt * alive - values[t]
        running = delta + gamma * lam * alive * running
        adv[t] = running
    returns = adv + values
    return adv, returns


def ppo_loss(logp, old, adv, clip=0.2):
    r = (logp - old).exp()
    return -torch.min(r * adv, r.clamp(1 - clip, 1 + clip) * adv).mean()
# === copy: docs format
import torch
from torch.distributions import Normal


def gae(rewards, values, dones, last_value, gamma=0.99, lam=0.95):
    """
    Generalised advantage estimation (Schulman et al., 2016).

    rewards, values and dones have one entry for each step of the rollout. The
    value after the last one is passed as last_value, for bootstrapping.
    """
    T = len(rewards)

    # filled from the back
    adv = torch.zeros_like(rewards)
    running = 0.0

    for t in reversed(range(T)):
        # value of the next state
        nxt = last_value if t == T - 1 else values[t + 1]
        alive = 1.0 - dones[t]  # 0 at the end of an episode

        # TD error
        delta = rewards[t] + gamma * nxt * alive - values[t]

        # exponentially weighted sum of the errors
        running = delta + gamma * lam * alive * running
        adv[t] = running

    # targets of the critic
    returns = adv + values
    return adv, returns


def entropy(mu, log_std):
    return Normal(mu, log_std.exp()).entropy().sum(-1).mean()
# === base
import logging

import torch

logger = logging.getLogger("trainer")


def load_pretrained(model, path, strict=False, prefix="module."):
    """Load weights, dropping a DataParallel prefix and mismatched shapes."""
    ckpt = torch.load(path, map_location="cpu")
    state = ckpt.get("state_dict", ckpt)
    own = model.state_dict()
    kept = {}
    for key, value in state.items():
        if key.startswith(prefix):
            key = key[len(prefix):]
        if key in own and own[key].shape == value.shape:
            kept[key] = value
    missing = set(own) - set(kept)
    model.load_state_dict(kept, strict=strict)
    logger.info("loaded %d tensors from %s, %d missing", len(kept), path, len(missing))
    return missing


def head_only(model):
    for p in model.parameters():
        p.requires_grad_(False)
    for p in model.head.parameters():
        p.requires_grad_(True)
# === copy: docs format
import logging
import torch

logger = logging.getLogger("trainer")

class Finetuner:
    def __init__(self, backbone, weights):
        self.backbone = backbone
        self.missing = load_pretrained(backbone, weights)

    def param_groups(self, lr):
        new = [p for n, p in self.backbone.named_parameters() if n in self.missing]
        old = [p for n, p in self.backbone.named_parameters() if n not in self.missing]
        return [dict(params=old, lr=lr * 0.1), dict(params=new, lr=lr)]

def load_pretrained(model, path, strict=False, prefix='module.'):
    ckpt = torch.load(path, map_location='cpu')
    state = ckpt.get('state_dict', ckpt)
    own = model.state_dict()
    kept = {}
    # only keep what fits
    for key, value in state.items():
        # saved from a DataParallel model?
        if key.startswith(prefix): key = key[len(prefix):]
        if key in own and \
                own[key].shape == value.shape:
            kept[key] = value
    missing = set(own) - set(kept)
    # load it
    model.load_state_dict(
        kept,
        strict=strict,
    )
    logger.info('loaded %d tensors from %s, %d missing', len(kept), path, len(missing))
    return missing
# === base
import numpy as np


def stratified_split(labels, val_fraction, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)
    train_idx, val_idx = [], []
    for cls in np.unique(labels):
        members = np.flatnonzero(labels == cls)
        rng.shuffle(members)
        n_val = max(1, int(round(len(members) * val_fraction)))
        val_idx.extend(members[:n_val].tolist())
        train_idx.extend(members[n_val:].tolist())
    rng.shuffle(train_idx)
    rng.shuffle(val_idx)
    return train_idx, val_idx


def class_weights(labels):
    counts = np.bincount(labels)
    return counts.sum() / (len(counts) * counts)
# === copy: docs format
import json

import numpy as np


def stratified_split(labels, val_fraction, seed=0):
    """Split indices so that every class keeps its share.

    Parameters
    ----------
    labels : sequence of int
    val_fraction : float
        share of every class which goes to validation, at least one sample
    seed : int

    Returns
    -------
    train_idx, val_idx : list of int
    """

    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)

    train_idx, val_idx = [], []

    for cls in np.unique(labels):

        members = np.flatnonzero(labels == cls)  # all of that class
        rng.shuffle(members)

        n_val = max(
            1,
            int(round(len(members) * val_fraction)),
        )

        val_idx.extend(members[:n_val].tolist())
        train_idx.extend(members[n_val:].tolist())

    # not ordered by class
    rng.shuffle(train_idx)
    rng.shuffle(val_idx)

    return train_idx, val_idx


def write_split(path, labels):
    tr, va = stratified_split(labels, 0.15, seed=42)
    with open(path, "w") as f:
        json.dump({"train": tr, "val": va}, f)
