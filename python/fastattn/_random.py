"""The global random state: a seed and an offset into its Philox stream.

Every random op takes the next offset, so what it draws depends on the seed and on how many random ops came before it, not
on threads, tiles or device.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ._device import CPU, resolve
from ._runtime import mode

_lock = threading.Lock()
_seed = 0
_offset = 0


def manual_seed(seed: int) -> None:
    """Restarts the global random stream at `seed`, an integer of 0 to 2^64 - 1 (a negative one counts from 2^64).

    Args:
        seed: the key of the Philox stream.

    Raises:
        TypeError: `seed` is not an integer.

    Example:
        >>> import fastattn as fa
        >>> fa.manual_seed(0)
    """
    global _seed, _offset
    if not hasattr(seed, "__index__"):
        msg = f"manual_seed: seed is {seed!r}; expected an integer"
        raise TypeError(msg)
    with _lock:
        _seed, _offset = int(seed) % 2**64, 0


def next_key() -> tuple[int, int]:
    """The seed, and an offset that no earlier random op has had. Within explain() it stays to be had."""
    global _offset
    with _lock:
        offset = _offset
        if not mode.explaining:
            _offset += 1
        return _seed, offset


def key_of(seed: int | tuple[int, int] | None) -> tuple[int, int]:
    """The key of a random op's `seed`: an integer, a key that next_key gave, so that two ops draw the same, or None."""
    if seed is None:
        return next_key()
    return seed if isinstance(seed, tuple) else (seed % 2**64, 0)


def get_rng_state() -> tuple[int, int]:
    """The global random state (seed, offset), for set_rng_state."""
    with _lock:
        return _seed, _offset


def set_rng_state(state: tuple[int, int]) -> None:
    """Puts back a state that get_rng_state has returned."""
    global _seed, _offset
    seed, offset = state
    with _lock:
        _seed, _offset = int(seed) % 2**64, int(offset)


def initial_seed() -> int:
    """The seed of the global random stream."""
    return _seed


def seed() -> int:
    """Restarts the global random stream at a seed from the operating system, and returns that.

    Example:
        >>> import fastattn as fa
        >>> fa.seed() == fa.initial_seed()
        True
    """
    manual_seed(_entropy())
    return _seed


def _entropy() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


class Generator:
    """A random stream of its own, for what takes `generator=`. Its numbers are the same on every device.

    Args:
        device: what `device` says, the CPU by default; unlike torch's, it draws for arrays anywhere.

    Raises:
        ValueError: there is no such device.

    Example:
        >>> import fastattn as fa
        >>> a = fa.rand(2, generator=fa.Generator().manual_seed(3))
        >>> bool((a == fa.rand(2, generator=fa.Generator().manual_seed(3))).all())
        True
    """

    device = CPU

    def __init__(self, device: Any = None) -> None:
        self.device = resolve("Generator", device)
        self._seed, self._offset = 67280421310721, 0  # torch's default

    def manual_seed(self, seed: int) -> Generator:
        """Restarts the stream at `seed`."""
        self._seed, self._offset = int(seed) % 2**64, 0
        return self

    def initial_seed(self) -> int:
        """The seed that the stream started from."""
        return self._seed

    def seed(self) -> int:
        """Restarts the stream at a seed from the operating system, and returns that."""
        return self.manual_seed(_entropy())._seed

    def get_state(self) -> tuple[int, int]:
        """(seed, offset), for set_state."""
        return self._seed, self._offset

    def set_state(self, new_state: tuple[int, int]) -> Generator:
        """Puts back a state that get_state has returned."""
        self._seed, self._offset = new_state
        return self

    def next_seed(self) -> int:
        """The key for one random op: the next word of a Philox stream whose key is the seed."""
        self._offset += 1
        key, counter = np.array([self._seed, 0], np.uint64), np.array([0, self._offset, 0, 0], np.uint64)
        return int(np.random.Philox(key=key, counter=counter).random_raw())
