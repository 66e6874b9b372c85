"""gelu (both forms), silu, relu and sigmoid, and their gradients."""

import functools
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
    is_kernel,
    reference,
    unchanged,
)

# Around vectors, and the elementwise block of 16384.
SIZES = [0, 1, 3, 7, 8, 9, 17, 33, 255, 257, 16383, 16385]
FUNCTIONS = {
    "gelu": fa.gelu,
    "gelu_tanh": functools.partial(fa.gelu, approximate="tanh"),
    "silu": fa.silu,
    "relu": fa.relu,
    "sigmoid": fa.sigmoid,
}


@pytest.fixture(params=FUNCTIONS)
def name(request):
    return request.param


@pytest.fixture
def function(name):
    return FUNCTIONS[name]


def op_of(name):
    return name.partition("_")[0]


@pytest.mark.smoke
@pytest.mark.parametrize("n", SIZES)
def test_oracle(isa, dtype, randn, name, function, n):
    x = 3 * randn(n, dtype=dtype)
    out = function(x)
    assert_ran(f"{op_of(name)}_fwd", dtype, isa)
    check(out, reference.activate, x, name)


def test_default_of_gelu_is_erf(randn):
    x = randn(20)
    assert_same_bits(fa.gelu(x), fa.gelu(x, "none"))
    assert not np.array_equal(fa.gelu(x), fa.gelu(x, "tanh"))


