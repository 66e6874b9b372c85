"""Arithmetic element by element, as Tensors do it: two arrays, a number, a broadcast row; and in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa
from fastattn.ops.binary import binary

from .harness import Case, normal, on_arrays, on_torch, shrink, with_pytest

# (rows, width), whether in --quick
SHAPES = [((512, 128), False), ((4096, 2048), True)]
# name: (function, shape of the second operand)
FORMS: dict[str, Any] = {
    "add": (lambda f, a, b: f(np.add, a, b), lambda shape: shape),
    "mul by a number": (lambda f, a, b: f(np.multiply, a, 0.5), lambda shape: (1,)),
    "add a row": (lambda f, a, b: f(np.add, a, b), lambda shape: shape[1:]),
}


def _numpy(ufunc: Any, a: Any, b: Any) -> Any:
    return ufunc(a, b)


def _torch(ufunc: Any, a: Any, b: Any) -> Any:
    return a + b if ufunc is np.add else a * b


def _case(shape: tuple[int, ...], form: str, dtype: str, quick: bool) -> Case:
    call, other = FORMS[form]
    size, second = float(np.prod(shape)), other(shape)
    itemsize = 2 if dtype == "bfloat16" else 4
    contestants = {
        "fastattn": on_arrays(lambda a, b: call(binary, a, b)),
        "numpy": on_arrays(lambda a, b: call(_numpy, a, b)),
    }
    if dtype != "bfloat16":
        contestants["torch"] = on_torch(lambda a, b: call(_torch, a, b))

    def make(rng: np.random.Generator) -> Any:
        return tuple(normal(rng, *s).astype(fa.bfloat16 if dtype == "bfloat16" else dtype) for s in (shape, second))

    return Case(
        op="binary",
        name=f"{dtype} {form} {shape[0]} x {shape[1]}",
        make=make,
        contestants=contestants,
        reference=lambda a, b: call(_numpy, a, b),
        dtype=dtype,
        bytes=itemsize * (size * (3 if second == shape else 2)),
        quick=quick and form == "add",
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for shape, quick in SHAPES:
        for dtype in ("float32", "bfloat16"):
            for form in FORMS:
                yield _case(shrink(shape) if tiny else shape, form, dtype, quick and dtype == "float32")


def test_binary(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
