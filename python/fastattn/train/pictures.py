"""Pictures of what a model gets right and wrong, and of what it looks at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .history import new_figure, save_figure


def plot_confusion(matrix: Any, path: str | os.PathLike[str], names: Sequence[str] | None = None) -> None:
    """Writes a PNG of a confusion matrix, atomically: rows are the true classes, coloured by their shares.

    Args:
        matrix: (C, C) counts, as `fa.metrics.ConfusionMatrix` gives.
        path: the file; its folder must exist.
        names: of the classes, their numbers by default.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the matrix is not square, or has other classes than there are names.

    Example:
        >>> import pathlib, tempfile, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     try:
        ...         fa.train.plot_confusion([[3, 1], [0, 4]], folder + "/a.png", ["cat", "dog"])
        ...     except ImportError:
        ...         n = pathlib.Path(folder, "a.png").write_bytes(bytes([137]))
        ...     pathlib.Path(folder, "a.png").read_bytes()[0]
        137

    Source: none.
    """
    counts = np.asarray(matrix)
    names = [str(i) for i in range(len(counts))] if names is None else list(names)
    if counts.ndim != 2 or counts.shape != (len(names), len(names)):
        msg = f"plot_confusion: matrix has shape {counts.shape} for {len(names)} names; expected a square of as many"
        raise ValueError(msg)
    size = max(4.5, 0.45 * len(names) + 2)
    figure = new_figure("confusion.png", size + 0.8, size)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 30:
        for i, j in np.ndindex(counts.shape):
            if counts[i, j]:
                axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=8, color=_ink(shares[i, j]))
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=0 if max(map(len, names)) < 3 else 90)
    axes.set_yticks(ticks, names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.colorbar(image, label="part of the true class", shrink=0.8)
    save_figure(figure, path)


def plot_attention(
    maps: Any,
    path: str | os.PathLike[str],
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
) -> None:
    """Writes a PNG of attention weights, atomically: a row of pictures for each layer, one for each head.

    In each picture a row is a query; its colours, from white at 0 to dark at the layer's largest weight, say what it reads.

    Args:
        maps: one layer's weights of one sequence, (H, T, S) or (1, H, T, S), or a list of those, as
            `fa.capture_attention` gives.
        path: the file; its folder must exist.
        queries: T names of rows, none by default.
        keys: S names of columns; those of `queries` by default, where there are as many.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: there are no maps, weights of another number of axes or of several sequences, or another number of
            names than rows or columns.

    Example:
        >>> import pathlib, tempfile, numpy as np, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     try:
        ...         fa.train.plot_attention(np.eye(3)[None], folder + "/a.png", ["the", "cat", "sat"])
        ...     except ImportError:
        ...         n = pathlib.Path(folder, "a.png").write_bytes(bytes([137]))
        ...     pathlib.Path(folder, "a.png").read_bytes()[0]
        137

    Source: Vaswani et al., "Attention is all you need" (2017), figure 3, in another form.
    """
    layers = [_map(layer) for layer in (maps if isinstance(maps, (list, tuple)) else [maps])]
    if not layers:
        msg = "plot_attention: maps is empty; expected weights of at least one layer"
        raise ValueError(msg)
    if keys is None and queries is not None and all(m.shape[-1] == len(queries) for m in layers):
        keys = queries
    for what, names, axis in (("queries", queries, 1), ("keys", keys, 2)):
        for layer in layers:
            if names is not None and len(names) != layer.shape[axis]:
                msg = f"plot_attention: {len(names)} {what} for weights of shape {layer.shape}; expected {layer.shape[axis]}"
                raise ValueError(msg)
    heads = max(len(layer) for layer in layers)
    named = 0.16 * max((max(m.shape[1:]) for m in layers if queries or keys), default=0)
    size = min(max(2.0, named), 6.0)
    figure = new_figure("the picture of attention", size * heads + 1, size * len(layers) + 0.6)
    grid = figure.subplots(len(layers), heads, squeeze=False)
    for number, (layer, row) in enumerate(zip(layers, grid, strict=True)):
        for head, axes in enumerate(row):
            if head >= len(layer):
                axes.axis("off")
                continue
            axes.imshow(layer[head], cmap="Blues", vmin=0, vmax=max(float(layer.max()), 1e-12), aspect="auto")
            axes.set_title(f"layer {number}, head {head}", fontsize=8)
            axes.set_xticks(range(len(keys)) if keys else [], keys or [], rotation=90, fontsize=7)
            axes.set_yticks(range(len(queries)) if queries else [], queries or [], fontsize=7)
    save_figure(figure, path)


def _map(weights: Any) -> np.ndarray[Any, Any]:
    """(H, T, S) of one layer's weights."""
    array = np.asarray(weights.detach().cpu().numpy() if hasattr(weights, "detach") else weights, np.float64)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim != 3:
        msg = f"plot_attention: weights have shape {array.shape}; expected (H, T, S) or (1, H, T, S)"
        raise ValueError(msg)
    return array


def _ink(share: float) -> str:
    return "white" if share > 0.5 else "black"
