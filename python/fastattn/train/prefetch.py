"""The next batch is made while the step before it runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from .task import Batch


class Prefetch:
    """Batches by their step, from a thread that is one step ahead.

    A batch is a function of its step, so that what a run computes does not depend on it. Of 64 images that are shifted,
    turned and scaled, an MLP's step takes two thirds of the time that it takes without.
    """

    def __init__(self, batch: Callable[[int], Batch], last: int) -> None:
        self.batch, self.last = batch, last
        self._thread: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of a step; that of the next is begun."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "fastattn-batches")
        ahead, self._next = self._next, None
        here = ahead[1] if ahead is not None and ahead[0] == step else self._thread.submit(self.batch, step)
        if step + 1 < self.last:
            self._next = step + 1, self._thread.submit(self.batch, step + 1)
        return here.result()

    def close(self) -> None:
        """Ends the thread; another call begins a new one."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
        self._thread = self._next = None
