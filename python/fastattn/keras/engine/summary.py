"""What summary() prints."""

from __future__ import annotations

import re
import shutil
from typing import Any

import numpy as np

from fastattn.keras.config import dtype_of

from .functional import InputLayer
from .tree import leaves, mapped


def summary_text(
    model: Any,
    line_length: int | None,
    positions: list[float] | None,
    expand_nested: bool,
    show_trainable: bool,
    layer_range: tuple[str, str] | None,
) -> str:
    """The table of a model's layers, and how many weights there are."""
    plain = _is_chain(model)
    header = ["Layer (type)", "Output Shape", "Param #"]
    ends = positions or ([0.45, 0.8, 1.0] if plain else [0.3, 0.56, 0.7, 1.0])
    length = 88 if plain else 108
    if not plain:
        header.append("Connected to")
    if show_trainable:
        header.append("Trainable")
        ends, length = [0.9 * p for p in ends] + [1.0], length + 12
    length = line_length or min(length, max(shutil.get_terminal_size().columns - 4, 60))
    widths, start = [], 0
    for end in ends:
        at = int(end * length) if end <= 1 else int(end)
        widths.append(max(at - start, 4))
        start = at
    lines = [f'Model: "{model.name}"', "_" * length, _row(header, widths), "=" * length]
    for layer in _chosen(model.layers, layer_range):
        lines += [_row(r, widths) for r in _rows(model, layer, plain, show_trainable, expand_nested, 0)]
    lines.append("=" * length)
    return "\n".join([*lines, *_totals(model), "_" * length])


def _is_chain(model: Any) -> bool:
    graph = model._graph
    if graph is None or type(model).__name__ == "Sequential":
        return True
    one_each = all(len(nodes) == 1 and len(nodes[0].inputs) <= 1 for nodes in graph.by_depth.values())
    return one_each and len(graph.layers) == len(graph.nodes)


def _chosen(layers: list[Any], layer_range: tuple[str, str] | None) -> list[Any]:
    if layer_range is None:
        return layers
    found = [[i for i, layer in enumerate(layers) if re.match(pattern, layer.name)] for pattern in layer_range]
    if len(layer_range) != 2 or not all(found):
        msg = f"summary: layer_range is {layer_range!r}; expected names of two of {', '.join(a.name for a in layers)}"
        raise ValueError(msg)
    first, last = min(found[0]), max(found[1])
    return layers[min(first, last) : max(first, last) + 1]


def _rows(model: Any, layer: Any, plain: bool, trainable: bool, nested: bool, level: int) -> list[list[str]]:
    prefix = "   " * (level - 1) + "|- " if level else ""
    params = f"{layer.count_params():,}" if all(a.built for a in layer._flatten_layers()) else "0 (unbuilt)"
    row = [f"{prefix}{layer.name} ({type(layer).__name__})", _shape_text(layer), params]
    if not plain:
        row.append(_connections(model, layer))
    if trainable:
        row.append(("Y" if layer.trainable else "N") if layer.weights else "-")
    rows = [row]
    for below in getattr(layer, "layers", ()) if nested else ():
        rows += _rows(model, below, plain, trainable, nested, level + 1)
    return rows


def _shape_text(layer: Any) -> str:
    if isinstance(layer, InputLayer):
        return str(layer.batch_shape)
    outputs: Any = None
    if layer._inbound_nodes:
        outputs = layer._inbound_nodes[0].outputs
    elif getattr(layer, "_graph", None) is not None:
        outputs = layer._graph.outputs
    if outputs is None:
        shapes = [str(s) for s in layer._first_outputs or ()] or ["?"]
    else:
        shapes = list(leaves(mapped(lambda s: str(s.shape), outputs)))
    return shapes[0] if len(shapes) == 1 else f"[{', '.join(shapes)}]"


def _connections(model: Any, layer: Any) -> str:
    inside = {id(n) for n in model._graph.nodes} if model._graph is not None else set()
    parts = []
    for node in layer._inbound_nodes:
        for symbol in node.inputs if id(node) in inside else ():
            source, call, index = symbol.history
            parts.append(f"{source.name}[{call}][{index}]")
    return ", ".join(parts) or "-"


def _row(cells: list[str], widths: list[int]) -> str:
    """One row; a cell too long for its column goes on below."""
    parts = [
        [cell[i : i + width - 1] for i in range(0, len(cell), width - 1)]
        for cell, width in zip(cells, widths, strict=False)
    ]
    height = max(len(p) for p in parts)
    lines = []
    for i in range(height):
        line = "".join([(p[i] if i < len(p) else "").ljust(w) for p, w in zip(parts, widths, strict=False)])
        lines.append(line.rstrip())
    return "\n".join(lines)


def _totals(model: Any) -> list[str]:
    trained, rest = model.trainable_weights, model.non_trainable_weights
    optimizer = model.optimizer
    state = _state(optimizer) if optimizer is not None and optimizer.built else []
    kinds = [("Trainable", _size(trained)), ("Non-trainable", _size(rest))]
    if state:
        kinds.append(("Optimizer", (sum(n for n, _ in state), sum(n * item for n, item in state))))
    total = (sum(k[1][0] for k in kinds), sum(k[1][1] for k in kinds))
    return [f" {name} params: {count:,} ({memory(size)})" for name, (count, size) in [("Total", total), *kinds]]


def _size(weights: list[Any]) -> tuple[int, float]:
    return sum(w.size for w in weights), sum(w.size * dtype_of(w.dtype).itemsize for w in weights)


def _state(optimizer: Any) -> list[tuple[int, int]]:
    """(elements, bytes of one) of an optimizer's variables."""
    found = [(np.size(v), v.dtype.itemsize) for v in getattr(optimizer, "variables", ())]
    return [(int(n), int(item)) for n, item in found]


def memory(size: float) -> str:
    """Bytes as Keras writes them: 4.82 KB."""
    if not size:
        return "0.00 B"
    unit = min(int(np.log2(size) // 10), 4)
    return f"{size / 1024**unit:.2f} {('B', 'KB', 'MB', 'GB', 'TB')[unit]}"
