"""report.html: a run on one page that needs nothing else, with its curves as SVG; loads without torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from trainkit.core.config import GROUPS, TrainConfig, iter_fields
from trainkit.core.files import write_whole
from trainkit.core.records import Record
from trainkit.core.table import PARTS

Point = tuple[float, float]
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 460, 220, 52, 26, 8
STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--soft:#656d76;--line:#d8dee4;
--step:#8c959f;--train:#0969da;--validation:#bc4c00;--test:#1a7f37}
@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--soft:#8d96a0;--line:#30363d;
--step:#6e7681;--train:#58a6ff;--validation:#f0883e;--test:#3fb950}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:64rem;
margin:2rem auto;padding:0 1rem}h1{font-size:1.5rem;margin:0}h2{font-size:1rem;margin:1.8rem 0 .4rem}
p{margin:.2rem 0;color:var(--soft)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr));gap:1rem}
figure{margin:0;min-width:0}figcaption{font-size:.85rem;color:var(--soft)}svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}.grid{stroke:var(--line)}
.curve{fill:none;stroke-width:2;stroke-linejoin:round}
.step{stroke:var(--step);stroke-width:1}.train{stroke:var(--train)}
.validation{stroke:var(--validation)}.test{stroke:var(--test)}
circle.train{fill:var(--train)}circle.validation{fill:var(--validation)}circle.test{fill:var(--test)}
.key::before{content:"";display:inline-block;width:.8em;height:.2em;margin:0 .3em 0 .8em;
vertical-align:middle;background:currentColor}.key.step{color:var(--step)}.key.train{color:var(--train)}
.key.validation{color:var(--validation)}.key.test{color:var(--test)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{text-align:left;padding:.15rem 1rem .15rem 0;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:anywhere}th{font-weight:600}td.number,th.number{text-align:right;white-space:nowrap}
td:first-child{overflow-wrap:normal}details{margin-top:1rem}summary{cursor:pointer;font-weight:600}
"""


def write_page(record: Record) -> None:
    """Write the page of a run into its folder."""
    with write_whole(record.folder / "report.html") as file:
        file.write(build_page(record))


def build_page(record: Record) -> str:
    """Give the page as HTML: how it ended, curves, last metrics, settings, where it comes from."""
    journal, rows = record.journal, record.rows
    title = escape(str(record.config.get("exp_name", record.folder.name)))
    reason = f": {escape(str(journal['reason']))}" if journal.get("reason") else ""
    started = str(journal.get("started", "")).replace("T", " ")[:19]
    names = list(dict.fromkeys(name for row in rows for name in row))
    charts = [draw_chart(name, rows) for name in names if name not in ("epoch", "step", "part", "items")]
    ends = f"{journal.get('num_epochs', '?')} epochs, {journal.get('num_steps', '?')} steps"
    return "".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{title} · trainkit</title><style>{STYLE}</style><h1>{title}</h1>",
            f"<p>{escape(record.status)}{reason} · {ends} · {escape(started)} UTC · ",
            f"{escape(str(journal.get('id', '')))}</p>",
            f'<h2>Curves</h2><div class="charts">{"".join(charts)}</div>' if charts else "",
            _section("Last epoch", _metrics(journal.get("metrics", {}))),
            _section("Settings that are not the defaults", _pairs(list_changed(record.config))),
            _section("Origin", _pairs(list_origin(journal))),
            f"<details><summary>All settings</summary>{_pairs(record.config.items())}</details></html>\n",
        ]
    )


def list_changed(config: Any) -> list[tuple[str, Any]]:
    """Give the settings that are not their options' defaults."""
    default: dict[str, Any] = {key: value for key, _, value in iter_fields(TrainConfig())}
    for group, options in GROUPS.items():
        schema = options.get(config.get(f"{group}.name"))
        if schema is not None:
            own = {key: value for key, _, value in iter_fields(schema(), f"{group}.")}
            default |= own | {f"{group}.name": next(iter(options))}
    return [(key, value) for key, value in config.items() if default.get(key, default) != value]


