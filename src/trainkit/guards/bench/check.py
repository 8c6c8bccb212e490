"""The project's benchmarks on both revisions, in lock-step: slower is what two of three fresh pairs show.

Both sides run the candidate's benchmark files, so that the same code is measured on other sources. A third
worker runs the baseline once more: its interval against the first is what this machine can resolve today.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from trainkit.errors import CannotJudgeError
from trainkit.guards.bench import attribute
from trainkit.guards.bench.findings import find, measure_modules, measure_result, summarize
from trainkit.guards.bench.judge import Result, Threshold, is_open, judge
from trainkit.guards.bench.pairs import Plan, Suite
from trainkit.guards.bench.rule import NUM_PAIRS, Outcome, num_values_needed, share_alpha
from trainkit.guards.bench.session import Message, Session, collect_names
from trainkit.guards.context import Context
from trainkit.repo.trees import Tree, copy_tree
from trainkit.settings import check_inside
from trainkit.verdict import Status, Verdict

_FIRST_PROBES = ("memory", "training")
_LEAST_PAIRS_AT_RANDOM = 7


@dataclass(frozen=True)
class BenchSettings:
    """`[tool.trainkit.bench]`: where the benchmarks are, and what is let pass.

    `thresholds` are margins of their own: of each benchmark the first pattern that its name matches.
    """

    folder: str = "benchmarks"
    margin: float = field(default=0.01, metadata={"min": 0.001})
    memory: float = field(default=0.05, metadata={"min": 0})
    timeout_s: float = field(default=120.0, metadata={"min": 1})
    keyword: str = ""
    thresholds: dict[str, Threshold] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_inside("folder", self.folder)

    def threshold_of(self, name: str) -> Threshold:
        """Give the margins of one benchmark."""
        for pattern, threshold in self.thresholds.items():
            if fnmatchcase(name, f"*{pattern}*"):
                return threshold
        return Threshold(margin=self.margin, memory=self.memory)


SETTINGS = BenchSettings


def check(context: Context) -> Verdict:
    """Run the candidate's benchmarks on both sides and compare each with itself."""
    settings = context.parse(BenchSettings)
    if not (context.candidate.path / settings.folder).exists():
        summary = f"there is no folder {settings.folder}"
        if "folder" in context.table:
            raise CannotJudgeError("folder-missing", f"[tool.trainkit.bench] {summary}")
        return Verdict(guard=context.name, status=Status.SKIPPED, summary=summary)
    suite = Suite(folder=settings.folder, keyword=settings.keyword, timeout_s=settings.timeout_s)
    with _make_trees(context) as trees:
        own: Message | None = None
        if len(trees) > 1 and not _is_same(trees[1].path / suite.folder, trees[0].path / suite.folder):
            own = collect_names(trees[0], suite)
            for tree in (trees[0], trees[2]):
                share_benchmarks(trees[1], tree, suite.folder)
        session = Session(trees, suite, context.progress)
        results = run(session, settings)
    if own is not None:
        results = [*_name_new(results, own, session.collected[1]["items"])]
    return _give_verdict(context, session, results, settings)


@contextmanager
def _make_trees(context: Context) -> Iterator[list[Tree]]:
    """Copy both sides, the baseline twice, to folders whose names are equally long."""
    with ExitStack() as stack:
        if context.baseline is None:
            yield [stack.enter_context(copy_tree(context.candidate, name="bench-0"))]
            return
        sides = (context.baseline, context.candidate, context.baseline)
        yield [
            stack.enter_context(copy_tree(tree, name=f"bench-{number}")) for number, tree in enumerate(sides)
        ]


def run(session: Session, settings: BenchSettings) -> list[Result]:
    """Run one pair for all benchmarks, and fresh ones for what it has not settled."""
    probes: tuple[str, ...] = _FIRST_PROBES

    def make_plan(names: list[str]) -> Plan:
        # The share is that of the whole run, also where a broken worker has left a part of it.
        alpha = share_alpha(len(session.names()))
        margins = {name: settings.threshold_of(name).margin for name in names}
        return Plan(alpha=alpha, margins=margins, probes=probes)

    num_trees = len(session.trees)
    session.run_pair(make_plan, None, num_trees)
    alpha = share_alpha(len(session.names()))
    if num_trees > 1:
        names = session.names()
        num_pairs = max(_LEAST_PAIRS_AT_RANDOM, num_values_needed(alpha))
        if session.is_layout_fixed:
            num_pairs = NUM_PAIRS
            names = [
                name
                for name in names
                if is_open(session.samples[name][0], settings.threshold_of(name), alpha)
            ]
        for number in range(1, num_pairs):
            probes = ("memory", *attribute.PROBES) if number == 1 else ("memory",)
            names = [name for name in names if not session.samples[name][-1].broken]
            if names:
                session.tell(f"fresh pair {number + 1} of {num_pairs}")
                session.run_pair(make_plan, names, 2)
    return [
        judge(name, samples, settings.threshold_of(name), alpha, fixed=session.is_layout_fixed)
        for name, samples in session.samples.items()
    ]


