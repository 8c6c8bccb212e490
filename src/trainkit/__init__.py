"""Prove that a refactor of training code changed nothing but the code.

The names in `__all__` are loaded on first use: `import trainkit` brings no other module.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing's own is a module more
if TYPE_CHECKING:
    from trainkit.core.config import TrainConfig
    from trainkit.core.trainer import train
    from trainkit.errors import TrainkitError
    from trainkit.gate import judge
    from trainkit.verdict import Finding, Measurement, Status, Verdict

__all__ = ["Finding", "Measurement", "Status", "TrainConfig", "TrainkitError", "Verdict", "judge", "train"]

_HOMES = {
    "Finding": "trainkit.verdict",
    "Measurement": "trainkit.verdict",
    "Status": "trainkit.verdict",
    "TrainConfig": "trainkit.core.config",
    "TrainkitError": "trainkit.errors",
    "Verdict": "trainkit.verdict",
    "judge": "trainkit.gate",
    "train": "trainkit.core.trainer",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'trainkit' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
