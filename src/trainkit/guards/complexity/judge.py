"""Whether a piece got worse than `max(limit, what it was)`, alone or with what was taken out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from trainkit.guards.complexity.settings import MEASURES, ComplexitySettings
from trainkit.review.complexity import read_waivers
from trainkit.review.matching import Matching, Piece
from trainkit.review.measure import CLASS_BODY, MODULE_BODY
from trainkit.verdict import Finding, Severity

_SCRIPTS = {"main", "parse_args"}  # they list what is done: their length only warns
_RULES = {True: "got worse", False: "is over the limit"}


class Judge:
    """Says of each piece whether it got worse; `broken` measures fail, `over` ones warn."""

    def __init__(self, matching: Matching, settings: ComplexitySettings) -> None:
        self.matching, self.settings = matching, settings
        self._after = matching.after()
        self._families: dict[Piece, list[Piece]] = {}
        for piece, origin in matching.origin.items():
            self._families.setdefault(origin, []).append(piece)

    @cached_property
    def waivers(self) -> dict[Piece, tuple[int, str]]:
        """Give line and reason ("" if there is none) by piece."""
        by_place = {(piece.source.path, piece.index): piece for piece in self.matching.new}
        return {
            by_place[path, index]: (line, reason)
            for path, source in {piece.source.path: piece.source for piece in self.matching.new}.items()
            for index, line, subject, reason in read_waivers(source)
            if subject == "complexity"
        }

    def list_findings(self) -> Iterator[Finding]:
        """Give what is worse, or new and over a limit, and what is waived."""
        for piece in self.matching.new:
            line, reason = self.waivers.get(piece, (0, ""))
            finding = self._judge(piece)
            if line and not reason:
                yield Finding(
                    rule="complexity-waiver-without-reason",
                    message=f"{piece.describe()}: no reason is given, so nothing is allowed",
                    severity=Severity.WARNING,
                    file=piece.source.path,
                    line=line,
                    hint="# trainkit: allow complexity because ...",
                )
            if finding and reason:
                yield replace(
                    finding,
                    rule="complexity-waived",
                    severity=Severity.NOTE,
                    evidence=(f"allowed because {reason}", *finding.evidence),
                    hint="",
                )
            elif finding:
                yield finding

    def _judge(self, piece: Piece) -> Finding | None:
        roots = self._roots(piece)
        levels = {
            name: level
            for name in MEASURES
            if (level := self._level(piece, name, roots)) is not Severity.NOTE
        }
        if not levels:
            return None
        was = {name: max((value_of(old, name) for old in roots), default=None) for name in levels}
        changes = [
            f"{say(name)} {value_of(piece, name)}" + ("" if was[name] is None else f" (was {was[name]})")
            for name in levels
        ]
        allowed = [
            f"{say(name)} at most {self._allowed(name, level, was[name])}" for name, level in levels.items()
        ]
        known = any(value is not None for value in was.values())
        bad = Severity.ERROR in levels.values()
        return Finding(
            rule="complexity-worse" if known else "complexity-over-budget",
            message=f"{piece.describe()} {_RULES[known]}: {', '.join(changes)}",
            severity=Severity.ERROR if bad else Severity.WARNING,
            file=piece.source.path,
            line=self._line(piece, levels),
            expected=", ".join(allowed),
            actual=", ".join(str(value_of(piece, name)) for name in levels),
            evidence=tuple(self._explain(piece, roots)),
            hint="give the handler a type, let it raise, or say why in a comment beside it"
            if list(levels) == ["broad_excepts"]
            else "take steps out into functions of their own",
        )

    def _roots(self, piece: Piece) -> list[Piece]:
        before = self.matching.before.get(piece)
        return [*([before] if before else []), *self.matching.merged.get(piece, [])]

    def _allowed(self, name: str, level: Severity, was: int | None) -> int:
        return max(int(getattr(self.settings, name)[level is Severity.ERROR]), was or 0)

    def _level(self, piece: Piece, name: str, roots: Sequence[Piece]) -> Severity:
        """Give ERROR or WARNING where a measure is over what is allowed, else NOTE."""
        if piece.facts.kind == CLASS_BODY and name == "lines":
            return Severity.NOTE  # a table of fields
        warn, fail = getattr(self.settings, name)
        value = value_of(piece, name)
        was = max((value_of(old, name) for old in roots), default=0)
        if name == "lines" and any(piece.keys().total() <= old.keys().total() for old in roots):
            return Severity.NOTE  # written in another way, with not a statement more
        for limit, severity in ((fail, Severity.ERROR), (warn, Severity.WARNING)):
            if value > max(limit, was) and not self._is_part(piece, name, limit):
                only_warns = name == "lines" and (
                    piece.facts.kind == MODULE_BODY or piece.facts.name.rpartition(".")[2] in _SCRIPTS
                )
                return Severity.WARNING if only_warns else severity
        return Severity.NOTE

    def _is_part(self, piece: Piece, name: str, limit: int) -> bool:
        """Say whether this came out of an old piece, and all that did is together no worse than that was."""
        origin = self.matching.origin.get(piece)
        if origin is None:
            return False
        rest = [self._after[origin]] if origin in self._after else []
        values = [value_of(each, name) for each in (*rest, *self._families[origin])]
        was = value_of(origin, name)
        return max(values) <= max(was, limit) and sum(max(value - limit, 0) for value in values) <= max(
            was - limit, 0
        )

    def _explain(self, piece: Piece, roots: Sequence[Piece]) -> Iterator[str]:
        for old in roots:
            if old.place != piece.place:
                yield f"it was {old.describe()} at {old.source.path}:{old.facts.line}"
        if origin := self.matching.origin.get(piece):
            yield f"taken out of {origin.describe()} at {origin.source.path}:{origin.facts.line}"

    def _line(self, piece: Piece, levels: Mapping[str, Severity]) -> int:
        return piece.facts.broad_lines[-1] if list(levels) == ["broad_excepts"] else piece.facts.line


def value_of(piece: Piece, name: str) -> int:
    """Give the value of one of `MEASURES`."""
    facts = piece.facts
    if name == "broad_excepts":
        return len(facts.broad_lines)
    return facts.num_lines if name == "lines" else int(getattr(facts, name))


def say(name: str) -> str:
    """Give one of `MEASURES` in words."""
    return name.replace("_", " ")


def excess_of(judge: Judge, piece: Piece, limit: int = 1) -> int:
    """Give by how much all measures are over their second limit (or over the first one: 0)."""
    return sum(
        max(value_of(piece, name) - getattr(judge.settings, name)[limit], 0)
        for name in MEASURES
        if not (name == "lines" and piece.facts.kind != "function" and piece.facts.kind != "method")
    )
