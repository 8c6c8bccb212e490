"""Two recordings, compared process by process: which of them differs first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from trainkit.errors import CannotJudgeError
from trainkit.trace.divergence import Comparison, compare
from trainkit.trace.store import Event, Recording

_ORDER = ("init", "data", "eval", "forward", "loss", "backward", "clip", "optimizer", "schedule")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two runs, compared process by process; `which` names the one that differs first."""

    comparison: Comparison
    which: str
    number: int
    num_processes: int
    steps: tuple[int, ...]  # of the baseline's processes
    evaluates: bool = False  # none of them does anything else
    in_turn: bool = False  # some programs began when others had ended
    unsteady: tuple[str, ...] = ()  # random generators that are not compared


def compare_recordings(expected: Recording, actual: Recording, *, unsteady: Sequence[str] = ()) -> Pair:
    """Compare the processes of two commands, ranks in order; not the random generators that are `unsteady`.

    Raises:
        CannotJudgeError: nothing was recorded, or a trace is damaged.
    """
    expected, actual = align(expected, actual)
    stages, programs = expected.stages(), expected.programs()
    left, right = (
        (_leave_out(process, unsteady) for process in side.processes()) for side in (expected, actual)
    )
    pair = compare_processes(left, right, stages=stages)
    words = programs[pair.number] if len(set(programs)) > 1 else ""
    which = f"{pair.which}, {words}".removesuffix(", ")
    return replace(pair, which=which, in_turn=len(set(stages)) > 1, unsteady=tuple(unsteady))


def _leave_out(events: Iterator[Event], generators: Sequence[str]) -> Iterator[Event]:
    for event in events:
        if "rng" in event:
            event["rng"] = {name: state for name, state in event["rng"].items() if name not in generators}
        yield event


def align(expected: Recording, actual: Recording) -> tuple[Recording, Recording]:
    """Put the same programs in the order in which the first side began them; the sides may have others."""
    programs = [side.programs() for side in (expected, actual)]
    if Counter(programs[0]) != Counter(programs[1]):
        return expected, actual
    begun = [name for _, name in sorted(zip(expected.begins(), programs[0], strict=True))]
    ordered = []
    for names, side in zip(programs, (expected, actual), strict=True):
        pairs = sorted(zip(names, side.paths, strict=True), key=lambda pair: begun.index(pair[0]))
        ordered.append(Recording(paths=tuple(path for _, path in pairs)))
    return ordered[0], ordered[1]


def compare_processes(
    expected: Iterator[Iterator[Event]], actual: Iterator[Iterator[Event]], *, stages: Sequence[int] = ()
) -> Pair:
    """Compare process after process; the pair whose first divergence has the smallest step counts.

    Of processes that ran in turn, later `stages`, the first that diverged counts: the others go on from it.

    Raises:
        CannotJudgeError: the sides have another number of processes, or none.
    """
    found: list[Comparison] = []
    for left, right in zip_longest(expected, actual):
        if left is None or right is None:
            message = "one side trained in another number of processes than the other"
            raise CannotJudgeError("processes-differ", message)
        found.append(compare(left, right))
    if not found:
        raise CannotJudgeError("nothing-recorded", "no process ran a model, backward or an optimizer's step")
    number = _choose(found, stages)
    which = f"process {number} of {len(found)}" if len(found) > 1 else ""
    return Pair(
        comparison=found[number],
        which=which,
        number=number,
        num_processes=len(found),
        steps=tuple(item.expected.num_steps for item in found),
        evaluates=all(side.evaluates for item in found for side in (item.expected, item.actual)),
    )


def _choose(found: Sequence[Comparison], stages: Sequence[int]) -> int:
    """Give the number of the process that diverged first, else of one that was cut off, else that trained."""
    diverged = [number for number, item in enumerate(found) if item.first]
    if diverged:
        return min(diverged, key=lambda number: (stages[number] if stages else 0, *_rank_of(found[number])))
    cut = (i for i, item in enumerate(found) if not (item.expected.complete and item.actual.complete))
    trained = (i for i, item in enumerate(found) if item.num_steps)
    return next(cut, next(trained, 0))


def _rank_of(comparison: Comparison) -> tuple[int, int]:
    """Order divergences in time: what differs on one rank first shows on the others as gradients."""
    first = comparison.first
    assert first is not None
    phase = _ORDER.index(first.phase) if first.phase in _ORDER else len(_ORDER)
    return first.step % (1 << 62), phase
