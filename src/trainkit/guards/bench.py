"""The project's benchmarks on both revisions, interleaved: a slow-down beyond all spread fails.

`pytest --benchmark` runs in fresh processes in the order baseline, candidate, candidate, baseline; what looks
slower is run four times more, the other way round. A benchmark fails only when its fastest candidate run is
slower than its slowest baseline run by more than the margin: times on shared machines deserve no finer
verdict from so few runs.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.guards.context import Context
from trainkit.repo.process import Completed, run_in_tree
from trainkit.repo.trees import Tree, copy_tree
from trainkit.settings import check_inside
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict, status_of


@dataclass(frozen=True)
class BenchSettings:
    """`[tool.trainkit.bench]`: where the benchmarks are, and the slow-down that is let pass."""

    folder: str = "benchmarks"
    margin: float = field(default=0.2, metadata={"min": 0})
    timeout_s: float = field(default=600.0, metadata={"min": 1})

    def __post_init__(self) -> None:
        check_inside("folder", self.folder)


SETTINGS = BenchSettings


def check(context: Context) -> Verdict:
    """Run the candidate's benchmarks on both sides and compare each with itself."""
    settings = context.parse(BenchSettings)
    if not (context.candidate.path / settings.folder).is_dir():
        summary = f"there is no folder {settings.folder}"
        return Verdict(guard=context.name, status=Status.SKIPPED, summary=summary)
    candidate, baseline = context.candidate, context.baseline
    times = _Times()
    if baseline is None:
        _run_in_order(context, settings, [candidate], times)
    else:
        with copy_tree(baseline) as copy:
            _share_benchmarks(candidate, copy, settings.folder)
            _run_in_order(context, settings, [copy, candidate, candidate, copy], times)
            suspects = [name for name in times.names() if _is_slower(*times.of(name), settings)]
            if suspects:  # once more, the other way round: a burst of other work has passed by then
                _run_in_order(context, settings, [candidate, copy, copy, candidate], times, suspects)
    findings = [finding for name in times.names() for finding in _judge(name, *times.of(name), settings)]
    measurements = [_measure(name, *times.of(name)) for name in times.names()]
    return Verdict(
        guard=context.name,
        status=status_of(findings),
        summary=_summarize(measurements, findings),
        findings=tuple(findings),
        measurements=tuple(measurements),
    )


class _Times:
    """The fastest round of each benchmark, in seconds, of every run of each side."""

    def __init__(self) -> None:
        self.runs: dict[str, list[dict[str, float]]] = {"baseline": [], "candidate": []}

    def names(self) -> list[str]:
        """Give the candidate's benchmarks."""
        return list(self.runs["candidate"][0])

    def of(self, name: str) -> tuple[list[float], list[float]]:
        """Give the baseline's and the candidate's times of one benchmark."""
        old, new = ([times[name] for times in runs if name in times] for runs in self.runs.values())
        return old, new


def _run_in_order(
    context: Context, settings: BenchSettings, order: Sequence[Tree], times: _Times, only: Sequence[str] = ()
) -> None:
    for number, tree in enumerate(order, start=1):
        context.progress(f"{'again: ' if only else ''}run {number} of {len(order)}, {tree.side}")
        times.runs[tree.side].append(_run_benchmarks(tree, settings, only))


def _share_benchmarks(candidate: Tree, baseline: Tree, folder: str) -> None:
    """Give the baseline the candidate's benchmarks, so that both sides run the same code."""
    old = baseline.path / folder
    if old.is_symlink() or old.is_file():
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(candidate.path / folder, old)


def _run_benchmarks(tree: Tree, settings: BenchSettings, only: Sequence[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=tree.scratch) as folder:
        output = Path(folder) / "benchmark.json"
        command = ["python", "-m", "pytest", "--benchmark", f"--benchmark-json={output}", "-q"]
        # The names of benchmarks are paths from the root, and are given back as arguments.
        command += ["-p", "no:cacheprovider", "--rootdir=.", *(only or [settings.folder])]
        shown = f"pytest --benchmark {settings.folder}"
        done = run_in_tree(tree, command, shown=shown, timeout_s=settings.timeout_s)
        # pytest leaves with 1 when a benchmark failed: on an older baseline that may be its right
        if (
            not output.exists()
            or done.returncode not in {0, 1}
            or (done.returncode and tree.side == "candidate")
        ):
            message = f"{shown} fails on the {tree.side} side"
            raise CannotJudgeError("bench-failed", message, evidence=_explain(done))
        rows = json.loads(output.read_text() or "{}").get("benchmarks", [])
    return {row["fullname"]: row["stats"]["min"] for row in rows}


def _explain(done: Completed) -> tuple[str, ...]:
    """Give pytest's own words about what is wrong, without the warnings around them."""
    lines = [line for line in done.stdout.splitlines() if line.startswith(("E  ", "ERROR", "FAILED"))]
    return tuple(lines[-12:]) or done.last_words()


def _measure(name: str, old: list[float], new: list[float]) -> Measurement:
    how = f"fastest round in each of {len(new)} fresh processes: {_show(new)}"
    if old:
        how += f"; baseline {_show(old)}; ratio {min(new) / min(old):.2f}"
    return Measurement(name=name, value=min(new), unit="s", baseline=min(old) if old else None, how=how)


def _show(times: list[float]) -> str:
    return ", ".join(f"{time:.3g} s" for time in times)


def _judge(name: str, old: list[float], new: list[float], settings: BenchSettings) -> Iterator[Finding]:
    if not old:
        return
    file = name.partition("::")[0]
    limit = 1 + settings.margin
    values: dict[str, Any] = {"file": file, "expected": _show(old), "actual": _show(new)}
    if _is_slower(old, new, settings):
        message = f"{name} takes {min(new) / min(old):.2f} times as long as at the baseline"
        yield Finding(rule="bench-slower", message=message, **values)
    elif max(new) > limit * min(old):
        message = (
            f"{name}: inconclusive, the runs of one revision differ too much ({_show(old)}; {_show(new)})"
        )
        yield Finding(rule="bench-inconclusive", message=message, severity=Severity.NOTE, **values)


def _is_slower(old: list[float], new: list[float], settings: BenchSettings) -> bool:
    return bool(old) and min(new) > (1 + settings.margin) * max(old)


def _summarize(measurements: list[Measurement], findings: list[Finding]) -> str:
    ratios = [m.value / m.baseline for m in measurements if m.baseline]
    if not ratios:
        return f"{len(measurements)} benchmarks ran; no baseline to compare with"
    num_bad = sum(finding.severity is Severity.ERROR for finding in findings)
    num_unsure = len(findings) - num_bad
    unsure = f", {num_unsure} inconclusive" if num_unsure else ""
    return f"{num_bad} of {len(ratios)} slower{unsure}; ratios {min(ratios):.2f} to {max(ratios):.2f}"
