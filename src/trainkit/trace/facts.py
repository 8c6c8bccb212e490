"""Discrete facts of a program: what its modules, loaders, schedules and settings say of themselves.

They never decide; they name causes: a default that changed, a `p` of a Dropout, a lost `shuffle`.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

_MOST_ROWS = 600
_SECRETS = (
    "access_token",
    "auth_token",
    "hf_token",
    "secret",
    "password",
    "api_key",
    "apikey",
    "credential",
)  # a trace is passed on
_PLAIN = (int, float, str, bool, type(None))
Rows = dict[str, str]


def describe_modules(root: Any, strip: Callable[[str], str]) -> Rows:
    """Give for each module its class and whatever plain values it keeps."""
    rows: Rows = {}
    for name, module in list(root.named_modules())[:_MOST_ROWS]:
        own = {
            key: value
            for key, value in vars(module).items()
            if not key.startswith("_") and key != "training" and isinstance(value, _PLAIN)
        }
        texts = [f"{key}={_shorten(value)}" for key, value in own.items()]
        try:
            extra = module.extra_repr()
        except Exception:
            extra = ""
        said = [part for part in extra.split(", ") if part and part not in texts]
        rows[strip(name) or "(model)"] = "; ".join([type(module).__name__, *texts, *said])
    return rows


def describe_configuration(root: Any) -> Rows:
    """Give the settings that a model keeps of itself."""
    rows: Rows = {}
    for name, value in vars(root).items():
        if "config" in name or "hparams" in name:
            rows |= flatten(value, name.lstrip("_"))
    return rows


def describe_loader(iterator: Any) -> Rows:
    """Give the settings of the DataLoader behind an iterator."""
    sampler = getattr(iterator, "_index_sampler", None)
    inner = getattr(sampler, "sampler", sampler)
    dataset = getattr(iterator, "_dataset", None)
    try:
        length = str(len(dataset))  # type: ignore[arg-type]
    except Exception:
        length = "unknown"
    rows = {
        "dataset": type(dataset).__name__,
        "dataset length": length,
        "sampler": type(inner).__name__,
        "workers": str(getattr(iterator, "_num_workers", 0)),
    }
    for key in ("batch_size", "drop_last"):
        rows[key] = str(getattr(sampler, key, None))
    for key in ("shuffle", "seed", "epoch", "num_replicas", "rank", "replacement", "num_samples"):
        value = vars(inner).get(key, vars(inner).get(f"_{key}")) if hasattr(inner, "__dict__") else None
        if isinstance(value, _PLAIN) and value is not None:
            rows[f"sampler {key}"] = str(value)
    return rows


def describe_surroundings(torch: Any) -> dict[str, Rows]:
    """Give the settings of torch, the schedules that exist, and the globals of the program."""
    flags = {
        "default dtype": str(torch.get_default_dtype()),
        "threads": str(torch.get_num_threads()),
        "deterministic": str(torch.are_deterministic_algorithms_enabled()),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
    }
    schedules: Rows = {}
    kind = getattr(sys.modules.get("torch.optim.lr_scheduler"), "LRScheduler", ())
    found = [item for item in gc.get_objects() if kind and issubclass(type(item), kind)]
    for number, schedule in enumerate(found):
        plain = {k: v for k, v in vars(schedule).items() if not k.startswith("_") and k != "last_epoch"}
        rows = {k: _shorten(v) for k, v in plain.items() if _is_plain(v)}
        schedules |= {f"schedule{number}": type(schedule).__name__}
        schedules |= {f"schedule{number}.{k}": v for k, v in rows.items()}
    main = vars(sys.modules["__main__"]) if "__main__" in sys.modules else {}
    settings: Rows = {}
    for name, value in list(main.items()):
        if not name.startswith("_") and len(settings) < _MOST_ROWS:
            settings |= flatten(value, name, depth=2)
    return {"torch": flags, "schedules": schedules, "settings": settings}


def count_compiled() -> int:
    """Tell how many graphs torch.compile has made in this process."""
    utils = sys.modules.get("torch._dynamo.utils")
    return int(utils.counters["stats"]["unique_graphs"]) if utils is not None else 0


def flatten(value: Any, name: str, depth: int = 4) -> Rows:
    """Give the plain values in dictionaries, dataclasses and namespaces as dotted names."""
    if any(word in name.lower() for word in _SECRETS):
        return {}
    if _is_plain(value):
        return {name: _shorten(value)}
    if depth == 0:
        return {}
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in value.items() if isinstance(key, str)]
    elif hasattr(type(value), "__dataclass_fields__"):
        items = [(key, getattr(value, key, None)) for key in value.__dataclass_fields__]
    elif type(value).__name__ in {"Namespace", "SimpleNamespace", "AttributeDict", "DictConfig"} or (
        type(value).__name__.lower().endswith(("config", "args", "arguments", "options", "hparams", "params"))
        and not isinstance(value, type)
    ):
        items = list(getattr(value, "__dict__", {}).items())
    else:
        return {}
    rows: Rows = {}
    for key, item in items[:_MOST_ROWS]:
        if not key.startswith("_"):
            rows |= flatten(item, f"{name}.{key}", depth - 1)
    return rows


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) <= 16 and all(isinstance(item, _PLAIN) for item in value)
    return isinstance(value, _PLAIN)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
