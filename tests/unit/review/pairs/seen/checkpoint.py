# === base
import os

import torch


def save_checkpoint(model, optimizer, epoch, best, folder):
    os.makedirs(folder, exist_ok=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch, "best": best}
    path = os.path.join(folder, f"checkpoint_{epoch:04d}.pt")
    temporary = path + ".tmp"
    torch.save(state, temporary)
    os.replace(temporary, path)
    names = sorted(name for name in os.listdir(folder) if name.endswith(".pt"))
    for name in names[:-3]:
        os.remove(os.path.join(folder, name))
    return path
# === copy: dict call, keywords, loop
import os

import torch


def write_state(net, opt, epoch, best_score, directory):
    os.makedirs(directory, exist_ok=True)
    state = dict(best=best_score, epoch=epoch, optimizer=opt.state_dict(), model=net.state_dict())
    target = os.path.join(directory, "checkpoint_{:04d}.pt".format(epoch))
    partial = target + ".tmp"
    torch.save(state, partial)
    os.replace(partial, target)
    found = []
    for entry in os.listdir(directory):
        if entry.endswith(".pt"):
            found.append(entry)
    for entry in sorted(found)[:-3]:
        os.remove(os.path.join(directory, entry))
    return target
# === copy: extracted
import os

import torch


def _prune(folder, keep=3):
    names = sorted(name for name in os.listdir(folder) if name.endswith(".pt"))
    for name in names[:-keep]:
        os.remove(os.path.join(folder, name))


def save_checkpoint(model, optimizer, epoch, best, folder):
    os.makedirs(folder, exist_ok=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch, "best": best}
    path = os.path.join(folder, f"checkpoint_{epoch:04d}.pt")
    temporary = path + ".tmp"
    torch.save(state, temporary)
    os.replace(temporary, path)
    _prune(folder)
    return path
# === copy: early return, statements
import os

import torch


def save_checkpoint(model, optimizer, epoch, best, folder, rank=0):
    if rank != 0:
        return None
    os.makedirs(folder, exist_ok=True)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch, "best": best}
    path = os.path.join(folder, f"checkpoint_{epoch:04d}.pt")
    temporary = path + ".tmp"
    torch.save(state, temporary)
    os.replace(temporary, path)
    print(f"saved {path}")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".pt"))
    for name in names[:-3]:
        os.remove(os.path.join(folder, name))
    return path
# === other: exporting
import json
import os

import torch


def export(model, example, folder, opset=17):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "model.onnx")
    model.eval()
    torch.onnx.export(model, example, path, opset_version=opset, input_names=["x"], output_names=["y"])
    meta = {"opset": opset, "inputs": list(example.shape)}
    with open(os.path.join(folder, "meta.json"), "w") as file:
        json.dump(meta, file)
    return path
# === other: reading predictions
import csv
import os


def collect(folder, pattern="pred_"):
    rows = []
    names = sorted(name for name in os.listdir(folder) if name.startswith(pattern))
    for name in names:
        with open(os.path.join(folder, name)) as file:
            for row in csv.DictReader(file):
                row["source"] = name
                rows.append(row)
    rows.sort(key=lambda row: float(row["score"]), reverse=True)
    return rows
