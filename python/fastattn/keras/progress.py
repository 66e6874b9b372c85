"""A progress bar whose numbers are those that are returned."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

__all__ = ["Progbar", "verbosity"]


def verbosity(verbose: Any) -> int:
    """0, 1 or 2 of `verbose`; "auto" is 1 on a terminal, and 2, one line an epoch, elsewhere."""
    if verbose == "auto":
        return 1 if _on_terminal(sys.stdout) else 2
    if verbose not in (0, 1, 2):
        msg = f"verbose is {verbose!r}; expected 0, 1, 2 or 'auto'"
        raise ValueError(msg)
    return int(verbose)


def _on_terminal(stream: TextIO) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def number(value: float) -> str:
    """A value as it is shown: four digits after the point, or the power of ten of a small one."""
    return f"{value:.4f}" if abs(value) > 1e-3 else f"{value:.4e}"


def duration(seconds: float) -> str:
    """Seconds, with minutes and hours where there are some."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"


def _per_unit(seconds: float, unit: str) -> str:
    for factor, name, least in ((1, "s", 1.0), (1e3, "ms", 1e-3)):
        if seconds >= least:
            return f"{seconds * factor:.0f}{name}/{unit}"
    return f"{seconds * 1e6:.0f}us/{unit}"


class Progbar:
    """Shows how far something is, and values, on one line.

    Args:
        target: how many units there are, None: unknown.
        width: of the bar, in characters.
        verbose: 0: nothing; 1: a bar that moves where standard output is a terminal, else as 2; 2: one line at the end.
        interval: the least seconds between two pictures of the bar.
        unit_name: what is counted.

    Example:
        >>> from fastattn import keras
        >>> bar = keras.utils.Progbar(2, verbose=2)
        >>> bar.update(1, [("loss", 0.5)])
        >>> bar.update(2, [("loss", 0.25)])
        2/2 - 0s - ... - loss: 0.2500
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.05,
        unit_name: str = "step",
    ) -> None:
        self.target, self.width, self.interval, self.unit_name = target, width, interval, unit_name
        self.verbose = 2 if verbose == 1 and not _on_terminal(sys.stdout) else verbose
        self.seen = 0
        self.values: dict[str, float] = {}
        self._start = self._shown = time.perf_counter()
        self._length = 0

    def update(self, current: int, values: Any = None, finalize: bool | None = None) -> None:
        """Says that `current` units are done, and what the values, pairs or a dict, are now."""
        self.seen = current
        self.values.update(values.items() if isinstance(values, Mapping) else values or ())
        last = finalize if finalize is not None else self.target is not None and current >= self.target
        now = time.perf_counter()
        if self.verbose == 2 and last:
            print(self._line(now, last))
        elif self.verbose == 1 and (last or now - self._shown >= self.interval):
            line = self._line(now, last)
            # Blanks over what the last line had more.
            print("\r" + line.ljust(self._length), end="\n" if last else "", flush=True)
            self._length, self._shown = 0 if last else len(line), now

    def add(self, n: int, values: Any = None) -> None:
        """Says that `n` units more are done."""
        self.update(self.seen + n, values)

    def _line(self, now: float, last: bool) -> str:
        taken = now - self._start
        each = taken / max(self.seen, 1)
        total = self.target
        parts = [f"{self.seen:{len(str(total))}d}/{total}" if total else f"{self.seen}/Unknown"]
        if self.verbose == 1 and total:
            full = int(self.width * min(self.seen / total, 1.0))
            parts[0] += f" [{'=' * full}{' ' * (self.width - full)}]"
        parts.append(duration(taken if last or not total else each * (total - self.seen)))
        parts.append(_per_unit(each, self.unit_name))
        parts += [f"{name}: {number(float(value))}" for name, value in self.values.items()]
        return " - ".join(parts)
