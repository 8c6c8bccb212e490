"""What a training costs before it trains: CPU seconds and memory of a process that makes one step.

Each program reads its arguments and a text, makes one AdamW step of a small transformer, writes a row of a
csv file and a checkpoint, and ends. Fresh processes take turns in random order, one thread each; a round
gives ratios to the hand-written program, which like ours reads typed options in Hydra's grammar; another one
and the peers read theirs with argparse. Printed: median, range. Run: python benchmarks/first_step.py
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

HEAD = """
import argparse, csv, os
parser = argparse.ArgumentParser()
parser.add_argument("--source", required=True)
parser.add_argument("--folder", required=True)
for name, default in (("width", 64), ("layers", 2), ("heads", 4), ("length", 16), ("batch", 16)):
    parser.add_argument("--" + name, type=int, default=default)
parser.add_argument("--learning-rate", type=float, default=1e-3)
options = parser.parse_args()
os.makedirs(options.folder, exist_ok=True)
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(-2))
        return x + self.mlp(self.norm2(x))

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.drop = nn.Embedding(256, options.width), nn.Dropout(0.1)
        self.blocks = nn.Sequential(*(Block(options.width, options.heads) for _ in range(options.layers)))
        self.norm, self.head = nn.LayerNorm(options.width), nn.Linear(options.width, 256, bias=False)

    def forward(self, tokens):
        return self.head(self.norm(self.blocks(self.drop(self.embed(tokens)))))

    def loss(self, tokens, targets):
        return F.cross_entropy(self(tokens).flatten(0, 1), targets.flatten())

def write_row(loss):
    with open(os.path.join(options.folder, "metrics.csv"), "w", newline="") as file:
        csv.writer(file).writerows([("step", "loss"), (1, loss)])

def build_optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.95))

torch.manual_seed(0)
with open(options.source, "rb") as file:
    text = torch.tensor(list(file.read()), dtype=torch.int64)
count = (len(text) - 1) // options.length
windows = [text[i : i + count * options.length].view(count, options.length) for i in (0, 1)]
data = TensorDataset(*windows)
loader = DataLoader(data, batch_size=options.batch, shuffle=True)
checkpoint = os.path.join(options.folder, "last.ckpt")
"""
# The same with the configuration that ours reads: typed, by Hydra.
HYDRA = """
import csv, os, sys
from dataclasses import make_dataclass
from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
fields = [("source", str, ""), ("folder", str, ""), ("learning_rate", float, 1e-3)]
sizes = {"width": 64, "layers": 2, "heads": 4, "length": 16, "batch": 16}
fields += [(name, int, default) for name, default in sizes.items()]
ConfigStore.instance().store(name="options", node=make_dataclass("Options", fields))
with initialize(config_path=None, version_base="1.3"):
    options = compose("options", [f"source='{sys.argv[2]}'", f"folder='{sys.argv[4]}'"])
""" + HEAD[HEAD.index("os.makedirs") :]
HAND = """
model = Model()
optimizer = build_optimizer(model)
for tokens, targets in loader:
    optimizer.zero_grad()
    loss = model.loss(tokens, targets)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    write_row(loss.item())
    break
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)
"""
ACCELERATE = """
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
model = Model()
model, optimizer, loader = accelerator.prepare(model, build_optimizer(model), loader)
for tokens, targets in loader:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    write_row(loss.item())
    break
accelerator.save_state(options.folder)
"""
IGNITE = """
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
model = Model()
optimizer = build_optimizer(model)

def step(engine, batch):
    optimizer.zero_grad()
    loss = model.loss(*batch)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()

trainer = Engine(step)
saver = DiskSaver(options.folder, require_empty=False)
trainer.add_event_handler(Events.COMPLETED, Checkpoint({"model": model, "optimizer": optimizer}, saver))
trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: write_row(engine.state.output))
trainer.run(loader, max_epochs=1, epoch_length=1)
"""
LIGHTNING = """
import lightning
from lightning.pytorch.loggers import CSVLogger

class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = Model()

    def training_step(self, batch, batch_idx):
        loss = self.model.loss(*batch)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return build_optimizer(self.model)

lightning.Trainer(max_steps=1, accelerator="cpu", logger=CSVLogger(options.folder), log_every_n_steps=1,
                  default_root_dir=options.folder, gradient_clip_val=1.0, enable_progress_bar=False,
                  enable_model_summary=False).fit(Module(), loader)
