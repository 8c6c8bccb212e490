"""Rules of the training and the evaluation loop."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence

from trainkit.review.habits.scopes import Call, File, Habit, Scope, dotted

_PART = r"(?:val|valid|validation|test|eval|dev)"
_EVALUATED = re.compile(
    rf"(?:^|[^a-z]){_PART}(?:_?(?:[a-z]*_)?(?:data_?)?(?:loader|dl)s?|_?(?:data)?_?(?:set|ds|batches|iter|iterator)"
    rf"|_data)\b|\[['\"]{_PART}['\"]\]"
)
_MODEL = re.compile(
    r"^(?:self\.)?(?:\w*_)?(?:model|net|network|classifier|unet)(?:\.module|\.forward)?$", re.I
)
_NO_GRAD = ("no_grad", "inference_mode", "set_grad_enabled")
_ZEROES = re.compile(r"(?:zero|clear|reset)\w*grad", re.IGNORECASE)
_ANEW = re.compile(r"zero|clear|reset", re.IGNORECASE)
_NOISY = re.compile(rb"dropout|batch_?norm|droppath|drop_path", re.IGNORECASE)


def find_missing_zero_grad(file: File) -> Iterator[Habit]:
    """Gradients that add up over all steps: backward and step in one loop, and nobody sets them to zero."""
    for scope in file.scopes:
        steps = [call for call in scope.calls if call.loops and file.is_step(call)]
        for backward in (call for call in scope.calls if call.last == "backward" and call.loops):
            if (
                "dist_autograd" in backward.receiver
            ):  # its gradients belong to a context, not to the parameters
                continue
            step = next((call for call in steps if set(call.loops) & set(backward.loops)), None)
            if (
                step is None
                or _is_made_inside(scope, step)
                or any(map(_zeroes, (scope, *file.callees(scope))))
                or _hands_over(scope, step)
            ):
                continue
            evidence = (
                f"line {backward.line}: {backward.name}() in the loop of line "
                f"{scope.loops[backward.loops[-1]][0]}",
                f"line {step.line}: {step.name}()",
                "no zero_grad() in this function or in what it calls here",
            )
            yield Habit(
                "habit-zero-grad-missing", step.receiver, backward.line, step.line, scope.name, evidence
            )
            break


def find_zero_grad_too_late(file: File) -> Iterator[Habit]:
    """Gradients thrown away: backward, then zero_grad, then step of the same optimizer, in a row."""
    for scope in file.scopes:
        rows: dict[tuple[object, ...], list[Call]] = {}
        for call in scope.calls:
            if call.last in {"backward", "zero_grad", "step"}:
                rows.setdefault((call.loops, call.block), []).append(call)
        for calls in rows.values():
            for backward, zero, step in zip(calls, calls[1:], calls[2:], strict=False):
                names = [call.last for call in (backward, zero, step)]
                same = zero.receiver == step.receiver and file.is_step(step)
                if names == ["backward", "zero_grad", "step"] and same:
                    evidence = tuple(f"line {call.line}: {call.name}()" for call in (backward, zero, step))
                    yield Habit(
                        "habit-zero-grad-order", step.receiver, zero.line, step.line, scope.name, evidence
                    )


def find_evaluation_in_training_mode(file: File) -> Iterator[Habit]:
    """A loop over validation or test data whose model nobody has put into evaluation mode."""
    if b"torch" not in file.text or b"from_pretrained" in file.text or not _may_differ(file):
        return
    for scope, line, call in _iterate_evaluations(file, _switches_to_eval):
        evidence = (
            f"line {line}: the loop",
            f"line {call.line}: {call.name}(...)",
            "no .eval() here or in a caller",
        )
        yield Habit("habit-eval-mode-missing", call.name, line, call.line, scope.name, evidence)


def find_evaluation_with_gradients(file: File) -> Iterator[Habit]:
    """A loop over validation or test data that keeps the graph of every batch."""
    if b"torch" not in file.text:
        return
    for scope, line, call in _iterate_evaluations(file, _drops_gradients):
        evidence = (
            f"line {line}: the loop",
            f"line {call.line}: {call.name}(...)",
            "no no_grad() here or in a caller",
        )
        yield Habit("habit-no-grad-missing", call.name, line, call.line, scope.name, evidence)


def find_lost_training_mode(file: File) -> Iterator[Habit]:
    """A model put into evaluation mode inside the training loop, and never back."""
    for scope in file.scopes:
        trained = {loop for call in scope.calls if call.last == "backward" for loop in call.loops}
        for call in scope.calls:
            shared = trained & set(call.loops)
            if call.last != "eval" or call.node.args or not shared:
                continue
            outer = min(shared)
            inside = [each for each in scope.calls if outer in each.loops]
            back = any(map(_sets_mode, inside)) or _set_mode_in(file.callees(scope, inside=outer))
            if not back and any(each.name == call.receiver and each.line <= call.line for each in inside):
                evidence = (
                    f"line {call.line}: {call.name}() in the loop of line {scope.loops[outer][0]}",
                    f"no {call.receiver}.train() in that loop",
                )
                yield Habit(
                    "habit-train-mode-lost", call.receiver, call.line, call.line, scope.name, evidence
                )


def find_training_mode_lost_by_function(file: File) -> Iterator[Habit]:
    """The same in functions of their own: one trains, one evaluates, nobody in their loop switches back."""
    for scope in file.scopes if _may_differ(file) else ():
        for number, (line, _) in enumerate(scope.loops):
            inside = [call for call in scope.calls if number in call.loops]
            callees = file.callees(scope, inside=number)
            found = _find_evaluating(file, inside)
            trains = any(each.has("backward") for each in callees)
            is_new = any(at > line and any(map(_MODEL.match, names)) for at, names, _ in scope.assigned)
            if found and trains and not is_new and not _may_set_mode(file, inside, callees):
                call, switch = found
                evidence = (
                    f"line {call.line}: {call.name}() in the loop of line {line}",
                    f"line {switch.line}: {switch.name}()",
                    f"no {switch.receiver}.train() in that loop, or in what it calls here",
                )
                yield Habit(
                    "habit-train-mode-lost", switch.receiver, call.line, call.line, scope.name, evidence
                )
                break


def _find_evaluating(file: File, calls: Sequence[Call]) -> tuple[Call, Call] | None:
    """Give the first call of a function of this file that puts a model into evaluation mode, and where."""
    for call in calls:
        for each in file.by_name.get(call.last, []):
            for switch in () if each.has("backward") else each.calls:
                if switch.last == "eval" and _MODEL.match(switch.receiver):
                    return call, switch
    return None


def _set_mode_in(scopes: Sequence[Scope]) -> bool:
    return any(_sets_mode(call) for scope in scopes for call in scope.calls)


def _may_set_mode(file: File, inside: Sequence[Call], callees: Sequence[Scope]) -> bool:
    """Say whether a mode is set, or a function of another file called that trains, by its name."""
    calls = [*inside, *(call for scope in callees for call in scope.calls)]
    return any(_sets_mode(call) or ("train" in call.last and call.last not in file.by_name) for call in calls)


def find_swallowed_steps(file: File) -> Iterator[Habit]:
    """A step that fails and is passed over: weights stay, or are half updated, and the run looks fine."""
    for scope in file.scopes:
        trains = scope.has("step")  # a profiler calls backward, too
        for caught in scope.caught if trains else ():
            inside = scope.calls[caught.start : caught.stop]
            hit = next((call for call in inside if call.last == "backward" or file.is_step(call)), None)
            if hit is not None and hit.loops:
                evidence = (
                    f"line {hit.line}: {hit.name}() is tried",
                    f"line {caught.handler_line}: any exception, and the program goes on",
                )
                yield Habit(
                    "habit-step-error-swallowed",
                    hit.name,
                    caught.line,
                    caught.handler_line,
                    scope.name,
                    evidence,
                )


def _is_made_inside(scope: Scope, step: Call) -> bool:
    """Say whether an optimizer is made in the loop that it steps in: new parameters have no old gradients."""
    start = scope.loops[step.loops[-1]][0]
    return any(start < line <= step.line and step.receiver in names for line, names, _ in scope.assigned)


def _hands_over(scope: Scope, step: Call) -> bool:
    """Say whether a function whose name says that it sets something anew is given the optimizer."""
    return any(
        _ANEW.search(call.last) and step.receiver in map(dotted, call.node.args) for call in scope.calls
    )


def _zeroes(scope: Scope) -> bool:
    return (
        any(_ZEROES.search(call.last) for call in scope.calls)
        or "grad" in scope.stores
        or any("grad" in c.receiver and c.last == "zero_" for c in scope.calls)
    )


def _may_differ(file: File) -> bool:
    """Say whether the model may hold what behaves otherwise in training, or is not of this file."""
    return bool(_NOISY.search(file.text)) or b"nn.Module" not in file.text


def _switches_to_eval(scope: Scope) -> bool:
    return any(call.last == "eval" or (_sets_mode(call) and not _is_on(call)) for call in scope.calls)


def _sets_mode(call: Call) -> bool:
    """Say whether a call is one of `model.train`, rather than of a function of that name."""
    return call.last == "train" and bool(call.receiver)


def _is_on(call: Call) -> bool:
    """Say whether `model.train(...)` is certainly training mode."""
    values = [*call.node.args, *(keyword.value for keyword in call.node.keywords)]
    return all(isinstance(value, ast.Constant) and value.value is True for value in values)


def _drops_gradients(scope: Scope) -> bool:
    return scope.has(*_NO_GRAD) or any(name.rpartition(".")[2] in _NO_GRAD for name in scope.decorators)


def _iterate_evaluations(file: File, good: Callable[[Scope], bool]) -> Iterator[tuple[Scope, int, Call]]:
    """Give scope, line and first call of the model of each evaluation loop that is not `good`.

    A function that nobody in its file calls is left alone: who calls it may do what is missing.
    """
    for scope in file.scopes:
        if good(scope):
            continue
        trained = {loop for call in scope.calls if call.last == "backward" for loop in call.loops}
        for number, (line, over) in enumerate(scope.loops):
            inside = [call for call in scope.calls if number in call.loops]
            model = next((call for call in inside if _MODEL.match(call.name)), None)
            if model is None or number in trained or not _EVALUATED.search(over):
                continue
            callers = file.callers(scope)
            if (callers or not scope.name) and not any(map(good, callers)):
                yield scope, line, model
                break


RULES = (
    find_missing_zero_grad,
    find_zero_grad_too_late,
    find_evaluation_in_training_mode,
    find_evaluation_with_gradients,
    find_lost_training_mode,
    find_training_mode_lost_by_function,
    find_swallowed_steps,
)
