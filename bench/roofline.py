"""The roofline of a record, drawn as SVG: FLOP/s of every case over its FLOPs a byte, under the machine's limits as
measured in that run. Both axes are logarithmic: what memory allows is a slope, what the units allow is level.

Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model" (2009).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from fastattn import _ceilings

from .report import seconds_text

Json = dict[str, Any]

WIDTH, HEIGHT = 1080, 600
LEFT, RIGHT, TOP, BOTTOM = 64, 216, 20, 52  # around the axes
LEAST = 0.05  # FLOPs a byte: where cases stand that have less, or none
COLOURS = (
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#bcbd22", "#005f73",
    "#7f7f7f", "#6a994e", "#b5179e", "#3a0ca3", "#90be6d", "#f94144", "#577590", "#c8a2ff", "#b08968", "#00b4d8",
    "#3d2b1f", "#ffb703",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A case: where it stands, and where the fastest peer does (None where there is none)."""

    op: str
    text: str
    intensity: float  # FLOPs a byte
    rate: float  # GFLOP/s
    peer_rate: float | None


@dataclass(frozen=True)
class Roof:
    """A limit: GB/s of memory or GFLOP/s of the units."""

    text: str
    rate: float
    memory: bool

    def at(self, intensity: float) -> float:
        return self.rate * intensity if self.memory else self.rate


def points(record: Json) -> list[Point]:
    found = []
    for case in record["cases"]:
        results = case["results"]
        ours = results.get("fastattn")
        if not ours or not case["bytes"]:
            continue
        intensity = max(case["arithmetic"] / case["bytes"], LEAST)
        work = intensity * case["bytes"] / 1e9
        peers = {name: r["median"] for name, r in results.items() if name != "fastattn"}
        text = f"{case['op']}: {case['case']}\n{seconds_text(ours['median'])}, {ours['of_limit']:.0%} of the limit"
        if peers:
            fastest = min(peers, key=lambda name: peers[name])
            text += f"\nfastest peer: {fastest}, {seconds_text(peers[fastest])}"
        peer_rate = work / min(peers.values()) if peers else None
        found.append(Point(case["op"], text, intensity, work / ours["median"], peer_rate))
    return found


def roofs(record: Json) -> list[Roof]:
    """What the run measured: memory beyond the caches, the fastest traffic beside any case, which a cache served, and
    the peaks."""
    limits, environment = record["limits"], record["environment"]
    threads, vector = environment["threads"], _ceilings.VECTORS[environment["isa"]]
    memory = max(limits[f"{kind} x{threads}"] for kind in ("copy", "stream")) / 1e9
    found = [Roof("memory", memory, True)]
    cached = max((b for case in record["cases"] for b in case["bandwidths"]), default=0.0) / 1e9
    if cached > memory:
        found.append(Roof("caches", cached, True))
    for dtype in ("float32", "float64", "bfloat16"):
        cases = [c for c in record["cases"] if _ceilings.multiplied_as(environment["isa"], c["dtype"]) == dtype]
        peaks = [peak for case in cases for peak in case["peaks"]]
        first = limits.get(f"{dtype} {vector} x{threads}")
        if cases and (peaks or first):  # the best: on a busy machine, the one that says most
            found.append(Roof(f"{dtype}, {vector}", max([*peaks, *filter(None, [first])]) / 1e9, False))
    return found


