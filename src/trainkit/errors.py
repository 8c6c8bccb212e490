"""What trainkit raises, and the help it gives for a misspelt name.

The tree::

    TrainkitError               exit status 3: could not judge
    ├── UsageError              exit status 2: an argument or the configuration is wrong
    │   └── ConfigError         every mistake of one configuration at once
    └── CannotJudgeError        exit status 3: git, a child process or the environment let us down

Bad news about the code under test is never an exception: it is a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class TrainkitError(Exception):
    """A failure that the user can understand: one slug, one message, no traceback.

    The slug has an entry in docs/messages.md.
    """

    exit_status = 3

    def __init__(self, slug: str, message: str, *, evidence: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.slug = slug
        self.evidence = tuple(evidence)  # what a program said, for the report

    def lines(self) -> list[str]:
        """Give one printable line per mistake."""
        return [f"{self.slug}: {self}"]


class UsageError(TrainkitError):
    """An argument or a setting is wrong; nothing was run."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration is wrong; `mistakes` are pairs of slug and message, all of them."""

    def __init__(self, mistakes: Sequence[tuple[str, str]]) -> None:
        assert mistakes, "a ConfigError needs a mistake"
        super().__init__(mistakes[0][0], "\n".join(message for _, message in mistakes))
        self.mistakes = tuple(mistakes)

    def lines(self) -> list[str]:
        """Give one printable line per mistake."""
        return [f"{slug}: {message}" for slug, message in self.mistakes]


class CannotJudgeError(TrainkitError):
    """No verdict could be reached: never a pass, never a failure of the code under test."""


def describe_error(error: BaseException) -> str:
    """Give "ValueError: its first line (at file:line)": the last line that ran outside torch."""
    import traceback  # late: most commands never need it

    frames = traceback.extract_tb(error.__traceback__)
    places = [*frames[-1:], *(frame for frame in frames if "/torch/" not in frame.filename)]
    said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return f"{said} (at {places[-1].filename}:{places[-1].lineno})" if places else said


def suggest(name: str, known: Iterable[str]) -> str:
    """Give "; did you mean 'x'?" for the nearest known name, or the list of what is known.

    A name at one edit is nearest. For a dotted name the keys of its own section come first, then the whole
    and the last part among all, so that `max_epoch` finds `trainer.max_epochs`.
    """
    candidates = list(known)
    one_edit = [each for each in candidates if len(name) > 2 and _is_one_edit(name, each)]
    return _advise(one_edit, candidates) if len(one_edit) == 1 else _suggest_near(name, candidates)


def _suggest_near(name: str, candidates: list[str]) -> str:
    import difflib  # late: 4 ms that only a mistake has to pay

    section, _, leaf_name = name.rpartition(".")
    siblings = [candidate for candidate in candidates if section and candidate.startswith(f"{section}.")]
    if siblings:
        leaves = {sibling.removeprefix(f"{section}."): sibling for sibling in siblings}
        near = difflib.get_close_matches(leaf_name, leaves, n=1, cutoff=0.6)
        return _advise([leaves[leaf] for leaf in near], siblings)
    by_leaf = {candidate.rpartition(".")[2]: candidate for candidate in reversed(candidates)}
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
    if not close:
        leaf = difflib.get_close_matches(name.rpartition(".")[2], by_leaf, n=1, cutoff=0.7)
        close = [by_leaf[leaf[0]]] if leaf else []
    return _advise(close, candidates)


def _is_one_edit(left: str, right: str) -> bool:
    """Say whether a letter more, a letter less, another letter or two swapped ones make one the other."""
    start = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
    if start is None:
        return abs(len(left) - len(right)) == 1
    a, b = left[start:], right[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def _advise(close: list[str], known: list[str]) -> str:
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""