"""
HF = """
from transformers import Trainer, TrainingArguments

class Module(Model):
    def forward(self, tokens, targets):
        return {"loss": F.cross_entropy(Model.forward(self, tokens).flatten(0, 1), targets.flatten())}

def collate(rows):
    return dict(zip(("tokens", "targets"), map(torch.stack, zip(*rows))))

arguments = TrainingArguments(options.folder, max_steps=1, per_device_train_batch_size=options.batch,
                              learning_rate=options.learning_rate, adam_beta2=0.95, max_grad_norm=1.0,
                              save_steps=1, logging_steps=1, report_to=[], use_cpu=True, disable_tqdm=True)
Trainer(Module(), arguments, train_dataset=data, data_collator=collate).train()
"""
# name -> the module that it needs, its program
PEERS = {
    "accelerate": ("accelerate", ACCELERATE),
    "ignite": ("ignite", IGNITE),
    "Lightning": ("lightning", LIGHTNING),
    "HF Trainer": ("transformers", HF),
}
TRAINKIT = [
    "trainer.limit_train_batches=1", "trainer.limit_val_batches=0", "trainer.limit_test_batches=0",
    "trainer.max_epochs=1", "trainer.device=cpu", "model.model_dim=64", "data.sequence_length=16",
    "data.batch_size=16", "data.train_fraction=1.0", "data.validation_fraction=0.0",
]  # fmt: skip


def list_commands(source: Path) -> dict[str, list[str]]:
    """Give the arguments of each program; FOLDER stands for a folder of its own."""
    commands = {"import torch": ["-c", "import torch"]}
    programs = {"hand, argparse": HAND}
    for name, (module, program) in PEERS.items():
        if find_spec(module):
            programs[name] = program
        else:
            print(f"{name} is not installed: left out")
    for name, program in programs.items():
        commands[name] = ["-c", HEAD + program, "--source", str(source), "--folder", "FOLDER"]
    commands["hand-written"] = ["-c", HYDRA + HAND, "--source", str(source), "--folder", "FOLDER"]
    train = ["train", *TRAINKIT, f"data.source={source}", "output_dir=FOLDER"]
    commands["trainkit"] = ["-m", "trainkit", *train]
    commands["trainkit lean"] = ["-m", "trainkit", *train, "trainer.lean=true"]
    return commands


def run_once(command: list[str], folder: str) -> tuple[float, float]:
    """Give the CPU seconds and the peak memory in MB of a fresh process."""
    command = [sys.executable, *(argument.replace("FOLDER", folder) for argument in command)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what pip installs is compiled, ours must be, too
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            output.seek(0)
            raise SystemExit(output.read().decode())
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(rounds: int, only: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Give the measurements of each program, by round; the first, which fills caches, is thrown away."""
    with tempfile.TemporaryDirectory() as top:
        source = Path(top, "text.txt")
        source.write_text("\n\n".join(f"{'the loss of a token ' * 9}{number}" for number in range(100)))
        commands = list_commands(source)
        commands = {name: command for name, command in commands.items() if not only or name in only}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(-1, rounds):
            for place, name in enumerate(random.sample(list(commands), len(commands))):
                result = run_once(commands[name], str(Path(top, f"{number}-{place}")))
                if number >= 0:
                    taken[name].append(result)
    return taken


def main() -> None:
    """Print a line per program, the leanest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=[], help="names of programs")
    options = parser.parse_args()
    taken = measure(options.rounds, ["hand-written", *options.only] if options.only else [])
    hand = taken["hand-written"]
    print(f"{'':14}{'CPU s':>7}{'x hand':>8}  {'range':13}{'peak RSS MB':>11}{'x hand':>8}  {'range':13}"
          f"({options.rounds} rounds)")  # fmt: skip
    for name, results in sorted(taken.items(), key=lambda entry: min(entry[1])):
        columns = []
        for values, bases in zip(zip(*results, strict=True), zip(*hand, strict=True), strict=True):
            ratios = [value / base for value, base in zip(values, bases, strict=True)]
            spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
            columns.append((statistics.median(values), statistics.median(ratios), spread))
        (seconds, slower, range_s), (memory, larger, range_mb) = columns
        print(f"{name:14}{seconds:7.2f}{slower:8.2f}  {range_s:13}{memory:11.0f}{larger:8.3f}  {range_mb}")


if __name__ == "__main__":
    main()
