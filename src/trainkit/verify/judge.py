"""From recorded runs to a verdict: compare, say what it is worth, and zoom in on the first divergence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.trace.divergence import Comparison, list_environment_differences
from trainkit.trace.locate import Edited, Line, Location, locate, read_deep
from trainkit.trace.sides import Summary
from trainkit.trace.store import Event, Recording
from trainkit.verdict import Status
from trainkit.verify.classify import Cause, classify
from trainkit.verify.edits import MOVED, Ranks
from trainkit.verify.outputs import Changes, compare_outputs, list_passed_over_in_files, list_unsteady_outputs
from trainkit.verify.pairs import Pair, align, compare_recordings
from trainkit.verify.printed import compare_printed, list_lost, list_passed_over, list_unsteady
from trainkit.verify.result import Verification
from trainkit.verify.run import Run, keep_what_repeats

# side ("baseline" or "candidate"), options of the deep pass -> the recorded run
Record = Callable[[str, Mapping[str, Any]], Run]
_SIDES = ("baseline", "candidate")
_UNSEEN = (
    "what other threads than the training one, torch.func.grad, or Python processes with -I, -E or -S, "
    "compute is not compared"
)
_NOT_STEADY = "random generators whose state differs between two runs of the baseline are not compared"


def judge_runs(
    expected: Run,
    actual: Run,
    *,
    record: Record | None = None,
    edited: tuple[Edited, Edited] = ({}, {}),
    rank: Callable[[], tuple[Ranks, Ranks]] = lambda: ({}, {}),
    deep: bool = True,
    zoomed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Judge a run of the candidate by a run of the baseline that is known to repeat.

    The runs may hold the deep pass of step `zoomed`. `record` runs a side once more: when light passes
    differ with the full pass, which decides, then for the deep pass (unless `deep` is false). Without it a
    divergence is named as far as the runs can.

    Raises:
        CannotJudgeError: a trace is damaged.
    """
    judge = _Judge(
        record=record, edited=edited, rank=rank, deep=deep, progress=progress, unsteady=expected.unsteady
    )
    return judge.judge(expected, actual, zoomed=zoomed)


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """What a judgement may do beside comparing: see `judge_runs`."""

    record: Record | None
    edited: tuple[Edited, Edited]
    rank: Callable[[], tuple[Ranks, Ranks]]
    deep: bool
    progress: Callable[[str], None]
    unsteady: tuple[str, ...]

    def judge(self, expected: Run, actual: Run, *, zoomed: int = 0) -> Verification:
        """Judge two runs, which may hold the deep pass of step `zoomed`."""
        broken = _judge_broken(expected, actual)
        if broken:
            return broken
        pair = compare_recordings(expected.recording, actual.recording, unsteady=self.unsteady)
        comparison = pair.comparison
        if comparison.first is None:
            return self._judge_equal(pair, expected, actual)
        if comparison.light and self.record:
            return _judge_wavering(comparison, self._judge_in_full(self.record, comparison))
        if not self.record or not self.deep:
            return conclude(pair)
        at = comparison.first.step
        step = _step_of(pair, at)
        runs = [expected, actual] if step == zoomed else self._zoom(self.record, step, at, pair)
        location, notes = self._locate(pair, runs, at)
        return conclude(pair, location, notes=tuple(notes))

    def _judge_in_full(self, record: Record, light: Comparison) -> Verification:
        """Record both sides in full: the step where light passes differ is mostly the one to look into."""
        self.progress("what differs is recorded in full")
        step = _choose_step(light) if self.deep else 0
        if step:
            runs = self._zoom(record, step, -1)
            with suppress(CannotJudgeError):
                result = self.judge(*runs, zoomed=step)
                if result.status is Status.DIVERGED:
                    return result
            # the deep pass got in the way
        return self.judge(*(record(side, {"level": "full"}) for side in _SIDES))

    def _judge_equal(self, pair: Pair, expected: Run, actual: Run) -> Verification:
        """Of sides that trained alike what they printed and left in files counts, too, if that repeats.

        It counts where nothing was trained as well; else equality means nothing there.
        """
        vacuous = judge_vacuous(pair)
        if vacuous and pair.comparison.num_steps:
            return vacuous
        printed, files, lost = compare_left(expected, actual)
        if (printed or files.numbers or lost) and self.record and self.deep:
            again = self.record("candidate", {})
            printed, files, _ = compare_left(expected, keep_what_repeats(actual, again))
            lost_again = {_old(line) for line in compare_left(expected, again)[2]}
            lost = [line for line in lost if _old(line) in lost_again]
            if printed:
                at = pair.comparison.reads[0] if pair.comparison.reads else -1
                runs = self._zoom(self.record, _step_of(pair, at), at, pair)
                location, _ = self._locate(pair, runs, at, ends="reads")
                return _judge_printed(pair, printed, location)
            if files.numbers:
                return _judge_files(pair, list(files.numbers))
        less = "the candidate prints or leaves less, more, or in other words: "
        notes = (
            *_shorten("other bytes, which may mean the same, in ", files.others),
            *_shorten(less, lost),
        )
        return vacuous or conclude(pair, notes=notes)

    def _zoom(self, record: Record, step: int, at: int, pair: Pair | None = None) -> list[Run]:
        """Run both sides once more with the operations of a step; to the end if `at` is none, or if what
        one program leaves another one may need.
        """
        limit = {"steps": step} if at >= 0 and not (pair and pair.in_turn) else {}
        runs = []
        for side, lines in zip(_SIDES, self.edited, strict=True):
            self.progress(f"zooming in on step {step}: {side}")
            runs.append(record(side, {"level": "full", "deep": step, "edited": lines, **limit}))
        return runs

    def _locate(
        self, pair: Pair, runs: Sequence[Run], at: int, *, ends: str = ""
    ) -> tuple[Location | None, list[str]]:
        """Find the operation and the lines where two deep passes part."""
        try:
            sides = align(runs[0].recording, runs[1].recording)
            deep = [read_deep(side.processes()[pair.number]) for side in sides]
        except (CannotJudgeError, IndexError) as error:
            return None, [f"the deep pass failed: {error or 'it recorded nothing'}"]
        comparison = pair.comparison
        location = locate(deep[0], deep[1], edited=self.edited, ends=ends or _choose_ends(comparison, at))
        workers = [_read_worker_lines(run.recording) for run in runs]
        left, right = [*location.expected_lines, *workers[0]], [*location.actual_lines, *workers[1]]
        left, right = _put_suspicious_first(left, right, self.rank())
        location = replace(location, expected_lines=tuple(left), actual_lines=tuple(right))
        if not (comparison.expected.compiled or comparison.actual.compiled):
            return location, []
        told = "the deep pass ran without torch.compile"
        if all(item.step for item in deep) and _same_step(deep[0].step, deep[1].step):
            told += ", and there both sides agree: they differ only when compiled"
        return location, [told]


