"""Rules of the data: what is learnt of it before it is split, and the order of a series."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from trainkit.review.habits.scopes import Call, File, Habit, Scope, dotted, names_in

_FITTED = re.compile(
    r"(?:Scaler|Imputer|PCA|Normalizer|PowerTransformer|QuantileTransformer|TargetEncoder|SelectKBest|TruncatedSVD"
    r"|Discretizer|TfidfVectorizer)$"
)
_SCALER = re.compile(r"scaler|imputer|normalizer|standardizer", re.I)
_TRAIN = re.compile(r"(?:^|_)(?:train|tr|fit)", re.I)
_HELD_OUT = re.compile(r"(?:^|_)(?:test|val|valid|validation)(?:$|_)", re.I)
_TIMES = re.compile(r"^(?:date|time|datetime|timestamp|ds|Date|Time|Timestamp|Datetime)$")
_WINDOWS = re.compile(
    r"(?:create|make|build|get)_(?:sequences?|windows?|lags?)|sliding_window|lookback|look_back", re.I
)


def find_statistics_before_split(file: File) -> Iterator[Habit]:
    """Statistics learnt of all rows, and only then a split: the test part has told about itself."""
    for scope in file.scopes:
        split_names: set[str] = set()
        for line, names, value, said, data in _iterate_fits(file, scope):
            split_names |= _names_of_splits(scope, before=line)
            if _TRAIN.search(data) or data in split_names:
                continue
            hit = _find_split(scope, line, {data, *names} - {""}, value)
            if hit:
                evidence = (f"line {line}: {said}", f"line {hit[0]}: {hit[1]}")
                yield Habit("habit-statistics-before-split", data, line, hit[0], scope.name, evidence)
                break


def find_statistics_of_held_out(file: File) -> Iterator[Habit]:
    """A second fit on the test part: it is scaled by other statistics than the model was trained on."""
    for scope in file.scopes:
        fits = [(line, said, data) for line, _, _, said, data in _iterate_fits(file, scope) if ".fit" in said]
        trained = next((each for each in fits if _TRAIN.search(each[2])), None)
        for line, said, data in fits:
            if trained and _HELD_OUT.search(data) and line > trained[0]:
                evidence = (f"line {trained[0]}: {trained[1]}", f"line {line}: {said}")
                yield Habit("habit-statistics-of-test", data, line, line, scope.name, evidence)


def find_shuffled_series(file: File) -> Iterator[Habit]:
    """A random split of rows that have an order in time: training sees the days after the test's."""
    for scope in file.scopes:
        for call in scope.calls:
            said = _says_random_split(call)
            ordered = _find_order(scope, call) if said else ""
            if ordered:
                evidence = (ordered, f"line {call.line}: {said}")
                yield Habit("habit-series-shuffled", call.last, call.line, call.line, scope.name, evidence)
                break


def _iterate_fits(file: File, scope: Scope) -> Iterator[tuple[int, tuple[str, ...], ast.expr, str, str]]:
    """Give line, targets, value, words and the data of each place where statistics are taken."""
    fits = [call for call in scope.calls if call.last in {"fit", "fit_transform"} and call.node.args]
    around = (scope, *file.scopes[:1]) if fits else ()
    made = {name for each in around for _, called, name in each.made() if _FITTED.search(called)}
    for call in fits:
        receiver = call.receiver
        if receiver in made or _FITTED.search(receiver) or _SCALER.search(receiver.rpartition(".")[2]):
            data = dotted(call.node.args[0]).partition(".")[0]
            yield (
                call.line,
                _find_targets(scope, call.node),
                call.node,
                f"{call.name}({ast.unparse(call.node.args[0])})",
                data,
            )
    for line, names, value in scope.assigned:
        if data := _find_standardized(value):
            yield line, names, value, f"{', '.join(names)} = {ast.unparse(value)}", data


def _find_targets(scope: Scope, call: ast.Call) -> tuple[str, ...]:
    """Give the names that a statement binds to a value with this call in it."""
    return next(
        (names for _, names, value in scope.assigned if any(each is call for each in ast.walk(value))), ()
    )


