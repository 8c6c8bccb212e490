"""What two runs print: other numbers in the same words are a result, unless they are rates or coarse times.

Two runs of either side are to say so: what differs from itself never gets here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_SEPARATOR = "\x1e"  # between standard output and standard error
_UNSTEADY = "\x7f"  # stands for a number that two runs of the same code print otherwise
_NUMBER = re.compile(
    r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\b(?:nan|NaN|NAN)\b|[-+]?\b(?:inf|Inf|INF)(?:inity)?\b|\x7f"
)
# Words before a number, and units behind one, of rates and of memory: these are no results. A memory that
# something else is said of ("memory purity") is one, and so is what is measured in metres per second.
_PER_SECOND = (
    r"(?<![a-z])(?!\s?(?:[ckm]?m|rad|deg)/s)[kmg]?\s?[a-z]*(?:/s| per s|_per_s)(?:ec|econd)?(?![a-z])"
)
_SIZE = re.compile(
    r"(?<![a-z])(?:mfu|[kmg]i?b|pid|date|fps|it/|s/it)(?![a-z])|" + _PER_SECOND + r"|(?<![a-z])"
    r"(?:mem|memory|throughput|speed)(?![a-z])"
    r"(?=[\W_]*(?:(?:used?|usage|alloc(?:ated)?|reserved|cached|peak|max|min|avg|mean|total|footprint|rss|[cg]pu|cuda"
    r"|bytes|in|of|is|was|at|samples?|tokens?|steps?|images?)(?![a-z])[\W_]*)*$)",
    re.IGNORECASE,
)
_SIZE_UNIT = re.compile(r" ?(?:(?:[kmgt]i?b|fps)(?![a-z])|s/it|" + _PER_SECOND + ")", re.IGNORECASE)
# And of times, which are none while they are so coarse that two runs may agree by chance.
_TIME = re.compile(
    r"(?<![a-z])(?:(?:run|wall|cpu)?times?|timing|took|secs?|seconds?|mins|minutes?|hours?|ms|eta|elapsed|duration)"
    r"(?![a-z]|-[a-z])",
    re.IGNORECASE,
)
_TIME_UNIT = re.compile(
    r" ?(?:ms|us|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)(?![a-z]|-[a-z])", re.IGNORECASE
)
_LABEL = re.compile(r" ?mins?\W*", re.IGNORECASE)  # the least of something: it stands before its number
_METRES = re.compile(r" ?[mh](?![a-z])", re.IGNORECASE)  # or hours: a time only beside another one
_BESIDE = re.compile(r"(?:^|\s)(?:\W*[hmd]\W*|in|after|for)\s*$", re.IGNORECASE)
_MOST_PASSES = 8  # a stamp that is taken out may leave another one
_WIDTH = 100  # of what is shown of a line
_FINE = 4  # significant digits
_MEASURED = re.compile(
    r"(?<![a-z])(?:loss|acc|accuracy|error|err|f1|auc|iou|bleu|ppl|perplexity|m[as]e|rmse|score|reward|return)(?![a-z])",
    re.IGNORECASE,
)
# When, how long, which commit, which line of which file: passed over within a line.
_STAMP = re.compile(
    r"(?<!\d)(?:\d{4}-\d\d-\d\d[T ])?\d{1,4}:[0-5]\d(?::[0-5]\d(?:[.,]\d+)?|(?![.\d]))|"
    r"\d{4}-\d\d-\d\d|\.py(?:[:(]|, )\d+|\b\w+:\w+:\d+(?= - )|\bline \d+|"
    r"(?<![\w.+-])(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}(?![\w.]|[-+]\d)"
)
# The meter of a progress bar, behind which a program goes on to print in the same line.
_METER = re.compile(r"(\d\S{0,30} \[\d+:\d\d[^\]\n]*\])(?=[^\n\r])")
# A bar that is not full yet, its times taken out: it is drawn when there is time for it.
_UNFINISHED = re.compile(r"(?<!\d)\d{1,2}%\|.*\[<")
_PLACE = "\x1d"  # around how far such a bar is
# A meter is printed when there is time for it.
_RATE = re.compile(r"(?<![a-z])(?!(?:[ckm]?m|rad|deg)/s)\w+/s\b|\bs/\w")
_WARNING = re.compile(r"\.py:\d+: \w*Warning\b")  # the line behind it is one of the program
_ORIGIN = re.compile(r"(?<![a-z])(?:git|dirty|diff|commit|branch|revision|host)(?![a-z])", re.IGNORECASE)
_CONTROL = re.compile(r"(?:\x1b\[[0-9;?]*[A-Za-z]|\s)+")  # colours and ways of the cursor; space is no word

_Words = tuple[str, ...]  # what stands between the numbers of a line, at its start and at its end
_Line = tuple[_Words, list[str]]  # and the numbers


def join_streams(stdout: str, stderr: str) -> str:
    """Give both streams as one text, which the functions below take apart again."""
    return stdout + _SEPARATOR + stderr.replace(_SEPARATOR, "")


def compare_printed(expected: str, actual: str) -> tuple[str, str] | None:
    """Give the first line that is printed with the same words and other numbers, of both sides.

    The k-th line of some words is compared with the k-th of the same words. Where one side prints some more
    often, the other's must be among these, in order. Times and sizes are shown as #.
    """
    for left, right in zip(_read_lines(expected), _read_lines(actual), strict=False):
        theirs = _group(right)
        for words, ours in _group(left).items():
            pair = _find_result(words, ours, theirs.get(words, []))
            if pair:
                return _show(words, *pair), _show(words, *reversed(pair))
    return None


def list_lost(expected: str, actual: str) -> list[str]:
    """Give the lines that one side prints and the other does not, or less often; but meters and commits.

    Where the other one has as many that are new, they are told as what stands there now.
    """
    told: list[str] = []
    for left, right in zip(_read_lines(expected), _read_lines(actual), strict=False):
        lost, new = list(_list_more(left, right)), list(_list_more(right, left))
        if len(lost) == len(new):
            told += [f"{one!r} -> {two!r}" for one, two in map(_cut_both, lost, new)]
        else:
            told += [repr(line[:_WIDTH]) for line in lost]
        told += _list_oftener(left, right)
    return told


def _list_oftener(left: list[_Line], right: list[_Line]) -> Iterator[str]:
    """Give the last line of each wording that both sides print, and the other one more often."""
    theirs = _group(right)
    for words, ours in _group(left).items():
        count, count_now = len(ours), len(theirs.get(words, []))
        if count_now > count and _may_be_lost(words, ours[-1]):
            yield f"{_tell(words, ours[-1])[:_WIDTH]!r}, {count} -> {count_now} times"


def list_passed_over(expected: str, actual: str) -> list[str]:
    """Give the lines of which numbers differ that repeat and are no results: times, sizes, less decimals."""
    found = []
    for left, right in zip(_read_lines(expected), _read_lines(actual), strict=False):
        for words, before, now in _pair(left, right):
            if any(
                _is_passed_over(words, index, *both)
                for index, both in enumerate(zip(before, now, strict=True))
            ):
                one, two = (
                    _join(words, numbers).replace(_UNSTEADY, "#").strip() for numbers in (before, now)
                )
                found.append(" -> ".join(map(repr, _cut_both(one, two))))
    return found


def _is_passed_over(words: _Words, index: int, before: str, now: str) -> bool:
    if before == now or _UNSTEADY in (before, now) or _is_result(words, index, before, now):
        return False
    return float(before) != float(now) and (
        _is_volatile(words, index, before) or _count_decimals(now) < _count_decimals(before)
    )


def _cut_both(one: str, two: str) -> tuple[str, str]:
    """Cut two long lines around the words that first differ."""
    if max(len(one), len(two)) <= _WIDTH:
        return one, two
    starts = [max(0, place - _WIDTH // 2) for place in _find_other_words(one, two)]
    left, right = (
        "…" * (at > 0) + line[at : at + _WIDTH] for line, at in zip((one, two), starts, strict=True)
    )
    return left, right


def _find_other_words(one: str, two: str) -> list[int]:
    """Give where two lines part, whatever numbers they hold before."""
    places = [0, 0]
    for pair in zip(*(re.findall(r"\d+|\D", line.replace("#", "0")) for line in (one, two)), strict=False):
        if pair[0] != pair[1] and not all(map(str.isdigit, pair)):
            break
        places = [place + len(word) for place, word in zip(places, pair, strict=True)]
    return places


def _list_more(these: list[_Line], those: list[_Line]) -> Iterator[str]:
    """Give the last line of each wording that these have more often than those."""
    theirs = _group(those)
    for words, ours in _group(these).items():
        if _may_be_lost(words, ours[-1]) and len(ours) > len(theirs.get(words, [])):
            yield _tell(words, ours[-1])


def _may_be_lost(words: _Words, numbers: list[str]) -> bool:
    """Tell whether a line says something, and is neither a meter nor one of where the program comes from."""
    text = "0".join(words)
    is_origin = _ORIGIN.search(text) and not any("." in number for number in numbers)
    return not (_is_meter(words) or is_origin) and bool(re.search(r"\w", text))


def _tell(words: _Words, numbers: list[str]) -> str:
    return _join(words, _hide_volatile(words, numbers)).replace(_UNSTEADY, "#").strip()


def keep_repeated(first: str, second: str, *, known: bool = False) -> str:
    """Give the lines that two runs of the same code print alike, without the numbers that differ.

    Of a second text that is known to repeat (see `is_known`) it is enough that it has a number there.
    """
    streams = []
    for left, right in zip(_read_lines(first), _read_lines(second), strict=False):
        lines = []
        for words, before, now in _pair(left, right):
            pairs = zip(before, now, strict=True)
            numbers = [a if a == b or (known and b != _UNSTEADY) else _UNSTEADY for a, b in pairs]
            lines.append(_join(words, numbers))
        streams.append("\n".join(lines))
    return _SEPARATOR.join(streams)


def is_known(text: str, repeated: str) -> bool:
    """Tell whether all lines are among these, which repeat, with all numbers but of times and of sizes."""
    for left, right in zip(_read_lines(text), _read_lines(repeated), strict=False):
        pairs = list(_pair(left, right))
        if len(pairs) < len(left) or any(_has_unknown(words, known) for words, _, known in pairs):
            return False
    return True


def list_unsteady(repeated: str) -> list[str]:
    """Give a line for each wording that repeats but for numbers that are called neither times nor sizes."""
    lines = [line for part in _read_lines(repeated) for line in part if _has_unknown(*line)]
    return [_join(*found).replace(_UNSTEADY, "#").strip()[:_WIDTH] for found in dict(lines).items()]


def _has_unknown(words: _Words, numbers: list[str]) -> bool:
    unknown = (index for index, number in enumerate(numbers) if number == _UNSTEADY)
    return any(not any(_name_kind(words, index)) for index in unknown)


def _read_lines(text: str) -> list[list[_Line]]:
    return [[_read_line(line) for line in _list_lines(part)] for part in text.split(_SEPARATOR)]


def _list_lines(text: str) -> Iterator[str]:
    warned = False
    for line in _METER.sub(r"\1\n", text).splitlines():
        if not ((warned and line.startswith("  ")) or _UNFINISHED.search(line)):
            yield _clean(line)
        warned = bool(_WARNING.search(line))


def _clean(line: str) -> str:
    """Take out what is passed over; of what is kept nothing more is, when it is read again."""
    cleaned = _CONTROL.sub(" ", line).strip()
    for _ in range(_MOST_PASSES):
        before, cleaned = cleaned, _CONTROL.sub(" ", _STAMP.sub("", cleaned)).strip()
        if cleaned == before:
            break
    return cleaned


def _read_line(line: str) -> _Line:
    place = " ".join(re.findall(r"\d+/\d+", line)) if _UNFINISHED.search(line) else ""
    first, *words = _NUMBER.split(line)
    return (f"{_PLACE}{place}{_PLACE}{first}" if place else first, *words), _NUMBER.findall(line)


def _group(lines: list[_Line]) -> dict[_Words, list[list[str]]]:
    groups: dict[_Words, list[list[str]]] = {}
    for words, numbers in lines:
        groups.setdefault(words, []).append(numbers)
    return groups


def _pair(left: list[_Line], right: list[_Line]) -> Iterator[tuple[_Words, list[str], list[str]]]:
    """Yield the words and both sides' numbers of the lines that both print equally often, in order."""
    ours, theirs = _group(left), _group(right)
    others = {words: iter(found) for words, found in theirs.items() if len(found) == len(ours.get(words, []))}
    for words, numbers in left:
        if words in others:
            yield words, numbers, next(others[words])


