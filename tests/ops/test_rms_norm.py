"""rms_norm over the last axes, and its gradients."""

import re

import numpy as np
import pytest

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    accumulator,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    is_kernel,
    reference,
    unchanged,
)

WIDTHS = [1, 2, 3, 7, 8, 9, 15, 17, 33, 64, 65, 127, 257, 1031, 4100]


@pytest.mark.smoke
@pytest.mark.parametrize("width", WIDTHS)
def test_oracle(isa, dtype, randn, width):
    x, weight = 2 * randn(5, width, dtype=dtype) + 1, randn(width, dtype=dtype)
    out = fa.rms_norm(x, width, weight, 1e-5)
    assert_ran("rms_norm_fwd", dtype, isa)
    check(out, reference.rms_norm, x, 1, weight)


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (0, 4, 5, 6), (7, 1, 1, 1), (2, 3, 1, 65)])
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("with_weight", [True, False])
def test_normalised_axes(isa, dtype, randn, shape, ndim, with_weight):
    x = randn(*shape, dtype=dtype)
    weight = randn(*shape[4 - ndim :], dtype=dtype) if with_weight else None
    if x.size == 0 and ndim == 4:
        return  # no row, and no column either
    check(fa.rms_norm(x, shape[4 - ndim :], weight, 1e-5), reference.rms_norm, x, ndim, weight)


@pytest.mark.parametrize("eps", [1e-5, 0.0, 1.0])
def test_eps(isa, dtype, randn, eps):
    x = randn(4, 100, dtype=dtype)
    check(fa.rms_norm(x, 100, eps=eps), reference.rms_norm, x, eps=eps)


def test_eps_is_that_of_the_computing_dtype_by_default(dtype):
    eps = float(np.finfo(accumulator(dtype)).eps)
    x = np.full((2, 8), eps**0.5, dtype)
    assert_same_bits(fa.rms_norm(x, 8), fa.rms_norm(x, 8, eps=eps))
    np.testing.assert_allclose(fa.rms_norm(x, 8).astype(float), 0.5**0.5, rtol=0.01)


def test_extreme_values(isa, dtype, randn):
    x = randn(10, 33, dtype=dtype)
    expected = fa.rms_norm(x, 33, eps=1e-5)
    x[3, 5], x[7, 9] = np.nan, np.inf
    x[8] = 0
    out = fa.rms_norm(x, 33, eps=1e-5)
    rest = np.delete(np.arange(10), [3, 7, 8])
    assert np.isnan(out[3]).all()
    assert np.isnan(out[7, 9])
    assert (np.delete(out[7], 9) == 0).all()  # divided by inf
    assert (out[8] == 0).all()
    assert_same_bits(out[rest], expected[rest])
    if dtype.itemsize == 2:  # squares beyond the dtype's largest number: they are kept in float32
        big = np.full((1, 40), 6e4, dtype)
        np.testing.assert_array_equal(fa.rms_norm(big, 40), np.ones((1, 40), dtype))


@pytest.mark.parametrize("layout", ["contiguous", "padded"])
def test_strides_and_out(isa, dtype, randn, layout):
    x, weight = randn(4, 5, 33, dtype=dtype), randn(33, dtype=dtype)
    expected = fa.rms_norm(x, 33, weight)
    move = LAYOUTS[layout]
    assert_same_bits(fa.rms_norm(move(x), 33, weight), expected)
    assert_same_bits(fa.rms_norm(x.swapaxes(0, 1), 33, weight), expected.swapaxes(0, 1))
    assert_same_bits(fa.rms_norm(x[::-1], 33, weight), expected[::-1])
    assert_same_bits(fa.rms_norm(np.broadcast_to(x[0], x.shape), 33, weight)[2], expected[0])
    out = move(np.zeros_like(x))
    assert fa.rms_norm(x, 33, weight, out=out) is out
    assert_same_bits(out, expected)
    again = move(x.copy())
    fa.rms_norm(again, 33, weight, out=again)
    assert_same_bits(again, expected)


def test_same_bits_for_any_threads_and_batch(isa, dtype, randn):
    x, weight = randn(301, 257, dtype=dtype), randn(257, dtype=dtype)
    assert_same_for_any_threads(lambda: fa.rms_norm(x, 257, weight))
    assert_same_bits(fa.rms_norm(x[17:19], 257, weight), fa.rms_norm(x, 257, weight)[17:19])


# Gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("with_weight", [True, False])
def test_gradcheck(isa, leaf, ndim, with_weight):
    shape = (4, 5)[2 - ndim :]
    inputs = [leaf(3, 4, 5), leaf(*shape) if with_weight else None]
    assert fa.gradcheck(lambda x, w: fa.rms_norm(x, shape, w, eps=0.1), inputs)


@pytest.mark.parametrize("wanted", range(2))
def test_gradcheck_one_at_a_time(leaf, wanted):
    inputs = [leaf(3, 5), leaf(5)]
    inputs[1 - wanted].requires_grad = False
    assert fa.gradcheck(lambda x, w: fa.rms_norm(x, 5, w), inputs)


def gradients(dout, x, shape, weight):
    tensors = [fa.Tensor(a, requires_grad=True) for a in (x, weight)]
    fa.rms_norm(tensors[0], shape, tensors[1], 1e-5).backward(fa.Tensor(dout))
    return [t.grad._data for t in tensors]


