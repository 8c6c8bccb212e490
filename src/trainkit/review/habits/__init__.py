"""Training rules: what goes wrong in training without an error. Heuristics, each with the lines it rests on.

`extract` judges a file by itself; `across.find_across` what only several files together show.
"""

from __future__ import annotations

import ast
import re
import string
from typing import Any

from trainkit.review.comments import list_allowed

# A file that has none of these words has nothing that a rule looks at.
_WORDS = re.compile(
    rb"torch|sklearn|train_test_split|fit_transform|backward|optimizer|batch_size|learning_rate"
)
_HELPERS = re.compile(rb"(?:signal|sigterm|sigint|preempt|launch|spawn|distributed|ddp)\w*")
_LETTERS = frozenset(string.ascii_letters.encode() + string.digits.encode() + b"_")


def extract(tree: ast.Module, source: bytes) -> dict[str, Any]:
    """Give what the rules found in one file, and what they need to know of it to judge the others."""
    names = _count_helpers(source)
    facts: dict[str, Any] = {"found": [], "literals": [], "helpers": [], "names": names, "trains": False}
    facts["allowed"] = list_allowed(source)
    if names or _WORDS.search(source):
        from trainkit.review.habits import data, loops, state
        from trainkit.review.habits.scopes import read_file

        file = read_file(tree, source)
        facts["helpers"] = [(scope.name, scope.line, scope.end) for scope in file.scopes if scope.is_helper()]
        if _WORDS.search(source):
            rules = [rule for module in (loops, state, data) for rule in module.RULES]
            facts["found"] = [tuple(vars(habit).values()) for rule in rules for habit in rule(file)]
            facts["literals"] = file.list_literals()
            facts["trains"] = any(file.is_step(call) for scope in file.scopes for call in scope.calls)
    return facts


def _count_helpers(source: bytes) -> dict[str, int]:
    """Give how often each word stands there that may name a handler of signals or a launcher.

    Looked for from the middle of a word on: a pattern that begins with any letters takes six times as long.
    """
    names: dict[str, int] = {}
    for found in _HELPERS.finditer(source.lower()):
        start = found.start()
        while start and source[start - 1] in _LETTERS:
            start -= 1
        name = source[start : found.end()].decode()
        names[name] = names.get(name, 0) + 1
    return names