class _Axes:
    """From FLOPs a byte and GFLOP/s to places in the picture."""

    def __init__(self, marks: Sequence[Point], lines: Sequence[Roof]) -> None:
        xs = [p.intensity for p in marks] + [LEAST]
        rates = [r for p in marks for r in (p.rate, p.peer_rate) if r]
        ceiling = max([line.rate for line in lines if not line.memory] + rates)
        ridge = max((ceiling / line.rate for line in lines if line.memory), default=1.0)
        self.x0, self.x1 = math.log10(LEAST / 1.6), math.log10(2 * max(*xs, ridge))
        floor = min([*rates, *(line.at(LEAST) for line in lines if line.memory)])
        self.y0, self.y1 = math.log10(floor / 2), math.log10(ceiling * 2)

    def x(self, intensity: float) -> float:
        return LEFT + (math.log10(intensity) - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, rate: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(rate) - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[str]:
        """A line and a number a power of ten."""
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        parts = []
        for k in range(math.ceil(self.x0), math.floor(self.x1) + 1):
            x = self.x(10.0**k)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{10.0**k:g}</text>')
        for k in range(math.ceil(self.y0), math.floor(self.y1) + 1):
            y = self.y(10.0**k)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**k:g}</text>')
        parts.append(f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"/>')
        middle = (LEFT + right) / 2
        parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle">FLOPs a byte of traffic</text>')
        where = (TOP + bottom) / 2
        parts.append(f'<text transform="translate(16 {where:.0f}) rotate(-90)" text-anchor="middle">GFLOP/s</text>')
        return parts


def _roof_lines(lines: Sequence[Roof], axes: _Axes) -> list[str]:
    peak = max((line.rate for line in lines if not line.memory), default=10.0**axes.y1)
    slowest = min((line.rate for line in lines if line.memory), default=1.0)
    parts = []
    for line in lines:
        start, end = 10.0**axes.x0, 10.0**axes.x1
        if line.memory:
            start, end = max(start, 10.0**axes.y0 / line.rate), peak / line.rate
        else:
            start = min(line.rate / slowest, end)  # left of where memory reaches it, it limits nothing
            start = min(start, line.rate / max((m.rate for m in lines if m.memory), default=slowest))
        x1, y1, x2, y2 = axes.x(start), axes.y(line.at(start)), axes.x(end), axes.y(line.at(end))
        parts.append(f'<line class="roof" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
        unit = "GB/s" if line.memory else "GFLOP/s"
        text = escape(f"{line.text}: {line.rate:.0f} {unit}")
        if line.memory:
            angle = -math.degrees(math.atan2(y1 - y2, x2 - x1))
            at = f"translate({x1 + 0.3 * (x2 - x1):.1f} {y1 + 0.3 * (y2 - y1) - 6:.1f}) rotate({angle:.1f})"
            parts.append(f'<text class="limit" transform="{at}">{text}</text>')
        else:
            parts.append(f'<text class="limit" x="{x2 - 6:.1f}" y="{y2 - 6:.1f}" text-anchor="end">{text}</text>')
    return parts


def _marks(marks: Sequence[Point], axes: _Axes, colours: dict[str, str]) -> list[str]:
    parts = []
    for p in marks:
        x, y, colour = axes.x(p.intensity), axes.y(p.rate), colours[p.op]
        peer = ""
        if p.peer_rate:
            other = axes.y(p.peer_rate)
            peer = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{other:.1f}" stroke="{colour}" opacity="0.35"/>'
            peer += f'<circle class="peer" cx="{x:.1f}" cy="{other:.1f}" r="3" stroke="{colour}"/>'
        dot = f'<circle class="ours" cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
        parts.append(f"<g>{peer}{dot}<title>{escape(p.text)}</title></g>")
    return parts


def _legend(colours: dict[str, str]) -> list[str]:
    x = WIDTH - RIGHT + 22
    rows = [
        f'<circle class="ours" cx="{x}" cy="{TOP + 12 + 22 * i}" r="5" fill="{colour}"/>'
        f'<text x="{x + 14}" y="{TOP + 16 + 22 * i}">{escape(op)}</text>'
        for i, (op, colour) in enumerate(colours.items())
    ]
    y = TOP + 22 * len(colours) + 30
    rows.append(f'<circle class="peer" cx="{x}" cy="{y - 4}" r="3" stroke="#555"/>')
    rows.append(f'<text x="{x + 14}" y="{y}">the fastest peer</text>')
    return rows


STYLE = """
svg.roofline { font: 12px system-ui, sans-serif; fill: #333; background: white; max-width: 100%; height: auto }
.roofline .grid { stroke: #e4e4e4 } .roofline .frame { fill: none; stroke: #999 }
.roofline .roof { stroke: #333; stroke-width: 1.6 }
.roofline .limit { font-size: 11px; fill: #555 }
.roofline .ours { stroke: white; stroke-width: 1 } .roofline .peer { fill: white; stroke-width: 1.4 }
.roofline g:hover .ours { stroke: black; stroke-width: 2.5 }
"""


def svg(record: Json) -> str:
    """The picture; every point says its case on hover."""
    marks, lines = points(record), roofs(record)
    if not marks:
        return ""
    axes = _Axes(marks, lines)
    colours = {op: COLOURS[i % len(COLOURS)] for i, op in enumerate(dict.fromkeys(p.op for p in marks))}
    parts = [*axes.grid(), *_roof_lines(lines, axes), *_marks(marks, axes, colours), *_legend(colours)]
    head = f'<svg class="roofline" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>"])
