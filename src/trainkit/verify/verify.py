"""The use case: one training command at two revisions → a verdict, with the place where they part."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.repo.git import default_base
from trainkit.repo.trees import Tree, open_trees
from trainkit.trace.divergence import summarise
from trainkit.trace.locate import Edited, Line
from trainkit.verdict import Status
from trainkit.verify import cache
from trainkit.verify.edits import list_edits, list_other_files, rank_edits, read_context
from trainkit.verify.judge import compare_left, judge_runs, tell_left, tell_not_compared
from trainkit.verify.options import RunOptions, check_paths
from trainkit.verify.result import Excerpt, Verification
from trainkit.verify.run import Run, keep_what_repeats, prepare, record_run, repeats

Progress = Callable[[str], None]


def verify(
    root: Path,
    options: RunOptions,
    *,
    base: str | None = None,
    head: str | None = None,
    overlay: Path | None = None,
    use_cache: bool = True,
    control_hash_seed: str = "",
    deep: bool = True,
    progress: Progress = lambda _: None,
) -> Verification:
    """Run a command on the baseline and the candidate and tell whether they trained bit for bit alike.

    The baseline is run twice first, unless a run that is known to repeat is kept, such as that of an earlier
    candidate: what differs from itself is `unstable`. `control_hash_seed` gives the second run another hash
    seed. Without `deep` a divergence is not looked into.

    Raises:
        UsageError: no such revision, overlay or shared path.
        CannotJudgeError: git failed, a run could not be started, or loaded foreign sources.
    """
    start = time.monotonic()
    check_paths(root, options)
    base = base if base is not None else default_base(root)
    with open_trees(root, base, head=head, overlay=overlay) as (candidate, baseline):
        assert baseline is not None
        result = verify_trees(
            baseline,
            candidate,
            options,
            use_cache=use_cache,
            control_hash_seed=control_hash_seed,
            deep=deep,
            progress=progress,
        )
    progress("")
    return replace(result, duration_s=time.monotonic() - start)


def verify_trees(
    baseline: Tree,
    candidate: Tree,
    options: RunOptions,
    *,
    use_cache: bool = True,
    control_hash_seed: str = "",
    deep: bool = True,
    progress: Progress = lambda _: None,
) -> Verification:
    """Do the same in trees that are open already."""
    session = _Session(baseline, candidate, options, progress, deep=deep)
    return session.describe(session.run(use_cache=use_cache, control_hash_seed=control_hash_seed))


def look_into(
    baseline: Tree, candidate: Tree, options: RunOptions, step: int, *, progress: Progress = lambda _: None
) -> Verification:
    """Say where trees part that are known to, each to itself the same: two runs, if it is at this step."""
    session = _Session(baseline, candidate, options, progress, deep=True)
    return session.describe(session.look_into(step))


class _Session:
    """The runs of one verification, each in a folder of its own."""

    def __init__(
        self, baseline: Tree, candidate: Tree, options: RunOptions, progress: Progress, *, deep: bool
    ) -> None:
        self._trees = {"baseline": baseline, "candidate": candidate}
        self._options = options
        self._progress = progress
        self._deep = deep
        self._prepared: set[str] = set()
        self._num_runs = 0
        self._keys: dict[str, str] = {}
        self._kept: Run | None = None  # what is believed only where it agrees, until a run has confirmed it

    def describe(self, result: Verification) -> Verification:
        """Add of what it is, and the lines of code to show."""
        baseline, candidate = self._trees.values()
        shown = baseline if result.status is Status.UNSTABLE else candidate
        return replace(
            result,
            command=self._options.shown(),
            baseline=baseline.revision,
            candidate=candidate.revision,
            settings=tuple(self._options.describe()),
            excerpts=tuple(dict.fromkeys(_read_excerpts(result, baseline, shown))),
        )

    def look_into(self, step: int) -> Verification:
        expected, actual = (
            self._record(
                side,
                f"looking into step {step}: {side}",
                deep={"level": "full", "deep": step, "edited": lines},
            )
            for side, lines in zip(self._trees, self._edits(), strict=True)
        )
        return self._judge(expected, actual, zoomed=step)

    def run(self, *, use_cache: bool, control_hash_seed: str) -> Verification:
        # Before a setup command has built something in them; another hash seed is another question.
        sides = self._trees if use_cache and not control_hash_seed else ()
        self._keys = {side: cache.make_key(self._trees[side], self._options) for side in sides}
        key = self._keys.get("baseline", "")
        self._kept = cache.load(key) if key else None
        if self._kept:
            with suppress(_StaleError):
                return self._judge_candidate(self._kept)
            cache.forget(key)
            self._kept = None
        expected, bad = self._record_twice(control_hash_seed)
        if bad:
            return bad
        if key and not expected.broke:
            cache.keep(key, expected)
        return self._judge_candidate(expected)

    def _judge_candidate(self, expected: Run) -> Verification:
        actual = self._record("candidate", "training the candidate")
        result = _drop_noise(self._judge(expected, actual), expected.noise)
        if result.status not in {Status.IDENTICAL, Status.NOTED, Status.ERROR}:
            self._confirm()
        if result.status is Status.IDENTICAL:
            self._keep_candidate(expected, actual)
        if result.status in {Status.IDENTICAL, Status.NOTED}:
            result = replace(result, notes=(*result.notes, *tell_not_compared(expected, actual)))
        if result.status is Status.DIVERGED:
            note = _word_other_changes(any(self._edits()), list_other_files(*self._trees.values()))
            result = replace(result, notes=(*result.notes, *tell_left(result, expected, actual), *note))
        return result

    def _keep_candidate(self, expected: Run, actual: Run) -> None:
        """Keep what was the same as a run that repeats: the next refactor starts from there.

        Not where the candidate printed or left what that one does not: whether it repeats is not known.
        """
        if self._keys and self._keys["candidate"] != self._keys["baseline"] and repeats(actual, expected):
            cache.keep(self._keys["candidate"], keep_what_repeats(actual, expected, known=True))

    def _record_twice(self, control_hash_seed: str) -> tuple[Run, Verification | None]:
        first = self._record("baseline", "training the baseline")
        if first.broke:
            if not first.recording.paths:
                return first, judge_runs(first, first)
            return first, None
        second = self._record("baseline", "training the baseline again", hash_seed=control_hash_seed)
        control = judge_runs(first, second)
        while generator := _find_unsteady(control):
            first = replace(first, unsteady=(*first.unsteady, generator))
            control = judge_runs(first, second)
        if _is_repeated(control):
            # Differences alone: what cannot be seen is to be said each time.
            noise = control.comparison.notes if control.comparison else ()
            return replace(keep_what_repeats(first, second), noise=noise), None
        if control.status is Status.DIVERGED:
            control = self._explain_unstable(first, second, control_hash_seed) or control
            other = f" under hash seed {control_hash_seed}" if control_hash_seed else ""
            summary = f"the baseline differs from itself{other}: {control.summary}"
            control = replace(control, status=Status.UNSTABLE, summary=summary)
        return first, control

    def _confirm(self) -> None:
        """Run the baseline again where a kept run does not agree, and go on if that says the same.

        Raises:
            _StaleError: it does not.
        """
        if self._kept and self._deep:
            again = self._record("baseline", "training the baseline again")
            printed, files, lost = compare_left(self._kept, again)
            if not _is_repeated(judge_runs(self._kept, again)) or any((printed, *files, lost)):
                raise _StaleError
            self._kept = None

    def _explain_unstable(self, first: Run, second: Run, hash_seed: str) -> Verification | None:
        """Look into what differs between two runs of the baseline, if it differs again."""
        seeds = {"baseline": "", "candidate": hash_seed}

        def again(side: str, deep: Mapping[str, Any]) -> Run:
            return self._record("baseline", "looking into it", hash_seed=seeds[side], deep=deep)

        found = judge_runs(first, second, record=again, deep=self._deep)
        return found if found.status is Status.DIVERGED else None

    def _record(
        self, side: str, what: str, *, hash_seed: str = "", deep: Mapping[str, Any] | None = None
    ) -> Run:
        tree = self._trees[side]
        if side not in self._prepared:
            if self._options.setup:
                self._progress(f"setting up the {side}")
            prepare(tree, self._options)
            self._prepared.add(side)
        self._progress(what)
        self._num_runs += 1
        into = tree.scratch / f"trace-{self._num_runs}"
        return record_run(tree, self._options, into=into, hash_seed=hash_seed, deep=deep)

    def _judge(self, expected: Run, actual: Run, *, zoomed: int = 0) -> Verification:
        def zoom(side: str, deep: Mapping[str, Any]) -> Run:
            if side == "baseline":
                self._confirm()
            what = f"zooming in on step {deep['deep']}: {side}" if "deep" in deep else f"recording the {side}"
            return self._record(side, what, deep=deep)

        return judge_runs(
            expected,
            actual,
            record=zoom,
            edited=self._edits(),
            rank=partial(rank_edits, self._trees["baseline"], self._trees["candidate"]),
            deep=self._deep,
            zoomed=zoomed,
            progress=self._progress,
        )

    def _edits(self) -> tuple[Edited, Edited]:
        if not hasattr(self, "_edited"):
            self._edited = list_edits(self._trees["baseline"], self._trees["candidate"])
        return self._edited


class _StaleError(Exception):
    """What was kept of the baseline is not what it does now."""


def _is_repeated(control: Verification) -> bool:
    """Tell whether two runs of the same code trained alike, or took no step, and may print a result."""
    took_no_step = control.comparison is not None and not control.comparison.num_steps
    idle = control.status is Status.INCONCLUSIVE and took_no_step
    return control.status in {Status.IDENTICAL, Status.NOTED} or idle


def _find_unsteady(control: Verification) -> str:
    """Name a random generator that alone differs between two runs of the same code, without any consequence.

    Threads of a library or of a notebook's kernel draw from Python's, too; torch's are for training alone.
    """
    first = control.comparison.first if control.comparison else None
    if first is None or any(item.key != "rng" for item in first.differences):
        return ""
    return "" if first.first.name in {"torch", "cuda"} else first.first.name


def _word_other_changes(is_edited: bool, files: Sequence[str]) -> tuple[str, ...]:
    """Say what may be to blame beside Python."""
    shown = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
    if is_edited:
        return (f"other files differ, too: {shown}",) if files else ()
    blamed = f"{shown} may" if files else "data, or the environment, may"
    return (f"no line of Python differs between the sides: {blamed}",)


def _drop_noise(result: Verification, noise: Sequence[str]) -> Verification:
    """Leave out what is to be said of two runs of the baseline as well."""
    notes = tuple(note for note in result.notes if note not in noise)
    quiet = result.status is Status.NOTED and not notes
    return replace(result, notes=notes, status=Status.IDENTICAL if quiet else result.status)


def _read_excerpts(result: Verification, baseline: Tree, candidate: Tree) -> list[Excerpt]:
    """Give the lines of code that the report shows: of each side the edited one, else the operation's."""
    location = result.location
    if location is None:
        return []
    found = []
    for tree, lines, culprit in (
        (baseline, location.expected_lines, location.expected),
        (candidate, location.actual_lines, location.actual),
    ):
        places = _prefer_named(tree, lines, result)[:1]
        if culprit and culprit.line and str(culprit.line) not in map(str, places):
            places.append(replace(culprit.line, why=f"operation {culprit.op}"))
        for place in places:
            context = read_context(tree, place.file, place.line)
            if context:
                found.append(Excerpt(side=tree.side, place=place, lines=tuple(context)))
    return found


