"""What a run records: rows of numbers, as a CSV file and as a picture."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastattn.io import atomic_write


@dataclass(frozen=True)
class Row:
    """One row of a history.

    Args:
        step: optimizer steps taken so far.
        seen: samples trained on so far, in the task's unit: tokens of a language model.
        loss: mean training loss over the steps since the row before.
        val: measures on held-out data, by name; empty where this row has no evaluation.
        lr: learning rate of the last step.
        grad_norm: norm of the last step's gradient, before clipping.
        per_second: `seen` a second, over the steps since the row before.
        seconds: time in training steps so far, without evaluations and checkpoints.
        memory: bytes of the GPU that arrays took when a step's activations were held, the most since the row before; None
            on the CPU.

    Example:
        >>> import fastattn as fa
        >>> fa.train.Row(step=10, seen=5120, loss=2.5).val_loss is None
        True
    """

    step: int
    seen: int
    loss: float
    val: dict[str, float] = field(default_factory=dict)
    lr: float = 0.0
    grad_norm: float = 0.0
    per_second: float = 0.0
    seconds: float = 0.0
    memory: int | None = None

    @property
    def val_loss(self) -> float | None:
        """The loss on held-out data, if this row has an evaluation."""
        return self.val.get("loss")

    def flat(self) -> dict[str, Any]:
        """The fields by name, the measures as val_NAME among them."""
        values = asdict(self)
        measures = {f"val_{name}": value for name, value in values.pop("val").items()}
        return {"step": self.step, "seen": self.seen, "loss": self.loss, **measures, **values}


@dataclass
class History:
    """The rows of a run, in the order of their steps.

    Args:
        rows: the rows so far.
        interrupted: the run was stopped (Ctrl-C) before its last step.

    Example:
        >>> import fastattn as fa
        >>> history = fa.train.History([fa.train.Row(step=10, seen=5120, loss=2.5, val={"loss": 2.75})])
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
        return self.measures.get("loss")

    @property
    def measures(self) -> dict[str, float]:
        """The last evaluation's measures; empty before the first."""
        return next((row.val for row in reversed(self.rows) if row.val), {})

    def best(self, name: str, higher_is_better: bool) -> Row | None:
        """The row of the best evaluation by one of its measures, the first of equals; None before the first."""
        rows = [row for row in self.rows if name in row.val]
        return (max if higher_is_better else min)(rows, key=lambda row: row.val[name], default=None)

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
        rows = [row.flat() for row in self.rows]
        measures = dict.fromkeys(name for row in rows for name in row if name.startswith("val_"))
        names = ["step", "seen", "loss", *measures, "lr", "grad_norm", "per_second", "seconds", "memory"]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(path, text.getvalue())

    def plot(self, path: str | os.PathLike[str], unit: str = "tokens") -> None:
        """Writes a PNG of the learning curves over what was trained on, atomically: losses, and beside them measures of 0
        to 1, where there are any.

        Raises ImportError with the pip line where matplotlib is missing.
        """
        evaluated = [row for row in self.rows if row.val]
        names = dict.fromkeys(name for row in evaluated for name in row.val if name != "loss")
        parts = [name for name in names if all(0 <= row.val.get(name, 0) <= 1 for row in evaluated)]
        figure = new_figure("loss.png", 6 * (1 + bool(parts)) + 2 * (not parts), 5)
        axes = figure.subplots(1, 1 + bool(parts), squeeze=False)[0]
        axes[0].plot(self.column("seen"), self.column("loss"), color="tab:blue", linewidth=1, label="training")
        losses = [(row.seen, row.val["loss"]) for row in evaluated if "loss" in row.val]
        if losses:
            axes[0].plot(*zip(*losses, strict=True), color="tab:orange", marker="o", markersize=4, label="validation")
        axes[0].set_ylabel(f"loss, nats per {'token' if unit == 'tokens' else 'prediction'}")
        for name in parts:
            points = [(row.seen, row.val[name]) for row in evaluated if name in row.val]
            axes[1].plot(*zip(*points, strict=True), marker="o", markersize=4, label=f"validation {name}")
        for one in axes:
            one.set_xlabel(f"{unit} trained on")
            one.grid(alpha=0.3)
            one.legend()
        save_figure(figure, path)


def new_figure(what: str, width: float, height: float) -> Any:
    """A figure that is drawn to a file; ImportError with the pip line where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        msg = f"{what} needs matplotlib: pip install 'fastattn[train]'"
        raise ImportError(msg) from None
    # Figure without pyplot: PNGs are drawn by Agg, no display is looked for, and no global state is touched.
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes a figure as PNG, atomically."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    atomic_write(Path(path), picture.getvalue())
