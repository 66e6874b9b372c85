"""fastattn: hand-written kernels for attention, matmul, softmax and Adam, and a thin layer API that trains whole models.

Functions take any array (NumPy, fastattn.Tensor, torch, DLPack) and return the same kind. The packages nn, optim, models,
generation, io, data and train are imported when first used.
"""

from __future__ import annotations

import importlib
from math import inf, nan, pi
from typing import Any

from . import autograd as _autograd
from . import ops as _ops
from ._C import UnsupportedError
from ._device import device
from ._dtypes import (
    bfloat16,
    bool_,
    double,
    finfo,
    float16,
    float32,
    float64,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    long,
    short,
    uint8,
)
from ._dtypes import (
    bool as bool,
)
from ._dtypes import (
    dtype as dtype,
)
from ._dtypes import (
    float as float,
)
from ._dtypes import (
    int as int,
)
from ._missing import missing as _missing
from ._random import Generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from ._runtime import (
    Explanation,
    build_info,
    empty_cache,
    explain,
    force_isa,
    get_float32_matmul_precision,
    get_num_threads,
    last_kernel,
    set_float32_matmul_precision,
    set_num_threads,
)
from ._version import __version__
from .autograd import *  # noqa: F403
from .ops import *  # noqa: F403

# Names of torch's that a star import leaves alone: they would hide Python's.
_BUILTINS = ("bool", "dtype", "float", "int")
_LAZY = ("cuda", "data", "generation", "io", "keras", "metrics", "models", "nn", "optim", "testing", "train", "utils")

__all__ = [
    "Explanation",
    "Generator",
    "UnsupportedError",
    "__version__",
    "bfloat16",
    "bool_",
    "build_info",
    "device",
    "double",
    "empty_cache",
    "explain",
    "finfo",
    "float16",
    "float32",
    "float64",
    "force_isa",
    "get_float32_matmul_precision",
    "get_num_threads",
    "get_rng_state",
    "half",
    "iinfo",
    "inf",
    "initial_seed",
    "int8",
    "int16",
    "int32",
    "int64",
    "last_kernel",
    "long",
    "manual_seed",
    "nan",
    "pi",
    "seed",
    "set_float32_matmul_precision",
    "set_num_threads",
    "set_rng_state",
    "short",
    "uint8",
    *_autograd.__all__,
    *_ops.__all__,
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    return _missing(__name__)(name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_BUILTINS})
