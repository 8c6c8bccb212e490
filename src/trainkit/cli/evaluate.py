"""`trainkit evaluate`: checkpoints in, a table of what they reach out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.cli.columns import format_columns
from trainkit.cli.train import check_arguments, load_training, wants_help
from trainkit.errors import UsageError

if TYPE_CHECKING:
    from trainkit.core.evaluate import Measured

USAGE = """\
usage: trainkit evaluate [NAME:]CHECKPOINT [OVERRIDE ...] [[NAME:]CHECKPOINT [OVERRIDE ...] ...]

Measure checkpoints on the test part of their data, or on the whole of another
data.source that the overrides behind each name, and print a table. Two settings
are of this command alone:

  part=validation                            another part (train, validation, test), or all
  metric=sklearn.metrics.matthews_corrcoef   a function of (targets, predictions)

  trainkit evaluate runs/default/best.ckpt
  trainkit evaluate topics:runs/base/best.ckpt notes:runs/base/best.ckpt data.source=notes.txt
  trainkit evaluate cola:runs/cola/best.ckpt metric=sklearn.metrics.matthews_corrcoef sst:runs/sst/best.ckpt
"""
PARTS = ("train", "validation", "test", "all")


def run(argv: list[str]) -> int:
    """Measure each, print a table; give the exit status.

    Raises:
        TrainkitError: a mistake of the user, or a checkpoint that cannot be measured.
    """
    if wants_help(argv):
        print(USAGE, end="")
        return 0
    check_arguments("evaluate", argv, needs={"torch": "torch", "hydra": "hydra-core"})
    tasks = read_tasks(argv)
    load_training(lean=True)
    from trainkit.core.evaluate import evaluate

    measured = {}
    for name, (path, overrides, own) in tasks.items():
        measured[name] = evaluate(path, overrides, part=own.get("part", ""), metric=own.get("metric"))
    print(format_columns(list_rows(measured)))
    return 0


def list_rows(measured: Mapping[str, Measured]) -> list[tuple[str, ...]]:
    """Give a head, a row per task and, of several, the means of perplexity and score."""
    rows: list[tuple[str, ...]] = [("task", "items", "loss", "perplexity", "score")]
    for name, each in measured.items():
        numbers = str(each.result.num_items), f"{each.result.mean_loss:.6f}"
        rows.append((name, *numbers, _show(each.perplexity), _show(each.score)))
    if len(measured) > 1:
        every = list(measured.values())
        means = _mean([each.perplexity for each in every]), _mean([each.score for each in every])
        rows.append(("mean", "", "", *map(_show, means)))
    return rows


def _mean(values: list[float]) -> float:
    return math.nan if any(map(math.isnan, values)) else sum(values) / len(values)


def _show(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.6g}"


def read_tasks(argv: list[str]) -> dict[str, tuple[Path, list[str], dict[str, str]]]:
    """Give checkpoint, overrides and this command's own settings of each name.

    Raises:
        UsageError: no checkpoint, a setting before the first, a name twice, or no such part.
    """
    tasks: dict[str, tuple[Path, list[str], dict[str, str]]] = {}
    for argument in argv:
        key, is_setting, value = argument.partition("=")
        if not is_setting:
            name, _, path = argument.partition(":") if ":" in argument else (argument, "", argument)
            if name in tasks:
                raise _explain(f"'{name}' stands twice; give each a name, NAME:CHECKPOINT")
            tasks[name] = (Path(path), [], {})
            continue
        if not tasks:
            raise _explain(f"'{argument}' stands before the checkpoint that it is for")
        _, overrides, own = tasks[next(reversed(tasks))]
        if key == "part" and value not in PARTS:
            raise _explain(f"{argument}: must be one of {', '.join(PARTS)}")
        if key in {"part", "metric"}:
            own[key] = value
        else:
            overrides.append(argument)
    if not tasks:
        raise _explain("give a checkpoint")
    return tasks


def _explain(message: str) -> UsageError:
    return UsageError("usage", f"{message}; see trainkit evaluate --help")
