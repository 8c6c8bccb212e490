"""What two runs print: other numbers in the same words are a result, unless they are times or sizes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_SEPARATOR = "\x1e"  # between standard output and standard error
_UNSTEADY = "\x7f"  # stands for a number that two runs of the same code print otherwise
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\bnan\b|\binf\b|\x7f")
_PRECISE = re.compile(r"\d\.\d{3}|\d{4}")  # a measure, no coarse time
_MEASURED = re.compile(
    r"(?<![a-z])(?:loss|acc|accuracy|error|err|f1|auc|m?iou|bleu|ppl|perplexity|mae|mse|rmse|psnr|ssim|fid|score|"
    r"recall|precision|reward|return|dice|m?ap|top|correct|hits|mrr|ndcg|wer|cer|bpc|elo)(?![a-z])",
    re.IGNORECASE,
)
# Words before a number, and units behind one, of what differs between equal runs.
_VOLATILE = re.compile(
    r"(?<![a-z])(?:times?|timing|took|secs?|seconds?|mins|minutes?|hours?|ms|eta|elapsed|duration|mem|"
    r"memory|mfu|[kmg]i?b|pid|date|throughput|speed|fps)(?![a-z])|/s(?![a-z])|/sec|it/",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r" ?(?:(?:ms|us|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|[kmgt]i?b|fps)(?![a-z])|"
    r"[kmg]?\s?[a-z]*/s(?:ec|econd)?(?![a-z]))",
    re.IGNORECASE,
)
# When, how long, which commit, which line of which file: passed over within a line.
_STAMP = re.compile(
    r"(?<!\d)(?:\d{4}-\d\d-\d\d[T ])?\d{1,4}:[0-5]\d(?::[0-5]\d(?:[.,]\d+)?|(?![.\d]))|"
    r"\d{4}-\d\d-\d\d|\.py:\d+|\bline \d+|"
    r"(?<![\w.+-])(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}(?![\w.]|[-+]\d)"
)
# The meter of a progress bar, behind which a program goes on to print in the same line.
_METER = re.compile(r"(\d\S{0,30} \[\d+:\d\d[^\]\n]*\])(?=[^\n\r])")
_CONTROL = re.compile(r"(?:\x1b\[[0-9;?]*[A-Za-z]|\s)+")  # colours and ways of the cursor; space is no word

_Words = tuple[str, ...]  # what stands between the numbers of a line, at its start and at its end
_Line = tuple[_Words, list[str]]  # and the numbers


def join_streams(stdout: str, stderr: str) -> str:
    """Give both streams as one text, which the functions below take apart again."""
    return stdout + _SEPARATOR + stderr.replace(_SEPARATOR, "")


def compare_printed(expected: str, actual: str) -> tuple[str, str] | None:
    """Give the first line that is printed with the same words and other numbers, of both sides.

    The k-th line of some words is compared with the k-th of the same words, where both sides print as many:
    lines more, less, or in between hide none. Times and sizes are shown as #.
    """
    for left, right in zip(_read_lines(expected), _read_lines(actual), strict=False):
        for words, before, now in _pair(left, right):
            if any(
                _is_result(words, index, *both) for index, both in enumerate(zip(before, now, strict=True))
            ):
                return _show(words, before), _show(words, now)
    return None


def keep_repeated(first: str, second: str) -> str:
    """Give the lines that two runs of the same code print alike, without the numbers that differ."""
    streams = []
    for left, right in zip(_read_lines(first), _read_lines(second), strict=False):
        lines = []
        for words, before, now in _pair(left, right):
            numbers = [a if a == b else _UNSTEADY for a, b in zip(before, now, strict=True)]
            lines.append(_join(words, numbers))
        streams.append("\n".join(lines))
    return _SEPARATOR.join(streams)


def _read_lines(text: str) -> list[list[_Line]]:
    parts = [_METER.sub(r"\1\n", part) for part in text.split(_SEPARATOR)]
    streams = [
        [_STAMP.sub("", _CONTROL.sub(" ", line).strip()) for line in part.splitlines()] for part in parts
    ]
    return [[(tuple(_NUMBER.split(line)), _NUMBER.findall(line)) for line in lines] for lines in streams]


def _pair(left: list[_Line], right: list[_Line]) -> Iterator[tuple[_Words, list[str], list[str]]]:
    """Yield the words and both sides' numbers of the lines that both print equally often, in order."""
    counts = Counter(words for words, _ in left)
    theirs: dict[_Words, list[list[str]]] = {}
    for words, numbers in right:
        theirs.setdefault(words, []).append(numbers)
    others = {words: iter(found) for words, found in theirs.items() if len(found) == counts[words]}
    for words, numbers in left:
        if words in others:
            yield words, numbers, next(others[words])


def _is_result(words: _Words, index: int, before: str, now: str) -> bool:
    """Tell whether a number that differs is one that training computed."""
    if before == now or _UNSTEADY in (before, now) or _is_volatile(words, index):
        return False
    is_part = words[index + 1].lstrip().startswith("%")
    nearby = "".join(words[max(0, index - 7) : index + 1])[-200:]  # a file may be one line
    return bool(_PRECISE.search(f"{before} {now}") or is_part or _MEASURED.search(nearby))


def _is_volatile(words: _Words, index: int) -> bool:
    label, unit = words[index], _UNIT.match(words[index]) if index else None
    if unit and re.search("[a-z]", label[unit.end() :], re.IGNORECASE):
        label = label[unit.end() :]  # the unit was that of the number before
    return bool(_VOLATILE.search(label) or _UNIT.match(words[index + 1]))


def _show(words: _Words, numbers: list[str]) -> str:
    shown = ["#" if _is_volatile(words, index) else number for index, number in enumerate(numbers)]
    return _join(words, shown).replace(_UNSTEADY, "#").strip()[:100]


def _join(words: _Words, numbers: list[str]) -> str:
    return "".join(word + number for word, number in zip(words, [*numbers, ""], strict=True))