@pytest.mark.parametrize(
    ("rows", "width"), [(1, 1), (1, 65), (63, 33), (64, 7), (65, 64), (300, 17), (7, 1031), (0, 5)]
)
def test_gradients_against_the_oracle(isa, dtype, randn, rows, width):
    x, dout, weight = randn(rows, width, dtype=dtype), randn(rows, width, dtype=dtype), randn(width, dtype=dtype)
    found = gradients(dout, x, width, weight)
    assert_ran("rms_norm_bwd", dtype, isa)
    check(found, reference.rms_norm_backward, dout, x, 1, weight)


def test_gradients_of_strided_and_expanded(isa, dtype, randn):
    x, dout, weight = randn(4, 6, 33, dtype=dtype), randn(4, 6, 33, dtype=dtype), randn(33, dtype=dtype)
    expected = gradients(dout, x, 33, weight)
    assert_same_bits(gradients(LAYOUTS["reverse"](dout), LAYOUTS["padded"](x), 33, weight), expected)
    one = np.broadcast_to(dtype.type(1), (4, 6, 33))
    assert_same_bits(gradients(one, x, 33, weight), gradients(one.copy(), x, 33, weight))


def test_gradients_have_the_same_bits_for_any_threads(isa, dtype, randn):
    x, dout, weight = randn(301, 257, dtype=dtype), randn(301, 257, dtype=dtype), randn(257, dtype=dtype)
    assert_same_for_any_threads(lambda: gradients(dout, x, 257, weight))


# Peers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("eps", [None, 1e-6])
@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "float16"])
def test_like_torch(randn, eps, name):
    """Also in what eps None is: rows of 1e-3, whose mean square is not far from any dtype's epsilon."""
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, name)
    x = torch.tensor(0.001 * randn(7, 40)).to(dtype)
    weight = torch.tensor(randn(40)).to(dtype)
    theirs = torch.nn.functional.rms_norm(x, (40,), weight, eps).double()
    ours = fa.rms_norm(x, 40, weight, eps)
    assert ours.dtype == dtype
    tolerance = 4 * torch.finfo(dtype).eps * theirs.abs().max()
    assert (ours.double() - theirs).abs().max() <= tolerance


@pytest.mark.parity
def test_the_module_is_like_torchs(randn):
    torch = pytest.importorskip("torch")
    ours, theirs = fa.nn.RMSNorm((4, 5), eps=1e-3), torch.nn.RMSNorm((4, 5), eps=1e-3)
    weight = randn(4, 5, dtype=np.float32)
    ours.load_state_dict({"weight": weight})
    theirs.load_state_dict({"weight": torch.tensor(weight)})
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    x, dout = randn(3, 4, 5, dtype=np.float32), randn(3, 4, 5, dtype=np.float32)
    a, b = fa.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours(a).backward(fa.Tensor(dout))
    theirs(b).backward(torch.tensor(dout))
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-4, atol=1e-5)
    assert [n for n, _ in fa.nn.RMSNorm(3, elementwise_affine=False).named_parameters()] == []
    permuted = fa.Tensor(x).transpose(0, 2)
    assert fa.nn.RMSNorm(3)(permuted).shape == (5, 4, 3)


# Errors --------------------------------------------------------------------------------------------------------------

X = np.zeros((2, 5))
NOT = "rms_norm: normalized_shape {} is not that of the last axes of x (2, 5)"
ERRORS = [
    (lambda o: fa.rms_norm(X, 4, out=o), ValueError, NOT.format("(4,)")),
    (lambda o: fa.rms_norm(X, (1, 2, 5), out=o), ValueError, NOT.format("(1, 2, 5)")),
    (lambda o: fa.rms_norm(X, (), out=o), ValueError, "rms_norm: normalized_shape needs 1 to 8 axes"),
    (lambda o: fa.rms_norm(X, 5, np.zeros(4), out=o), ValueError, "rms_norm: weight has shape (4,); expected (5,)"),
    (lambda o: fa.rms_norm(X, 5, np.zeros(10)[::2], out=o), ValueError, "rms_norm: weight is not contiguous"),
    (
        lambda o: fa.rms_norm(np.zeros((2, 10))[:, ::2], 5, out=o),
        ValueError,
        "rms_norm: x is not contiguous along its normalised axes; pass numpy.ascontiguousarray of it",
    ),
    (lambda o: fa.rms_norm(np.zeros((3, 5)), 5, out=o), ValueError, "rms_norm: out has shape (2, 5); expected (3, 5)"),
    (lambda o: fa.rms_norm(X, 5, np.zeros(5, np.float32)), TypeError, "x is float64 and weight is float32"),
    (lambda o: fa.rms_norm(X.astype(int), 5), TypeError, "rms_norm: x has dtype int64; expected float32, float64"),
    (lambda o: fa.rms_norm([1.0], 1), TypeError, "rms_norm: x is a list; expected an array"),
    (lambda o: fa.rms_norm(None, 1), TypeError, "rms_norm: x is None; expected an array"),
    (lambda o: fa.rms_norm(o, 5, o[0], out=o), ValueError, "rms_norm: out overlaps weight in memory"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5), 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_explain(isa):
    (what,) = fa.explain(fa.rms_norm, np.ones((4, 8), np.float32), 8)
    assert is_kernel(what.kernel, "rms_norm_fwd", "float32", isa)
    assert (what.unsupported, what.bytes) == ("", 256)