def _find_standardized(value: ast.expr) -> str:
    """Give D of `(D - D.mean()) / D.std()` and `(D - D.min()) / (D.max() - D.min())`, else ""."""
    if not (isinstance(value, ast.BinOp) and isinstance(value.op, ast.Div)):
        return ""
    lower = {dotted(each.func) for each in ast.walk(value.left) if isinstance(each, ast.Call)}
    upper = {dotted(each.func) for each in ast.walk(value.right) if isinstance(each, ast.Call)}
    for name in lower:
        data, _, what = name.rpartition(".")
        scale = f"{data}.std" if what == "mean" else f"{data}.max" if what == "min" else None
        if data and "." not in data and scale in upper:
            return data
    return ""


def _find_split(scope: Scope, line: int, tainted: set[str], value: ast.expr) -> tuple[int, str] | None:
    """Give line and words of the first split of what `tainted` names hold, or became, after `line`."""
    known = set(tainted)
    events: list[tuple[int, tuple[str, ...], ast.expr | None, Call | None]] = [
        (at, names, node, None) for at, names, node in scope.assigned if at > line or node is value
    ]
    events += [(call.line, (), None, call) for call in scope.calls if call.line > line]
    for at, names, node, call in sorted(events, key=lambda event: (event[0], event[3] is None)):
        if call is not None:
            splits = call.last in {"train_test_split", "random_split"}
            if splits and call.node.args and known & names_in(call.node.args[0]):
                return at, f"{call.name}({ast.unparse(call.node.args[0])}, ...)"
        elif node is not None and known & names_in(node):
            known |= set(names)
            if _cuts_front(node) and any(_TRAIN.search(name) for name in names):
                return at, f"{', '.join(names)} = {ast.unparse(node)}"
    return None


def _cuts_front(node: ast.expr) -> bool:
    """Say whether an expression takes the front rows: `D[:n]`, `D.iloc[:n]`."""
    while isinstance(node, (ast.Call, ast.Attribute)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, (ast.Tuple, ast.List)):
        return any(map(_cuts_front, node.elts))
    if not isinstance(node, ast.Subscript):
        return False
    cut = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) and node.slice.elts else node.slice
    return isinstance(cut, ast.Slice) and cut.lower is None and cut.upper is not None


def _names_of_splits(scope: Scope, *, before: int) -> set[str]:
    return {name for line, called, name in scope.made() if line < before and called.endswith("split")}


def _says_random_split(call: Call) -> str:
    if call.last not in {"train_test_split", "KFold"}:
        return ""
    keywords = {each.arg: each.value for each in call.node.keywords}
    shuffle = keywords.get("shuffle")
    value = shuffle.value if isinstance(shuffle, ast.Constant) else None
    if call.last == "train_test_split" and shuffle is None:
        return f"{call.name}(...) shuffles unless told shuffle=False"
    if value is True:
        return f"{call.name}(..., shuffle=True)"
    return ""


def _find_order(scope: Scope, split: Call) -> str:
    """Give the line that shows that what is split is a series, or ""."""
    for call in scope.calls:
        if call.line >= split.line:
            continue
        values = [*call.node.args, *(each.value for each in call.node.keywords)]
        words = {each.value for value in values for each in ast.walk(value)
                 if isinstance(each, ast.Constant) and isinstance(each.value, str)}  # fmt: skip
        if call.last == "sort_values" and any(map(_TIMES.match, words)):
            return f"line {call.line}: {ast.unparse(call.node)[:80]}"
        if _WINDOWS.search(call.last) and names_in(split.node) & _targets_of(scope, call):
            return f"line {call.line}: {call.name}(...) makes windows of a series"
    return ""


def _targets_of(scope: Scope, call: Call) -> set[str]:
    return {name for _, names, value in scope.assigned if value is call.node for name in names}


RULES = (find_statistics_before_split, find_statistics_of_held_out, find_shuffled_series)