def _find_result(
    words: _Words, ours: list[list[str]], theirs: list[list[str]]
) -> tuple[list[str], list[str]] | None:
    """Give the first numbers of both sides that are not the same results."""
    if len(ours) != len(theirs):
        short, long = sorted((ours, theirs), key=len)
        rest = iter(long)
        if _is_meter(words) or all(any(_agree(words, a, b) for b in rest) for a in short):
            return None
    return next((pair for pair in zip(ours, theirs, strict=False) if not _agree(words, *pair)), None)


def _agree(words: _Words, before: list[str], now: list[str]) -> bool:
    pairs = enumerate(zip(before, now, strict=True))
    return not any(_is_result(words, index, *both) for index, both in pairs)


def _is_meter(words: _Words) -> bool:
    return words[0].startswith(_PLACE) or bool(_RATE.search("0".join(words)))


def _is_result(words: _Words, index: int, before: str, now: str) -> bool:
    """Tell whether a number that differs is one that the program computed."""
    unsteady = before == now or _UNSTEADY in (before, now)
    if unsteady or any(_is_volatile(words, index, number) for number in (before, now)):
        return False
    if before.isdigit() and now.isdigit():
        return before.lstrip("0") != now.lstrip("0")
    left, right = float(before), float(now)
    if math.isnan(left) and math.isnan(right):
        return False
    decimals = min(_count_decimals(before), _count_decimals(now))
    rounded = decimals > 1 and _count_decimals(before) != _count_decimals(now)
    return left != right and not (rounded and round(left, decimals) == round(right, decimals))


