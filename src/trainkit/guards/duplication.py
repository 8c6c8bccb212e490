"""No new copies of code, and a word about the copies that a change forgot.

A class of copies may not gain members, nor two long bodies a shared run of statements, whatever is renamed,
moved, cut out or merged; members may be edited and removed. Where some copies of a class, or of a run, change
and others do not, that is a warning: a fix must reach every copy.
"""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainkit.guards.context import Context
from trainkit.review.clones import Copies
from trainkit.review.model import CloneClass, Place
from trainkit.review.sources import Source, find_unreadable, list_tree, read_files
from trainkit.review.uneven import gained, uneven
from trainkit.verdict import Finding, Measurement, Severity, Status, Verdict, status_of


@dataclass(frozen=True)
class DuplicationSettings:
    """`[tool.trainkit.duplication]`: which files."""

    include: tuple[str, ...] = ("*.py",)
    exclude: tuple[str, ...] = ("tests/*", "test_*.py", "*/test_*.py")


SETTINGS = DuplicationSettings


def check(context: Context) -> Verdict:
    """Compare the copies of both sides; without a baseline none is new."""
    settings = context.parse(DuplicationSettings)
    if context.baseline is None:
        return Verdict(guard=context.name, status=Status.SKIPPED, summary="needs a baseline: --base REF")
    new = _read(context, context.candidate.path, settings)
    if not new:
        return Verdict(guard=context.name, status=Status.SKIPPED, summary="no Python file matches `include`")
    old = _read(context, context.baseline.path, settings)
    context.progress("comparing copies")
    before, after = Copies(old), Copies(new)
    copies = list(_list_copies(before, after))
    findings = [*_tell_gained(copies), *_list_uneven(before, after), *_list_unmeasured(old, new)]
    num_uneven = sum(finding.rule == "duplication-uneven" for finding in findings)
    num_intended = sum(bool(body.intended) for body in after.bodies)
    was, repeated = before.count_repeated_lines(), after.count_repeated_lines()
    parts = [
        _count(len(copies), "new copy", "new copies")
        + f", {_count(num_uneven, 'change', 'changes')} that forgot some, in {len(new)} files",
        f"copies repeat {was - repeated} lines less" if repeated < was else "",
        f"{num_intended} copies are meant, and say so" if num_intended else "",
    ]
    return Verdict(
        guard=context.name,
        status=status_of(findings),
        summary="; ".join(filter(None, parts)),
        findings=tuple(findings),
        measurements=(
            Measurement(name="new copies", value=len(copies), unit="copies"),
            Measurement(
                name="repeated by copies",
                value=repeated,
                unit="lines",
                baseline=was,
                how="that would go if each had one copy",
            ),
            Measurement(name="waived", value=num_intended, unit="functions", how="comments with a reason"),
        ),
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _read(context: Context, root: Path, settings: DuplicationSettings) -> list[Source]:
    def fits(file: str, patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatch(file, pattern) for pattern in patterns)

    files = [
        file for file in list_tree(root) if fits(file, settings.include) and not fits(file, settings.exclude)
    ]
    return read_files(root, files, ["clones"], progress=context.progress)


@dataclass(frozen=True)
class _Copy:
    """A new copy, what it is one of, and how many there were."""

    place: Place
    of: Place
    clones: CloneClass
    num_before: int

    def says(self) -> str:
        return f"{_name(self.place, self.clones, ',')} is a new copy of {_say(self.of)}"


def _list_copies(old: Copies, new: Copies) -> Iterator[_Copy]:
    for found in gained(old, new):
        fresh = set(found.new)
        others = [place for place in found.clones.members if place not in fresh]
        for place in found.new[0 if others else 1 :]:
            of = others[0] if others else found.new[0]
            yield _Copy(place, of, found.clones, max(len(others), 1))


def _tell_gained(copies: Sequence[_Copy]) -> Iterator[Finding]:
    """Give a finding for each new copy, and one for all that one class has of another."""
    groups: dict[tuple[str | int, ...], list[_Copy]] = defaultdict(list)
    for number, copy in enumerate(copies):
        pair = _owner(copy.place), _owner(copy.of)
        groups[pair if all(pair) else (number,)].append(copy)
    for group in groups.values():
        yield _tell_one(group[0]) if len(group) == 1 else _tell_class(group)


def _owner(place: Place) -> str:
    owner = place.name.rpartition(".")[0]
    return f"{place.path}:{owner}" if owner else ""


def _tell_one(copy: _Copy) -> Finding:
    return Finding(
        rule="duplication-gained",
        message=copy.says(),
        file=copy.place.path,
        line=copy.place.line,
        expected=f"{copy.num_before} of them",
        actual=f"{len(copy.clones.members)} of them",
        evidence=tuple(
            f"also {_say(each)}" for each in copy.clones.members if each not in {copy.place, copy.of}
        ),
        hint="call the other one; if the copy is meant: # trainkit: allow duplication because ...",
    )


def _tell_class(group: Sequence[_Copy]) -> Finding:
    first = group[0]
    owner, other = (place.name.rpartition(".")[0] for place in (first.place, first.of))
    return Finding(
        rule="duplication-gained",
        message=f"{len(group)} parts of {owner} are new copies of parts of {other} in {first.of.path}",
        file=first.place.path,
        line=first.place.line,
        expected="0 of them",
        actual=f"{len(group)} of them",
        evidence=tuple(copy.says() for copy in group),
        hint=f"call those of {other}, or give both a base; if the copies are meant: "
        "# trainkit: allow duplication because ...",
    )


def _name(place: Place, clones: CloneClass | None, end: str = "") -> str:
    """Give what a place is called, and of a run its lines."""
    name = place.name or "the module body"
    return f"{name}, lines {place.line} to {place.end}{end}" if clones and clones.kind == "run" else name


def _say(place: Place, clones: CloneClass | None = None) -> str:
    return f"{_name(place, clones)} at {place.path}:{place.line}"


def _list_uneven(old: Copies, new: Copies) -> Iterator[Finding]:
    for found in uneven(old, new):
        first = found.changed[0]
        num_left, num_all = len(found.untouched), len(found.untouched) + len(found.changed)
        yield Finding(
            rule="duplication-uneven",
            message=f"{_say(first, found.clones)} changed, {num_left} of its {num_all} copies did not",
            severity=Severity.WARNING,
            file=first.path,
            line=first.line,
            evidence=(
                *(f"not changed: {_say(place, found.clones)}" for place in found.untouched),
                *found.what,
            ),
            hint="if the change is a fix, the others need it, too",
        )


def _list_unmeasured(old: Sequence[Source], new: Sequence[Source]) -> Iterator[Finding]:
    for source, is_known in find_unreadable(new, old):
        yield Finding(
            rule="duplication-unmeasured",
            message=f"{source.path} could not be read: {source.error}",
            severity=Severity.WARNING if is_known else Severity.ERROR,
            file=source.path,
        )
