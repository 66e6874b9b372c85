"""layer_norm over the last axes, and its gradients."""

import re

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

WIDTHS = [1, 2, 3, 7, 8, 9, 15, 17, 33, 64, 65, 127, 257, 1031, 4100]
AFFINE = [(True, True), (True, False), (False, True), (False, False)]


@pytest.mark.smoke
@pytest.mark.parametrize("width", WIDTHS)
def test_oracle(isa, dtype, randn, width):
    x, weight, bias = 2 * randn(5, width, dtype=dtype) + 1, randn(width, dtype=dtype), randn(width, dtype=dtype)
    out = fa.layer_norm(x, width, weight, bias)
    assert_ran("layer_norm_fwd", dtype, isa)
    check(out, reference.layer_norm, x, 1, weight, bias)


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (0, 4, 5, 6), (7, 1, 1, 1), (2, 3, 1, 65)])
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize(("with_weight", "with_bias"), AFFINE)
def test_normalised_axes(isa, dtype, randn, shape, ndim, with_weight, with_bias):
    x = randn(*shape, dtype=dtype)
    weight = randn(*shape[4 - ndim :], dtype=dtype) if with_weight else None
    bias = randn(*shape[4 - ndim :], dtype=dtype) if with_bias else None
    if x.size == 0 and ndim == 4:
        return  # no row, and no column either
    check(fa.layer_norm(x, shape[4 - ndim :], weight, bias), reference.layer_norm, x, ndim, weight, bias)


def test_shape_argument(randn):
    x = randn(3, 4, 5)
    assert_same_bits(fa.layer_norm(x, 5), fa.layer_norm(x, (5,)))
    assert_same_bits(fa.layer_norm(x, [4, 5]), fa.layer_norm(x, (4, 5)))


@pytest.mark.parametrize("eps", [1e-5, 0.0, 1.0])
@pytest.mark.parametrize("offset", [0, 1e3])
def test_eps_and_large_means(isa, dtype, randn, eps, offset):
    """A mean a thousand times the deviation: the variance is that of centred values, not a difference of squares."""
    x = randn(4, 100, dtype=dtype) + dtype.type(offset)
    check(fa.layer_norm(x, 100, eps=eps), reference.layer_norm, x, eps=eps)


def test_constant_rows(isa, dtype):
    x = np.full((3, 40), 5, dtype)
    assert (fa.layer_norm(x, 40) == 0).all()
    bias = np.arange(40).astype(dtype)
    assert_same_bits(fa.layer_norm(x, 40, None, bias), np.stack([bias] * 3))


def test_nan_and_inf_stay_in_their_row(isa, dtype, randn):
    x = randn(10, 33, dtype=dtype)
    expected = fa.layer_norm(x, 33)
    x[3, 5], x[7, 9] = np.nan, np.inf
    out = fa.layer_norm(x, 33)
    rest = np.delete(np.arange(10), [3, 7])
    assert np.isnan(out[3]).all()
    assert np.isnan(out[7]).any()
    assert_same_bits(out[rest], expected[rest])


@pytest.mark.parametrize("layout", ["contiguous", "padded"])
def test_strides_and_out(isa, dtype, randn, layout):
    x, weight, bias = randn(4, 5, 33, dtype=dtype), randn(33, dtype=dtype), randn(33, dtype=dtype)
    expected = fa.layer_norm(x, 33, weight, bias)
    move = LAYOUTS[layout]
    assert_same_bits(fa.layer_norm(move(x), 33, weight, bias), expected)
    assert_same_bits(fa.layer_norm(x.swapaxes(0, 1), 33, weight, bias), expected.swapaxes(0, 1))
    assert_same_bits(fa.layer_norm(x[::-1], 33, weight, bias), expected[::-1])
    assert_same_bits(fa.layer_norm(np.broadcast_to(x[0], x.shape), 33, weight, bias)[2], expected[0])
    out = move(np.zeros_like(x))
    assert fa.layer_norm(x, 33, weight, bias, out=out) is out
    assert_same_bits(out, expected)
    again = move(x.copy())
    fa.layer_norm(again, 33, weight, bias, out=again)
    assert_same_bits(again, expected)


def test_same_bits_for_any_threads_and_batch(isa, dtype, randn):
    x, weight, bias = randn(301, 257, dtype=dtype), randn(257, dtype=dtype), randn(257, dtype=dtype)
    assert_same_for_any_threads(lambda: fa.layer_norm(x, 257, weight, bias))
    assert_same_bits(fa.layer_norm(x[17:19], 257, weight, bias), fa.layer_norm(x, 257, weight, bias)[17:19])


# Gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize(("with_weight", "with_bias"), AFFINE)
def test_gradcheck(isa, leaf, ndim, with_weight, with_bias):
    shape = (4, 5)[2 - ndim :]
    inputs = [leaf(3, 4, 5), leaf(*shape) if with_weight else None, leaf(*shape) if with_bias else None]
    assert fa.gradcheck(lambda x, w, b: fa.layer_norm(x, shape, w, b, eps=0.1), inputs)