def _count_digits(number: str) -> int:
    return len(re.sub(r"[eE].*|\D", "", number).lstrip("0"))


def _count_decimals(number: str) -> int:
    return 0 if "e" in number.lower() else len(number.partition(".")[2])


def _is_volatile(words: _Words, index: int, number: str) -> bool:
    """Tell whether the words around a number call it a rate, memory, or a time, and it is a coarse one."""
    is_size, is_time = _name_kind(words, index)
    return is_size or (is_time and _count_digits(number) < _FINE)


def _name_kind(words: _Words, index: int) -> tuple[bool, bool]:
    """Tell whether the words around a number call it a rate or memory, and whether a time."""
    label, behind = _read_label(words, index), words[index + 1]
    *_, measured = (0, *(found.end() for found in _MEASURED.finditer(label)))  # the word nearer by counts
    is_size = _SIZE.search(label, measured) or _SIZE_UNIT.match(behind)
    is_time = _TIME.search(label, measured) or (not measured and _is_in_time_units(words, index))
    return bool(is_size), bool(is_time)


def _is_in_time_units(words: _Words, index: int) -> bool:
    """Tell whether what stands behind a number is a unit of time, and not the name of the next number."""
    behind = words[index + 1]
    if not _TIME_UNIT.match(behind):
        return False
    is_followed = index + 2 < len(words) and bool(_TIME_UNIT.match(words[index + 2]))
    if _LABEL.fullmatch(behind) and index + 2 < len(words):
        return is_followed
    return not _METRES.match(behind) or is_followed or bool(_BESIDE.search(words[index]))


