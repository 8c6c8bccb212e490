"""Advice applied in a scratch copy, step by step: measured, proven, and taken back where it fails."""

from __future__ import annotations

import difflib
import importlib.util
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.guards.imports.edits import Edit, Placement, Step
from trainkit.guards.imports.measure import Imported, Target, measure, run_probe
from trainkit.guards.imports.orders import Orders
from trainkit.guards.imports.places import list_edits
from trainkit.guards.imports.plan import find_guilty, plan_step
from trainkit.guards.imports.project import Project, read_project
from trainkit.guards.imports.proof import Proof
from trainkit.guards.imports.rewrite import CannotRewriteError, load_libcst, rewrite
from trainkit.guards.imports.savings import Graph
from trainkit.guards.imports.target import find_target
from trainkit.repo.trees import Tree, open_trees
from trainkit.verify.options import RunOptions

Progress = Callable[[str], None]
_NUM_PAIRS = 5
_MOST_BLOCKED = 10


@dataclass(frozen=True)
class Told:
    """A step, and what became of it: advised, kept, or rejected with the reason."""

    step: Step
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Advice:
    """What one target's imports could do without, and what became of each step."""

    target: str
    num_modules: int
    cpu_s: float
    told: tuple[Told, ...]
    blocked: tuple[Told, ...]  # imports that would save something, and why they stay
    proof: tuple[str, ...] = ()
    after_modules: int | None = None
    pairs: tuple[tuple[float, float], ...] = ()  # CPU seconds, interleaved
    files: tuple[tuple[str, bytes, bytes], ...] = ()  # (relative path, as it was measured, as it would be)

    def diff(self) -> str:
        """Give the change as a unified diff."""
        text = []
        for name, before, after in self.files:
            sides = [
                content.decode("utf-8", "replace").splitlines(keepends=True) for content in (before, after)
            ]
            rows = difflib.unified_diff(sides[0], sides[1], f"a/{name}", f"b/{name}")
            text += [row if row.endswith("\n") else f"{row}\n\\ No newline at end of file\n" for row in rows]
        return "".join(text)


def advise(root: Path, name: str, *, command: str = "", progress: Progress = lambda _: None) -> Advice:
    """Say which imports of the project's files could come later, and what each would save; nothing is edited.

    Raises:
        CannotJudgeError: the target fails, or cannot be measured.
    """
    with open_trees(root, None) as (tree, _):
        progress(f"measuring {name}")
        imported = measure(tree, find_target(tree, name, command), prove=False)
        progress("reading the project")
        search = _Search(read_project(tree.path), Graph(imported, tree.path))
        told = [Told(step, "advised") for step in search.steps()]
        progress("")
    return _tell(imported, told, search)


class _Search:
    """The edits that are still to be tried, best first, beside those that are kept."""

    def __init__(self, project: Project, graph: Graph) -> None:
        self.project, self.graph = project, graph
        self.edits = list_edits(project, graph)
        self.kept: list[Step] = []
        self._refused: list[tuple[Step, str]] = []

    def kept_edits(self) -> list[Edit]:
        """Give the edits of all steps that are kept."""
        return [edit for step in self.kept for edit in step.edits]

    def steps(self) -> Iterator[Step]:
        """Give the best step, again and again; what is not rejected until the next is asked for is kept."""
        while True:
            step, refused = plan_step(self.project, self.graph, self.edits, self.kept_edits())
            for each, _ in refused:
                self.drop(each.edits)
            self._refused += refused
            if step is None:
                return
            self.kept.append(step)
            yield step

    def drop(self, edits: Sequence[Edit]) -> None:
        """Do not try these again."""
        self.edits = [edit for edit in self.edits if edit not in edits]

    def list_blocked(self) -> list[Told]:
        """Give the imports that stay and would save something, the dearest first."""
        kept = self.kept_edits()
        before = self.graph.saved(kept)
        told = [Told(step, "left alone", reason) for step, reason in self._refused]
        for edit in self.edits:
            saves = self.graph.saved([*kept, edit]) - before if edit.blocked else frozenset()
            if self.graph.is_worth(saves):
                step = Step((edit,), saves, self.graph.imported.total_of(sorted(saves)))
                told.append(Told(step, "left alone", edit.blocked))
        return sorted(told, key=lambda each: -each.step.cost.cpu_s)[:_MOST_BLOCKED]


