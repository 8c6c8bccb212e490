"""`trainkit runs`: what was trained, as a table; two runs beside each other; one again."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from trainkit.cli.arguments import Parser
from trainkit.cli.columns import format_columns
from trainkit.core.page import list_changed, list_origin, write_page
from trainkit.core.records import Record, find_first_difference, find_record, find_records
from trainkit.errors import UsageError, suggest

ACTIONS = ("compare", "show", "report", "rerun")
COLUMNS = ("id", "name", "status", "started", "model", "optimizer", "best_loss", "epochs", "steps")
EPILOG = """\
Without an action: a table of the runs below output_dir. Filters compare a column, a setting or a last metric:
  trainkit runs model.name=lstm status=finished 'best_loss<2.0' --sort best_loss
  trainkit runs compare ID ID ...   settings that differ, last metrics, the first loss that differs
  trainkit runs show ID             one run: settings, origin, metrics
  trainkit runs report ID           write its report.html anew
  trainkit runs rerun ID            train again: exit status 0 the same losses, 1 others, 3 not comparable
ID is a run's id, the beginning of one, its name, or its folder.
"""
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def run(argv: list[str]) -> int:
    """List, compare, show, report or repeat; give the exit status.

    Raises:
        TrainkitError: no such run, a wrong filter, or a run that cannot be repeated.
    """
    import argparse

    description = "List, compare, show and repeat the runs of the core."
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser("runs", description, epilog=EPILOG, formatter_class=raw)
    parser.add_argument("words", nargs="*", metavar="WORD", help="filters, or an action and its runs")
    parser.add_argument("--output-dir", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    parser.add_argument("--sort", metavar="KEY", help="by a column, a setting or a metric; -KEY: downwards")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(_join_sort(argv))
    words, action = options.words, options.words[0] if options.words else ""
    if action not in ACTIONS:
        return _list(words, options.output_dir, options.sort, as_json=options.json)
    least = 2 if action == "compare" else 1
    if len(words) - 1 < least or (action != "compare" and len(words) > 2):
        raise UsageError("usage", f"runs {action} takes {'two or more runs' if least == 2 else 'one run'}")
    records = [find_record(word, options.output_dir) for word in words[1:]]
    if action == "compare":
        return _compare(records, as_json=options.json)
    return {"show": _show, "report": _report, "rerun": _rerun}[action](records[0], options.json)


def _join_sort(argv: Sequence[str]) -> list[str]:
    """Let `--sort -KEY` be one word: argparse takes -KEY for an option."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] == "--sort":
            joined[-1] = f"--sort={word}"
        else:
            joined.append(word)
    return joined


def _list(filters: list[str], output_dir: Path, sort: str | None, *, as_json: bool) -> int:
    all_facts = [record.facts() | {"folder": str(record.folder)} for record in find_records(output_dir)]
    chosen = select(all_facts, filters, sort)
    if as_json:
        print(json.dumps(chosen, indent=1))
        return 0
    if not chosen:
        print(f"no run below '{output_dir}'" + (" is chosen by these filters" if all_facts else ""))
        return 0
    keys = [re.split(r"[!<>=]", each)[0] for each in filters] + ([sort.lstrip("-")] if sort else [])
    columns = list(dict.fromkeys((*COLUMNS, *keys)))
    print(format_columns([columns, *([_cell(each.get(key)) for key in columns] for each in chosen)]))
    return 0


def select(all_facts: list[dict[str, Any]], filters: list[str], sort: str | None) -> list[dict[str, Any]]:
    """Give what passes all filters, sorted; what lacks the key comes last.

    Raises:
        UsageError: a filter that is none, or a key that no run has.
    """
    known = list(dict.fromkeys(key for facts in all_facts for key in facts))
    chosen = all_facts
    for text in filters:
        found = re.fullmatch(r"([\w.\-/]+?)(!=|<=|>=|=|<|>)(.*)", text, re.DOTALL)
        if found is None:
            actions = suggest(text, ACTIONS).replace("; known:", "; actions:")
            raise UsageError("usage", f"'{text}' is no action and no filter such as best_loss<2.0{actions}")
        key, sign, value = found.groups()
        _check_key(key, known, text)
        chosen = [facts for facts in chosen if _passes(facts.get(key), sign, value, text)]
    if sort is None:
        return chosen
    key = sort.removeprefix("-")
    _check_key(key, known, f"--sort {sort}")
    having = [facts for facts in chosen if facts.get(key) is not None]
    numbers = all(isinstance(facts[key], int | float) for facts in having)
    having.sort(key=lambda facts: facts[key] if numbers else str(facts[key]), reverse=sort.startswith("-"))
    return having + [facts for facts in chosen if facts.get(key) is None]


