"""Where a run comes from: revision, environment, command, files. The same of these, the same losses."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from trainkit.core.config import TrainConfig

_CHUNK, _NUM_CHUNKS = 2**16, 128
_VARIABLES = (
    *("CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE"),
    *("OMP_NUM_THREADS", "PYTHONHASHSEED"),
)


def describe_origin(config: TrainConfig, device: torch.device) -> dict[str, Any]:
    """Give all but the git revision, in a few milliseconds."""
    return {
        "command": sys.argv,
        "cwd": str(Path.cwd()),
        "environment": describe_environment(device),
        "inputs": describe_inputs(config),
    }


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Give versions, hardware and settings that can change the bits of a training."""
    on_gpu = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "packages": list_packages(),
        "platform": platform.platform(),
        "processor": _find_processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "cuda": torch.version.cuda if on_gpu else None,
        "num_threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
    }


def list_packages() -> dict[str, str]:
    """Give version by name of what is installed, by the names of metadata folders: they are not opened."""
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = [each.name for each in Path(folder or ".").iterdir()]
        except OSError:
            continue
        for name in names:
            if name.endswith(".dist-info"):
                package, _, version = name.removesuffix(".dist-info").partition("-")
                found.setdefault(package, version)
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


def _find_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def describe_inputs(config: TrainConfig) -> dict[str, Any]:
    """Give size, time and digest of the files that the configuration names."""
    named = {"data.source": getattr(config.data, "source", None), "init_from": config.init_from}
    if config.resume != "auto":
        named["resume"] = config.resume
    return {
        key: describe_file(Path(path))
        for key, path in named.items()
        if isinstance(path, str) and Path(path).exists()
    }


def describe_file(path: Path) -> dict[str, Any]:
    """Give the digest of a file, or of a folder's in order: whole up to 8 MiB, beyond of 128 samples."""
    digest, size, changed = hashlib.sha256(), 0, 0
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    for each in files:
        facts = each.stat()
        size, changed = size + facts.st_size, max(changed, facts.st_mtime_ns)
        digest.update(f"{each.relative_to(path)}:{facts.st_size};".encode())
        step = max(_CHUNK, facts.st_size // _NUM_CHUNKS)
        with each.open("rb") as file:
            for place in range(0, facts.st_size, step):
                file.seek(place)
                digest.update(file.read(_CHUNK))
    return {"path": str(path), "size": size, "changed_ns": changed, "sha256": digest.hexdigest()}


def describe_revision(patch: Path) -> dict[str, Any] | None:
    """Give revision and branch; write what is not committed to `patch`. None without git or a repository."""
    status = _git("status", "--porcelain=v2", "--branch", "--untracked-files=normal")
    if status is None:
        return None
    lines = status.splitlines()
    facts = {
        words[1]: words[2]
        for line in lines
        if line.startswith("# ") and len(words := line.split(" ", 2)) == 3
    }
    untracked = [line[2:] for line in lines if line.startswith("? ")]
    changed = any(not line.startswith(("# ", "? ")) for line in lines)
    if changed or untracked:
        difference = (_git("diff", "HEAD") or "") if changed else ""
        patch.write_text(
            "".join(f"# untracked: {name}\n" for name in untracked) + difference, encoding="utf-8"
        )
    return {
        "revision": facts.get("branch.oid"),
        "branch": facts.get("branch.head"),
        "dirty": changed,
        "num_untracked": len(untracked),
        "diff": patch.name if changed or untracked else None,
        "diff_sha256": hashlib.sha256(difference.encode()).hexdigest() if changed else None,
    }


def _git(*arguments: str) -> str | None:
    """Give what git says, or None; it takes no lock and writes no index."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-c", "core.quotePath=false", *arguments],  # noqa: S607
            capture_output=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if not done.returncode else None
