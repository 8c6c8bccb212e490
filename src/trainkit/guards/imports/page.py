"""The loads of an import as one HTML page that needs nothing else: an icicle to click into, and the table."""

from __future__ import annotations

from html import escape

from trainkit.guards.imports.measure import Imported
from trainkit.guards.imports.table import Row, list_rows
from trainkit.guards.imports.views import COLLECTIONS, FAILED, Node, Placed, build_tree, lay_out

_LEAST_SHARE = 0.0005  # of all; narrower bars could not be seen
_NUM_ROWS = 40
_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;
--tint:62% 78%;--words:#1f2328;--none:#d8dee4}
@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#30363d;
--tint:38% 30%;--words:#f0f3f6;--none:#30363d}}
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;margin:1.5rem auto;
padding:0 1rem;max-width:90rem}h1{font-size:1.4rem;margin:0}h2{font-size:1rem;margin:1.6rem 0 .4rem}
p{margin:.2rem 0;color:var(--soft)}
#icicle{position:relative;overflow:hidden;border:1px solid var(--line)}
#icicle button{position:absolute;height:21px;box-sizing:border-box;border:0;
border-right:1px solid var(--paper);border-bottom:1px solid var(--paper);background:hsl(var(--h) var(--tint));
color:var(--words);font:12px/20px system-ui,sans-serif;padding:0 4px;overflow:hidden;white-space:nowrap;
text-align:left;text-overflow:ellipsis;cursor:zoom-in}
#icicle button.narrow{padding:0;font-size:0}#icicle button.none{background:var(--none)}
#icicle button:focus-visible{outline:2px solid var(--ink);outline-offset:-2px}
#said{min-height:3em;overflow-wrap:anywhere}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.15rem .9rem .15rem 0;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{font-weight:600}td.word,th.word{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:12rem}
"""
_SCRIPT = """
const box=document.getElementById("icicle"),said=document.getElementById("said");
const bars=[...box.children],all=+box.dataset.all;
function show(at,width,depth){for(const bar of bars){const d=bar.dataset,x=(d.at-at)/width,w=d.width/width;
const up=+d.depth<depth;bar.hidden=up?!(+d.at<=at+1e-9&&+d.at+ +d.width>=at+width-1e-9):x>=1||x+w<=0||w<.0005;
bar.style.left=up?"0":100*x+"%";bar.style.width=up?"100%":100*w+"%";
bar.classList.toggle("narrow",!up&&w*box.clientWidth<24)}
const deep=Math.max(...bars.filter(b=>!b.hidden).map(b=>+b.dataset.depth));box.style.height=21*(deep+1)+"px"}
box.addEventListener("click",e=>{const d=e.target.dataset;if(d.width)show(+d.at,+d.width,+d.depth)});
for(const kind of ["mouseover","focusin"])
box.addEventListener(kind,e=>{if(e.target.title)said.textContent=e.target.title});
show(0,all,0);addEventListener("resize",()=>bars.forEach(b=>b.classList.toggle("narrow",b.offsetWidth<24)));
"""


def build_page(imported: Imported) -> str:
    """Give the page of a measured import."""
    cost = imported.total_of(list(imported.modules))
    facts = (
        f"{cost.num_modules} modules, {imported.cpu_s:.3f} s of CPU, {cost.pyc_bytes / 1e6:.1f} MB of .pyc, "
        f"{len(imported.shared)} shared objects, {imported.num_collections} garbage collections "
        f"({imported.collections_s:.3f} s), {len(imported.failed)} imports that failed"
    )
    table = f"<h2>What would be spared</h2>{_render_table(list_rows(imported)[:_NUM_ROWS])}"
    return render_page(f"What {imported.target} imports", facts, build_tree(imported), table)


def render_page(title: str, facts: str, root: Node, more: str = "") -> str:
    """Give a page with the icicle of any tree of loads."""
    total = root.total_s or 1e-9
    bars = [placed for placed in lay_out(root) if placed.node.total_s >= total * _LEAST_SHARE]
    height = 21 * (1 + max((placed.depth for placed in bars), default=0))
    help_ = "A bar is as wide as its CPU time, with all it loaded. Click to go in; click one above to go out."
    return "".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style>",
            f"<h1>{escape(title)}</h1><p>{escape(facts)}</p><h2>Where the time goes</h2><p>{help_}</p>",
            f'<div id="icicle" data-all="{total:.9f}" style="height:{height}px">',
            *(_render_bar(placed, total) for placed in bars),
            f'</div><p id="said" aria-live="polite"></p>{more}<script>{_SCRIPT}</script></html>\n',
        ]
    )


def _render_bar(placed: Placed, total: float) -> str:
    node = placed.node
    words = f"{node.name}: {node.total_s * 1e3:.1f} ms, itself {node.self_s * 1e3:.1f} ms"
    words += f", by {node.place}" if node.place else ""
    left, width = 100 * placed.start_s / total, 100 * node.total_s / total
    kind = ' class="none"' if node.name in {COLLECTIONS, FAILED} else ""
    style = f"left:{left:.4f}%;width:{width:.4f}%;top:{21 * placed.depth}px;--h:{_hue(node.name)}"
    data = f'data-at="{placed.start_s:.9f}" data-width="{node.total_s:.9f}" data-depth="{placed.depth}"'
    return f'<button{kind} style="{style}" {data} title="{escape(words)}">{escape(node.name)}</button>'


def _hue(name: str) -> int:
    """Give one colour to all of a package."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(name.partition(".")[0])) * 47 % 360


def _render_table(rows: list[Row]) -> str:
    heads = ("modules", "CPU ms", ".pyc MB", "RAM MB", "itself ms", "cumulative ms")
    lines = [
        "<tr>"
        f"<td>{row.cost.num_modules}<td>{row.cost.cpu_s * 1e3:.1f}<td>{row.cost.pyc_bytes / 1e6:.2f}"
        f"<td>{max(row.cost.memory_bytes, 0) / 1e6:.1f}<td>{row.self_s * 1e3:.1f}<td>{row.total_s * 1e3:.1f}"
        f'<td class="word">{escape(row.name)}<td class="word">{escape(row.place)}'
        for row in rows
    ]
    head = "".join(f"<th>{name}" for name in heads)
    words = '<th class="word">module<th class="word">brought by'
    return f'<div class="wide"><table><tr>{head}{words}{"".join(lines)}</table></div>'
