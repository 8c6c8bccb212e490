"""A review as one HTML page that needs nothing else: figures, a treemap, a map of the copies, cards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

from trainkit.report.html import begin_page, make_section, make_table
from trainkit.report.review.tables import (
    make_allowed,
    make_entry_points,
    make_figures,
    make_files,
    make_gone,
    make_namesakes,
    make_plan,
    make_related,
)
from trainkit.report.review.treemap import Box, lay_out
from trainkit.report.review.words import (
    tell_cycles,
    tell_edges,
    tell_head,
    tell_issues,
    tell_places,
    tell_size,
)
from trainkit.report.text import make_printable
from trainkit.review.model import Issue
from trainkit.review.result import FileRow, Review

_ISSUES, _FILES, _PLACES, _EVIDENCE = 300, 300, 20, 12
_STEPS = (5, 10, 20, 40)  # worst complexity of a file: bounds of the five shades
_BARS, _HUES = 24, 8
_STYLE = """
:root{--s0:#dbe9f6;--s1:#a9cde8;--s2:#f4c27a;--s3:#e2803a;--s4:#b3261e;--t:#1f2328;--u:#fff}
@media(prefers-color-scheme:dark){:root{--s0:#1c2d41;--s1:#27507a;--s2:#7a5519;--s3:#a8571b;--s4:#c93c37;
--t:#e6edf3;--u:#fff}}
.map{position:relative;height:min(70vh,30rem);border-radius:6px;overflow:hidden}
.map div{position:absolute;border:1px solid var(--paper);overflow:hidden;padding:1px 4px;
font-size:11px;line-height:1.3;
color:var(--t);white-space:nowrap;text-overflow:ellipsis}
.map .s4,.map .s3{color:var(--u)}
.s0{background:var(--s0)}.s1{background:var(--s1)}.s2{background:var(--s2)}.s3{background:var(--s3)}.s4{background:var(--s4)}
.key span{display:inline-block;margin-right:1rem;white-space:nowrap}
.key b{display:inline-block;width:.9em;height:.9em;border-radius:2px;margin-right:.35em;vertical-align:-.1em}
.bar{display:grid;grid-template-columns:minmax(7rem,22rem) 1fr 3rem;gap:.6rem;align-items:center;
font-size:.82rem;margin:2px 0}
@media(max-width:40rem){.bar{grid-template-columns:1fr 3rem;margin:.5rem 0}
.bar>span:first-child{grid-column:1/3}}
.bar>span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;direction:rtl;text-align:left}
.bar .track{position:relative;height:14px;background:var(--card);
border:1px solid var(--line);border-radius:3px;
overflow:hidden}
.track a{position:absolute;top:0;bottom:0;min-width:2px}
"""


def render(review: Review) -> str:
    """Give the page."""
    title = escape(review.project)
    base = f", compared with {escape(review.base)}" if review.base else ""
    shown = review.issues[:_ISSUES]
    rest = len(review.issues) - len(shown)
    parts = [
        begin_page(f"{review.project} · trainkit review", _STYLE),
        f"<h1>Review of {title}</h1>",
        f"<p>{escape(review.candidate)}{base} · {tell_size(review)}</p><p>{escape(tell_issues(review))}</p>",
        "".join(f"<p><b>Training</b> {escape(said)}</p>" for said in review.proof),
        make_section("Could not be judged", make_table(("file", "why"), review.unreadable)),
        make_section("Before and after" if review.base else "Figures", make_table(*make_figures(review))),
        make_section("Complexity", _treemap(review.files)),
        make_section("Copies", _bars(review, {issue.key: issue.id for issue in shown})),
        make_section("Plan", make_table(*make_plan(review))),
        make_section("Issues", "".join(map(_card, shown)) + (f"<p>and {rest} more</p>" if rest else "")),
        make_section("Allowed", make_table(*make_allowed(review))),
        make_section("Gone", make_table(*make_gone(review))),
        make_section("Alike", make_table(*make_related(review))),
        make_section("Entry points", _entry_points(review)),
        make_section("Dependencies", _dependencies(review)),
        make_section("Files", _files(review)),
        "</html>\n",
    ]
    return make_printable("".join(parts))


def _treemap(files: Sequence[FileRow]) -> str:
    """Draw each file with an area of its lines, in the shade of its most complex function."""
    ranked = sorted((row for row in files if row.num_lines), key=lambda row: -row.num_lines)[:_FILES]
    bounds = ["0", *map(str, _STEPS)]
    names = [f"{low} to {high}" for low, high in pairwise(bounds)] + [f"over {_STEPS[-1]}"]
    key = "".join(f'<span><b class="s{at}"></b>{name}</span>' for at, name in enumerate(names))
    boxes = "".join(
        _draw(row, box) for row, box in zip(ranked, lay_out([r.num_lines for r in ranked]), strict=True)
    )
    said = "Area: lines of a file. Shade: cyclomatic complexity of its most complex function."
    more = f" The {_FILES} longest of {len(files)} files." if len(files) > _FILES else ""
    return f'<p>{said}{more}</p><p class="key">{key}</p><div class="map">{boxes}</div>'


def _draw(row: FileRow, box: Box) -> str:
    shade = sum(row.worst > step for step in _STEPS)
    place = f"left:{box.x:.3%};top:{box.y:.3%};width:{box.width:.3%};height:{box.height:.3%}"
    label = escape(row.path.rpartition("/")[2]) if box.width > 0.03 and box.height > 0.03 else ""
    told = escape(f"{row.path}: {row.num_lines:,} lines, worst {row.worst}, mean {row.mean:.1f}")
    return f'<div class="s{shade}" style="{place}" title="{told}">{label}</div>'


def _bars(review: Review, ids: dict[str, str]) -> str:
    """Draw the files that share most with others: a bar of their lines, a piece for each copy."""
    lengths = {row.path: row.num_lines for row in review.files}
    pieces: dict[str, list[tuple[int, int, int, str, str]]] = {}
    known = [issue for issue in review.issues if issue.rule.startswith("clone-")]
    for at, issue in enumerate(known):
        for place in issue.places:
            pieces.setdefault(place.path, []).append(
                (place.line, place.end, at % _HUES, issue.title, ids.get(issue.key, ""))
            )
    counts = {
        path: len({n for start, end, *_ in found for n in range(start, end + 1)})
        for path, found in pieces.items()
    }
    ranked = sorted(pieces, key=lambda path: (-counts[path], path))
    rows = "".join(_bar(path, pieces[path], lengths[path], counts[path]) for path in ranked[:_BARS])
    more = f"<p>and {len(ranked) - _BARS} more files</p>" if len(ranked) > _BARS else ""
    return (
        f"<p>Lines that stand in other places, too; each color is a class of copies.</p>{rows}{more}"
        if rows
        else ""
    )


def _bar(path: str, pieces: Iterable[tuple[int, int, int, str, str]], length: int, count: int) -> str:
    drawn = "".join(
        f'<a href="#{name}" style="left:{(start - 1) / length:.2%};width:{(end - start + 1) / length:.2%};'
        f'background:hsl({hue * 360 // _HUES} 55% 52%)" '
        f'title="{escape(f"lines {start} to {end}: {title}")}"></a>'
        for start, end, hue, title, name in pieces
    )
    return (
        f'<div class="bar"><span title="{escape(path)}"><bdi>{escape(path)}</bdi></span>'
        f'<div class="track">{drawn}</div><span>{count / length:.0%}</span></div>'
    )


def _card(issue: Issue) -> str:
    severity, rest = tell_head(issue).split(",", 1)
    places = "".join(f"<li><code>{escape(place)}</code>" for place in tell_places(issue.places, _PLACES))
    evidence = "".join(f"<li><code>{escape(said)}</code>" for said in issue.evidence[:_EVIDENCE])
    opened = " open" if issue.severity == "high" else ""
    return (
        f'<details class="card {issue.severity}" id="{issue.id}"{opened}><summary><b>{issue.id}</b> '
        f"{escape(issue.title)}"
        f'<div class="head"><i>{severity}</i>,{escape(rest)}</div></summary><ul>{places}</ul>'
        f"{f'<p>Evidence</p><ul>{evidence}</ul>' if evidence else ''}"
        f"<p>Do: {escape(issue.proposal)}</p></details>"
    )


def _entry_points(review: Review) -> str:
    return make_table(*make_entry_points(review)) + make_table(*make_namesakes(review))


def _dependencies(review: Review) -> str:
    found = review.dependencies
    said = f"<p>Imports among the files: {tell_edges(review)}. Import cycles: {tell_cycles(review)}.</p>"
    return said + "".join(
        [
            make_table(
                ("folder", "imports from", "times"),
                ((a, b, str(count)) for a, b, count in found.folders),
                "llr",
            ),
            make_table(("most imported", "by"), ((path, str(count)) for path, count in found.hubs), "lr"),
            make_table(
                ("from outside", "files"), ((name, str(count)) for name, count in found.externals[:20]), "lr"
            ),
        ]
    )


def _files(review: Review) -> str:
    found = make_files(review)
    return f"<details><summary>All {len(found.rows)} files</summary>{make_table(*found)}</details>"
