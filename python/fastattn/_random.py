"""The global random state: a seed and an offset into its Philox stream.

Every random op takes the next offset, so what it draws depends on the seed and on how many random ops came before it, not
on threads, tiles or device.
"""

from __future__ import annotations

import threading

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
