"""`trainkit train`: overrides in, a trained run and a short summary out."""

from __future__ import annotations

import gc
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from trainkit.errors import UsageError

if TYPE_CHECKING:
    from trainkit.core.trainer import TrainResult

USAGE = """\
usage: trainkit train [--config-dir DIR [--config-name NAME]] [OVERRIDE ...]

Train a model; files go to output_dir/exp_name (an earlier run's are replaced
unless it is resumed).

  trainkit train model=lstm optimizer.learning_rate=3e-3 trainer.max_epochs=5
  trainkit train trainer.max_epochs=8 resume=runs/default/last.ckpt
  trainkit train --config-dir conf model=big optimizer.learning_rate=3e-4
"""
CONFIG_OPTIONS = """\
  --config-dir DIR    a folder in Hydra's layout: config.yaml with a defaults list,
                      model/big.yaml as a template (name: transformer, and values)
  --config-name NAME  NAME.yaml in it instead of config.yaml

"""


def run(argv: list[str]) -> int:
    """Compose, train, print a summary; give the exit status.

    Raises:
        TrainkitError: a mistake of the user, or a run that cannot go on.
    """
    if wants_help(argv):
        print(USAGE + "\n" + CONFIG_OPTIONS + describe_settings(), end="")
        return 0
    options, overrides = split_config_options(argv)
    check_arguments("train", overrides, needs={"torch": "torch", "hydra": "hydra-core"})
    from trainkit.core.compose import compose

    config = compose(overrides, **options)  # before torch, so that a typo is answered at once
    load_training(lean=config.trainer.lean or config.optimizer.name == "own")
    from trainkit.core.trainer import train

    result = train(config)
    if not result.rank:
        print(summarize(result))
    return 0


def load_training(*, lean: bool) -> None:
    """Import what a training needs, once in a process, and keep the collector away from it.

    To look through all of it while it is made, in later collections and at the end of the process is a
    quarter of the time that a first step takes; young objects are looked through, or memory would grow.
    Without `lean` that is also what each of torch's optimizers imports.
    """
    if "trainkit.core.trainer" in sys.modules:
        return
    thresholds = gc.get_threshold()
    gc.set_threshold(20_000, 1_000, 1_000)
    try:
        import trainkit.core.trainer  # noqa: F401

        if not lean:
            import torch._dynamo  # noqa: F401
    finally:
        gc.set_threshold(*thresholds)
        gc.freeze()


def summarize(result: TrainResult) -> str:
    """Give the last epoch's losses, the test loss of the best weights, and where these are."""
    counts = {"epoch": result.num_epochs, "step": result.num_steps}
    lines = ["trained " + ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())]
    for part in ("train", "validation", "test"):
        measured = getattr(result, part)
        if not measured.num_items:
            continue
        shown = {"loss": f"{measured.mean_loss:.6f}"}
        shown |= {name: f"{value:.6g}" for name, value in measured.metrics.items()}
        lines.append(f"{part:<11} " + "  ".join(f"{name} {value}" for name, value in shown.items()))
    return "\n".join([*lines, f"best weights: {result.best_checkpoint}"])


def wants_help(argv: list[str]) -> bool:
    """Say whether the user asks for help anywhere."""
    return "-h" in argv or "--help" in argv


def describe_settings() -> str:
    """List groups with their options, and every key with its default."""
    from trainkit.core.config import GROUPS, TrainConfig, iter_fields

    groups = [f"  {group}={'|'.join(options)}" for group, options in GROUPS.items()]
    keys = [f"  {key}={'null' if value is None else value}" for key, _, value in iter_fields(TrainConfig())]
    title = "keys and defaults (another option of a group has its own; see trainkit check):"
    return "\n".join(["groups:", *groups, "", title, *keys, ""])


class ConfigOptions(TypedDict, total=False):
    """What `compose` is given beside the overrides."""

    config_dir: Path
    config_name: str


def split_config_options(argv: list[str]) -> tuple[ConfigOptions, list[str]]:
    """Give `--config-dir` and `--config-name` as keywords of `compose`, and the other arguments.

    Raises:
        UsageError: one has no value or stands twice, or a name is given without a folder.
    """
    found: dict[str, str] = {}
    others = []
    rest = iter(argv)
    for argument in rest:
        flag, has_value, value = argument.partition("=")
        if flag not in ("--config-dir", "--config-name"):
            others.append(argument)
            continue
        value = value if has_value else next(rest, "")
        if not value or flag in found:
            raise UsageError("usage", f"{flag} {'stands twice' if flag in found else 'needs a value'}")
        found[flag] = value
    options: ConfigOptions = {}
    if "--config-dir" in found:
        options["config_dir"] = Path(found["--config-dir"])
    elif found:
        raise UsageError("usage", "--config-name needs --config-dir DIR, the folder that the file is in")
    if "--config-name" in found:
        options["config_name"] = found["--config-name"]
    return options, others


def check_arguments(command: str, argv: list[str], *, needs: dict[str, str]) -> None:
    """Refuse flags that do not exist, and a start without `needs` (module -> distribution).

    Raises:
        UsageError: for either.
    """
    flags = [argument for argument in argv if argument.startswith("-")]
    if flags:
        raise UsageError(
            "unknown-option",
            f"trainkit {command} has no option '{flags[0]}'; settings are written key=value, see "
            f"trainkit {command} --help",
        )
    if any(find_spec(module) is None for module in needs):
        raise UsageError(
            "missing-dependency",
            f"trainkit {command} needs {' and '.join(needs.values())}: pip install 'trainkit[core]'",
        )
