"""A picture of a model: a box per layer, in rows by how far they are from the outputs, as SVG."""

from __future__ import annotations

import os
import warnings
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

CHARACTER, LINE, PADDING, GAP, BETWEEN = 7.3, 18, 10, 30, 44  # pixels: of 12 px text, and between boxes and rows


class Svg(str):
    """The text of a picture; a notebook shows it."""

    def _repr_svg_(self) -> str:
        return str(self)


class _Box:
    """A box with lines of text; without, a place where an arrow passes a row."""

    def __init__(self, row: int, lines: list[str]) -> None:
        self.row, self.lines = row, lines
        self.width = max((len(line) * CHARACTER for line in lines), default=0.0) + 2 * PADDING * bool(lines)
        self.height = len(lines) * LINE + PADDING if lines else 0.0
        self.x = self.y = 0.0
        self.above: list[_Box] = []


def plot_model(
    model: Any,
    to_file: Any = "model.svg",
    show_shapes: bool = False,
    show_dtype: bool = False,
    show_layer_names: bool = False,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: int = 200,
    show_layer_activations: bool = False,
    show_trainable: bool = False,
) -> Svg:
    """Draws a model as SVG, with nothing but this.

    Args:
        model: a built Model or Sequential.
        to_file: the file; of another kind than .svg, that beside it is written. None: none.
        show_shapes: the shapes of what layers give.
        show_dtype: their dtypes.
        show_layer_names: the layers' names.
        rankdir: "TB", from top to bottom.
        expand_nested: accepted as False; a model within is one box.
        dpi: accepted for Keras's sake; SVG has no pixels.
        show_layer_activations: the activations' names.
        show_trainable: which layers do not learn.

    Returns:
        The SVG, which notebooks show.

    Raises:
        ValueError: a model that is not built, another `rankdir`, `expand_nested`.

    Example:
        >>> from fastattn import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> picture = keras.utils.plot_model(model, to_file=None, show_shapes=True)
        >>> picture.count("<rect"), "Dense" in picture
        (2, True)

    Source: Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures" (1981): rows,
    places where arrows pass, and their order by the mean of what is above.
    """
    if rankdir != "TB" or expand_nested:
        name, value = ("rankdir", rankdir) if rankdir != "TB" else ("expand_nested", expand_nested)
        msg = f"plot_model: {name} is {value!r}; expected {'TB' if name == 'rankdir' else False!r}"
        raise ValueError(msg)

    def lines(layer: Any, symbols: list[Any]) -> list[str]:
        kind = type(layer).__name__
        out = [f"{layer.name} ({kind})" if show_layer_names else kind]
        activation = getattr(getattr(layer, "activation", None), "__name__", None)
        if show_layer_activations and activation:
            out.append(f"activation: {activation}")
        if show_shapes and symbols:
            out.append(f"output: {', '.join(str(symbol.shape) for symbol in symbols)}")
        if show_dtype and symbols:
            out.append(f"dtype: {', '.join(str(symbol.dtype) for symbol in symbols)}")
        if show_trainable and layer.weights and not layer.trainable:
            out.append("not trainable")
        return out

    rows = _placed(_rows(model, lines))
    picture = Svg(_svg(model.name, rows))
    if to_file is not None:
        path = Path(os.fspath(to_file))
        if path.suffix != ".svg":
            warnings.warn(f"plot_model: writes SVG; {path.with_suffix('.svg')} instead of {path}", stacklevel=2)
        path.with_suffix(".svg").write_text(picture)
    return picture


def _rows(model: Any, lines: Any) -> list[list[_Box]]:
    """Boxes by row, with those above each; an arrow over several rows has a place in each."""
    from fastattn.keras.engine.tree import leaves

    graph = getattr(model, "_graph", None)
    if graph is None:
        msg = f"plot_model: {model.name} has no graph; expected a functional or Sequential model that is built"
        raise ValueError(msg)
    boxes: dict[int, _Box] = {}
    rows: list[list[_Box]] = []
    for row, depth in enumerate(sorted(graph.by_depth, reverse=True)):
        rows.append([])
        for node in graph.by_depth[depth]:
            box = boxes[id(node)] = _Box(row, lines(node.layer, list(leaves(node.outputs))))
            rows[-1].append(box)
            for source in dict.fromkeys(boxes[id(s.node)] for s in node.inputs if id(s.node) in boxes):
                for passed in range(source.row + 1, row):
                    place = _Box(passed, [])
                    place.above.append(source)
                    rows[passed].append(place)
                    source = place
                box.above.append(source)
    return rows


def _placed(rows: list[list[_Box]]) -> list[list[_Box]]:
    """The rows, each ordered by the mean place of what is above, in its middle."""
    y = float(GAP)
    for row in rows:
        if any(box.above for box in row):
            row.sort(key=lambda box: sum(above.x for above in box.above) / max(len(box.above), 1))
        width = sum(box.width for box in row) + GAP * (len(row) - 1)
        x = -width / 2
        height = max(box.height for box in row)
        for box in row:
            box.x, box.y = x + box.width / 2, y + (height - box.height) / 2
            x += box.width + GAP
        y += height + BETWEEN
    return rows


def _svg(title: str, rows: list[list[_Box]]) -> str:
    boxes = [box for row in rows for box in row]
    left = min(box.x - box.width / 2 for box in boxes) - GAP
    width = max(box.x + box.width / 2 for box in boxes) + GAP - left
    height = max(box.y + box.height for box in boxes) + GAP
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}" font-family="monospace" font-size="12">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z"/></marker></defs>',
        f'<path d="M{left:.0f},0 h{width:.0f} v{height:.0f} h-{width:.0f} z" fill="white"/>',
    ]
    for box in boxes:
        for above in box.above if box.lines else ():
            out.append(_arrow(box, above))
    for box in boxes:
        if not box.lines:
            continue
        x, y = box.x - box.width / 2, box.y
        out.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="4"'
            ' fill="#f2f6fb" stroke="black"/>'
        )
        for i, line in enumerate(box.lines):
            at = y + PADDING / 2 + (i + 0.75) * LINE
            weight = ' font-weight="bold"' if i == 0 else ""
            out.append(f'<text x="{box.x:.1f}" y="{at:.1f}" text-anchor="middle"{weight}>{escape(line)}</text>')
    return "\n".join([*out, "</svg>\n"])


def _arrow(box: _Box, above: _Box) -> str:
    """From the box that it comes from, through the places in between."""
    places = [above]
    while not places[-1].lines:
        places.append(places[-1].above[0])
    points = [(p.x, p.y + p.height) for p in reversed(places)] + [(box.x, box.y)]
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        path += f" C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1:.1f}"
    return f'<path d="{path}" fill="none" stroke="black" marker-end="url(#head)"/>'
