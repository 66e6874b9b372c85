"""exp, log, tanh and erf. How many units in the last place they are off is measured in tests/cpu."""

import re

import ml_dtypes
import numpy as np
import pytest

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    reference,
    unchanged,
)

# Function, reference, and intervals in which its values stay within a few powers of two, so that the bound (relative to
# the largest) holds the small ones too.
CASES = {
    "exp": (fa.exp, np.exp, [(-87, -85), (-20, -18), (-1, 1), (3, 5), (80, 82)]),
    "log": (fa.log, np.log, [(1e-30, 1e-29), (0.1, 0.5), (0.9, 0.99), (1.01, 1.1), (2, 50), (1e20, 1e22)]),
    "tanh": (fa.tanh, np.tanh, [(-9, -0.5), (-0.5, -0.1), (1e-3, 4e-3), (0.1, 0.7), (0.7, 30)]),
    "erf": (fa.erf, reference.erf, [(-6, -0.5), (-0.5, -0.1), (1e-3, 4e-3), (0.1, 0.9), (0.9, 10)]),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.mark.smoke
def test_oracle(isa, dtype, rng, case):
    function, expected, intervals = case
    for low, high in intervals:
        with np.errstate(over="ignore"):
            x = rng.uniform(low, high, 1001).astype(dtype)
        out = function(x)
        assert_ran("unary", dtype, isa)
        check(out, expected, x, case=function.__name__)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 17, 16385])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sizes_and_strides(isa, dtype, rng, case, n, layout):
    function = case[0]
    x = rng.uniform(0.1, 2, (2, n)).astype(dtype)
    expected = np.stack([function(row) for row in x])
    assert_same_bits(function(LAYOUTS[layout](x)), expected)
    out = LAYOUTS[layout](np.zeros_like(x))
    assert function(x, out=out) is out
    assert_same_bits(out, expected)
    function(x, out=x)
    assert_same_bits(x, expected)


def test_special_values(isa, dtype):
    def same(found, expected):
        np.testing.assert_array_equal(found.astype(np.float64), expected)

    x = np.array([0, np.inf, -np.inf, np.nan, 1000, -1000], dtype)
    with np.errstate(all="ignore"):
        same(fa.exp(x), [1, np.inf, 0, np.nan, np.inf, 0])
        same(fa.tanh(x), [0, 1, -1, np.nan, 1, -1])
        same(fa.erf(x), [0, 1, -1, np.nan, 1, -1])
        x = np.array([0, -0.0, np.inf, -np.inf, np.nan, -1, 1], dtype)
        same(fa.log(x), [-np.inf, -np.inf, np.inf, np.nan, np.nan, np.nan, 0])
        tiny = np.array([ml_dtypes.finfo(dtype).smallest_subnormal, ml_dtypes.finfo(dtype).tiny], dtype)
        np.testing.assert_allclose(fa.log(tiny), np.log(tiny), rtol=4 * float(ml_dtypes.finfo(dtype).eps))


def test_same_bits_for_any_threads(isa, dtype, rng, case):
    x = rng.uniform(0.1, 2, 50000).astype(dtype)
    assert_same_for_any_threads(lambda: case[0](x))


@pytest.mark.smoke
def test_gradcheck(isa, rng, case):
    x = fa.Tensor(rng.uniform(0.2, 1.5, (3, 5)), requires_grad=True)
    assert fa.gradcheck(case[0], x)


X = np.zeros((2, 5))


def test_errors(case):
    function = case[0]
    out = np.full((2, 5), 7.0)
    errors = [
        (lambda: function(np.zeros((2, 4)), out=out), ValueError, "out has shape (2, 5); expected (2, 4)"),
        (lambda: function(X.astype(np.float32), out=out), TypeError, "x is float32 and out is float64"),
        (
            lambda: function(X.astype(int)),
            TypeError,
            "x has dtype int64; expected float32, float64, bfloat16 or float16",
        ),
        (lambda: function(None), TypeError, "x is None; expected an array"),
        (lambda: function(out[:, :4], out=out[:, 1:]), ValueError, "out overlaps x in memory"),
    ]
    for call, error, text in errors:
        with unchanged(out, X), pytest.raises(error, match=re.escape(f"{function.__name__}: {text}")):
            call()


def test_explain(isa, case):
    (what,) = fa.explain(case[0], np.ones(100, np.float32))
    assert what.kernel.endswith(f"_f32_{isa}")
    assert what.bytes == 800
