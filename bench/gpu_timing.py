"""Times on a GPU: CUDA events around single calls of contestants that take turns, each with a cold L2.

The flush before a call keeps the GPU busy while Python queues the call, so that what is timed is the kernels, unless
queueing them takes longer than they do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

FLUSHED = 512 << 20  # bytes: several times the largest L2
WARM = 3  # untimed calls of each contestant
LEAST, MOST = 7, 50  # rounds

Call = Callable[[], Any]


class Clock(Protocol):
    def time(self, call: Call) -> float:
        """Seconds of one call."""

    def wait(self) -> None:
        """Until all that was queued is done."""


class Events:
    """On the legacy default stream, on which CuPy's arrays and torch's tensors are unless told otherwise."""

    def __init__(self) -> None:
        import cupy

        self.cuda = cupy.cuda
        self.flushed = cupy.empty(FLUSHED, "uint8")
        self.start, self.end = cupy.cuda.Event(), cupy.cuda.Event()

    def time(self, call: Call) -> float:
        self.flushed.fill(0)
        self.start.record()
        call()
        self.end.record()
        self.end.synchronize()
        return float(self.cuda.get_elapsed_time(self.start, self.end)) * 1e-3

    def wait(self) -> None:
        self.cuda.Device().synchronize()


class MadeUp:
    """For a dry run: makes the call, and says a millisecond."""

    def time(self, call: Call) -> float:
        call()
        return 1e-3

    def wait(self) -> None:
        pass


def interleaved(
    calls: Mapping[str, Call], clock: Clock, seconds: float, now: Callable[[], float] = time.monotonic
) -> dict[str, list[float]]:
    """Seconds of single calls by contestant: LEAST rounds, then more until `seconds` are over or there are MOST. The first
    of a round is another one each time."""
    for call in calls.values():
        for _ in range(WARM):
            call()
    clock.wait()
    names, times = list(calls), {name: [] for name in calls}  # type: tuple[list[str], dict[str, list[float]]]
    end = now() + seconds
    for r in range(MOST):
        if r >= LEAST and now() >= end:
            break
        for name in names[r % len(names) :] + names[: r % len(names)]:
            times[name].append(clock.time(calls[name]))
    return times
