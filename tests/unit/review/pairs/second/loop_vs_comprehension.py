# === base
from pathlib import Path

import torch
from PIL import Image


def index_folder(root, extensions=(".jpg", ".png")):
    root = Path(root)
    classes = sorted(d.name for d in root.iterdir() if d.is_dir())
    class_to_idx = {name: i for i, name in enumerate(classes)}
    samples = []
    for name in classes:
        for file in sorted((root / name).rglob("*")):
            if file.suffix.lower() in extensions:
                samples.append((file, class_to_idx[name]))
    if not samples:
        raise FileNotFoundError(f"no images below {root}")
    return samples, classes


class Dishes(torch.utils.data.Dataset):
    def __init__(self, root, tf):
        self.samples, self.classes = index_folder(root)
        self.tf = tf

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        path, label = self.samples[i]
        return self.tf(Image.open(path).convert("RGB")), label
# === copy: loop vs comprehension
from collections import Counter
from pathlib import Path


def index_folder(root, extensions=(".jpg", ".png")):
    root = Path(root)
    classes = sorted(d.name for d in root.iterdir() if d.is_dir())
    class_to_idx = {name: i for i, name in enumerate(classes)}
    samples = [
        (file, class_to_idx[name])
        for name in classes
        for file in sorted((root / name).rglob("*"))
        if file.suffix.lower() in extensions
    ]
    if not samples:
        raise FileNotFoundError(f"no images below {root}")
    return samples, classes


def describe(root):
    samples, classes = index_folder(root)
    counts = Counter(label for _, label in samples)
    width = max(map(len, classes))
    for i, c in enumerate(classes):
        print(f"{c:<{width}} {counts[i]:6d} {'#' * (counts[i] // 20)}")
# === base
import re
from collections import Counter


def build_vocab(texts, min_count=2, max_size=30000):
    counter = Counter()
    for text in texts:
        counter.update(re.findall(r"\w+|[^\w\s]", text.lower()))
    itos = ["<pad>", "<unk>", "<bos>", "<eos>"]
    for word, count in counter.most_common(max_size):
        if count >= min_count:
            itos.append(word)
    stoi = {}
    for i, word in enumerate(itos):
        stoi[word] = i
    return itos, stoi


def encode(text, stoi):
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    return [stoi["<bos>"]] + [stoi.get(w, 1) for w in words] + [stoi["<eos>"]]
# === copy: loop vs comprehension
import json
import re
import sys
from collections import Counter


def build_vocab(texts, min_count=2, max_size=30000):
    counter = Counter()
    for text in texts:
        counter.update(re.findall(r"\w+|[^\w\s]", text.lower()))
    itos = ["<pad>", "<unk>", "<bos>", "<eos>"]
    itos += [word for word, count in counter.most_common(max_size) if count >= min_count]
    stoi = {word: i for i, word in enumerate(itos)}
    return itos, stoi


def main(corpus, out):
    with open(corpus, encoding="utf8") as f:
        itos, stoi = build_vocab(f, min_count=5)
    json.dump(stoi, open(out, "w"))
    print("vocabulary:", len(itos))


if __name__ == "__main__":
    main(*sys.argv[1:])
# === base
import torch


def per_class_iou(pred, target, num_classes, ignore=255):
    keep = target != ignore
    pred, target = pred[keep], target[keep]
    ious = []
    for c in range(num_classes):
        p = pred == c
        t = target == c
        inter = (p & t).sum().item()
        union = (p | t).sum().item()
        ious.append(inter / union if union else float("nan"))
    valid = []
    for v in ious:
        if v == v:
            valid.append(v)
    mean = sum(valid) / max(len(valid), 1)
    return mean, ious


def pixel_accuracy(pred, target, ignore=255):
    keep = target != ignore
    return (pred[keep] == target[keep]).float().mean().item()
# === copy: loop vs comprehension
import torch

PALETTE = torch.randint(0, 255, (19, 3), generator=torch.Generator().manual_seed(3))


def per_class_iou(pred, target, num_classes, ignore=255):
    keep = target != ignore
    pred, target = pred[keep], target[keep]
    inters = [((pred == c) & (target == c)).sum().item() for c in range(num_classes)]
    unions = [((pred == c) | (target == c)).sum().item() for c in range(num_classes)]
    ious = [i / u if u else float("nan") for i, u in zip(inters, unions)]
    valid = [v for v in ious if v == v]
    mean = sum(valid) / max(len(valid), 1)
    return mean, ious


def colourise(pred):
    return PALETTE[pred.cpu()].permute(2, 0, 1).byte()
# === base
import torch


def collate_detection(batch):
    images = []
    for item in batch:
        images.append(item["image"])
    images = torch.stack(images)
    targets = []
    for item in batch:
        targets.append({"boxes": item["boxes"].float(), "labels": item["labels"].long()})
    ids = []
    for item in batch:
        ids.append(item["image_id"])
    sizes = torch.tensor([list(img.shape[-2:]) for img in images])
    return images, targets, ids, sizes


def train_step(model, batch, opt, scaler):
    images, targets, _, _ = batch
    with torch.autocast("cuda"):
        losses = model(images.cuda(), targets)
        loss = sum(losses.values())
    scaler.scale(loss).backward()
    scaler.step(opt)
    scaler.update()
    opt.zero_grad()
    return {k: v.item() for k, v in losses.items()}
# === copy: loop vs comprehension
import json

import torch


def collate_detection(batch):
    images = torch.stack([item["image"] for item in batch])
    targets = [{"boxes": item["boxes"].float(), "labels": item["labels"].long()} for item in batch]
    ids = [item["image_id"] for item in batch]
    sizes = torch.tensor([list(img.shape[-2:]) for img in images])
    return images, targets, ids, sizes


@torch.no_grad()
def dump_coco(model, dataset, path):
    loader = torch.utils.data.DataLoader(dataset, 8, collate_fn=collate_detection)
    rows = []
    for images, _, ids, sizes in loader:
        for image_id, det, (h, w) in zip(ids, model(images), sizes.tolist()):
            for (x1, y1, x2, y2), s, c in zip(det["boxes"], det["scores"], det["labels"]):
                rows.append(dict(image_id=image_id, category_id=int(c), score=float(s),
                                 bbox=[float(x1), float(y1), float(x2 - x1), float(y2 - y1)]))
    json.dump(rows, open(path, "w"))
