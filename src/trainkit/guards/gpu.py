"""The tests marked `gpu`: run where there is a CUDA device, said to be skipped where there is none."""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainkit.errors import CannotJudgeError
from trainkit.guards.context import Context
from trainkit.repo.process import Completed, prove_sources, run_in_tree
from trainkit.settings import check_inside
from trainkit.verdict import Finding, Measurement, Status, Verdict

_NO_TESTS = 5  # pytest's exit status when nothing was collected


@dataclass(frozen=True)
class GpuSettings:
    """`[tool.trainkit.gpu]`: where the tests are that carry the marker `gpu`."""

    folder: str = "tests/gpu"
    timeout_s: float = field(default=1200.0, metadata={"min": 1})

    def __post_init__(self) -> None:
        check_inside("folder", self.folder)


SETTINGS = GpuSettings


def check(context: Context) -> Verdict:
    """Run `pytest -m gpu` on the candidate; all tests skipped is `skipped`, never passed."""
    settings = context.parse(GpuSettings)
    if not (context.candidate.path / settings.folder).is_dir():
        summary = f"there is no folder {settings.folder}"
        if "folder" in context.table:
            raise CannotJudgeError("folder-missing", f"[tool.trainkit.gpu] {summary}")
        return Verdict(guard=context.name, status=Status.SKIPPED, summary=summary)
    context.progress("pytest -m gpu")
    with tempfile.TemporaryDirectory(prefix="gpu-", dir=context.candidate.scratch) as folder:
        report = Path(folder) / "junit.xml"
        command = ["python", "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
        command += [f"--junitxml={report}", settings.folder]
        done = run_in_tree(
            context.candidate, command, shown="pytest -m gpu", timeout_s=settings.timeout_s, prove=False
        )
        if done.returncode == _NO_TESTS:
            summary = f"no test in {settings.folder} is marked gpu"
            return Verdict(guard=context.name, status=Status.SKIPPED, summary=summary)
        if not report.exists():
            raise CannotJudgeError(
                "gpu-suite-not-run", "pytest -m gpu did not run", evidence=done.last_words()
            )
        cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314  # our own pytest wrote it
    return _judge(context, done, cases)


def _judge(context: Context, done: Completed, cases: list[ElementTree.Element]) -> Verdict:
    findings = tuple(_iterate_failures(cases))
    reasons = [skipped.get("message", "") for case in cases for skipped in case.iter("skipped")]
    num_run = len(cases) - len(reasons)
    counts = (Measurement(name="tests run", value=num_run, unit="tests"),)
    if findings:
        status, summary = Status.FAILED, f"{len(findings)} of {len(cases)} tests failed"
    elif not num_run:
        status, summary = Status.SKIPPED, reasons[0] if reasons else "no test ran"
    else:
        prove_sources(context.candidate, done)
        status, summary = (
            Status.PASSED,
            f"{num_run} tests passed" + (f", {len(reasons)} skipped" if reasons else ""),
        )
    return Verdict(guard=context.name, status=status, summary=summary, findings=findings, measurements=counts)


def _iterate_failures(cases: list[ElementTree.Element]) -> Iterator[Finding]:
    for case in cases:
        for kind in ("failure", "error"):
            for element in case.iter(kind):
                name = "::".join(filter(None, [case.get("classname"), case.get("name")]))
                said = (element.get("message") or element.text or kind).strip().splitlines()
                yield Finding(rule="gpu-test-failed", message=f"{name}: {said[0] if said else kind}")
