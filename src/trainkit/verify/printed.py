"""What two runs print: other numbers in the same words are a result, unless they are times or sizes."""

from __future__ import annotations

import re

_SEPARATOR = "\x1e"  # between standard output and standard error
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\bnan\b|\binf\b")
_PRECISE = re.compile(r"\d\.\d{3}|\d{4}|\d\.\d+ ?%")  # a measure, no coarse time
_MEASURED = re.compile(
    r"(?<![a-z])(?:loss|acc|accuracy|error|err|f1|auc|iou|bleu|ppl|perplexity|mae|mse|rmse|psnr|fid|score|"
    r"recall|precision|reward|return)(?![a-z]).*\d\.\d",
    re.IGNORECASE,
)
_VOLATILE = re.compile(
    r"(?<![a-z])(?:times?|timing|took|secs?|seconds?|mins?|minutes?|hours?|ms|eta|elapsed|duration|mem|"
    r"memory|mfu|[kmg]i?b|pid|date|throughput|speed|fps)(?![a-z])|"
    r"\d ?(?:ms|s|m|h)\b|/s(?![a-z])|/sec|it/|s/it|:\d\d",
    re.IGNORECASE,
)
# When, which commit, which line of which file: passed over within a line.
_STAMP = re.compile(
    r"(?:\d{4}-\d\d-\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d+)?|\.py:\d+|\bline \d+|"
    r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b"
)


def join_streams(stdout: str, stderr: str) -> str:
    """Give both streams as one text, which the functions below take apart again."""
    return stdout + _SEPARATOR + stderr.replace(_SEPARATOR, "")


def compare_printed(expected: str, actual: str) -> tuple[str, str] | None:
    """Give the first line that is printed with the same words and other numbers, of both sides."""
    for left, right in zip(_list_lines(expected), _list_lines(actual), strict=False):
        for before, now in zip(left, right, strict=True) if len(left) == len(right) else ():
            if before == now or _NUMBER.sub("#", before) != _NUMBER.sub("#", now):
                continue
            if (_PRECISE.search(before) or _MEASURED.search(before)) and not _VOLATILE.search(before):
                return before.strip()[:100], now.strip()[:100]
    return None


def keep_repeated(first: str, second: str) -> str:
    """Empty the lines that two runs of the same code print otherwise; all, when one prints more of them."""
    kept = []
    for left, right in zip(_list_lines(first), _list_lines(second), strict=False):
        pairs = zip(left, right, strict=True) if len(left) == len(right) else ()
        kept.append("\n".join(a if a == b else "" for a, b in pairs))
    return _SEPARATOR.join(kept)


def _list_lines(text: str) -> list[list[str]]:
    return [[_STAMP.sub("", line) for line in part.splitlines()] for part in text.split(_SEPARATOR)]
