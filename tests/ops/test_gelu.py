"""gelu, both forms, and its gradient."""

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

# Around vectors, and the elementwise block of 16384.
SIZES = [0, 1, 3, 7, 8, 9, 17, 33, 255, 257, 16383, 16385]


@pytest.fixture(params=["none", "tanh"])
def form(request):
    return request.param


@pytest.mark.smoke
@pytest.mark.parametrize("n", SIZES)
def test_oracle(isa, dtype, randn, form, n):
    x = 3 * randn(n, dtype=dtype)
    out = fa.gelu(x, form)
    assert_ran("gelu_fwd", dtype, isa)
    check(out, reference.gelu, x, form)


def test_default_is_erf(randn):
    x = randn(20)
    assert_same_bits(fa.gelu(x), fa.gelu(x, "none"))
    assert not np.array_equal(fa.gelu(x), fa.gelu(x, "tanh"))


@pytest.mark.parametrize("shape", [(), (1,), (5, 33), (2, 3, 1, 40), (300, 2), (4, 0, 3)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_and_out(isa, dtype, randn, form, shape, layout):
    x = randn(*shape, dtype=dtype)
    expected = fa.gelu(x, form)
    assert_same_bits(fa.gelu(LAYOUTS[layout](x), form), expected)
    for other in LAYOUTS.values():
        out = other(np.full(shape, 7, dtype))
        assert fa.gelu(LAYOUTS[layout](x), form, out=out) is out
        assert_same_bits(out, expected)
    again = LAYOUTS[layout](x.copy())
    fa.gelu(again, form, out=again)
    assert_same_bits(again, expected)


def test_broadcast_input(isa, dtype, randn, form):
    x = randn(33, dtype=dtype)
    assert_same_bits(fa.gelu(np.broadcast_to(x, (4, 33)), form), np.stack([fa.gelu(x, form)] * 4))


def test_extreme_values(isa, dtype, form):
    info = ml_dtypes.finfo(dtype)
    x = np.array([0.0, -0.0, 1e4, -1e4, np.inf, np.nan, 30, -30, info.max, -info.max], dtype)
    out = fa.gelu(x, form)
    assert out[2] == x[2]
    assert out[3] == 0
    assert out[4] == np.inf
    assert np.isnan(out[5])
    assert out[6] == 30
    assert abs(out[7]) < 1e-190 if dtype == np.float64 else abs(out[7]) == 0
    assert out[8] == x[8]
    assert out[9] == 0
    t = fa.Tensor(x, requires_grad=True)
    fa.gelu(t, form).backward(fa.Tensor(np.ones_like(x)))
    g = t.grad._data[[0, 1, 2, 3, 6, 7, 8, 9]].astype(np.float64)
    np.testing.assert_allclose(g, [0.5, 0.5, 1, 0, 1, 0, 1, 0], atol=4 * float(info.eps))


def test_same_bits_for_any_threads_and_place(isa, dtype, randn, form):
    x = randn(3, 40000, dtype=dtype)
    assert_same_for_any_threads(lambda: fa.gelu(x, form))
    assert_same_bits(fa.gelu(x[1, 77:99], form), fa.gelu(x, form)[1, 77:99])


@pytest.mark.smoke
@pytest.mark.parametrize("shape", [(), (7,), (3, 4, 5)])
def test_gradcheck(isa, leaf, form, shape):
    assert fa.gradcheck(lambda x: fa.gelu(x, form), leaf(*shape))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_against_the_oracle(isa, dtype, randn, form, layout):
    x, dout = 3 * randn(30, 77, dtype=dtype), randn(30, 77, dtype=dtype)
    t = fa.Tensor(LAYOUTS[layout](x), requires_grad=True)
    fa.gelu(t, form).backward(fa.Tensor(LAYOUTS[layout](dout)))
    assert_ran("gelu_bwd", dtype, isa)
    check(t.grad._data, reference.gelu_backward, dout, x, form)


X = np.zeros((2, 5))
ERRORS = [
    (lambda o: fa.gelu(X, "relu", out=o), ValueError, 'gelu: approximate is \'relu\'; expected "none" or "tanh"'),
    (lambda o: fa.gelu(np.zeros((2, 4)), out=o), ValueError, "gelu: out has shape (2, 5); expected (2, 4)"),
    (lambda o: fa.gelu(X.astype(np.float32), out=o), TypeError, "gelu: x is float32 and out is float64"),
    (
        lambda o: fa.gelu(X.astype(int), out=o),
        TypeError,
        "gelu: x has dtype int64; expected float32, float64, bfloat16 or float16",
    ),
    (lambda o: fa.gelu(1.0), TypeError, "gelu: x is a float; expected an array"),
    (lambda o: fa.gelu(o.ravel()[:6], out=o.ravel()[2:8]), ValueError, "gelu: out overlaps x in memory"),
    (lambda o: fa.gelu(o, out=o[::-1]), ValueError, "gelu: out overlaps x in memory"),
    (lambda o: fa.gelu(X, out=np.broadcast_to(o[:1], (2, 5))), ValueError, "gelu: out is read-only"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5), 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_explain(isa):
    (what,) = fa.explain(fa.gelu, np.ones(100, np.float32))
    assert (what.kernel, what.unsupported, what.bytes) == (f"gelu_fwd_f32_{isa}", "", 800)
