"""The suites by op: bench_OP.py holds `cases(tiny=False)`."""

from __future__ import annotations

import importlib

from .harness import Case

OPS = (
    "matmul",
    "attention",
    "conv",
    "softmax",
    "layer_norm",
    "rms_norm",
    "batch_norm",
    "pool",
    "activation",
    "swiglu",
    "rope",
    "cross_entropy",
    "linear_cross_entropy",
    "embedding",
    "recurrent",
    "adam",
    "sgd",
    "grad_norm",
    "dropout",
    "random",
    "unary",
    "binary",
    "cast",
    "sum",
    "end_to_end",
    "models",
)


def cases_of(op: str, tiny: bool = False) -> list[Case]:
    return list(importlib.import_module(f".bench_{op}", __package__).cases(tiny))
