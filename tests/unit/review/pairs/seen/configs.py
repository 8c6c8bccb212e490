# === base
from dataclasses import dataclass


@dataclass
class TrainConfig:
    learning_rate: float = 3e-4
    batch_size: int = 64
    max_epochs: int = 10
    warmup_steps: int = 500
    weight_decay: float = 0.1
    precision: str = "bf16"

    def validate(self):
        if self.batch_size <= 0:
            raise ValueError(f"batch_size must be positive, not {self.batch_size}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate out of range: {self.learning_rate}")
        if self.precision not in ("fp32", "fp16", "bf16"):
            raise ValueError(f"unknown precision {self.precision}")
        if self.warmup_steps > self.max_epochs * 1000:
            raise ValueError("warm-up longer than training")
# === copy: hints, function
def check_config(cfg: "TrainConfig") -> None:
    """Raise where a value cannot be."""
    if cfg.batch_size <= 0:
        raise ValueError(f"batch_size must be positive, not {cfg.batch_size}")
    if not 0 < cfg.learning_rate < 1:
        raise ValueError(f"learning_rate out of range: {cfg.learning_rate}")
    if cfg.precision not in ("fp32", "fp16", "bf16"):
        raise ValueError(f"unknown precision {cfg.precision}")
    if cfg.warmup_steps > cfg.max_epochs * 1000:
        raise ValueError("warm-up longer than training")
# === copy: format, docstring
from dataclasses import dataclass


@dataclass
class Settings:
    learning_rate: float = 1e-3
    batch_size: int = 32
    max_epochs: int = 3
    warmup_steps: int = 0
    precision: str = "fp32"

    def validate(self):
        """Check the ranges."""
        if self.batch_size <= 0:
            raise ValueError("batch_size must be positive, not {}".format(self.batch_size))
        if not 0 < self.learning_rate < 1:
            raise ValueError("learning_rate out of range: %s" % self.learning_rate)
        if self.precision not in ("fp32", "fp16", "bf16"):
            raise ValueError("unknown precision {}".format(self.precision))
        if self.warmup_steps > self.max_epochs * 1000:
            raise ValueError("warm-up longer than training")
# === other: a config with other fields and checks
from dataclasses import dataclass


@dataclass
class DataConfig:
    root: str = "data"
    num_workers: int = 4
    image_size: int = 224
    crop_ratio: float = 0.875
    mean: tuple = (0.485, 0.456, 0.406)
    cache: str = "none"

    def validate(self):
        if self.num_workers < 0:
            raise ValueError(f"num_workers must not be negative, not {self.num_workers}")
        if not 0 < self.crop_ratio <= 1:
            raise ValueError(f"crop_ratio out of range: {self.crop_ratio}")
        if self.cache not in ("none", "ram", "disk"):
            raise ValueError(f"unknown cache {self.cache}")
        if self.image_size % 32:
            raise ValueError("image size must be a multiple of 32")
# === other: fields of another object
class Runner:
    def __init__(self, model, optimizer, scheduler, loader, device, logger):
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.loader = loader
        self.device = device
        self.logger = logger
        self.step = 0
        self.best = float("inf")

    def close(self):
        self.logger.finish()
# === other: assigning fields, once more
class ReplayBuffer:
    def __init__(self, capacity, obs_shape, action_dim, gamma, device, rng):
        self.capacity = capacity
        self.obs_shape = obs_shape
        self.action_dim = action_dim
        self.gamma = gamma
        self.device = device
        self.rng = rng
        self.position = 0
        self.full = False
