"""No function or module body more complex than at the baseline, beyond the limits: the ratchet.

A unit may not get worse than `max(limit, what it was)`, whatever it is called now and wherever it stands
(`review/matching.py`). What is taken out of a function may be as complex as that was, as long as the excess
over the limit does not grow. Both trees are measured by the same code, and no file keeps a baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainkit.guards.complexity.judge import Judge, excess_of, say, value_of
from trainkit.guards.complexity.settings import (
    MEASURES,
    ComplexitySettings,
    keep_strict,
    read_settings,
    tell_excluded,
)
from trainkit.guards.context import Context
from trainkit.review.matching import Matching, Piece, match_trees, read_pieces
from trainkit.review.measure import MODULE_BODY
from trainkit.review.sources import Source, find_unreadable, list_tree, read_files
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict, status_of

SETTINGS = ComplexitySettings


def check(context: Context) -> Verdict:
    """Measure both sides and complain of what is over a limit and new, or worse than it was."""
    own = context.parse(ComplexitySettings)
    before = read_settings(context.baseline.path, context.name) if context.baseline else None
    settings, findings = keep_strict(own, before or own)
    root = context.candidate.path
    files, dropped = _list_files(context, own, before)
    findings += [tell_excluded(dropped)] if dropped else []
    sources = read_files(root, [*files, *dropped], ["complexity"], progress=context.progress)
    old = _read_baseline(context, own, before or own)
    findings += _list_unmeasured(sources, old)
    if context.baseline:
        matching = match_trees((context.baseline.path, old), (root, sources))
    else:
        matching = Matching([], read_pieces(sources))
    notebooks = [file for file in list_tree(root, ".ipynb") if not own.excludes(file)]
    return _conclude(context, Judge(matching, settings), findings, notebooks)


def _list_files(
    context: Context, own: ComplexitySettings, before: ComplexitySettings | None
) -> tuple[list[str], list[str]]:
    """Give the files to measure, and those that only the baseline measures: they are, for one more change."""
    every = list_tree(context.candidate.path)
    known: set[str] = set()
    if context.baseline and before:
        known = {file for file in list_tree(context.baseline.path) if before.measures(file)}
    files = [file for file in every if own.measures(file)]
    return files, sorted(known.intersection(every).difference(files))


def _read_baseline(context: Context, *settings: ComplexitySettings) -> list[Source]:
    """Read what any of these settings measures."""
    if context.baseline is None:
        return []
    root = context.baseline.path
    files = [file for file in list_tree(root) if any(each.measures(file) for each in settings)]
    return read_files(root, files, ["complexity"], progress=context.progress)


def _list_unmeasured(sources: Sequence[Source], old: Sequence[Source]) -> Iterator[Finding]:
    for source, is_known in find_unreadable(sources, old):
        yield Finding(
            rule="complexity-unmeasured",
            message=f"{source.path} could not be measured: {source.error}",
            severity=Severity.WARNING if is_known else Severity.ERROR,
            file=source.path,
        )


def _conclude(context: Context, judge: Judge, findings: list[Finding], notebooks: Sequence[str]) -> Verdict:
    matching = judge.matching
    if not matching.new and not findings:
        summary = "no Python file matches `include`" + _count_notebooks(notebooks)
        return Verdict(guard=context.name, status=Status.SKIPPED, summary=summary)
    findings += judge.list_findings()
    status = status_of(findings)
    if not matching.new and status is Status.PASSED:
        status = Status.ERROR
    return Verdict(
        guard=context.name,
        status=status,
        summary=_summarize(judge, findings, context.baseline is not None) + _count_notebooks(notebooks),
        findings=tuple(sorted(findings, key=lambda finding: list(Severity).index(finding.severity))),
        measurements=tuple(_list_measurements(judge)),
    )


def _count_notebooks(notebooks: Sequence[str]) -> str:
    return f"; {len(notebooks)} notebooks not measured" if notebooks else ""


def _summarize(judge: Judge, findings: Sequence[Finding], compared: bool) -> str:
    pieces = judge.matching.new
    num_functions = sum(piece.facts.kind in {"function", "method"} for piece in pieces)
    num_bodies = sum(piece.facts.kind == MODULE_BODY for piece in pieces)
    size = f"{num_functions} functions, {num_bodies} module bodies"
    num_bad = sum(finding.severity is Severity.ERROR for finding in findings)
    reasons = [reason for _, reason in judge.waivers.values() if reason]
    waived = f"; {len(reasons)} waived" if reasons else ""
    if not compared:
        return f"{num_bad} over the limits of {size}{waived}"
    num_simpler = len(_list_simpler(judge))
    num_debts = sum(excess_of(judge, piece) > 0 for piece in pieces)
    num_warned = sum(finding.severity is Severity.WARNING for finding in findings)
    warned = f"; {num_warned} that warn{'s' * (num_warned == 1)}" if num_warned else ""
    counts = (
        f"{num_bad} worse, or new and over the limits{warned}; {num_simpler} better; {num_debts} over in all"
    )
    return f"{counts}; of {size}{waived}"


def _list_simpler(judge: Judge) -> list[tuple[Piece, Piece]]:
    """Give what was over a first limit and is so by less, now and before."""
    pairs = judge.matching.before.items()
    return [(new, old) for new, old in pairs if excess_of(judge, new, 0) < excess_of(judge, old, 0)]


def _measure_simpler(judge: Judge) -> Iterator[Measurement]:
    for new, was in _list_simpler(judge):
        for name in MEASURES:
            if value_of(new, name) < value_of(was, name) > getattr(judge.settings, name)[0]:
                yield Measurement(
                    name=f"{new.describe()}, simpler",
                    value=value_of(new, name),
                    unit=say(name),
                    baseline=value_of(was, name),
                    how=f"{new.source.path}:{new.facts.line}",
                )


def _list_measurements(judge: Judge) -> Iterator[Measurement]:
    matching = judge.matching
    yield from _measure_simpler(judge)
    for label, kinds in (("worst function", {"function", "method"}), ("worst module body", {MODULE_BODY})):
        for name in ("cyclomatic", "cognitive"):
            chosen = [piece for piece in matching.new if piece.facts.kind in kinds]
            if chosen:
                worst = max(chosen, key=lambda piece: value_of(piece, name))
                old = matching.before.get(worst)
                yield Measurement(
                    name=label,
                    value=value_of(worst, name),
                    unit=f"{name} complexity",
                    baseline=value_of(old, name) if old else None,
                    how=f"{worst.source.path}:{worst.facts.line} {worst.facts.name}",
                )
    yield Measurement(
        name="excess over the limits",
        value=sum(excess_of(judge, piece) for piece in matching.new),
        unit="points and lines",
        baseline=sum(excess_of(judge, piece) for piece in matching.old) if matching.old else None,
        how="over the second limit, all measures together",
    )
    reasons = [reason for _, reason in judge.waivers.values() if reason]
    yield Measurement(name="waived", value=len(reasons), unit="units", how="comments with a reason")