def compare_left(expected: Run, actual: Run) -> tuple[tuple[str, str] | None, Changes, list[str]]:
    """Compare what two runs printed and left: the first other numbers, the files, what is lost."""
    files = compare_outputs(expected.outputs, actual.outputs)
    lost = [*files.lost, *list_lost(expected.stdout, actual.stdout)]
    return compare_printed(expected.stdout, actual.stdout), files, lost


def tell_left(result: Verification, expected: Run, actual: Run) -> Iterator[str]:
    """Say what else came of a difference after the last step: what repeats is printed, or left, otherwise."""
    first = result.comparison.first if result.comparison else None
    if first is None or first.step >= 0:
        return
    printed, files, _ = compare_left(expected, actual)
    if printed:
        yield f"other numbers are printed, too: {printed[0]!r} -> {printed[1]!r}"
    if files.numbers or files.others:
        yield from _shorten("other files are left, too: ", [*files.numbers, *files.others])


def tell_not_compared(expected: Run, actual: Run) -> Iterator[str]:
    """Say what differs and is no result, and what two runs of the baseline print or leave otherwise."""
    passed_over = [
        *list_passed_over(expected.stdout, actual.stdout),
        *list_passed_over_in_files(expected.outputs, actual.outputs),
    ]
    yield from _shorten("not compared, as times, rates or sizes, or with fewer decimals: ", passed_over)
    yield from _shorten(
        "not compared, as two runs of the baseline print it otherwise: ",
        [*map(repr, list_unsteady(expected.stdout))],
    )
    yield from _shorten(
        "not compared, as two runs of the baseline leave it otherwise: ",
        list_unsteady_outputs(expected.outputs),
    )


def _old(line: str) -> str:
    return line.partition(" -> ")[0]


def _step_of(pair: Pair, at: int) -> int:
    """Give the step that the deep pass is to record; what happened after the last one is the next one's."""
    return max(1, at) if at >= 0 else pair.comparison.num_steps + 1


def _choose_ends(comparison: Comparison, at: int) -> str:
    """Give what the search starts from: what the program put out, or the numbers of training."""
    hard = comparison.first.differences if comparison.first else ()
    keys = {difference.key for difference in hard if difference.hard}
    return "outputs" if keys & {"evaluated", "saved"} or at < 0 else "numbers"


