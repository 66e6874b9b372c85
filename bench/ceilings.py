"""The machine's limits, measured: FLOP/s of multiply-adds in registers, and bandwidth of memory by kind of traffic.

`ceilings.cpp` is compiled on first use with $CXX, c++ or g++, and kept in bench/build by the hash of its source.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("ceilings.cpp")
BUILD = Path(__file__).with_name("build")
FLAGS = ("-O3", "-std=c++20", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread")

VECTOR_BYTES = {"xmm": 16, "ymm": 32, "zmm": 64}
VECTORS = {"scalar": "xmm", "avx2": "ymm", "avx512": "zmm"}  # the widest registers that an instruction set has
TRAFFIC = {"read": 0, "copy": 1, "stream": 2, "update": 3}  # stream: a copy with non-temporal stores
GRAIN = 128 << 10  # a thread's share of the memory is a multiple of this many bytes


class NoCompilerError(RuntimeError):
    """There is no C++ compiler to build the loops with."""


@functools.cache
def _library() -> ctypes.CDLL:
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None)
    if compiler is None:
        msg = "bench: no C++ compiler found to measure the machine's limits with; install g++ or set CXX"
        raise NoCompilerError(msg)
    key = hashlib.sha256(SOURCE.read_bytes() + " ".join((compiler, *FLAGS)).encode()).hexdigest()[:12]
    path = BUILD / f"ceilings-{key}.so"
    if not path.exists():
        BUILD.mkdir(exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, *FLAGS, "-o", str(unfinished), str(SOURCE)], check=True)
        unfinished.replace(path)  # two runs at once both see a whole file
    library = ctypes.CDLL(str(path))
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
    """FLOP/s of independent multiply-adds on registers named `vector`, in float32 or float64."""
    return float(_library().fa_peak(VECTOR_BYTES[vector], np.dtype(dtype).itemsize, threads, seconds))


@functools.lru_cache(maxsize=2)
def _memory(size: int) -> np.ndarray:
    """`size` bytes aligned to 64, written once so that every page is there."""
    block = np.ones(size + 64, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + size]


def bandwidth(traffic: str, size: int, threads: int, seconds: float = 0.02) -> float:
    """Bytes/s, read and written ones both counted, of going over `size` bytes again and again.

    A size below the caches' gives their bandwidth, which is the limit of an op on that much.
    """
    share = max(1, size // (GRAIN * threads)) * GRAIN
    memory = _memory(share * threads)
    return float(
        _library().fa_bandwidth(TRAFFIC[traffic], memory.ctypes.data, share * threads, threads, seconds),
    )


def survey(threads: int, seconds: float = 0.1, size: int = 256 << 20) -> dict[str, float]:
    """Every limit, on one thread and on `threads`: what a run prints first."""
    found: dict[str, float] = {}
    for n in sorted({1, threads}):
        for dtype in ("float32", "float64"):
            for vector in vectors_here():
                if vector != "xmm":
                    found[f"{dtype} {vector} x{n}"] = flops(vector, dtype, n, seconds)
        for traffic in TRAFFIC:
            found[f"{traffic} x{n}"] = bandwidth(traffic, size, n, seconds)
    return found