def list_origin(journal: Any) -> list[tuple[str, Any]]:
    """Give where the last session of a run comes from, in words."""
    session = (journal.get("sessions") or [{}])[-1]
    git, environment = session.get("git") or {}, session.get("environment", {})
    dirty = f", with changes ({git['diff']})" if git.get("diff") else ""
    facts = {
        "command": " ".join(session.get("command", [])),
        "folder": session.get("cwd"),
        "revision": f"{git['revision']} ({git['branch']}{dirty})" if git else "no git repository",
        "torch, Python": f"{environment.get('torch')}, {environment.get('python')}",
        "device": f"{environment.get('device')}, {environment.get('num_threads')} threads",
        "processor": environment.get("processor"),
        "platform": environment.get("platform"),
    }
    facts |= {key: f"{each['path']}, {each['size']} bytes" for key, each in session.get("inputs", {}).items()}
    facts |= {f"{name} failed": reason for name, reason in journal.get("failures", {}).items()}
    return list(facts.items())


def draw_chart(name: str, rows: Sequence[dict[str, str]]) -> str:
    """Give the curves of one value over the steps as a figure; points that cannot be drawn are left out."""
    curves: dict[str, list[Point]] = {}
    for part in PARTS:
        pairs = [
            (float(row["step"]), float(row[name])) for row in rows if row["part"] == part and name in row
        ]
        if points := [pair for pair in pairs if abs(pair[1]) < 1e300]:
            curves[part] = points
    if not curves:
        return ""
    every = [point for points in curves.values() for point in points]
    steps, values = find_ticks(point[0] for point in every), find_ticks(point[1] for point in every)

    def place(point: Point) -> Point:
        across = (point[0] - steps[0]) / (steps[-1] - steps[0])
        up = (point[1] - values[0]) / (values[-1] - values[0])
        return LEFT + across * (WIDTH - LEFT - 20), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)

    axes = [_draw_value(value, place((steps[0], value))[1]) for value in values]
    axes += [_draw_step(step, place((step, values[0]))[0]) for step in steps]
    drawn = [_draw_curve(part, points, place) for part, points in curves.items()]
    keys = "".join(f'<span class="key {part}">{part}</span>' for part in curves)
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)} over the steps"'
    caption = f"<figcaption>{escape(name)}{keys}</figcaption>"
    return f"<figure>{caption}<svg {view}>{''.join([*axes, *drawn])}</svg></figure>"


def _draw_value(value: float, y: float) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>'


def _draw_step(step: float, x: float) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{step:.6g}</text>'


def _draw_curve(part: str, points: list[Point], place: Callable[[Point], Point]) -> str:
    """Draw a line and, of a few points, a dot each that tells its numbers."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, thin_out(points)))
    drawn = [f'<polyline class="curve {part}" points="{path}"/>' if len(points) > 1 else ""]
    if part != "step" and len(points) <= 60:
        for point in points:
            x, y = place(point)
            label = f"<title>{part}, step {point[0]:.0f}: {point[1]!r}</title>"
            drawn.append(f'<circle class="{part}" cx="{x:.1f}" cy="{y:.1f}" r="2.5">{label}</circle>')
    return "".join(drawn)


def thin_out(points: list[Point], most: int = 600) -> list[Point]:
    """Give at most about so many points that look the same: of each stretch its lowest and its highest."""
    if len(points) <= most:
        return points
    size = math.ceil(2 * len(points) / most)
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    kept = [{min(each, key=lambda p: p[1]), max(each, key=lambda p: p[1])} for each in stretches]
    return [point for each in kept for point in sorted(each)]


def find_ticks(values: Iterable[float], about: int = 5) -> list[float]:
    """Give round numbers in equal steps, from at most the least of the values to at least the greatest."""
    found = list(values)
    low, high = min(found), max(found)
    if high - low < sys.float_info.min * about:  # no room for steps between them
        margin = abs(high) / 2 if abs(high) > sys.float_info.min else 1
        low, high = low - margin, high + margin
    rough = (high - low) / about
    size = 10 ** math.floor(math.log10(rough))
    step = size * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>{content}"


def _pairs(pairs: Iterable[tuple[str, Any]]) -> str:
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(str(value))}</td></tr>" for key, value in pairs)
    return f'<div class="wide"><table>{rows}</table></div>'


def _metrics(metrics: dict[str, dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in names)
    rows = "".join(
        f"<tr><td>{escape(part)}</td>"
        + "".join(f'<td class="number">{_show(values.get(name))}</td>' for name in names)
        + "</tr>"
        for part, values in metrics.items()
    )
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{rows}</table></div>'


def _show(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
