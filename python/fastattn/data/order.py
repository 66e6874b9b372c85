"""In which order samples are trained on, as a function of seed and step; and rows of different lengths as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .windows import Ids, philox_words

# Keep these streams apart from other uses of the same seed.
_ORDER, _BUCKETS = 0x6F72646572, 0x6275636B6574


def uniforms(seed: int, stream: int, step: int, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """n numbers of [0, 1), a function of seed, stream and step."""
    return np.asarray((philox_words(seed, stream, step, n) >> np.uint64(11)) * 2.0**-53, np.float64)


def shuffled(n: int, seed: int, stream: int, epoch: int) -> Ids:
    """A permutation of 0 to n - 1: the order of n random words."""
    return np.argsort(philox_words(seed, stream, epoch, n), kind="stable")


class EpochSampler:
    """Sample numbers in batches, each sample once an epoch, as a pure function of seed and step.

    The permutations of the epochs are put one behind the other; step n takes numbers n * batch_size on. So every batch is
    whole, and none is left out.

    Args:
        num_samples: N.
        batch_size: samples a step.
        seed: 0 to 2^64 - 1.

    Raises:
        ValueError: a size that is not positive.

    Example:
        >>> import fastattn as fa
        >>> order = fa.data.EpochSampler(5, batch_size=2, seed=0)
        >>> sorted(i for step in range(5) for i in order(step).tolist())
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int) -> None:
        if num_samples < 1 or batch_size < 1:
            msg = f"EpochSampler: num_samples {num_samples} and batch_size {batch_size} must be positive"
            raise ValueError(msg)
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self._held: tuple[int, Ids] = (-1, np.empty(0))

    def _epoch(self, epoch: int) -> Ids:
        held = self._held  # another thread may put another epoch there meanwhile
        if held[0] != epoch:
            held = self._held = epoch, shuffled(self.num_samples, self.seed, _ORDER, epoch)
        return held[1]

    def __call__(self, step: int) -> Ids:
        """The samples of a step, (batch_size,) int64."""
        at = step * self.batch_size + np.arange(self.batch_size)
        epochs = at // self.num_samples
        return np.concatenate([self._epoch(int(e))[at[epochs == e] % self.num_samples] for e in np.unique(epochs)])


class BucketSampler:
    """Sample numbers in batches of like lengths, each sample once an epoch, as a pure function of seed and step.

    Each epoch shuffles the samples, sorts them by length within pools of `pool` batches, cuts those into batches and shuffles
    the batches: little is padded, and what is together in a batch changes from epoch to epoch. The last batch of a pool
    may be smaller.

    Args:
        lengths: (N,), of the samples.
        batch_size: samples a step, at most.
        seed: 0 to 2^64 - 1.
        pool: batches that are sorted together.

    Raises:
        ValueError: no samples, or a size that is not positive.

    Example:
        >>> import fastattn as fa
        >>> order = fa.data.BucketSampler([1, 9, 1, 9], batch_size=2, seed=0)
        >>> sorted(sorted(order(step).tolist()) for step in range(2))
        [[0, 2], [1, 3]]

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, pool: int = 50) -> None:
        self.lengths = np.asarray(lengths)
        if not len(self.lengths) or batch_size < 1 or pool < 1:
            msg = (
                f"BucketSampler: {len(self.lengths)} samples, batch_size {batch_size} and pool {pool} must be positive"
            )
            raise ValueError(msg)
        self.batch_size, self.seed, self.pool = batch_size, seed, pool
        size = batch_size * pool
        self.steps_per_epoch = sum(
            -(-min(size, len(self.lengths) - i) // batch_size) for i in range(0, len(self.lengths), size)
        )
        self._held: tuple[int, list[Ids]] = (-1, [])

    def _epoch(self, epoch: int) -> list[Ids]:
        held = self._held  # another thread may put another epoch there meanwhile
        if held[0] != epoch:
            order = shuffled(len(self.lengths), self.seed, _ORDER, epoch)
            batches = []
            for i in range(0, len(order), self.batch_size * self.pool):
                part = order[i : i + self.batch_size * self.pool]
                part = part[np.argsort(self.lengths[part], kind="stable")]
                batches += [part[j : j + self.batch_size] for j in range(0, len(part), self.batch_size)]
            held = self._held = epoch, [batches[i] for i in shuffled(len(batches), self.seed, _BUCKETS, epoch)]
        return held[1]

    def __call__(self, step: int) -> Ids:
        """The samples of a step, (batch_size,) int64 or fewer."""
        epoch, i = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[i]


def pad(rows: Sequence[Any], value: float = 0, *, multiple: int = 1, dtype: Any = np.int64) -> Ids:
    """Rows of different lengths as one array.

    Args:
        rows: B arrays (T,), or lists.
        value: what fills short rows, behind.
        multiple: the width is rounded up to a multiple of it.
        dtype: of the array.

    Returns:
        (B, T) of the longest row's T.

    Raises:
        ValueError: `multiple` is not positive.

    Example:
        >>> import fastattn as fa
        >>> fa.data.pad([[1, 2, 3], [4]])
        array([[1, 2, 3],
               [4, 0, 0]])

    Source: none.
    """
    if multiple < 1:
        msg = f"pad: multiple is {multiple!r}; expected a positive integer"
        raise ValueError(msg)
    longest = max((len(row) for row in rows), default=0)
    out = np.full((len(rows), -(-longest // multiple) * multiple), value, dtype)
    for into, row in zip(out, rows, strict=True):
        into[: len(row)] = row
    return out
