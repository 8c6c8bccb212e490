# === base
import json
from pathlib import Path


class AverageMeter:
    def update(self, value, n=1):
        self.value = value
        self.sum += value * n
        self.count += n
        self.average = self.sum / max(self.count, 1)
        self.smoothed = 0.9 * self.smoothed + 0.1 * value
        if self.history is not None:
            self.history.append(value)
            if len(self.history) > self.window:
                self.history.pop(0)
# === copy: renamed, literals
class RunningMean:
    def add(self, v, weight=1):
        self.last = v
        self.total += v * weight
        self.n += weight
        self.mean = self.total / max(self.n, 1)
        self.ema = 0.95 * self.ema + 0.05 * v
        if self.values is not None:
            self.values.append(v)
            if len(self.values) > self.limit:
                self.values.pop(0)
# === copy: augmented written out
class AverageMeter:
    def update(self, value, n=1):
        self.value = value
        self.sum = self.sum + value * n
        self.count = self.count + n
        self.average = self.sum / max(self.count, 1)
        self.smoothed = 0.9 * self.smoothed + 0.1 * value
        if self.history is None:
            return
        self.history.append(value)
        if len(self.history) > self.window:
            self.history.pop(0)
# === other: a moving average of weights
import torch


class EMA:
    def update(self, model, step=0):
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    self.shadow[name].mul_(decay).add_(parameter.data, alpha=1 - decay)
        self.num_updates += 1
        if self.num_updates % self.every == 0:
            self.sync()
# === other: a properties class
class Progress:
    @property
    def fraction(self):
        if self.total is None:
            return 0.0
        done = self.count / max(self.total, 1)
        return min(done, 1.0)

    @property
    def rate(self):
        elapsed = self.clock() - self.started
        if elapsed <= 0:
            return 0.0
        return self.count / elapsed
