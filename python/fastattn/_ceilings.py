"""The machine's limits, measured: FLOP/s of multiply-adds in registers, and bandwidth of memory by kind of traffic.

The loops are in csrc/ceilings, compiled into libfastattn_ceilings.so beside `_C`. `fa.explain` and the benchmarks
divide by what they find.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np

from . import _C

LIBRARY = Path(_C.__file__).with_name("libfastattn_ceilings.so")

VECTOR_BYTES = {"xmm": 16, "ymm": 32, "zmm": 64}
# The widest registers that an instruction set has.
VECTORS = {"scalar": "xmm", "avx2": "ymm", "avx512": "zmm", "avx512_bf16": "zmm"}
TRAFFIC = {"read": 0, "copy": 1, "stream": 2, "update": 3}  # stream: a copy with non-temporal stores
GRAIN = 128 << 10  # a thread's share of the memory is a multiple of this many bytes
LARGE = 512 << 20  # more bytes than this are DRAM all the same


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        msg = f"fastattn: cannot load {LIBRARY}, which measures the machine's limits; reinstall fastattn ({error})"
        raise ImportError(msg) from None
    library.fa_peak.restype = ctypes.c_double
    library.fa_peak.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_double)
    library.fa_bandwidth.restype = ctypes.c_double
    library.fa_bandwidth.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_double)
    return library


def vectors_here() -> list[str]:
    """The vector registers that this machine has, narrowest first."""
    widest = _library().fa_widest_vector()
    return [name for name, size in VECTOR_BYTES.items() if size <= widest]


def flops(vector: str, dtype: str, threads: int, seconds: float = 0.02) -> float:
    """FLOP/s of independent multiply-adds on registers named `vector`, in float32 or float64, or with "bfloat16" of
    those of pairs (VDPBF16PS, on zmm)."""
    item = {"float64": 8, "float32": 4, "bfloat16": 2}[dtype]
    return float(_library().fa_peak(VECTOR_BYTES[vector], item, threads, seconds))


def multiplied_as(isa: str, dtype: str) -> str:
    """The dtype that `flops` measures kernels by: 16 bits are multiplied in float32, but for bfloat16 where the CPU
    multiplies pairs of it."""
    pairs = isa == "avx512_bf16" and dtype == "bfloat16"
    return "bfloat16" if pairs else "float64" if dtype == "float64" else "float32"


def peak(isa: str, dtype: str, threads: int, seconds: float = 0.02) -> float:
    """FLOP/s that kernels of an instruction set can reach on a dtype."""
    return flops(VECTORS[isa], multiplied_as(isa, dtype), threads, seconds)


@functools.lru_cache(maxsize=2)
def _memory(size: int) -> np.ndarray[Any, Any]:
    """`size` bytes aligned to 64, written once so that every page is there."""
    block = np.ones(size + 64, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + size]


def bandwidth(traffic: str, size: int, threads: int, seconds: float = 0.02) -> float:
    """Bytes/s, read and written ones both counted, of going over `size` bytes again and again.

    A size below the caches' gives their bandwidth, which is the limit of an op on that much.
    """
    share = max(1, min(size, LARGE) // (GRAIN * threads)) * GRAIN
    memory = _memory(share * threads)
    return float(
        _library().fa_bandwidth(TRAFFIC[traffic], memory.ctypes.data, share * threads, threads, seconds),
    )


def best_bandwidth(traffic: str, size: int, threads: int, seconds: float = 0.02) -> float:
    """`bandwidth`; of a copy, the better of both kinds of store: which of them wins depends on the size."""
    kinds = ("copy", "stream") if traffic == "copy" else (traffic,)
    return max(bandwidth(kind, size, threads, seconds) for kind in kinds)


def units_here() -> list[tuple[str, str]]:
    """(vector, dtype) of every unit whose peak a survey measures."""
    units = [(vector, dtype) for dtype in ("float32", "float64") for vector in vectors_here() if vector != "xmm"]
    return units + [("zmm", "bfloat16")] * ("avx512_bf16" in _C.isa_list().split(","))


def survey(threads: int, seconds: float = 0.1, size: int = 256 << 20) -> dict[str, float]:
    """Every limit, on one thread and on `threads`: what a benchmark prints first."""
    found: dict[str, float] = {}
    for n in sorted({1, threads}):
        for vector, dtype in units_here():
            found[f"{dtype} {vector} x{n}"] = flops(vector, dtype, n, seconds)
        for traffic in TRAFFIC:
            found[f"{traffic} x{n}"] = bandwidth(traffic, size, n, seconds)
    return found


# The roofline of one kernel -------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _peak(isa: str, dtype: str, threads: int) -> float:
    return max(peak(isa, dtype, threads, 0.005) for _ in range(4))


@functools.lru_cache(maxsize=64)
def _bandwidth(size: int, threads: int) -> float:
    return max(best_bandwidth("copy", size, threads, 0.005) for _ in range(4))


def roofline(work: float, traffic: float, dtype: str, isa: str, threads: int) -> float:
    """Seconds that `work` FLOPs over `traffic` bytes take at this machine's limits: the longer of the two. A limit is
    measured when it is first asked for, in some 50 ms, and kept."""
    compute = work / _peak(isa, dtype, threads) if work else 0.0
    size = 1 << max(0, int(traffic) - 1).bit_length()  # powers of two, so that few sizes are measured
    return max(compute, traffic / _bandwidth(size, threads) if traffic else 0.0)