def _prefer_named(tree: Tree, lines: Sequence[Line], result: Verification) -> list[Line]:
    """Of edited lines put those first that speak of the setting that differs, or hold its value."""
    words = _list_changed_words(result, 0 if tree.side == "baseline" else 1)
    texts = [" ".join(text for _, text in read_context(tree, line.file, line.line, 0)) for line in lines]
    tokens = [set(re.findall(r"[A-Za-z_]+|[0-9][0-9.e-]*", text)) for text in texts]
    named = [line for line, found in zip(lines, tokens, strict=True) if words & found]
    return [*named, *(line for line in lines if line not in named)]


def _list_changed_words(result: Verification, side: int) -> set[str]:
    """Give the name of the hyper-parameter that differs, or the values of changed module settings."""
    comparison = result.comparison
    if comparison is None or comparison.first is None:
        return set()
    if comparison.first.first.key == "hyper":
        return {comparison.first.first.name}
    changes = [
        fact.partition(": ")[2].partition(": ")[2] for fact in comparison.facts if fact.startswith("modules:")
    ]
    values = [change.split(" -> ")[side] for change in changes if change.count(" -> ") == 1]
    return {part.partition("=")[2] for value in values for part in value.split("; ") if "=" in part}


def record(root: Path, options: RunOptions, *, into: Path, progress: Progress = lambda _: None) -> Run:
    """Record a command on the working tree as it is; the traces land in the folder `into`.

    Raises:
        CannotJudgeError: it could not be started, nothing was recorded, or the recorder failed.
    """
    check_paths(root, options)
    with open_trees(root, None) as (tree, _):
        prepare(tree, options)
        progress("training")
        run = record_run(tree, options, into=tree.scratch / "trace", deep={"level": "full"})
        progress("")
        if not run.recording.paths:
            message = run.broke or f"`{options.shown()}` ran no model, no backward and no optimizer's step"
            raise CannotJudgeError("nothing-recorded", message, evidence=run.evidence)
        for process in run.recording.processes():
            summarise(process)
        shutil.copytree(tree.scratch / "trace", into, dirs_exist_ok=True)
    paths = tuple(into / path.name for path in run.recording.paths)
    return replace(run, recording=replace(run.recording, paths=paths))