def _check_key(key: str, known: list[str], text: str) -> None:
    if known and key not in known:
        raise UsageError("usage", f"'{text}': no run has '{key}'{suggest(key, known)}")


def _passes(found: Any, sign: str, value: str, text: str) -> bool:
    """Compare numbers as numbers and the rest as it is written in a configuration."""
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    try:
        wanted = float(value)
    except ValueError:
        if sign not in ("=", "!="):
            raise UsageError("usage", f"'{text}': '{value}' is no number") from None
        is_number, wanted = False, math.nan
    if sign in ("=", "!="):
        written = str(found) if isinstance(found, str) else json.dumps(found)
        return (found == wanted if is_number else written == value) == (sign == "=")
    return is_number and _COMPARISONS[sign](found, wanted)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "-" if value is None else str(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", text):  # times here are local
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return text


def _compare(records: list[Record], *, as_json: bool) -> int:
    names = [str(record.facts()["id"]) for record in records]
    keys = dict.fromkeys(key for record in records for key in record.config)
    sides = {key: [record.config.get(key, "absent") for record in records] for key in keys}
    sides = {key: values for key, values in sides.items() if any(each != values[0] for each in values)}
    facts = [record.facts() for record in records]
    metrics = dict.fromkeys(
        key for each, record in zip(facts, records, strict=True) for key in each
        if key.partition(".")[0] in record.journal.get("metrics", {})
    )  # fmt: skip
    results = {key: [each.get(key) for each in facts] for key in ("status", "epochs", "best_loss", *metrics)}
    tables = [record.rows for record in records]
    verdicts = [_judge(tables[0], rows) for rows in tables[1:]]
    if as_json:
        losses = dict(zip(names[1:], verdicts, strict=True))
        print(json.dumps({"runs": names, "settings": sides, "results": results, "losses": losses}, indent=1))
        return 0
    shown = [[key, *map(_cell, values)] for key, values in sides.items()]
    print(format_columns([["settings that differ", *names], *(shown or [["none", *("" for _ in names)]])]))
    print()
    print(format_columns([["results", *names], *([key, *map(_cell, each)] for key, each in results.items())]))
    print()
    for name, verdict in zip(names[1:], verdicts, strict=True):
        print(f"{names[0]} and {name}: {verdict}")
    return 0


def _judge(one: list[dict[str, str]], other: list[dict[str, str]]) -> str:
    if not one or not other:
        return "no metrics.csv to compare"
    difference = find_first_difference(one, other)
    if difference is None:
        return f"bitwise the same in {len(one)} rows of metrics.csv"
    return f"first different at {difference.describe()}"


def _show(record: Record, as_json: bool) -> int:
    if as_json:
        print(
            json.dumps(
                {"folder": str(record.folder), "run": record.journal, "config": record.config}, indent=1
            )
        )
        return 0
    facts = record.facts()
    rows: list[tuple[str, Any]] = [("folder", str(record.folder))]
    rows += [(key, facts[key]) for key in (*COLUMNS, "ended") if key in facts]
    rows.insert(4, ("reason", record.journal.get("reason")))
    rows += list_origin(record.journal)
    rows += [(f"{part} {name}", value) for part, values in record.journal.get("metrics", {}).items()
             for name, value in values.items()]  # fmt: skip
    rows += list_changed(record.config)
    width = max(len(key) for key, _ in rows)
    print("\n".join(f"{key:{width}}  {_cell(value)}" for key, value in rows if value is not None))
    return 0


def _report(record: Record, as_json: bool) -> int:
    write_page(record)
    path = str(record.folder / "report.html")
    print(json.dumps({"report": path}) if as_json else path)
    return 0


def _rerun(record: Record, as_json: bool) -> int:
    from trainkit.core.rerun import rerun  # late: torch

    again = rerun(record)
    status, lines = 0, [f"'{record.folder}' again, in '{again.folder}':"]
    if again.difference is None:
        lines.append(f"bitwise the same losses in {again.num_rows} rows of metrics.csv")
        lines += [f"although {reason}" for reason in again.reasons]
    else:
        status = 3 if again.reasons else 1
        lines.append(f"{'not comparable' if again.reasons else 'different'}: {again.difference.describe()}")
        lines += [f"because, maybe, {reason}" for reason in again.reasons]
    if as_json:
        words = ("same", "different", "", "not comparable")
        first = again.difference.describe() if again.difference else None
        found = {"verdict": words[status], "folder": str(again.folder), "first_difference": first}
        print(json.dumps(found | {"reasons": again.reasons}, indent=1))
    else:
        print("\n".join(lines))
    return status
