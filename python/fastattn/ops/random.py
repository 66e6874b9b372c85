"""Random fills, in place, by Philox."""

from __future__ import annotations

from fastattn import _C, _random

from . import _kinds
from ._op import Array

UNIFORM, NORMAL = 0, 1


def _fill(array: Array, distribution: int, a: float, b: float, seed: int | None) -> Array:
    key = _random.next_key() if seed is None else (seed % 2**64, 0)
    name = "uniform_" if distribution == UNIFORM else "normal_"
    raw = _kinds.kind_of(name, ("array",), (array,)).raw(array)
    _C.random_fill(raw, distribution, a, b, *key)
    _kinds.mutated([array])
    return array


def uniform_(array: Array, low: float = 0.0, high: float = 1.0, *, seed: int | None = None) -> Array:
    """Fills an array with uniform random numbers of [low, high), in place.

    Args:
        array: contiguous, any floating dtype.
        low: the smallest value.
        high: the bound above.
        seed: key of the Philox stream, default the next of the global stream (`fa.manual_seed`).

    Returns:
        `array`.

    Raises:
        ValueError: `array` is not contiguous, or not writeable.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> x = fa.uniform_(np.empty(1000), -1.0, 1.0, seed=0)
        >>> bool((x >= -1).all() and (x < 1).all())
        True

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    """
    return _fill(array, UNIFORM, low, high, seed)


def normal_(array: Array, mean: float = 0.0, std: float = 1.0, *, seed: int | None = None) -> Array:
    """Fills an array with normal random numbers, in place.

    Args:
        array: contiguous, any floating dtype.
        mean: the mean.
        std: the standard deviation.
        seed: key of the Philox stream, default the next of the global stream (`fa.manual_seed`).

    Returns:
        `array`.

    Raises:
        ValueError: `array` is not contiguous, or not writeable.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> x = fa.normal_(np.empty(10000), std=2.0, seed=0)
        >>> abs(float(x.std()) - 2.0) < 0.1
        True

    Source: Box and Muller, "A note on the generation of random normal deviates" (1958).
    """
    return _fill(array, NORMAL, mean, std, seed)