def _choose_step(light: Comparison) -> int:
    """Give the step whose operations are worth recording in the full pass already, or 0.

    That the one where light passes differ is the one to look at is usual, and spares two runs. What is
    compiled would run otherwise in the deep pass.
    """
    if light.first is None or light.first.step < 0 or light.expected.compiled or light.actual.compiled:
        return 0
    return max(1, light.first.step)


def _judge_wavering(light: Comparison, result: Verification) -> Verification:
    """Results that differed once and agree when they are recorded again prove that a side does not repeat."""
    results = {"loss", "evaluated", "saved", "steps"}
    if not light.guessed:  # else the full pass may have found better pairs
        results |= {"values", "initial values"}
    differed = [item for item in light.first.differences if item.key in results] if light.first else []
    if differed and result.status in {Status.IDENTICAL, Status.NOTED}:
        summary = f"{light.first.describe()} differed, and did not when recorded again"  # type: ignore[union-attr]
        return replace(result, status=Status.UNSTABLE, summary=summary)
    return result


def _judge_printed(pair: Pair, printed: tuple[str, str], location: Location | None) -> Verification:
    """Say that training is the same and other numbers are printed, on either side each time."""
    reads = pair.comparison.reads
    lines = [*location.expected_lines, *location.actual_lines] if location else []
    evaluated = reads[1].startswith("eval:") if reads else any(line.phase == "eval" for line in lines)
    phase = "eval" if evaluated else "log"
    cause = Cause(phase=phase, kind="logging-only", detail=f"{printed[0]!r} -> {printed[1]!r}")
    return _diverge_beside(pair, "what is printed", cause, location=location)


def _judge_files(pair: Pair, numbers: list[str]) -> Verification:
    """Say that training is the same and files that it left hold other numbers, on either side each time."""
    more = f", and {len(numbers) - 1} more files" if len(numbers) > 1 else ""
    cause = Cause(phase="save", kind="files-only", detail=numbers[0] + more)
    return _diverge_beside(pair, "files", cause, notes=tuple(numbers[1:]))


def _diverge_beside(
    pair: Pair, where: str, cause: Cause, *, location: Location | None = None, notes: tuple[str, ...] = ()
) -> Verification:
    counts, rest = _count(pair.comparison.expected), "all else" if pair.evaluates else "training"
    return Verification(
        status=Status.DIVERGED,
        summary=f"diverged in {where} alone, {cause.phase}: {rest} is identical over {counts}; {cause}",
        cause=cause,
        process=pair.which,
        comparison=pair.comparison,
        location=location,
        notes=(*pair.comparison.notes, *notes),
    )


def _shorten(what: str, items: Sequence[str]) -> tuple[str, ...]:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return (what + ", ".join(items[:3]) + more,) if items else ()


def conclude(pair: Pair, location: Location | None = None, *, notes: tuple[str, ...] = ()) -> Verification:
    """Put a comparison of complete runs into words."""
    comparison = pair.comparison
    if comparison.first:
        cause = classify(comparison, location)
        place = comparison.first.where(cause.phase)
        return Verification(
            status=Status.DIVERGED,
            summary=f"diverged {place}; {cause} ({cause.level})",
            cause=cause,
            process=pair.which,
            comparison=comparison,
            location=location,
            notes=(*comparison.notes, *notes),
        )
    told = (*comparison.notes, *_reword_facts(comparison), *notes)
    if comparison.expected.elsewhere or comparison.actual.elsewhere:
        told += (_UNSEEN,)
    if pair.unsteady:
        told += (f"{_NOT_STEADY}: {', '.join(pair.unsteady)}",)
    if pair.evaluates:
        told += ("nothing is trained: no word on training",)
    counts = _count(comparison.expected)
    words = f"bitwise identical over {counts}"
    status = Status.NOTED if told else Status.IDENTICAL
    if len(set(pair.steps)) > 1:
        words = f"bitwise identical over {sum(pair.steps)} steps in {pair.num_processes} processes"
    elif pair.num_processes > 1:
        words += f", in each of {pair.num_processes} processes"
    return Verification(status=status, summary=words, comparison=comparison, notes=told)


def _count(summary: Summary) -> str:
    parts = []
    if not summary.evaluates:
        parts = [f"{summary.num_steps} step{'s' if summary.num_steps != 1 else ''}"]
    for number, word in (
        (summary.num_evaluations, "evaluation pass"),
        (summary.num_saved, "save"),
        (summary.num_resumed, "resume"),
    ):
        if number:
            plural = "es" if word.endswith("s") else "s"
            parts.append(f"{number} {word}{plural if number > 1 else ''}")
    return ", ".join(parts)