def _is_same(left: Path, right: Path) -> bool:
    """Say whether both are the same files with the same content, compiled ones aside."""
    if left.is_symlink() or right.is_symlink() or left.is_dir() != right.is_dir():
        return False
    if not left.is_dir():
        return right.exists() and filecmp.cmp(left, right, shallow=False)
    sides = [
        {path.relative_to(side): path for path in side.rglob("*") if path.is_file() and path.suffix != ".pyc"}
        for side in (left, right)
    ]
    return sides[0].keys() == sides[1].keys() and all(
        filecmp.cmp(path, sides[1][name], shallow=False) for name, path in sides[0].items()
    )


def share_benchmarks(candidate: Tree, baseline: Tree, folder: str) -> None:
    """Give the baseline the candidate's benchmarks, so that both sides run the same code."""
    new, old = candidate.path / folder, baseline.path / folder
    if old.is_symlink() or old.is_file():
        old.unlink()
    shutil.rmtree(old, ignore_errors=True)
    old.parent.mkdir(parents=True, exist_ok=True)
    if new.is_dir():
        shutil.copytree(new, old)
    else:
        shutil.copy2(new, old)


def _name_new(results: Sequence[Result], own: Message, items: Message) -> Iterator[Result]:
    """Say of each benchmark whether the baseline had it; by its code, where the name is another."""
    gone = {name: said["digest"] for name, said in own.items() if name not in items}
    for result in results:
        digest = items.get(result.name, {}).get("digest")
        before = next((name for name, other in gone.items() if other == digest), None)
        words = result.words
        if result.name not in own and before is not None:
            del gone[before]
            words = f"renamed: {before} at the baseline"
        elif result.name not in own:
            words = "; ".join(filter(None, ["new: the baseline's files do not have it", words]))
        elif own[result.name]["digest"] != digest:
            words = "; ".join(
                filter(None, ["its code has changed: the candidate's was run on both sides", words])
            )
        yield Result(**{**vars(result), "words": words})
    for name in gone:
        yield Result(name=name, outcome=Outcome.REMOVED, words="removed: only the baseline's files have it")


def _give_verdict(
    context: Context, session: Session, results: list[Result], settings: BenchSettings
) -> Verdict:
    candidate = session.collected[min(1, len(session.trees) - 1)]
    if candidate["errors"]:
        place, words = candidate["errors"][0]
        evidence = tuple(line for line in words.splitlines() if line.startswith("E  ")) or (words[-200:],)
        raise CannotJudgeError("bench-failed", f"{place} cannot be collected", evidence=evidence)
    has_baseline = len(session.trees) > 1
    if has_baseline:
        missing = [name for name in candidate["items"] if name not in session.samples]
        why = "; ".join(words.strip().splitlines()[-1] for _, words in session.collected[0]["errors"])
        results = [
            *results,
            *(
                Result(name=name, outcome=Outcome.NEW, words=f"the baseline cannot run it{why and ': '}{why}")
                for name in missing
            ),
        ]
    thresholds: Mapping[str, Threshold] = {
        result.name: settings.threshold_of(result.name) for result in results
    }
    lines = {name: said["line"] for name, said in candidate["items"].items()}
    findings = tuple(
        finding for result in results for finding in find(result, thresholds[result.name], lines)
    )
    measurements = [row for result in results for row in measure_result(result, has_baseline=has_baseline)]
    return Verdict(
        guard=context.name,
        status=_status_of(results, has_baseline=has_baseline),
        summary=summarize(results, has_baseline=has_baseline, fixed=session.is_layout_fixed),
        findings=findings,
        measurements=(*measurements, *measure_modules(session.modules)),
    )


def _status_of(results: Sequence[Result], *, has_baseline: bool) -> Status:
    if not results:
        return Status.SKIPPED
    outcomes = {result.outcome for result in results}
    if Outcome.SLOWER in outcomes or any(result.grown for result in results):
        return Status.FAILED
    if Outcome.BROKEN in outcomes:
        return Status.ERROR
    if not has_baseline:
        return Status.PASSED
    if Outcome.INCONCLUSIVE in outcomes:
        return Status.INCONCLUSIVE
    return Status.PASSED if outcomes & {Outcome.PASSED, Outcome.FASTER} else Status.SKIPPED
