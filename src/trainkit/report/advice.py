"""Advice about imports in words: what each would save, what became of it, and the change itself."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from trainkit.guards.imports.edits import Step
from trainkit.guards.imports.fix import Advice, Told


def render_advice(advice: Advice) -> str:
    """Give the whole report; the diff, if there is one, comes last."""
    lines = [f"target       {advice.target}: {advice.num_modules} modules, {advice.cpu_s:.2f} s of CPU"]
    for told in advice.told:
        lines += ["", *_render_told(told)]
    if not advice.told:
        lines += ["", "nothing      of what could come later saves 1 % of the modules or of the time"]
    if advice.blocked:
        lines += ["", "These would save something, and are left alone:"]
        for told in advice.blocked:
            lines += ["", *_render_told(told)]
    lines += _render_outcome(advice)
    if advice.files:
        lines += ["", advice.diff().rstrip("\n")]
    return "\n".join(lines)


def _render_told(told: Told) -> Iterator[str]:
    step = told.step
    yield f"{told.outcome:12} {_describe_cost(step)}"
    for edit in step.edits:
        how = "" if edit.blocked else f"  -> {edit.how()}"
        yield f"{'':12} {edit.file}:{edit.line}  {edit.shown}{how}"
    if told.reason:
        yield f"{'':12} {told.reason}"


def _describe_cost(step: Step) -> str:
    cost = step.cost
    return f"saves {cost.num_modules} modules, {cost.cpu_s:.2f} s of CPU"


def _render_outcome(advice: Advice) -> Iterator[str]:
    if advice.after_modules is None:
        return
    yield ""
    yield f"modules      {advice.num_modules} -> {advice.after_modules}"
    before, after = ([pair[side] for pair in advice.pairs] for side in (0, 1))
    ratios = [pair[1] / pair[0] for pair in advice.pairs]
    yield (
        f"CPU          {median(before):.2f} s -> {median(after):.2f} s (medians of {len(ratios)} interleaved "
        f"pairs of runs; ratios {min(ratios):.2f} to {max(ratios):.2f})"
    )
    for line in advice.proof:
        yield f"proof        {line}"
