"""The values that a review is made of; whoever prints them needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Some lines of a file, and the function or module body that they are (of)."""

    path: str
    line: int
    end: int
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A function, method, class body or module body, measured.

    The body of a class or module is what stands in it outside its functions and classes.
    """

    place: Place
    kind: str  # "function", "method", "class body" or "module body"
    cyclomatic: int  # radon's scale
    cognitive: int  # SonarSource's definition
    num_lines: int  # without blanks, comments and docstring
    nesting: int
    num_parameters: int
    num_handlers: int  # except blocks
    num_broad: int  # of them bare, or of Exception or BaseException, that neither raise nor give a reason
    allowed: str = ""  # the reason, where a comment allows it to be complex


@dataclass(frozen=True, kw_only=True)
class CloneClass:
    """Pieces of code that do the same: functions, methods of a class, or runs inside longer functions.

    `grade` is "equal" (after normalisation), "near" or "related"; `num_bodies` counts the distinct normalised
    bodies. `drift` says in which lines copies differ, `signature` what a function in their place would look
    like. `fingerprint` stays when members are renamed, moved or reformatted.
    """

    kind: str  # "function", "class" (all its methods), "methods" (some of them) or "run"
    grade: str
    members: tuple[Place, ...]
    num_bodies: int
    num_lines_saved: int
    fingerprint: str
    signature: str = ""
    drift: tuple[str, ...] = ()
    intended: str = ""  # the reason, where the copies are marked as meant


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One thing that is worth doing: what, where, why it is believed, what it takes.

    `key` stays between runs (it is made of what was found, not of where); `id` numbers a report's issues.
    """

    rule: str  # the slug, an entry of docs/messages.md
    key: str
    title: str
    severity: str  # "high", "medium" or "low"
    places: tuple[Place, ...]
    evidence: tuple[str, ...] = ()
    proposal: str = ""
    effort_min: tuple[int, int] = (5, 15)  # minutes, from to
    priority: int = 2  # 0 first
    id: str = ""
    allowed: str = ""  # the reason that a comment gives, where it is meant
    is_new: bool = False  # the base does not have it
