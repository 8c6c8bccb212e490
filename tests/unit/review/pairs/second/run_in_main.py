# === base
import argparse
import os
import random

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pose.data import CocoKeypoints
from pose.hrnet import HRNet


def main():
    parser = argparse.ArgumentParser("pose")
    parser.add_argument("--root", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--heatmap", type=int, default=64)
    args = parser.parse_args()

    rank = int(os.environ.get("RANK", 0))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl", rank=rank, world_size=world_size)
    dist.barrier()
    seed = args.seed + rank
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    device = torch.device("cuda", local_rank)

    net = DistributedDataParallel(HRNet(17).to(device), device_ids=[local_rank])
    data = CocoKeypoints(args.root, args.heatmap)
    sampler = torch.utils.data.DistributedSampler(data)
    opt = torch.optim.Adam(net.parameters(), 1e-3)
    for epoch in range(210):
        sampler.set_epoch(epoch)
        for img, hm, w in torch.utils.data.DataLoader(data, 32, sampler=sampler, num_workers=4):
            loss = ((net(img.to(device)) - hm.to(device)).square() * w.to(device)).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
        if rank == 0:
            torch.save(net.module.state_dict(), "pose.pt")


if __name__ == "__main__":
    main()
# === copy: run in main
import os
import random

import hydra
import numpy as np
import torch
import torch.distributed as dist
from omegaconf import DictConfig
from transformers import AutoModelForCausalLM, AutoTokenizer


@hydra.main(config_path="conf", config_name="sft", version_base=None)
def main(args: DictConfig):
    tok = AutoTokenizer.from_pretrained(args.base)
    if tok.pad_token is None:
        tok.pad_token = tok.eos_token

    rank = int(os.environ.get("RANK", 0))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl", rank=rank, world_size=world_size)
    dist.barrier()
    seed = args.seed + rank
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    device = torch.device("cuda", local_rank)

    model = AutoModelForCausalLM.from_pretrained(args.base, torch_dtype=torch.bfloat16).to(device)
    model.gradient_checkpointing_enable()
    with open(args.dialogues, encoding="utf8") as f:
        lines = [line for i, line in enumerate(f) if i % world_size == rank]
    optim = torch.optim.AdamW(model.parameters(), lr=args.lr)
    for line in lines:
        enc = tok(line, return_tensors="pt", truncation=True, max_length=args.ctx).to(device)
        out = model(**enc, labels=enc["input_ids"])
        out.loss.backward()
        for p in model.parameters():
            dist.all_reduce(p.grad, op=dist.ReduceOp.AVG)
        optim.step()
        optim.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
# === base
import json
import logging
import sys
from datetime import datetime
from pathlib import Path

import torch

from ecg.model import ResNet1d
from ecg.records import PTBXL


def main(cfg_path):
    with open(cfg_path) as f:
        cfg = json.load(f)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    run_dir = Path(cfg["output"]) / f"{cfg['name']}-{stamp}"
    run_dir.mkdir(parents=True, exist_ok=False)
    (run_dir / "config.json").write_text(json.dumps(cfg, indent=2))
    logger = logging.getLogger()
    logger.setLevel(logging.INFO)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    file_handler = logging.FileHandler(run_dir / "train.log")
    file_handler.setFormatter(formatter)
    logger.addHandler(file_handler)
    stream_handler = logging.StreamHandler(sys.stdout)
    stream_handler.setFormatter(formatter)
    logger.addHandler(stream_handler)
    logger.info("writing to %s", run_dir)

    train = PTBXL(cfg["records"], folds=range(1, 9))
    valid = PTBXL(cfg["records"], folds=[9])
    logger.info("%d / %d records", len(train), len(valid))
    model = ResNet1d(leads=12, classes=len(train.superclasses))
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg["lr"])
    best = 0.0
    for epoch in range(cfg["epochs"]):
        for signal, labels in torch.utils.data.DataLoader(train, 64, shuffle=True):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(signal), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        auc = valid.macro_auc(model)
        logger.info("epoch %d auc %.4f", epoch, auc)
        if auc > best:
            best = auc
            torch.save(model.state_dict(), run_dir / "best.pt")


main(sys.argv[1])
# === copy: run in main
import json
import logging
import sys
from datetime import datetime
from pathlib import Path

import click
import gymnasium as gym
import torch
from torch.distributions import Categorical