def _tell(imported: Imported, told: list[Told], search: _Search, **more: Any) -> Advice:
    return Advice(
        imported.target,
        len(imported.modules),
        imported.cpu_s,
        tuple(told),
        tuple(search.list_blocked()),
        **more,
    )


def fix(
    root: Path,
    name: str,
    *,
    command: str = "",
    tests: tuple[str, ...] = (),
    training: RunOptions | None = None,
    share: tuple[str, ...] = (),
    timeout_s: float = 1800.0,
    progress: Progress = lambda _: None,
) -> Advice:
    """Apply the advice in a scratch copy and keep what is proven; the user's files are only read.

    A step is kept if every module it should save is gone and none has come, and if the given tests and
    training have the outcome they had before.

    Raises:
        UsageError: libcst is not installed, or a shared path is missing.
        CannotJudgeError: the target fails, or the baseline's own tests or training prove nothing.
    """
    load_libcst()
    with open_trees(root, None) as (candidate, _), _copy_of(candidate) as baseline:
        target = find_target(candidate, name, command)
        work = _Work(baseline, candidate, target, progress)
        proof = Proof(
            baseline, tests=tests, training=training, share=share, timeout_s=timeout_s, progress=progress
        )
        while True:
            work.keep_measured()
            if not work.keep_proven(proof):
                break
        more: dict[str, Any] = {}
        if work.search.kept:
            progress("measuring both sides")
            pairs = tuple(work.time_pair() for _ in range(_NUM_PAIRS))
            after = len(measure(candidate, target, prove=False).modules)
            more = {"proof": tuple(proof.shown), "after_modules": after, "pairs": pairs}
        progress("")
        return _tell(work.imported, work.list_told(), work.search, files=tuple(work.list_files()), **more)


@contextmanager
def _copy_of(tree: Tree) -> Iterator[Tree]:
    top = tree.top.with_name("baseline")
    shutil.copytree(tree.top, top, symlinks=True)
    yield replace(tree, side="baseline", top=top, path=top / tree.path.relative_to(tree.top))