@pytest.mark.parametrize("wanted", range(3))
def test_gradcheck_one_at_a_time(leaf, wanted):
    inputs = [leaf(3, 5), leaf(5), leaf(5)]
    for i, t in enumerate(inputs):
        t.requires_grad = i == wanted
    assert fa.gradcheck(lambda x, w, b: fa.layer_norm(x, 5, w, b), inputs)


def gradients(dout, x, shape, weight, bias):
    tensors = [fa.Tensor(a, requires_grad=True) for a in (x, weight, bias)]
    fa.layer_norm(tensors[0], shape, *tensors[1:]).backward(fa.Tensor(dout))
    return [t.grad._data for t in tensors]


@pytest.mark.parametrize(
    ("rows", "width"), [(1, 1), (1, 65), (63, 33), (64, 7), (65, 64), (300, 17), (7, 1031), (0, 5)]
)
def test_gradients_against_the_oracle(isa, dtype, randn, rows, width):
    x, dout = randn(rows, width, dtype=dtype), randn(rows, width, dtype=dtype)
    weight, bias = randn(width, dtype=dtype), randn(width, dtype=dtype)
    found = gradients(dout, x, width, weight, bias)
    assert_ran("layer_norm_bwd", dtype, isa)
    check(found, reference.layer_norm_backward, dout, x, 1, weight)


def test_gradients_of_strided_and_expanded(isa, dtype, randn):
    x, dout, weight, bias = (randn(*s, dtype=dtype) for s in ((4, 6, 33), (4, 6, 33), (33,), (33,)))
    expected = gradients(dout, x, 33, weight, bias)
    assert_same_bits(gradients(LAYOUTS["reverse"](dout), LAYOUTS["padded"](x), 33, weight, bias), expected)
    one = np.broadcast_to(dtype.type(1), (4, 6, 33))
    assert_same_bits(gradients(one, x, 33, weight, bias), gradients(one.copy(), x, 33, weight, bias))


def test_gradients_have_the_same_bits_for_any_threads(isa, dtype, randn):
    x, dout = randn(301, 257, dtype=dtype), randn(301, 257, dtype=dtype)
    weight, bias = randn(257, dtype=dtype), randn(257, dtype=dtype)
    assert_same_for_any_threads(lambda: gradients(dout, x, 257, weight, bias))
    assert_same_bits(gradients(dout[7:9], x[7:9], 257, weight, bias)[0], gradients(dout, x, 257, weight, bias)[0][7:9])


# Errors --------------------------------------------------------------------------------------------------------------

X = np.zeros((2, 5))
NOT = "layer_norm: normalized_shape {} is not that of the last axes of x (2, 5)"
ERRORS = [
    (lambda o: fa.layer_norm(X, 4, out=o), ValueError, NOT.format("(4,)")),
    (lambda o: fa.layer_norm(X, (1, 2, 5), out=o), ValueError, NOT.format("(1, 2, 5)")),
    (lambda o: fa.layer_norm(X, (5, 2), out=o), ValueError, NOT.format("(5, 2)")),
    (lambda o: fa.layer_norm(X, (), out=o), ValueError, "layer_norm: normalized_shape needs 1 to 8 axes"),
    (lambda o: fa.layer_norm(X, (1,) * 9, out=o), ValueError, "layer_norm: normalized_shape needs 1 to 8 axes"),
    (lambda o: fa.layer_norm(X, 5, np.zeros(4), out=o), ValueError, "weight has shape (4,); expected (5,)"),
    (lambda o: fa.layer_norm(X, 5, None, np.zeros((1, 5)), out=o), ValueError, "bias has shape (1, 5); expected (5,)"),
    (lambda o: fa.layer_norm(X, 5, np.zeros(10)[::2], out=o), ValueError, "layer_norm: weight is not contiguous"),
    (lambda o: fa.layer_norm(X, 5, None, np.zeros(5)[::-1], out=o), ValueError, "layer_norm: bias is not contiguous"),
    (
        lambda o: fa.layer_norm(np.zeros((2, 10))[:, ::2], 5, out=o),
        ValueError,
        "layer_norm: x is not contiguous along its normalised axes; pass numpy.ascontiguousarray of it",
    ),
    (lambda o: fa.layer_norm(np.zeros((3, 5)), 5, out=o), ValueError, "out has shape (2, 5); expected (3, 5)"),
    (lambda o: fa.layer_norm(X.astype(np.float32), 5, out=o), TypeError, "x is float32 and out is float64"),
    (lambda o: fa.layer_norm(X, 5, np.zeros(5, np.float32)), TypeError, "x is float64 and weight is float32"),
    (lambda o: fa.layer_norm(X.astype(int), 5), TypeError, "layer_norm: x has dtype int64; expected float32, float64"),
    (lambda o: fa.layer_norm([1.0], 1), TypeError, "layer_norm: x is a list; expected an array"),
    (lambda o: fa.layer_norm(o, 5, o[0], out=o), ValueError, "layer_norm: out overlaps weight in memory"),
    (lambda o: fa.layer_norm(o[::-1], 5, out=o), ValueError, "layer_norm: out overlaps x in memory"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5), 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_explain(isa):
    (what,) = fa.explain(fa.layer_norm, np.ones((4, 8), np.float32), 8)
    assert is_kernel(what.kernel, "layer_norm_fwd", "float32", isa)
    assert what.unsupported == ""
    assert what.bytes >= 2 * 4 * 32