@click.command()
@click.option("--env", default="LunarLander-v2")
@click.option("--episodes", default=3000)
@click.option("--lr", default=1e-3)
def main(env, episodes, lr):
    cfg = {"env": env, "episodes": episodes, "lr": lr, "output": "runs", "name": "reinforce"}
    world = gym.make(cfg["env"])
    policy = torch.nn.Sequential(
        torch.nn.Linear(world.observation_space.shape[0], 128),
        torch.nn.Tanh(),
        torch.nn.Linear(128, world.action_space.n),
    )
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    run_dir = Path(cfg["output"]) / f"{cfg['name']}-{stamp}"
    run_dir.mkdir(parents=True, exist_ok=False)
    (run_dir / "config.json").write_text(json.dumps(cfg, indent=2))
    logger = logging.getLogger()
    logger.setLevel(logging.INFO)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    file_handler = logging.FileHandler(run_dir / "train.log")
    file_handler.setFormatter(formatter)
    logger.addHandler(file_handler)
    stream_handler = logging.StreamHandler(sys.stdout)
    stream_handler.setFormatter(formatter)
    logger.addHandler(stream_handler)
    logger.info("writing to %s", run_dir)
    adam = torch.optim.Adam(policy.parameters(), lr)
    for episode in range(episodes):
        obs, _ = world.reset()
        logps, rewards, over = [], [], False
        while not over:
            dist = Categorical(logits=policy(torch.as_tensor(obs)))
            a = dist.sample()
            logps.append(dist.log_prob(a))
            obs, r, term, trunc, _ = world.step(a.item())
            rewards.append(r)
            over = term or trunc
        ret = torch.tensor(rewards).flip(0).cumsum(0).flip(0)
        loss = -(torch.stack(logps) * (ret - ret.mean())).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        if episode % 50 == 0:
            logger.info("%d %.1f", episode, sum(rewards))


if __name__ == "__main__":
    main()
# === base
import argparse

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("csv")
    ap.add_argument("--hidden", type=int, default=64)
    args = ap.parse_args()

    df = pd.read_csv(args.csv, parse_dates=["timestamp"])
    df = df.dropna(subset=["demand"])
    df = df.sort_values("timestamp").reset_index(drop=True)
    df["hour"] = df["timestamp"].dt.hour
    df["weekday"] = df["timestamp"].dt.weekday
    df["hour_sin"] = np.sin(2 * np.pi * df["hour"] / 24)
    df["hour_cos"] = np.cos(2 * np.pi * df["hour"] / 24)
    df["lag_24"] = df["demand"].shift(24)
    df["lag_168"] = df["demand"].shift(168)
    df["roll_24"] = df["demand"].rolling(24).mean()
    df = df.dropna().reset_index(drop=True)
    split = int(len(df) * 0.8)

    columns = ["hour_sin", "hour_cos", "weekday", "lag_24", "lag_168", "roll_24"]
    scaler = StandardScaler().fit(df.loc[: split - 1, columns])
    x = torch.tensor(scaler.transform(df[columns]), dtype=torch.float32)
    y = torch.tensor(df["demand"].to_numpy(), dtype=torch.float32)
    net = torch.nn.Sequential(
        torch.nn.Linear(6, args.hidden), torch.nn.ReLU(), torch.nn.Linear(args.hidden, 1)
    )
    lbfgs = torch.optim.LBFGS(net.parameters(), max_iter=500)

    def closure():
        lbfgs.zero_grad()
        loss = (net(x[:split]).squeeze(1) - y[:split]).square().mean()
        loss.backward()
        return loss

    lbfgs.step(closure)
    with torch.no_grad():
        print("test mse", (net(x[split:]).squeeze(1) - y[split:]).square().mean().item())


if __name__ == "__main__":
    main()
# === copy: run in main
"""Quantile LSTM for the demand of a district heating network."""
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

QUANTILES = torch.tensor([0.1, 0.5, 0.9])


