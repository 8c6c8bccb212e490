"""Rules of what a run is made of: seeds and checkpoints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from trainkit.review.habits.scopes import Call, File, Habit, Scope, dotted

_SEEDS = {
    "manual_seed",
    "seed_everything",
    "set_seed",
    "seed_all",
    "set_random_seed",
    "fix_seed",
    "setup_seed",
}
_MODEL = re.compile(
    r"^(?:self\.)?(?:\w*_)?(?:model|net|network|policy|agent|actor|critic|generator|discriminator)$", re.I
)
_CLASS = re.compile(r"^_?[A-Z][a-z0-9]*[A-Za-z0-9]*$")
_PARTS = {
    "optimizer": re.compile(r"optim|(?:^|_)opt(?:_|$)", re.I),
    "scheduler": re.compile(r"sched|lr_state", re.I),
    "scaler": re.compile(r"scaler|amp", re.I),
    "random generators": re.compile(r"rng|random|seed_state|generator_state", re.I),
    "progress": re.compile(r"epoch|step|iter|global", re.I),
    "model": re.compile(r"model|net|state_dict|module|weights|params|policy|actor", re.I),
}
_RNG = re.compile(rb"get_rng_state|random\.getstate|np\.random\.get_state|rng_state|random_state")


@dataclass
class _Saved:
    """A dict of states that is written to disk: where, and which parts it has."""

    scope: Scope
    call: Call
    keys: list[str] = field(default_factory=list)

    def has(self, part: str) -> bool:
        return any(_PARTS[part].search(key) for key in self.keys)


def find_late_seeds(file: File) -> Iterator[Habit]:
    """A seed that is set after the model is made: its weights are drawn from an unseeded generator."""
    if not any(file.is_step(call) for scope in file.scopes for call in scope.calls):
        return  # nothing is trained: the weights are loaded
    for scope in file.scopes:
        seeds = [
            call for call in scope.calls if call.last in _SEEDS and "generator" not in call.receiver.lower()
        ]
        if not seeds or seeds[0].loops or "cuda" in seeds[0].name:
            continue
        for line, names, value in scope.assigned:
            made = _find_model_class(value)
            if made and line < seeds[0].line and any(map(_MODEL.match, names)):
                evidence = (
                    f"line {line}: {names[0]} = {made}(...)",
                    f"line {seeds[0].line}: {seeds[0].name}(...), the first",
                )
                yield Habit("habit-seed-late", names[0], line, seeds[0].line, scope.name, evidence)
                break


def find_incomplete_checkpoints(file: File) -> Iterator[Habit]:
    """A checkpoint that says how far training was, and lacks what training needs to go on from there."""
    saved = [each for each in _iterate_saved(file) if each.has("model")]
    resumable = [each for each in saved if each.has("optimizer")]
    if resumable:
        first = resumable[0]
        used = {"scheduler": _find_scheduler(file), "scaler": _find_scaler(file)}
        for part, line in used.items():
            if line and not any(each.has(part) for each in saved):
                yield _describe(first, part, f"line {line}: the {part} is used")
        if not any(each.has("random generators") for each in saved) and not _RNG.search(file.text):
            yield _describe(first, "random generators", "no get_rng_state() in this file")
    elif progressing := [each for each in saved if each.has("progress")]:
        step = next((call.line for scope in file.scopes for call in scope.calls if file.is_step(call)), 0)
        if step and b"load_state_dict" in file.text:
            yield _describe(progressing[0], "optimizer", f"line {step}: the optimizer is used")


def _describe(saved: _Saved, part: str, used: str) -> Habit:
    line, end = saved.call.line, saved.call.node.end_lineno or saved.call.line
    evidence = (f"line {line}: {saved.call.name}() of {', '.join(saved.keys[:8])}", used)
    return Habit("habit-checkpoint-incomplete", part, line, end, saved.scope.name, evidence)


def _find_model_class(value: ast.expr) -> str:
    """Give the class of `Class(...)` or `Class(...).to(device)`, "" for anything else."""
    while isinstance(value, ast.Call):
        name = dotted(value.func)
        if isinstance(value.func, ast.Attribute) and isinstance(value.func.value, ast.Call):
            value = value.func.value
            continue
        return (
            name
            if _CLASS.match(name.rpartition(".")[2])
            and "Config" not in name
            and name.rpartition(".")[2] != "Generator"
            else ""
        )
    return ""


def _iterate_saved(file: File) -> Iterator[_Saved]:
    for scope in file.scopes:
        for call in scope.calls:
            saves = call.name in {"torch.save", "xm.save"} or call.last == "save_checkpoint"
            for argument in call.node.args[:2] if saves else ():
                keys = _list_keys(argument, scope)
                if keys and sum(state for _, state in keys):
                    yield _Saved(scope, call, [key for key, _ in keys])


def _list_keys(node: ast.expr, scope: Scope) -> list[tuple[str, bool]]:
    """Give the keys of a dict, or of a variable that holds one, and whether each is a state_dict()."""
    if isinstance(node, ast.Name):
        found = []
        for _, names, value in scope.assigned:
            if node.id in names and isinstance(value, ast.Dict):
                found = _list_keys(value, scope)
            elif found and node.id in names:  # state["key"] = value
                found.append((ast.unparse(value), dotted(value).endswith("state_dict")))
        return found
    if not isinstance(node, ast.Dict):
        return []
    pairs = zip(node.keys, node.values, strict=True)
    return [
        (
            str(key.value) if isinstance(key, ast.Constant) else ast.unparse(value),
            dotted(value).endswith("state_dict"),
        )
        for key, value in pairs
    ]


def _find_scheduler(file: File) -> int:
    for scope in file.scopes:
        for call in scope.calls:
            if call.last == "step" and "sched" in call.receiver.lower():
                return call.line
    return 0


def _find_scaler(file: File) -> int:
    return next((c.line for scope in file.scopes for c in scope.calls if c.last == "GradScaler"), 0)


RULES = (find_late_seeds, find_incomplete_checkpoints)
