"""Pictures of what a model gets right and wrong."""

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


def _ink(share: float) -> str:
    return "white" if share > 0.5 else "black"
