"""Runs kept as files: pytest-benchmark's JSON, asv's results beside it, and a page that draws the trend.

DIR/0001_COMMIT_TIME.json                  one run, as `pytest --benchmark-json` writes it
DIR/asv/MACHINE/COMMIT-trainkit.json       the same for asv (`asv publish` reads it)
DIR/index.html                             all runs, one chart for each benchmark; needs nothing else
"""

from __future__ import annotations

import html
import json
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainkit.errors import CannotJudgeError
from trainkit.repo.git import git
from trainkit.verdict import Measurement, Verdict

Document = dict[str, Any]


def write_json(path: Path, root: Path, verdict: Verdict) -> Document:
    """Write the candidate's times in pytest-benchmark's format; `extra_info` has the comparison."""
    document = {
        "machine_info": {
            "node": platform.node(),
            "machine": platform.machine(),
            "python_version": platform.python_version(),
            "python_implementation": platform.python_implementation(),
            "system": platform.system(),
            "cpu": {"brand_raw": platform.processor() or platform.machine()},
        },
        "commit_info": _describe_commit(root),
        "benchmarks": [_describe_benchmark(each) for each in verdict.measurements if _is_time(each)],
        "datetime": datetime.now(UTC).isoformat(),
        "version": "trainkit",
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


def _is_time(measurement: Measurement) -> bool:
    return measurement.unit == "s" and " " not in measurement.name.rpartition("::")[2].partition("[")[0]


def _describe_benchmark(each: Measurement) -> Document:
    name = each.name.rpartition("::")[2]
    least = each.value
    stats: Document = dict.fromkeys(
        ("min", "max", "mean", "median", "q1", "q3", "ld15iqr", "hd15iqr", "total"), least
    )
    stats |= {"stddev": 0.0, "iqr": 0.0, "rounds": 1, "iterations": 1, "ops": 1 / least if least else 0.0}
    stats |= {"iqr_outliers": 0, "stddev_outliers": 0, "outliers": "0;0"}
    return {
        "group": None,
        "name": name,
        "fullname": each.name,
        "params": None,
        "param": name.partition("[")[2].removesuffix("]") or None,
        "extra_info": {"baseline_s": each.baseline, "verdict": each.how},
        "options": {"timer": "the least time of a batch"},
        "stats": stats,
    }


def _describe_commit(root: Path) -> Document:
    try:
        commit, time = git(root, "log", "-1", "--format=%H %cI").split()
        branch = git(root, "rev-parse", "--abbrev-ref", "HEAD")
        dirty = bool(git(root, "status", "--porcelain"))
    except (CannotJudgeError, ValueError):
        return {"id": "unversioned", "time": None, "project": root.name, "dirty": None, "branch": "(unknown)"}
    return {"id": commit, "time": time, "project": root.name, "dirty": dirty, "branch": branch}


def add_to_history(folder: Path, root: Path, verdict: Verdict) -> Path:
    """Add a run to the history in `folder`, and draw its page anew; gives the page."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(path.name[:4]) for path in folder.glob("[0-9][0-9][0-9][0-9]_*.json")), default=0)
    stamp = datetime.now(UTC).strftime("%Y%m%d_%H%M%S")
    commit = str(_describe_commit(root)["id"])[:10]
    document = write_json(folder / f"{number:04}_{commit}_{stamp}.json", root, verdict)
    _write_asv(folder / "asv", document)
    page = folder / "index.html"
    page.write_text(draw_page(read_history(folder)), encoding="utf-8")
    return page


def read_history(folder: Path) -> list[Document]:
    """Give the runs in their order; also those of pytest-benchmark. What is no run is passed over."""
    runs = []
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(document, dict) and isinstance(document.get("benchmarks"), list):
            runs.append(document)
    return runs


def _write_asv(folder: Path, document: Document) -> None:
    """Write asv's results (version 2) and its two indices, for `asv publish` and `asv compare`."""
    machine = re.sub(r"\W+", "-", platform.node()) or "machine"
    home = folder / machine
    home.mkdir(parents=True, exist_ok=True)
    described = {"machine": machine, "os": platform.system(), "arch": platform.machine(), "version": 1}
    (home / "machine.json").write_text(json.dumps(described, indent=2) + "\n")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    now = int(datetime.now(UTC).timestamp() * 1000)
    names = {each["fullname"]: _name_for_asv(each["fullname"]) for each in document["benchmarks"]}
    commit = document["commit_info"]
    time = commit["time"]
    result = {
        "commit_hash": commit["id"],
        "env_name": f"trainkit-py{version}",
        "date": int(datetime.fromisoformat(time).timestamp() * 1000) if time else now,
        "params": {"machine": machine, "python": version},
        "python": version,
        "requirements": {},
        "env_vars": {},
        "result_columns": ["result", "params", "version", "started_at", "duration"],
        "results": {
            names[each["fullname"]]: [[each["stats"]["min"]], [], "1", now, 0.0]
            for each in document["benchmarks"]
        },
        "durations": {},
        "version": 2,
    }
    (home / f"{str(commit['id'])[:8]}-trainkit-py{version}.json").write_text(
        json.dumps(result, indent=2) + "\n"
    )
    path = folder / "benchmarks.json"
    index = json.loads(path.read_text()) if path.exists() else {"version": 2}
    for name in names.values():
        index[name] = {"name": name, "type": "time", "unit": "seconds", "version": "1", "code": name,
                       "param_names": [], "params": [], "timeout": 60.0}  # fmt: skip
    path.write_text(json.dumps(index, indent=2) + "\n")


def _name_for_asv(fullname: str) -> str:
    return re.sub(r"[^\w\[\]-]+", ".", fullname.replace(".py", "")).strip(".")


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2530; --soft: #68737f; --line: #d8dde3;
  --paper: #fbfcfd; --mark: #1f6feb }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ef; --soft: #93a0ad; --line: #333c46; --paper: #12171d; --mark: #6cb0ff }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1rem; margin: 2rem 0 .2rem; overflow-wrap: anywhere }
p { color: var(--soft); margin: .2rem 0 } svg { width: 100%; height: 9rem } line { stroke: var(--line) }
polyline { fill: none; stroke: var(--mark); stroke-width: 1.6; vector-effect: non-scaling-stroke }
circle { fill: var(--mark) } text { fill: var(--soft); font-size: 11px }
"""


def draw_page(runs: Sequence[Document]) -> str:
    """Give the trend as one HTML page: a chart for each benchmark, the least time of each run."""
    names = dict.fromkeys(each["fullname"] for run in runs for each in run["benchmarks"])
    charts = "\n".join(chart for name in names for chart in _draw_chart(name, runs))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Benchmarks</title>'
        f"<style>{_STYLE}</style><h1>Benchmarks</h1><p>{len(runs)} runs. Times of different days are not "
        "comparable to the per cent: what decides is the paired comparison of each run.</p>\n"
        f"{charts}\n</html>\n"
    )


def _draw_chart(name: str, runs: Sequence[Document]) -> Iterator[str]:
    points = [
        (
            number,
            each["stats"]["min"],
            str(run.get("commit_info", {}).get("id", ""))[:10],
            run.get("datetime", ""),
        )
        for number, run in enumerate(runs)
        for each in run["benchmarks"]
        if each["fullname"] == name
    ]
    top = max(value for _, value, _, _ in points) * 1.1 or 1.0
    width, height = 900, 140

    def place(number: int, value: float) -> tuple[float, float]:
        across = 40 + (width - 60) * (number + 0.5) / len(runs)
        return round(across, 1), round(height - 15 - (height - 30) * value / top, 1)

    placed = [(*place(number, value), value, commit, when) for number, value, commit, when in points]
    yield f"<h2>{html.escape(name)}</h2>"
    least = min(value for _, value, _, _ in points)
    yield f"<p>last {points[-1][1] * 1e3:.4g} ms, least {least * 1e3:.4g} ms</p>"
    yield f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(name)}">'
    yield f'<line x1="40" x2="{width}" y1="{height - 15}" y2="{height - 15}"/>'
    yield f'<text x="0" y="{height - 12}">0</text><text x="0" y="20">{top * 1e3:.3g} ms</text>'
    yield f'<polyline points="{" ".join(f"{x},{y}" for x, y, *_ in placed)}"/>'
    for x, y, value, commit, when in placed:
        title = html.escape(f"{commit} {when}: {value * 1e3:.6g} ms")
        yield f'<circle cx="{x}" cy="{y}" r="3"><title>{title}</title></circle>'
    yield "</svg>"
