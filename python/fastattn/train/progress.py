"""How a run shows where it is: a bar on a terminal, else a line an evaluation.

Both show the rows of the history and compute nothing of their own but the time left.
"""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from .history import Row


class Progress:
    """Base: shows nothing.

    Args:
        stream: where lines go; default standard output.

    Example:
        >>> import fastattn as fa
        >>> fa.train.Progress().start(total=10, done=0)
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream

    unit = "tokens"

    def start(self, total: int, done: int, unit: str = "tokens") -> None:
        """A run of `total` steps begins, or goes on after `done`; `unit` is what speed counts."""
        self.unit = unit
        self.total, self.first, self.done = total, done, done
        self.started = time.perf_counter()

    def step(self, done: int) -> None:
        """A step has been taken."""
        self.done = done

    def row(self, row: Row) -> None:
        """A row has been recorded."""

    def close(self) -> None:
        """The run has ended."""

    def seconds_left(self) -> float:
        """The time that the steps still to come will take, evaluations included, at the pace so far."""
        taken = self.done - self.first
        return (time.perf_counter() - self.started) / taken * (self.total - self.done) if taken else 0.0

    def line(self, row: Row) -> str:
        """A row as text."""
        parts = [f"step {row.step}/{self.total}", f"loss {row.loss:.4f}"]
        parts += [f"val_{name} {value:.4f}" for name, value in row.val.items()]
        parts += [f"lr {row.lr:.2e}", *rates(row, self.unit), f"{clock(self.seconds_left())} left"]
        return " | ".join(parts)


class Lines(Progress):
    """A line an evaluation: what a log file wants.

    Args:
        stream: where lines go; default standard output.

    Example:
        >>> import fastattn as fa
        >>> lines = fa.train.Lines()
        >>> lines.start(total=10, done=0)
        >>> lines.row(fa.train.Row(step=10, seen=640, loss=2.0, val={"loss": 2.5}, lr=0.001, per_second=8000.0))
        step 10/10 | loss 2.0000 | val_loss 2.5000 | lr 1.00e-03 | 8,000 tokens/s | 0:00 left
    """

    def row(self, row: Row) -> None:
        """Prints the rows that have an evaluation."""
        if row.val:
            print(self.line(row), file=self.stream, flush=True)


class Bar(Progress):
    """A bar on standard error with the latest row, and a line an evaluation.

    Args:
        stream: where lines go; default standard output.

    Example:
        >>> import fastattn as fa
        >>> bar = fa.train.Bar()
    """

    def start(self, total: int, done: int, unit: str = "tokens") -> None:
        """Draws the bar."""
        from tqdm import tqdm

        super().start(total, done, unit)
        layout = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}, {remaining} left{postfix}]"
        self.bar: Any = tqdm(total=total, initial=done, bar_format=layout, file=sys.stderr, dynamic_ncols=True)
        self.val: dict[str, float] = {}

    def step(self, done: int) -> None:
        """Moves the bar."""
        super().step(done)
        self.bar.update(1)

    def row(self, row: Row) -> None:
        """Shows the row in the bar; a line of its own where it has an evaluation."""
        self.val = row.val or self.val
        values = [f"loss {row.loss:.4f}", *(f"val_{name} {value:.4f}" for name, value in self.val.items())]
        values += rates(row, self.unit)
        self.bar.set_postfix_str(", ".join(values), refresh=False)
        if row.val:
            self.bar.write(self.line(row), file=self.stream or sys.stdout)

    def close(self) -> None:
        """Leaves the bar on the screen as it is."""
        self.bar.close()


def progress_for(quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """What fits where the output goes: a bar where standard error is a terminal, else lines; nothing if `quiet`.

    Args:
        quiet: show nothing.
        stream: where lines go; default standard output.

    Returns:
        A Progress.

    Example:
        >>> import fastattn as fa
        >>> type(fa.train.progress_for(quiet=True)).__name__
        'Progress'
    """
    if quiet:
        return Progress()
    return Bar(stream) if sys.stderr.isatty() else Lines(stream)


def rates(row: Row, unit: str) -> list[str]:
    """The speed of a row, and on a GPU its memory."""
    speed = f"{row.per_second:,.0f} {unit}/s"
    return [speed] if row.memory is None else [speed, gibibytes(row.memory)]


def gibibytes(size: int) -> str:
    """A number of bytes in GiB."""
    return f"{size / 2**30:.2f} GiB"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
