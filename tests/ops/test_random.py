"""uniform_ and normal_: the numbers are Philox's, in place."""

import re

import ml_dtypes
import numpy as np
import pytest
from on_device import ON_CUDA

import fastattn as fa
from fastattn.testing import (
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    padded,
    reference,
    unchanged,
)

SIZES = [0, 1, 2, 3, 5, 63, 64, 65, 127, 129, 257, 1031]


@pytest.mark.smoke
@pytest.mark.parametrize("n", SIZES)
def test_uniform(isa, dtype, n):
    x = np.full(n, np.nan, dtype)
    assert fa.uniform_(x, seed=11) is x
    assert_ran("random_uniform", dtype, isa)
    assert_same_bits(x, reference.uniform(n, dtype, 11))


@pytest.mark.smoke
@pytest.mark.parametrize("n", SIZES)
def test_normal(isa, dtype, n):
    x = np.full(n, np.nan, dtype)
    assert fa.normal_(x, seed=11) is x
    assert_ran("random_normal", dtype, isa)
    # Box-Muller multiplies a root by a cosine of a turn: a few roundings of numbers of up to 6.
    np.testing.assert_allclose(x, reference.normal(n, dtype, 11), rtol=0, atol=24 * float(ml_dtypes.finfo(dtype).eps))


@pytest.mark.parametrize("seed", [0, 2**32 + 1, 2**64 - 1])
def test_seeds(isa, dtype, seed):
    assert_same_bits(fa.uniform_(np.empty((5, 9), dtype), seed=seed).ravel(), reference.uniform(45, dtype, seed))


def test_bounds_and_moments(isa, dtype):
    x = fa.uniform_(np.empty(100_000, dtype), -2.0, 6.0, seed=1).astype(np.float64)
    assert x.min() >= -2
    assert x.max() < 6
    assert abs(x.mean() - 2) < 4 * 8 / np.sqrt(12 * 100_000)
    x = fa.normal_(np.empty(100_000, dtype), 3.0, 0.5, seed=1).astype(np.float64)
    assert abs(x.mean() - 3) < 4 * 0.5 / np.sqrt(100_000)
    assert abs(x.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * 100_000)
    assert np.isfinite(x).all()


def test_same_bits_for_any_threads(isa, dtype):
    assert_same_for_any_threads(lambda: fa.uniform_(np.empty((3, 30001), dtype), seed=4))
    assert_same_for_any_threads(lambda: fa.normal_(np.empty((3, 30001), dtype), seed=4))


def test_an_element_does_not_depend_on_the_size(isa, dtype):
    whole = fa.normal_(np.empty(40000, dtype), seed=4)
    assert_same_bits(fa.normal_(np.empty(16385, dtype), seed=4), whole[:16385])


def test_tensors_notice(leaf):
    t = fa.zeros(4, requires_grad=True)
    y = t * t
    fa.uniform_(t.detach(), seed=0)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


ERRORS = [
    (lambda f, x: f(x[:, ::2]), ValueError, "array is not contiguous"),
    (lambda f, x: f(padded(x)), ValueError, "array is not contiguous"),
    (lambda f, x: f(x.astype(int)), TypeError, "array has dtype int64; expected float32, float64, bfloat16 or float16"),
    (lambda f, x: f(np.broadcast_to(x, (2, 4, 4))), ValueError, "array is read-only"),
    (lambda f, x: f([1.0]), TypeError, "array is a list; expected an array"),
    (lambda f, x: f(None), TypeError, "array is None; expected an array"),
]


@pytest.mark.parametrize("function", [fa.uniform_, fa.normal_])
@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(function, call, error, text):
    x = np.full((4, 4), 7.0)
    with unchanged(x), pytest.raises(error, match=re.escape(f"{function.__name__}: {text}")):
        call(function, x)


def test_explain(isa):
    (what,) = fa.explain(fa.uniform_, np.empty(10, np.float32))
    assert (what.kernel, what.bytes) == (f"random_uniform_f32_{isa}", 40)
    (what,) = fa.explain(fa.normal_, np.empty(10, np.float32))
    assert (what.kernel, what.bytes) == (f"random_normal_f32_{isa}", 40)


@pytest.mark.skipif(ON_CUDA, reason="there are no float64 kernels on CUDA")
def test_explain_float64(isa):
    (what,) = fa.explain(fa.normal_, np.empty(10, np.float64))
    assert (what.kernel, what.bytes) == (f"random_normal_f64_{isa}", 80)