@pytest.mark.parametrize("shape", [(), (1,), (5, 33), (2, 3, 1, 40), (300, 2), (4, 0, 3)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_and_out(isa, dtype, randn, function, shape, layout):
    x = randn(*shape, dtype=dtype)
    expected = function(x)
    assert_same_bits(function(LAYOUTS[layout](x)), expected)
    for other in LAYOUTS.values():
        out = other(np.full(shape, 7, dtype))
        assert function(LAYOUTS[layout](x), out=out) is out
        assert_same_bits(out, expected)
    again = LAYOUTS[layout](x.copy())
    function(again, out=again)
    assert_same_bits(again, expected)


def test_broadcast_input(isa, dtype, randn, function):
    x = randn(33, dtype=dtype)
    assert_same_bits(function(np.broadcast_to(x, (4, 33))), np.stack([function(x)] * 4))


# x, and what f(x) and f'(x) are there; None: x itself.
EXTREMES = {
    "gelu": [(0, 0, 0.5), (1e4, None, 1), (-1e4, 0, 0), (np.inf, np.inf, 1), (30, 30, 1), (-30, 0, 0), (-np.inf, 0, 0)],
    "silu": [(0, 0, 0.5), (1e4, None, 1), (-1e4, 0, 0), (np.inf, np.inf, 1), (-np.inf, 0, 0)],
    "relu": [(0, 0, 0), (1e4, None, 1), (-1e4, 0, 0), (np.inf, np.inf, 1), (-np.inf, 0, 0)],
    "sigmoid": [(0, 0.5, 0.25), (1e4, 1, 0), (-1e4, 0, 0), (np.inf, 1, 0), (-np.inf, 0, 0)],
}


def test_extreme_values(isa, dtype, name, function):
    info = ml_dtypes.finfo(dtype)
    table = [*EXTREMES[op_of(name)], (-0.0, *EXTREMES[op_of(name)][0][1:])]
    largest = float(info.max)
    table.append((largest, 1 if name == "sigmoid" else None, 0 if name == "sigmoid" else 1))
    table.append((-largest, 0, 0))
    x, values, slopes = (np.array(column) for column in zip(*table, strict=True))
    x = x.astype(dtype)
    values = np.where(values == None, x, values).astype(np.float64)  # noqa: E711
    np.testing.assert_allclose(function(x).astype(np.float64), values, rtol=0, atol=1e-190)
    t = fa.Tensor(x, requires_grad=True)
    function(t).backward(fa.Tensor(np.ones_like(x)))
    np.testing.assert_allclose(t.grad._data.astype(np.float64), slopes.astype(np.float64), atol=4 * float(info.eps))
    assert np.isnan(function(np.array([np.nan] * 20, dtype))).all()


@pytest.mark.parametrize(("dtype", "low"), [(np.float32, -100), (np.float64, -740)])
def test_the_left_tail_keeps_its_digits(isa, dtype, low):
    """1 / (1 + exp(-x)) overflows from -88.7 (-709.8) on; what is left of sigmoid there is subnormal, and right."""
    x = np.linspace(low, -5, 1000).astype(dtype)
    wide = x.astype(np.longdouble)
    exact = 1 / (1 + np.exp(-wide))
    error = np.abs(fa.sigmoid(x) - exact) / np.maximum(
        np.spacing(exact.astype(dtype)), np.finfo(dtype).smallest_subnormal
    )
    assert error.max() < 3
    error = np.abs(fa.silu(x) - wide * exact) / np.spacing(np.abs(wide * exact).astype(dtype))
    assert error[exact > np.finfo(dtype).tiny].max() < 4


def test_same_bits_for_any_threads_and_place(isa, dtype, randn, function):
    x = randn(3, 40000, dtype=dtype)
    assert_same_for_any_threads(lambda: function(x))
    assert_same_bits(function(x[1, 77:99]), function(x)[1, 77:99])


@pytest.mark.smoke
@pytest.mark.parametrize("shape", [(), (7,), (3, 4, 5)])
def test_gradcheck(isa, leaf, function, shape):
    assert fa.gradcheck(function, leaf(*shape))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_against_the_oracle(isa, dtype, randn, name, function, layout):
    x, dout = 3 * randn(30, 77, dtype=dtype), randn(30, 77, dtype=dtype)
    t = fa.Tensor(LAYOUTS[layout](x), requires_grad=True)
    function(t).backward(fa.Tensor(LAYOUTS[layout](dout)))
    assert_ran(f"{op_of(name)}_bwd", dtype, isa)
    check(t.grad._data, reference.activate_backward, dout, x, name)


def test_as_matmuls_epilogue(isa, dtype, randn, name, function):
    """The same function of the same sums, and the same gradient as by the op."""
    a, b, dout = randn(9, 20, dtype=dtype), randn(20, 33, dtype=dtype), randn(9, 33, dtype=dtype)
    check(fa.matmul(a, b, activation=name), reference.matmul, a, b, activation=name)
    if dtype.itemsize > 2:  # with 16 bits the epilogue sees sums that are not rounded yet
        assert_same_bits(fa.matmul(a, b, activation=name), function(fa.matmul(a, b)))
    fused, plain = ([fa.Tensor(x, requires_grad=True) for x in (a, b)] for _ in range(2))
    fa.matmul(*fused, activation=name).backward(fa.Tensor(dout))
    function(fa.matmul(*plain)).backward(fa.Tensor(dout))
    assert_same_bits([t.grad._data for t in fused], [t.grad._data for t in plain])


@pytest.mark.parity
def test_like_torch(name, randn):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    expected = {
        "gelu": F.gelu,
        "gelu_tanh": functools.partial(F.gelu, approximate="tanh"),
        "silu": F.silu,
        "relu": F.relu,
        "sigmoid": torch.sigmoid,
    }[name]
    values = 3 * randn(50)
    values[:4] = [0, -0.0, np.nan, np.inf]
    gradients = []
    for function in (FUNCTIONS[name], expected):
        x = torch.tensor(values, requires_grad=True)
        out = function(x)
        out.backward(torch.ones_like(out))
        gradients.append((out.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*gradients, strict=True):
        finite = np.isfinite(theirs)  # torch's gelu and silu have a NaN in the gradient at inf
        np.testing.assert_allclose(ours[finite], theirs[finite], rtol=1e-12, atol=1e-15)
    assert np.isnan(gradients[0][0][2])


X = np.zeros((2, 5))
ERRORS = [
    (lambda o: fa.gelu(X, "relu", out=o), ValueError, 'gelu: approximate is \'relu\'; expected "none" or "tanh"'),
    (lambda o: fa.gelu(np.zeros((2, 4)), out=o), ValueError, "gelu: out has shape (2, 5); expected (2, 4)"),
    (lambda o: fa.silu(np.zeros((2, 4)), out=o), ValueError, "silu: out has shape (2, 5); expected (2, 4)"),
    (lambda o: fa.gelu(X.astype(np.float32), out=o), TypeError, "gelu: x is float32 and out is float64"),
    (
        lambda o: fa.gelu(X.astype(int), out=o),
        TypeError,
        "gelu: x has dtype int64; expected float32, float64, bfloat16 or float16",
    ),
    (lambda o: fa.relu(X.astype(int)), TypeError, "relu: x has dtype int64; expected float32"),
    (lambda o: fa.gelu(1.0), TypeError, "gelu: x is a float; expected an array"),
    (lambda o: fa.sigmoid(None), TypeError, "sigmoid: x is None; expected an array"),
    (lambda o: fa.gelu(o.ravel()[:6], out=o.ravel()[2:8]), ValueError, "gelu: out overlaps x in memory"),
    (lambda o: fa.gelu(o, out=o[::-1]), ValueError, "gelu: out overlaps x in memory"),
    (lambda o: fa.gelu(X, out=np.broadcast_to(o[:1], (2, 5))), ValueError, "gelu: out is read-only"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5), 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_explain(isa, name, function):
    (what,) = fa.explain(function, np.ones(100, np.float32))
    assert is_kernel(what.kernel, f"{op_of(name)}_fwd", "float32", isa)
    assert (what.unsupported, what.bytes) == ("", 800)