def _read_label(words: _Words, index: int) -> str:
    """Give what stands before a number, without the unit of the one before."""
    label = words[index]
    unit = (_TIME_UNIT.match(label) or _SIZE_UNIT.match(label)) if index else None
    rest = label[unit.end() :] if unit else ""
    return rest if re.search("[a-z]", rest, re.IGNORECASE) else label


def _hide_volatile(words: _Words, numbers: list[str]) -> list[str]:
    return ["#" if _is_volatile(words, index, number) else number for index, number in enumerate(numbers)]


def _show(words: _Words, numbers: list[str], others: list[str]) -> str:
    """Give the line, cut around the first number that is another one among `others`."""
    shown = _hide_volatile(words, numbers)
    line = _join(words, shown).replace(_UNSTEADY, "#").strip()
    if len(line) <= _WIDTH:
        return line
    index = next(i for i, both in enumerate(zip(numbers, others, strict=True)) if _is_result(words, i, *both))
    start = max(0, len(_join(words[: index + 1], shown[:index]).lstrip()) - _WIDTH // 2)
    return "…" * (start > 0) + line[start : start + _WIDTH]


def _join(words: _Words, numbers: list[str]) -> str:
    line = "".join(word + number for word, number in zip(words, [*numbers, ""], strict=True))
    return line.rpartition(_PLACE)[2]
