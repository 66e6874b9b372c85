"""grad_norm and grad_scale, the two halves of clipping by norm."""

import re

import ml_dtypes
import numpy as np
import pytest
from on_device import EMULATED

import fastattn as fa
from fastattn.testing import accumulator, assert_ran, assert_same_bits, assert_same_for_any_threads, unchanged

LONG = 20001 if EMULATED else 70001  # several chunks
SHAPES = [(), (0,), (7,), (8,), (17, 3), (255,), (1031,), (LONG,)]


@pytest.fixture
def grads(rng):
    return lambda dtype: [np.asarray(rng.standard_normal(s)).astype(dtype) for s in SHAPES]


@pytest.mark.smoke
def test_norm(isa, dtype, grads):
    g = grads(dtype)
    with unchanged(g):
        norm = fa.grad_norm(g)
    assert_ran("grad_norm", dtype, isa)
    exact = np.sqrt(sum((x.astype(np.longdouble) ** 2).sum() for x in g))
    # Squares are summed in float64, in blocks: the bound of recursive summation with n / 8 terms a chain is far above.
    assert abs(norm - exact) <= 16 * np.finfo(np.float64).eps * exact
    assert isinstance(norm, float)


def test_norm_of_little_and_much(isa, dtype):
    assert fa.grad_norm([]) == 0
    assert fa.grad_norm([np.zeros((0, 3), dtype)]) == 0
    assert fa.grad_norm([np.array(-3, dtype), np.array([4], dtype)]) == 5
    largest = min(float(ml_dtypes.finfo(d).max) for d in (dtype, np.float32))
    assert fa.grad_norm([np.array([largest] * 4, dtype)]) == 2 * largest
    assert fa.grad_norm([np.array([np.inf, 1], dtype)]) == np.inf
    assert np.isnan(fa.grad_norm([np.array([np.nan, 1], dtype)]))


@pytest.mark.smoke
@pytest.mark.parametrize("scale", [0.3, 0.0, 1.0, -2.0])
def test_scale(isa, dtype, grads, scale):
    g = grads(dtype)
    expected = [(x * accumulator(dtype).type(scale)).astype(dtype) for x in g]
    fa.grad_scale(g, scale)
    assert_ran("grad_scale", dtype, isa)
    assert_same_bits(g, [np.asarray(e) for e in expected])


def test_same_bits_for_any_threads_and_alignment(isa, dtype, grads, rng):
    g = grads(dtype)
    assert_same_for_any_threads(lambda: np.float64(fa.grad_norm(g)))
    x = rng.standard_normal(5003).astype(dtype)
    shifted = np.concatenate([np.zeros(3, dtype), x])[3:]
    assert fa.grad_norm([shifted]) == fa.grad_norm([x])


def test_tensors_notice(leaf):
    t = leaf(4)
    y = t * t
    fa.grad_scale([t.detach()], 2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def frozen():
    x = np.ones(3)
    x.flags.writeable = False
    return x


def listed(x):
    return x if isinstance(x, list) else [x]


ERRORS = [
    (lambda g: g[::2], ValueError, "grads[0] is not contiguous"),
    (lambda g: g.astype(int), TypeError, "grads[0] has dtype int64; expected float32, float64, bfloat16 or float16"),
    (lambda g: [g[:2], g.astype(np.float32)], TypeError, "grads[0] is float64 and grads[1] is float32; they must have"),
    (lambda g: 1.0, TypeError, "grads is a float; expected an array"),
]


@pytest.mark.parametrize(("make", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(make, error, text):
    g = np.full(6, 7.0)
    with unchanged(g), pytest.raises(error, match=re.escape(f"grad_norm: {text}")):
        fa.grad_norm(listed(make(g)))
    with unchanged(g), pytest.raises(error, match=re.escape(f"grad_scale: {text}")):
        fa.grad_scale(listed(make(g)), 0.5)


def test_more_errors():
    g = np.full(6, 7.0)
    with pytest.raises(TypeError, match="grad_norm: grads is a ndarray; expected a list of arrays"):
        fa.grad_norm(g)
    with unchanged(g), pytest.raises(ValueError, match=r"grad_scale: grads\[1\] is read-only"):
        fa.grad_scale([g, frozen()], 0.5)
    with unchanged(g), pytest.raises(ValueError, match=r"grad_scale: grads\[1\] overlaps grads\[0\] in memory"):
        fa.grad_scale([g, g], 0.5)
    assert fa.grad_norm([g, g]) == fa.grad_norm([g.copy(), g])


def test_explain(isa):
    (what,) = fa.explain(fa.grad_norm, [np.ones(10, np.float32)])
    assert (what.kernel, what.bytes) == (f"grad_norm_f32_{isa}", 40)
    (what,) = fa.explain(fa.grad_scale, [np.ones(10, np.float32)], 0.5)
    assert (what.kernel, what.bytes) == (f"grad_scale_f32_{isa}", 80)