class QLSTM(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.rnn = nn.LSTM(n, 48, batch_first=True)
        self.out = nn.Linear(48, 3)

    def forward(self, x):
        h, _ = self.rnn(x)
        return self.out(h)


def pinball(pred, y):
    e = y[..., None] - pred
    return torch.maximum(QUANTILES * e, (QUANTILES - 1) * e).mean()


def main(args):
    torch.manual_seed(args.seed)
    out = Path(args.out)
    out.mkdir(exist_ok=True)
    df = pd.read_csv(args.csv, parse_dates=["timestamp"])
    df = df.dropna(subset=["demand"])
    df = df.sort_values("timestamp").reset_index(drop=True)
    df["hour"] = df["timestamp"].dt.hour
    df["weekday"] = df["timestamp"].dt.weekday
    df["hour_sin"] = np.sin(2 * np.pi * df["hour"] / 24)
    df["hour_cos"] = np.cos(2 * np.pi * df["hour"] / 24)
    df["lag_24"] = df["demand"].shift(24)
    df["lag_168"] = df["demand"].shift(168)
    df["roll_24"] = df["demand"].rolling(24).mean()
    df = df.dropna().reset_index(drop=True)
    split = int(len(df) * 0.8)
    weather = pd.read_parquet(args.weather)
    df = df.merge(weather, on="timestamp", how="left").ffill()
    feats = df.drop(columns=["timestamp", "demand"]).to_numpy(np.float32)
    demand = df["demand"].to_numpy(np.float32)
    model = QLSTM(feats.shape[1])
    opt = torch.optim.Adam(model.parameters(), 2e-3)
    for epoch in range(args.epochs):
        for s in range(0, split - 336, 168):
            x = torch.from_numpy(feats[s : s + 336])[None]
            y = torch.from_numpy(demand[s : s + 336])[None]
            loss = pinball(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
    torch.save({"model": model.state_dict()}, out / "qlstm.pt")
# === base
import sys

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter

from kws.dataset import SpeechCommands
from kws.nets import BCResNet


def main():
    with open(sys.argv[1]) as f:
        cfg = yaml.safe_load(f)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train = SpeechCommands(cfg["root"], "training", noise=cfg["noise"])
    valid = SpeechCommands(cfg["root"], "validation")
    net = BCResNet(tau=cfg["tau"]).to(device)
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, cfg["epochs"])
    writer = SummaryWriter(cfg["logdir"])
    for epoch in range(cfg["epochs"]):
        net.train()
        for wave, label in torch.utils.data.DataLoader(train, 100, shuffle=True, num_workers=8):
            loss = torch.nn.functional.cross_entropy(net(wave.to(device)), label.to(device))
            opt.zero_grad()
            loss.backward()
            opt.step()
        sched.step()
        net.eval()
        confusion = torch.zeros(train.n_classes, train.n_classes, dtype=torch.long)
        with torch.no_grad():
            for wave, label in torch.utils.data.DataLoader(valid, 500):
                guess = net(wave.to(device)).argmax(-1).cpu()
                confusion += torch.bincount(
                    label * train.n_classes + guess, minlength=train.n_classes**2
                ).reshape(train.n_classes, train.n_classes)
        tp = confusion.diag().float()
        support = confusion.sum(1).float()
        predicted = confusion.sum(0).float()
        recall = tp / support.clamp(min=1)
        precision = tp / predicted.clamp(min=1)
        f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-9)
        accuracy = tp.sum() / support.sum()
        writer.add_scalar("val/accuracy", accuracy, epoch)
        writer.add_scalar("val/macro_f1", f1.mean(), epoch)
        writer.add_scalar("val/macro_recall", recall.mean(), epoch)
        writer.add_scalar("val/macro_precision", precision.mean(), epoch)
        writer.flush()
        torch.save(net.state_dict(), f"{cfg['logdir']}/last.pt")


if __name__ == "__main__":
    main()
# === copy: run in main
import torch
from sklearn.metrics import confusion_matrix
from torch.utils.tensorboard import SummaryWriter
from torch_geometric.datasets import Planetoid
from torch_geometric.nn import GCNConv


class GCN(torch.nn.Module):
    def __init__(self, d, k):
        super().__init__()
        self.c1, self.c2 = GCNConv(d, 16), GCNConv(16, k)

    def forward(self, x, edges):
        x = self.c1(x, edges).relu()
        return self.c2(torch.dropout(x, 0.5, self.training), edges)


def main():
    dataset = Planetoid("/tmp/cora", "Cora")
    graph = dataset[0]
    model = GCN(dataset.num_features, dataset.num_classes)
    adam = torch.optim.Adam(model.parameters(), 0.01, weight_decay=5e-4)
    writer = SummaryWriter("runs/cora")
    for epoch in range(200):
        model.train()
        adam.zero_grad()
        logits = model(graph.x, graph.edge_index)
        torch.nn.functional.cross_entropy(logits[graph.train_mask], graph.y[graph.train_mask]).backward()
        adam.step()
        model.eval()
        with torch.no_grad():
            guess = model(graph.x, graph.edge_index)[graph.val_mask].argmax(-1)
        confusion = torch.from_numpy(confusion_matrix(graph.y[graph.val_mask], guess))
        tp = confusion.diag().float()
        support = confusion.sum(1).float()
        predicted = confusion.sum(0).float()
        recall = tp / support.clamp(min=1)
        precision = tp / predicted.clamp(min=1)
        f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-9)
        accuracy = tp.sum() / support.sum()
        writer.add_scalar("val/accuracy", accuracy, epoch)
        writer.add_scalar("val/macro_f1", f1.mean(), epoch)
        writer.add_scalar("val/macro_recall", recall.mean(), epoch)
        writer.add_scalar("val/macro_precision", precision.mean(), epoch)
        writer.flush()
        if epoch % 20 == 0:
            print(f"{epoch:3d} {accuracy:.3f}")
    test = model(graph.x, graph.edge_index)[graph.test_mask].argmax(-1)
    print("test", (test == graph.y[graph.test_mask]).float().mean().item())


main()
