"""fastattn: hand-written kernels for attention, matmul, softmax and Adam, and a thin layer API that trains whole models.

Functions take any array (NumPy, fastattn.Tensor, torch, DLPack) and return the same kind. The packages nn, optim, models,
generation, io, data and train are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import autograd as _autograd
from . import ops as _ops
from ._C import UnsupportedError
from ._dtypes import bfloat16, bool_, float16, float32, float64, int32, int64
from ._random import get_rng_state, manual_seed, set_rng_state
from ._runtime import (
    Explanation,
    build_info,
    empty_cache,
    explain,
    force_isa,
    get_num_threads,
    last_kernel,
    set_num_threads,
)
from ._version import __version__
from .autograd import *  # noqa: F403
from .ops import *  # noqa: F403

_LAZY = ("data", "generation", "io", "models", "nn", "optim", "testing", "train")

__all__ = [
    "Explanation",
    "UnsupportedError",
    "__version__",
    "bfloat16",
    "bool_",
    "build_info",
    "empty_cache",
    "explain",
    "float16",
    "float32",
    "float64",
    "force_isa",
    "get_num_threads",
    "get_rng_state",
    "int32",
    "int64",
    "last_kernel",
    "manual_seed",
    "set_num_threads",
    "set_rng_state",
    *_autograd.__all__,
    *_ops.__all__,
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
