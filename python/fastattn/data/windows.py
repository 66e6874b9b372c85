"""Which tokens a step sees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Ids = np.ndarray[Any, Any]
# Keeps this stream apart from other uses of the same seed.
_STREAM = 0x64617461


def philox_words(seed: int, stream: int, step: int, n: int) -> Ids:
    """The first n words of Philox4x64 with key (seed, stream) and counter (0, step, 0, 0); (n,) uint64."""
    key, counter = np.array([seed, stream], np.uint64), np.array([0, step, 0, 0], np.uint64)
    return np.asarray(np.random.Philox(key=key, counter=counter).random_raw(n))


class WindowSampler:
    """Random windows of a token sequence, as a pure function of seed and step.

    Nothing is remembered between steps, so a resumed run gets the batches that it would have got. The offsets are the
    words of Philox4x64 with key (seed, a constant) and counter (0, step, 0, 0), scaled to the range.

    Args:
        ids: (N,), the tokens.
        batch_size: windows a step.
        context: tokens a window.
        seed: 0 to 2^64 - 1.

    Raises:
        ValueError: the sequence is shorter than a window and its target, or a size is not positive.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> sampler = fa.data.WindowSampler(np.arange(1000), batch_size=2, context=4, seed=0)
        >>> inputs, targets = sampler(7)
        >>> inputs.shape, bool((targets == inputs + 1).all())
        ((2, 4), True)

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """

    def __init__(self, ids: Ids, batch_size: int, context: int, seed: int) -> None:
        if batch_size < 1 or context < 1:
            msg = f"WindowSampler: batch_size {batch_size} and context {context} must be positive"
            raise ValueError(msg)
        if len(ids) <= context:
            msg = f"WindowSampler: the sequence has {len(ids)} tokens; a window and its target need {context + 1}"
            raise ValueError(msg)
        self.ids, self.batch_size, self.context, self.seed = ids, batch_size, context, seed

    def offsets(self, step: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Where the windows of a step begin, (batch_size,) int64."""
        words = philox_words(self.seed, _STREAM, step, self.batch_size)
        # The high half of a 64 x 64 bit product: every offset equally likely to within 2^-64 N.
        choices = len(self.ids) - self.context
        return np.array([int(word) * choices >> 64 for word in words], np.int64)

    def __call__(self, step: int) -> tuple[Ids, Ids]:
        """Inputs and targets of a step, (batch_size, context) each; a target is the token after its input."""
        at = self.offsets(step)[:, None] + np.arange(self.context + 1)
        rows = self.ids[at]
        return np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])


def windows(ids: Ids, context: int, batch_size: int, limit: int | None = None) -> Iterator[tuple[Ids, Ids]]:
    """Batches that cover a token sequence once, in windows that do not overlap.

    Window i reads tokens i*context to (i+1)*context and predicts the one after each; so every token but the first is
    predicted once, from what precedes it in its window. The last window may be shorter; it comes alone.

    Args:
        ids: (N,), the tokens.
        context: tokens a window.
        batch_size: windows a batch, at most.
        limit: at most this many windows, evenly spaced; None for all.

    Returns:
        An iterator over (inputs, targets), (windows, context) each.

    Raises:
        ValueError: fewer than two tokens.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> [inputs.tolist() for inputs, _ in fa.data.windows(np.arange(6), context=2, batch_size=2)]
        [[[0, 1], [2, 3]], [[4]]]

    Source: none.
    """
    if len(ids) < 2:
        msg = f"windows: {len(ids)} tokens; at least 2 are needed to predict one"
        raise ValueError(msg)
    starts = np.arange(0, len(ids) - 1, context)
    if limit is not None and limit < len(starts):
        starts = starts[np.arange(limit) * len(starts) // limit]
    full = starts[starts + context < len(ids)]
    for i in range(0, len(full), batch_size):
        rows = ids[full[i : i + batch_size, None] + np.arange(context + 1)]
        yield np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])
    for start in starts[len(full) :]:
        yield ids[None, start:-1], ids[None, start + 1 :]
