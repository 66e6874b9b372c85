"""A record as one HTML file that needs nothing else: the roofline, and a table for each op."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from . import roofline
from .compare import Comparison
from .report import seconds_text

Json = dict[str, Any]

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem } p, li { color: #444 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th { text-align: right; font-weight: 600; color: #666; font-size: 12px; border-bottom: 1px solid #bbb; padding: .2rem .5rem }
td { text-align: right; padding: .16rem .5rem; white-space: nowrap } th:first-child, td:first-child { text-align: left }
tr.case td { text-align: left; font-weight: 600; padding-top: .6rem; border-top: 1px solid #e4e4e4; white-space: normal }
tr.case span { font-weight: 400; color: #777 } tr.ours td { background: #eef5fc } td.kernel { color: #777; text-align: left }
td b { display: inline-block; min-width: 2.6rem; font-weight: 400 }
.bar { display: inline-block; width: 90px; height: 9px; background: #e7e7e7; margin-right: .5rem }
.bar i { display: block; height: 100%; background: #9aa5b1 } tr.ours .bar i { background: #1f77b4 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem } dt { color: #777 } dd { margin: 0 }
.slower { color: #b00020 } .faster { color: #1b7a37 }
"""


def write(record: Json, comparison: Comparison | None, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(record, comparison), encoding="utf-8")


def page(record: Json, comparison: Comparison | None = None) -> str:
    environment = record["environment"]
    title = f"fastattn {environment['fastattn']} on {environment['cpu']}"
    ops = dict.fromkeys(case["op"] for case in record["cases"])
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            _facts(environment),
            "" if comparison is None else _changes(comparison),
            "<h2>Roofline</h2>",
            "<p>A dot is a case: its rate, over the FLOPs that it does for a byte of traffic. A slope is what memory "
            "allows, a level line what the units allow, both measured in this run. Cases that do no arithmetic stand "
            f"at the left edge, at {roofline.LEAST:g} FLOPs a byte. Point at a dot for its name.</p>",
            roofline.svg(record),
            *(_table(op, [case for case in record["cases"] if case["op"] == op]) for op in ops),
            "</body></html>\n",
        ]
    )


def _facts(environment: Json) -> str:
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(', '.join(value) if isinstance(value, list) else str(value))}</dd>"
        for name, value in environment.items()
        if name != "fastattn"
    )
    return f"<dl>{rows}</dl>"


def _changes(comparison: Comparison) -> str:
    head = f"<h2>Since {escape(comparison.since)}</h2>"
    if comparison.other_machine:
        return f"{head}<p>Not compared, it was another machine or setting: {escape(comparison.other_machine)}.</p>"
    noise = f"{comparison.compared} cases, changes beyond {comparison.noise:.0%}, the noise of the two runs"
    if not comparison.slower and not comparison.faster:
        return f"{head}<p>{noise}: none.</p>"
    rows = [f'<li class="slower">slower: {escape(str(c))}</li>' for c in comparison.slower]
    rows += [f'<li class="faster">faster: {escape(str(c))}</li>' for c in comparison.faster]
    return f"{head}<p>{noise}:</p><ul>{''.join(rows)}</ul>"


def _table(op: str, cases: list[Json]) -> str:
    titles = ("", "median", "best", "spread", "rate", "of limit", "x ours", "")
    rows = ["<tr>" + "".join(f"<th>{title}</th>" for title in titles) + "</tr>", *map(_case, cases)]
    return f'<h2 id="{escape(op)}">{escape(op)}</h2>\n<table>{"".join(rows)}</table>'


def _case(case: Json) -> str:
    """A row for the case and its limit, and one for each contestant."""
    compute_bound = case["compute_bound"]
    work, unit = (case["flops"], "GFLOP/s") if compute_bound else (case["bytes"], "GB/s")
    kind = "" if compute_bound else f" {case['traffic']}"
    limit = f"limit {work / case['ideal'] / 1e9:.3g} {unit}{kind}, {seconds_text(case['ideal'])}"
    rows = [f'<tr class="case"><td colspan="8">{escape(case["case"])} <span>{limit}</span></td></tr>']
    ours = case["results"].get("fastattn")
    for name, r in case["results"].items():
        bar = f'<span class="bar"><i style="width:{min(100, 100 * r["of_limit"]):.0f}%"></i></span>'
        ratio = f"{r['median'] / ours['median']:.2f}" if ours else ""
        cells = (
            escape(name), seconds_text(r["median"]), seconds_text(r["best"]), f"{r['spread']:.0%}",
            f"{work / r['median'] / 1e9:.1f} {unit}", f'{bar}<b>{r["of_limit"]:.0%}</b>', ratio,
        )  # fmt: skip
        style = ' class="ours"' if name == "fastattn" else ""
        kernel = f'<td class="kernel">{escape(r["kernel"])}</td>'
        rows.append(f"<tr{style}>" + "".join(f"<td>{cell}</td>" for cell in cells) + f"{kernel}</tr>")
    return "".join(rows)