def _judge_broken(expected: Run, actual: Run) -> Verification | None:
    """Say that a run broke, and what can be said of the steps before."""
    run = expected if expected.broke else actual
    if not run.broke:
        return None
    before = "nothing was recorded before"
    comparison, which = None, ""
    if expected.recording.paths and actual.recording.paths and expected is not actual:
        try:
            pair = compare_recordings(expected.recording, actual.recording)
            comparison, which = pair.comparison, pair.which
            equal = "1 step was" if comparison.num_steps == 1 else f"{comparison.num_steps} steps were"
            before = f"until then {equal} bitwise identical"
            if comparison.first and not _is_cut(comparison, run is expected):
                before = f"before that it diverged {comparison.first.where()}"
        except CannotJudgeError as error:
            before = str(error)
    both = "; so does the baseline" if expected.broke and actual.broke and expected is not actual else ""
    summary = f"{run.broke}{both}; {before}"
    return Verification(
        status=Status.ERROR, summary=summary, evidence=run.evidence, comparison=comparison, process=which
    )


def _is_cut(comparison: Comparison, baseline_broke: bool) -> bool:
    """Tell whether what differs is only what the broken side did not come to any more."""
    first = comparison.first
    assert first is not None
    broken = comparison.expected if baseline_broke else comparison.actual
    last = first.step < 0 or first.step >= broken.num_steps
    return last and first.first.key in {"calls", "evaluated", "saved", "steps"}


def judge_environments(pair: Pair) -> Verification | None:
    """Say that two recordings come from environments that compute other bits.

    Not asked of two runs here and now: there another probe is the candidate's own doing.
    """
    sides = pair.comparison.expected.environment, pair.comparison.actual.environment
    different = list_environment_differences(*sides)
    if not all(sides) or not different:
        return None
    summary = f"recorded in different environments: {', '.join(different)}"
    return Verification(status=Status.NOT_COMPARABLE, summary=summary, comparison=pair.comparison)


def judge_vacuous(pair: Pair) -> Verification | None:
    """Equality of programs that trained nothing, or computed no numbers, means nothing."""
    comparison = pair.comparison
    left, right = comparison.expected, comparison.actual
    if comparison.first:
        return None
    for side, summary_of in (("baseline", left), ("candidate", right)):
        reason = ""
        if not summary_of.num_steps and not pair.evaluates:
            reason = "took no optimizer step"
        elif summary_of.num_backwards and summary_of.only_not_finite:
            reason = f"computed no numbers: {summary_of.not_finite}, and no finite one"
        elif summary_of.num_steps and not summary_of.trained:
            reason = "trained nothing: no step changed a parameter"
        elif not summary_of.complete:
            steps = summary_of.num_steps
            reason = f"was cut off after {steps} steps (killed; --steps ends it before)"
        if reason:
            summary = f"the {side} {reason}; that both sides agree means nothing"
            return Verification(
                status=Status.INCONCLUSIVE, summary=summary, comparison=comparison, process=pair.which
            )
    return None


def _put_suspicious_first(
    left: list[Line], right: list[Line], ranks: tuple[Ranks, Ranks]
) -> tuple[list[Line], list[Line]]:
    """Put moved lines behind changed ones; merely renamed ones count only where there is nothing else."""
    ranked = [
        [(known.get((line.file, line.line), 0), line) for line in lines]
        for lines, known in zip((left, right), ranks, strict=True)
    ]
    least = max(MOVED, min((rank for side in ranked for rank, _ in side), default=MOVED))
    for side in ranked:
        side.sort(key=lambda pair: pair[0])
    return tuple([line for rank, line in side if rank <= least] for side in ranked)  # type: ignore[return-value]


def _same_step(left: Event | None, right: Event | None) -> bool:
    return bool(left and right and all(left[k] == right[k] for k in ("gradients", "parameters")))


def _read_worker_lines(recording: Recording) -> list[Line]:
    found: dict[Line, None] = {}
    for folder in {path.parent for path in recording.paths}:
        for path in sorted(Path(folder).glob("lines-*.txt")):
            for text in path.read_text().splitlines():
                file, line = json.loads(text)
                found[Line(file, line, "", "ran in a worker of the loader")] = None
    return list(found)


def _reword_facts(comparison: Comparison) -> list[str]:
    """Of two equal runs only facts of the model, optimizers and loaders are worth a note."""
    kinds = ("modules:", "optimizer", "loader:", "schedules:", "torch:", "seed")
    return [fact for fact in comparison.facts if fact.startswith(kinds)]
