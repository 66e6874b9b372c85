"""The part of `reference` that makes random numbers: Philox, and what is drawn with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

NDArray = np.ndarray[Any, Any]


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> tuple[Any, Any, Any, Any]:
    """Blocks of Philox4x32-10, in Python's integers or arrays of uint64 (Salmon et al., 2011, section 3.3)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        low, high = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (high >> 32) ^ c1 ^ k0, high % 2**32, (low >> 32) ^ c3 ^ k1, low % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def words(n: int, seed: int, offset: int, first: int = 0) -> NDArray:
    """Words first .. first + n - 1 of a stream: key = seed, counter = (offset, block), low halves first."""
    split = (seed % 2**32, seed >> 32)
    blocks = np.arange(first // 4, (first + n + 3) // 4, dtype=np.uint64)
    of_blocks = philox((offset % 2**32, offset >> 32, blocks % 2**32, blocks >> 32), split)
    flat = np.stack(np.broadcast_arrays(*of_blocks), -1).reshape(-1)
    return flat[first % 4 : first % 4 + n].astype(np.uint32)


def dropout_keep(shape: tuple[int, ...], p: float, seed: int, offset: int = 0) -> NDArray:
    """True where dropout keeps an element: its 24-bit uniform number is at least p."""
    uniform = (words(math.prod(shape), seed, offset) >> 8).astype(np.float64) * 2.0**-24
    keep: NDArray = (uniform >= p).reshape(shape)
    return keep


def uniform(n: int, dtype: Any, seed: int, offset: int = 0) -> NDArray:
    """n uniform numbers of [0, 1): as many upper bits of a word as the dtype's numbers below 1 are apart; for float64
    53 bits of two words."""
    bits = {"float32": 24, "float16": 11, "bfloat16": 8}.get(np.dtype(dtype).name)
    if bits is not None:
        return ((words(n, seed, offset) >> (32 - bits)) * 2.0**-bits).astype(dtype)
    w = words(2 * n, seed, offset).astype(np.uint64)
    return ((w[1::2] << np.uint64(32) | w[::2]) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(n: int, dtype: Any, seed: int, offset: int = 0) -> NDArray:
    """n normal numbers by Box and Muller, in float64, from the uniform numbers that `dtype` is computed in."""
    u = uniform(2 * n, np.float64 if dtype == np.float64 else np.float32, seed, offset).astype(np.float64)
    z: NDArray = np.sqrt(-2 * np.log(1 - u[::2])) * np.cos(2 * np.pi * u[1::2])
    return z
