"""What a run records: rows of numbers, as a CSV file and as a picture."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fastattn.io import atomic_write


@dataclass(frozen=True)
class Row:
    """One row of a history.

    Args:
        step: optimizer steps taken so far.
        tokens: tokens trained on so far.
        loss: mean training loss over the steps since the row before, nats per token.
        val_loss: loss on held-out tokens, nats per token; None where this row has no evaluation.
        lr: learning rate of the last step.
        grad_norm: norm of the last step's gradient, before clipping.
        tokens_per_second: training speed over the steps since the row before.
        seconds: time in training steps so far, without evaluations and checkpoints.
        memory: bytes of the GPU that arrays took when a step's activations were held, the most since the row before; None
            on the CPU.

    Example:
        >>> import fastattn as fa
        >>> fa.train.Row(step=10, tokens=5120, loss=2.5).val_loss is None
        True
    """

    step: int
    tokens: int
    loss: float
    val_loss: float | None = None
    lr: float = 0.0
    grad_norm: float = 0.0
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    memory: int | None = None


@dataclass
class History:
    """The rows of a run, in the order of their steps.

    Args:
        rows: the rows so far.
        interrupted: the run was stopped (Ctrl-C) before its last step.

    Example:
        >>> import fastattn as fa
        >>> history = fa.train.History([fa.train.Row(step=10, tokens=5120, loss=2.5, val_loss=2.75)])
        >>> history.column("loss"), history.val_loss
        ([2.5], 2.75)
    """

    rows: list[Row] = field(default_factory=list)
    interrupted: bool = False

    def column(self, name: str) -> list[Any]:
        """One column, by the name of its field."""
        return [getattr(row, name) for row in self.rows]

    @property
    def val_loss(self) -> float | None:
        """The last validation loss; None before the first."""
        return next((row.val_loss for row in reversed(self.rows) if row.val_loss is not None), None)

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as dictionaries of JSON's types."""
        return [asdict(row) for row in self.rows]

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> History:
        """The history of what `to_json` gave."""
        return cls([Row(**row) for row in rows])

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes all rows, atomically; a number reads back as the same bits, and a missing one is empty."""
        text = io.StringIO()
        names = [f.name for f in fields(Row)]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in self.rows)
        atomic_write(path, text.getvalue())

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Writes a PNG of training and validation loss over tokens, atomically.

        Raises ImportError with the pip line where matplotlib is missing.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            msg = "loss.png needs matplotlib: pip install 'fastattn[train]'"
            raise ImportError(msg) from None
        # Figure without pyplot: PNGs are drawn by Agg, no display is looked for, and no global state is touched.
        figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.column("tokens"), self.column("loss"), color="tab:blue", linewidth=1, label="training")
        evaluated = [(row.tokens, row.val_loss) for row in self.rows if row.val_loss is not None]
        if evaluated:
            axes.plot(*zip(*evaluated, strict=True), color="tab:orange", marker="o", markersize=4, label="validation")
        axes.set_xlabel("tokens trained on")
        axes.set_ylabel("loss, nats per token")
        axes.grid(alpha=0.3)
        axes.legend()
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        atomic_write(Path(path), picture.getvalue())
