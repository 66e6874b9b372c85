"""What the tests of every op assert besides values: which kernel ran, equal bits, nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastattn._runtime import last_kernel

from .isa import threads
from .tolerance import computed, is_float

# What a variant has kernels of its own for.
VARIANT_KERNELS = {
    "avx512_bf16": {("attention_fwd", "bfloat16"), ("attention_bwd", "bfloat16"), ("matmul", "bfloat16")}
}
_SHORT = {"float32": "f32", "float64": "f64", "bfloat16": "bf16", "float16": "f16"}


def assert_ran(op: str, dtype: Any, isa: str) -> None:
    """The last kernel of this thread was that of `op`, `dtype` and `isa`."""
    assert is_kernel(last_kernel(), op, dtype, isa), last_kernel()


def is_kernel(name: str, op: str, dtype: Any, isa: str) -> bool:
    """Whether `name` is that of a kernel of `op`, `dtype` and `isa`; those of a GPU name their configuration too."""
    expected = kernel_name(op, dtype, isa)
    return name == expected or (isa == "sm80" and name.startswith(expected[:-4]) and name.endswith("_sm80"))


def kernel_name(op: str, dtype: Any, isa: str) -> str:
    """What `fa.last_kernel()` says; `isa` may be a variant."""
    base = isa.partition("_")[0]
    return f"{op}_{_SHORT[np.dtype(dtype).name]}_{isa if has_own_kernels(isa, op, dtype) else base}"


def has_own_kernels(isa: str, op: str, dtype: Any) -> bool:
    """Whether an op runs other kernels on `isa` than on what it is a variant of; true for what is no variant."""
    return "_" not in isa or (op, np.dtype(dtype).name) in VARIANT_KERNELS[isa]


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Arrays, or sequences of them, are equal to the last bit (any NaN is every other NaN)."""
    if isinstance(expected, (tuple, list)):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            assert_same_bits(a, e)
    elif expected is None:
        assert actual is None
    else:
        actual, expected = np.asarray(actual), np.asarray(expected)
        assert actual.dtype == expected.dtype
        actual, expected = computed(actual), computed(expected)  # NumPy does not see the NaNs of bfloat16
        np.testing.assert_array_equal(actual, expected)
        if is_float(actual.dtype):
            signs = [np.where(x == 0, np.signbit(x), False) for x in (actual, expected)]
            np.testing.assert_array_equal(signs[0], signs[1], "signs of zeros")


def assert_same_for_any_threads(function: Callable[[], Any]) -> None:
    """`function` returns the same bits with 1, 2 and 3 threads."""
    with threads(1):
        expected = function()
    for n in (2, 3):
        with threads(n):
            assert_same_bits(function(), expected)


@contextmanager
def unchanged(*arrays: Any) -> Iterator[None]:
    """Within, the arrays (or lists of them) keep their bytes."""

    def bytes_of(value: Any) -> Any:
        return [bytes_of(v) for v in value] if isinstance(value, (list, tuple)) else np.asarray(value).tobytes()

    before = [bytes_of(a) for a in arrays]
    yield
    assert [bytes_of(a) for a in arrays] == before, "an argument was changed"