class _Work:
    """The scratch tree while it is edited."""

    def __init__(self, baseline: Tree, candidate: Tree, target: Target, progress: Progress) -> None:
        self._baseline, self._candidate, self._target, self._progress = baseline, candidate, target, progress
        progress(f"measuring {target.name}")
        self.imported = measure(candidate, target, prove=False)
        progress("reading the project")
        self.search = _Search(read_project(candidate.path), Graph(self.imported, candidate.path))
        self._orders = Orders(self.search.project, self.search.graph, baseline)
        self._edited: set[str] = set()
        self._rejected: list[Told] = []

    def keep_measured(self) -> None:
        """Try step after step; take back what does not make disappear what it should."""
        for step in self.search.steps():
            self._progress(f"trying {step.edits[0].file}:{step.edits[0].line}")
            reason, stayed = self._try()
            if reason:
                others = [edit for edit in self.search.kept_edits() if edit not in step.edits]
                guilty = find_guilty(self.search.graph, step, others, stayed) if stayed else step.edits
                self._reject(step, reason, guilty)
                self._apply()

    def _try(self) -> tuple[str, str]:
        """Measure with all that is kept; say what is not as it should be, and which module is there still."""
        try:
            self._apply()
            after = measure(self._candidate, self._target, prove=False)
        except CannotRewriteError as error:
            return str(error), ""
        except CannotJudgeError as error:
            return " ".join([str(error), *error.evidence[-1:]]), ""
        expected = self.search.graph.saved(self.search.kept_edits())
        stayed = sorted(expected & after.modules.keys(), key=list(after.modules).index)
        if stayed:
            line = next(iter(after.chain(stayed[0])), None)
            place = f" by {self.search.graph.name_file(line.file)}:{line.line}" if line else ""
            more = f", and {len(stayed) - 1} more" if stayed[1:] else ""
            return f"{stayed[0]} is still loaded{place}{more}", stayed[0]
        came = sorted(after.modules.keys() - self.imported.modules.keys())
        return (f"{came[0]} comes instead" if came else ""), ""

    def _apply(self) -> None:
        """Write the edits of all steps that are kept; files without any are as they were."""
        placements: dict[str, list[Placement]] = defaultdict(list)
        for edit in self.search.kept_edits():
            placements[edit.file] += edit.placements
        for name in sorted({*placements, *self._edited}):
            source = (self._baseline.path / name).read_bytes()
            content = rewrite(source, placements[name]) if placements[name] else source
            path = self._candidate.path / name
            path.write_bytes(content)
            Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
            self._edited.add(name)

    def keep_proven(self, proof: Proof) -> int:
        """Prove all steps at once; on a failure halve them. Give how many had to be taken back."""
        steps = list(self.search.kept)
        rejected = self._bisect(proof, [], steps)
        for step, reason in rejected:
            self._reject(step, reason, step.edits)
        if rejected:
            self._drop_idle()
            self._apply()
        return len(rejected)

    def _drop_idle(self) -> None:
        """Take back what saves nothing without the steps that were rejected."""
        graph = self.search.graph
        for step in list(self.search.kept):
            others = [edit for edit in self.search.kept_edits() if edit not in step.edits]
            if not graph.is_worth(graph.saved([*others, *step.edits]) - graph.saved(others)):
                self._reject(step, "saves nothing by itself, and what it needs was rejected", ())

    def _bisect(self, proof: Proof, good: list[Step], steps: list[Step]) -> list[tuple[Step, str]]:
        """Add to `good` what can be added of `steps`; give the others with what they break."""
        if not steps:
            return []
        self.search.kept = [*good, *steps]
        self._apply()
        self._progress("importing each edited module first")
        reason = self._orders.find_broken(self._candidate, self.search.kept_edits())
        reason = reason or proof.find_difference(self._candidate)
        if not reason:
            good += steps
            return []
        if len(steps) == 1:
            return [(steps[0], reason)]
        half = len(steps) // 2
        rejected = self._bisect(proof, good, steps[:half])
        rejected += self._bisect(proof, good, steps[half:])
        self.search.kept = [*good, *(step for step, _ in rejected)]
        return rejected

    def _reject(self, step: Step, reason: str, guilty: Sequence[Edit]) -> None:
        """Take a step back; the edits that are to blame are not tried again."""
        self.search.kept.remove(step)
        self.search.drop(guilty)
        self._rejected.append(Told(step, "rejected", reason))

    def list_told(self) -> list[Told]:
        """Give what was kept, then what was not."""
        return [*(Told(step, "kept") for step in self.search.kept), *self._rejected]

    def time_pair(self) -> tuple[float, float]:
        """Run both sides once, one after the other; give their CPU seconds."""
        sides = (self._baseline, self._candidate)
        first, second = (run_probe(side, self._target, "bare", prove=False)["cpu_ns"] / 1e9 for side in sides)
        return first, second

    def list_files(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Give the files that are edited, with what they were."""
        for name in sorted(self._edited):
            before, after = ((side.path / name).read_bytes() for side in (self._baseline, self._candidate))
            if before != after:
                yield name, before, after


def write(root: Path, advice: Advice) -> list[str]:
    """Write the edited files into the user's project, all or none; give their names.

    Raises:
        CannotJudgeError: one of them is not what was measured any more; nothing is changed.
    """
    done: list[tuple[Path, bytes]] = []
    with ExitStack() as stack:
        ready = []
        for name, before, after in advice.files:
            path = (root / name).resolve()
            if not path.is_file() or path.read_bytes() != before:
                raise CannotJudgeError(
                    "fix-stale", f"{name} has changed since it was measured: nothing was written"
                )
            ready.append((path, before, stack.enter_context(_prepare(path, after))))
        try:
            for path, before, temporary in ready:
                temporary.replace(path)
                done.append((path, before))
        except OSError:
            for path, before in done:
                path.write_bytes(before)
            raise
    return [name for name, _, _ in advice.files]


@contextmanager
def _prepare(path: Path, content: bytes) -> Iterator[Path]:
    """Write a file beside its place, with the same permissions."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        shutil.copymode(path, name)
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()
