"""matmul: squares, GPT-2's layers, a few rows, small batches; fused epilogues."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np

import fastattn as fa
from fastattn.testing import reference

from .harness import Case, normal, on_arrays, on_torch, sample_rows, shrink, with_pytest

COLD = 256 << 20  # bytes that no cache holds

# (batch, M, K, N), transposes of a and b, dtype, whether in --quick
SHAPES = [
    ((1, 128, 128, 128), "NN", "float32", False),
    ((1, 128, 128, 128), "NT", "float32", False),
    ((1, 256, 256, 256), "NN", "float32", False),
    ((1, 256, 256, 256), "NT", "float32", False),
    ((1, 512, 512, 512), "NN", "float32", True),
    ((1, 1024, 1024, 1024), "NN", "float32", True),
    ((1, 1024, 1024, 1024), "NT", "float32", False),
    ((1, 1024, 1024, 1024), "TN", "float32", False),
    ((1, 1024, 1024, 1024), "TT", "float32", False),
    ((1, 2048, 2048, 2048), "NN", "float32", False),
    ((1, 1024, 1024, 1024), "NN", "float64", False),
    ((1, 1024, 768, 2304), "NN", "float32", True),  # GPT-2's q, k, v of 1024 tokens
    ((1, 1024, 768, 3072), "NN", "float32", False),
    ((1, 1024, 3072, 768), "NN", "float32", False),
    ((1, 1024, 768, 50257), "NT", "float32", False),  # and its logits, by the token table
    ((1, 2048, 128, 512), "NN", "float32", True),  # the small GPT of `fastattn train`
    ((1, 1, 4096, 4096), "NN", "float32", True),  # decoding: a row at a time
    ((1, 4, 4096, 4096), "NN", "float32", False),
    ((1, 16, 4096, 4096), "NN", "float32", False),
    ((64, 128, 64, 128), "NN", "float32", True),
    ((1, 512, 512, 512), "NN", "bfloat16", False),
    ((1, 1024, 1024, 1024), "NN", "bfloat16", True),
    ((1, 2048, 2048, 2048), "NN", "bfloat16", False),
    ((1, 1024, 768, 50257), "NT", "bfloat16", False),
    ((1, 1, 4096, 4096), "NN", "bfloat16", False),
    ((1, 4, 4096, 4096), "NN", "bfloat16", False),
]


def _product(library: Any, transposes: str) -> Any:
    """a @ b as NumPy and torch users write it."""

    def product(a: Any, b: Any) -> Any:
        a = a.swapaxes(-1, -2) if transposes[0] == "T" else a
        b = b.swapaxes(-1, -2) if transposes[1] == "T" else b
        return library.matmul(a, b)

    return product


def _torch_matmul(transposes: str) -> Any:
    def product(a: Any, b: Any) -> Any:
        import torch

        return _product(torch, transposes)(a, b)

    return product


def _case(shape: tuple[int, ...], transposes: str, dtype: str, quick: bool, *, tiny: bool) -> Case:
    batch, m, k, n = shape
    lead = (batch,) if batch > 1 else ()
    ta, tb = transposes[0] == "T", transposes[1] == "T"
    rows = sample_rows(m)

    def make(rng: np.random.Generator) -> Any:
        a = normal(rng, *lead, *((k, m) if ta else (m, k)), dtype=dtype)
        return a, normal(rng, *lead, *((n, k) if tb else (k, n)), dtype=dtype)

    contestants = {
        "fastattn": on_arrays(lambda a, b: fa.matmul(a, b, transpose_a=ta, transpose_b=tb)),
        "torch": on_torch(_torch_matmul(transposes)),
    }
    if dtype != "bfloat16":  # NumPy multiplies it one by one
        contestants["numpy"] = on_arrays(_product(np, transposes))
    size = float(np.dtype(dtype).itemsize * batch * (m * k + k * n + m * n))
    decodes = m <= 32
    return Case(
        op="matmul",
        name=f"{dtype} {transposes} " + (f"{batch} x " if lead else "") + f"{m} x {k} x {n}",
        make=make,
        contestants=contestants,
        # k in order, as a plain loop sums it: NumPy's own product sums in blocks, and is the more exact.
        reference=lambda a, b: reference.matmul(
            a[..., :, rows] if ta else a[..., rows, :], b, transpose_a=ta, transpose_b=tb
        ),
        pick=lambda out: (out[..., rows, :],),
        dtype=dtype,
        flops=2.0 * batch * m * k * n,
        bytes=size,
        traffic="read" if decodes else "copy",
        copies=ceil(COLD / size) if decodes and not tiny else 1,  # a model has more weights than one
        quick=quick,
    )


def _fused(m: int, k: int, n: int) -> Case:
    """A dense layer of a Transformer's MLP: product, bias and tanh-GELU in one call."""
    rows = sample_rows(m)

    def numpy(x: Any, w: Any, bias: Any) -> Any:
        h = x @ w + bias
        return 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi, dtype=h.dtype) * (h + h.dtype.type(0.044715) * h**3)))

    def torch(x: Any, w: Any, bias: Any) -> Any:
        import torch

        return torch.nn.functional.gelu(torch.addmm(bias, x, w), approximate="tanh")

    return Case(
        op="matmul",
        name=f"float32 bias gelu_tanh {m} x {k} x {n}",
        make=lambda rng: (normal(rng, m, k), normal(rng, k, n) * np.float32(k**-0.5), normal(rng, n)),
        contestants={
            "fastattn": on_arrays(lambda x, w, bias: fa.matmul(x, w, bias=bias, activation="gelu_tanh")),
            "numpy": on_arrays(numpy),
            "torch": on_torch(torch),
        },
        reference=lambda x, w, bias: reference.matmul(x[rows], w, bias=bias, activation="gelu_tanh"),
        pick=lambda out: (out[rows],),
        flops=2.0 * m * k * n,
        bytes=4.0 * (m * k + k * n + m * n),
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for shape, transposes, dtype, quick in SHAPES:
        yield _case(shrink(shape) if tiny else shape, transposes, dtype, quick, tiny=tiny)
    yield _fused(*(shrink((1024, 768, 3072)) if tiny else (1024, 768, 3072)))


def test_matmul(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
