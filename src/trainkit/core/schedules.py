"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from trainkit.core.config import CosineConfig, LinearConfig, ScheduleConfig, WSDConfig


def scale_learning_rate(config: ScheduleConfig, step: int, *, total_steps: float) -> float:
    """Give the factor of step `step` of `total_steps`; steps count from 0, the last is `total_steps` - 1.

    The warm-up's first step has 1 / `warmup_steps`, the one after it 1.
    Sources: cosine: Loshchilov and Hutter, arXiv 1608.03983; warm-up, stable, decay: Hu et al.,
    arXiv 2404.06395.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    begin: float = config.warmup_steps
    last = max(total_steps - 1, 1)
    if isinstance(config, WSDConfig):
        begin = max(begin, total_steps - max(1, round(config.decay_fraction * total_steps)) - 1)
    if not isinstance(config, CosineConfig | LinearConfig | WSDConfig):
        return 1.0
    progress = min(max(step - begin, 0) / max(last - begin, 1), 1.0)
    fall = (1 + math.cos(math.pi * progress)) / 2 if isinstance(config, CosineConfig) else 1 - progress
    return config.final_fraction + (1 - config.final_fraction) * fall
