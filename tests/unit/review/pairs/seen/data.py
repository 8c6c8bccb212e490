# === base
import random

import numpy as np
from PIL import Image
from torch.utils.data import Dataset


class PairDataset(Dataset):
    def __getitem__(self, index):
        record = self.records[index % self.num_records]
        image = Image.open(self.root / record["image"])
        if not image.mode == "RGB":
            image = image.convert("RGB")
        image = image.resize((self.size, self.size), resample=Image.BICUBIC)
        if self.flip and random.random() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        array = np.asarray(image).astype(np.float32) / 127.5 - 1.0
        tokens = self.tokenizer(record["text"], truncation=True, padding="max_length", return_tensors="pt")
        return {"pixel_values": array.transpose(2, 0, 1), "input_ids": tokens.input_ids[0]}
# === copy: function, renamed
import random

import numpy as np
from PIL import Image


def load_example(records, number, root, side, mirror, tok):
    entry = records[number % len(records)]
    picture = Image.open(root / entry["image"])
    if not picture.mode == "RGB":
        picture = picture.convert("RGB")
    picture = picture.resize((side, side), resample=Image.BICUBIC)
    if mirror and random.random() < 0.5:
        picture = picture.transpose(Image.FLIP_LEFT_RIGHT)
    pixels = np.asarray(picture).astype(np.float32) / 127.5 - 1.0
    ids = tok(entry["text"], padding="max_length", truncation=True, return_tensors="pt")
    return {"input_ids": ids.input_ids[0], "pixel_values": pixels.transpose(2, 0, 1)}
# === copy: statements, literals
import random

import numpy as np
from PIL import Image
from torch.utils.data import Dataset


class PairDataset(Dataset):
    def __getitem__(self, index):
        example = {}
        record = self.records[index % self.num_records]
        image = Image.open(self.root / record["image"])
        if not image.mode == "RGB":
            image = image.convert("RGB")
        image = image.resize((self.size, self.size), resample=Image.BICUBIC)
        if self.flip and random.random() < 0.3:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        array = np.asarray(image).astype(np.float32) / 127.5 - 1.0
        tokens = self.tokenizer(record["text"], truncation=True, padding="max_length", return_tensors="pt")
        example["pixel_values"] = array.transpose(2, 0, 1)
        example["input_ids"] = tokens.input_ids[0]
        return example
# === other: audio
import random

import torch
import torchaudio
from torch.utils.data import Dataset


class SpeechDataset(Dataset):
    def __getitem__(self, index):
        path, label = self.items[index]
        wave, rate = torchaudio.load(self.root / path)
        if rate != self.rate:
            wave = torchaudio.functional.resample(wave, rate, self.rate)
        if wave.size(1) > self.length:
            start = random.randint(0, wave.size(1) - self.length)
            wave = wave[:, start : start + self.length]
        else:
            wave = torch.nn.functional.pad(wave, (0, self.length - wave.size(1)))
        return {"wave": self.transform(wave), "label": self.classes.index(label)}
# === other: windows of a series
import torch
from torch.utils.data import Dataset


class WindowDataset(Dataset):
    def __getitem__(self, index):
        start = index * self.stride
        stop = start + self.context
        past = self.values[start:stop]
        future = self.values[stop : stop + self.horizon]
        mean, std = past.mean(0), past.std(0) + 1e-8
        past = (past - mean) / std
        future = (future - mean) / std
        return {"past": torch.from_numpy(past), "future": torch.from_numpy(future), "scale": std}
