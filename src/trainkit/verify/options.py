"""What a verification is asked: the command, what it needs, and what is set for both sides alike."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from trainkit.errors import UsageError

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Kernels that every x86-64 processor computes alike (all but CPU sqrt, so unfused Adam).
_PORTABLE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How one command is run and recorded; the same for both sides."""

    command: tuple[str, ...]
    share: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # NAME=VALUE
    setup: str = ""
    steps: int = field(default=0, metadata={"min": 0})  # 0: until it ends by itself
    timeout_s: float = field(default=1800.0, metadata={"min": 1})
    threads: int = field(default=1, metadata={"min": 0})  # 0: as the user has them
    hash_seed: str = "0"  # "random": as the user has it
    seeds: bool = True
    deterministic: bool = True
    portable: bool = False

    def __post_init__(self) -> None:
        if not self.command:
            raise ValueError("command: no command to run")
        for item in self.env:
            if not item.partition("=")[0].isidentifier() or "=" not in item:
                raise ValueError(f"env: {item!r} is not NAME=VALUE")
        if not (self.hash_seed == "random" or is_hash_seed(self.hash_seed)):
            raise ValueError(f"hash_seed = {self.hash_seed!r}: a number up to 4294967295, or random")

    def shown(self) -> str:
        """Give the command as one types it."""
        return shlex.join(self.command)

    def environment(self, *, hash_seed: str = "") -> dict[str, str]:
        """Give the variables that are set for the command."""
        variables = {name: str(self.threads) for name in _THREADS if self.threads}
        variables["PYTHONHASHSEED"] = hash_seed or self.hash_seed
        variables |= _PORTABLE if self.portable else {}
        return variables | dict(item.split("=", 1) for item in self.env)

    def left_alone(self) -> tuple[str, ...]:
        """Name the variables that are usually fixed and now are the user's."""
        return _THREADS if not self.threads else ()

    def trace_options(self) -> dict[str, object]:
        """Give what the recorder is told."""
        return {
            "level": "light",
            "steps": self.steps,
            "seeds": self.seeds,
            "deterministic": self.deterministic,
        }

    def describe(self) -> list[str]:
        """Say what was set for both sides alike."""
        said = [
            f"{self.threads} thread{'s' if self.threads > 1 else ''}"
            if self.threads
            else "threads as they are"
        ]
        said.append("seeds planted for programs without" if self.seeds else "no seeds planted")
        said.append("deterministic algorithms" if self.deterministic else "algorithms as they are")
        said.append(f"hash seed {self.hash_seed}")
        said += ["portable kernels"] if self.portable else []
        said += [f"stopped after {self.steps} steps"] if self.steps else []
        return said + list(self.env)


def is_hash_seed(text: str) -> bool:
    """Say whether Python takes this as a seed of its hashes."""
    return text.isdecimal() and int(text) < 2**32


def check_paths(root: Path, options: RunOptions) -> None:
    """Make sure that what is shared is there, before anything runs.

    Raises:
        UsageError: a shared path does not exist.
    """
    for name in options.share:
        if not (root / name).exists():
            raise UsageError("share-missing", f"--share {name}: there is no {root / name}")
