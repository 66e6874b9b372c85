"""sum and mean over any axes: what Tensor.sum, Tensor.mean and the gradients of broadcasts are computed with."""

import itertools
import re

import numpy as np
import pytest
from on_device import EMULATED

import fastattn as fa
from fastattn import _C
from fastattn.ops.sum import sum_over
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


def run(x, axes, mean=False):
    """The kernel, whatever the size."""
    out = np.full([n for i, n in enumerate(x.shape) if i not in axes], 7, x.dtype)
    count = int(np.prod([x.shape[i] for i in axes])) if mean else 1
    _C.sum(x, out, tuple(axes), 1.0 / count if count else float("nan"))
    return out


def subsets(ndim):
    return [axes for n in range(1, ndim + 1) for axes in itertools.combinations(range(ndim), n)]


# Around chunks of a row (2048), blocks of rows (64 and more), tiles of columns, and items.
CASES = [
    *((shape, (0,)) for shape in [(1,), (17,), (2047,), (2049,), (70001,), (3, 5), (64, 33), (65, 70), (1000, 3)]),
    *((shape, (0,)) for shape in [(4099, 17), (130, 5001), (64, 20000), (300, 64), (7, 1)]),
    *((shape, (1,)) for shape in [(3, 5), (70, 64), (5, 2049), (3000, 7), (1, 5000), (2000 if EMULATED else 20000, 2)]),
    ((65, 4, 33), (0, 1)),
    ((5, 130, 33), (1,)),
    ((300, 3, 5), (1,)),
    ((130, 4, 65), (0, 2)),
    ((130, 7, 3, 5), (0, 2)),
    ((4, 70, 3, 65), (1, 3)),
]


@pytest.mark.smoke
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_oracle(isa, dtype, randn, shape, axes):
    x = randn(*shape, dtype=dtype)
    out = run(x, axes)
    assert_ran("sum", dtype, isa)
    check(out, reference.sum_over, x, axes)
    check(run(x, axes, mean=True), reference.sum_over, x, axes, mean=True)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 5), (2, 0, 3, 1), (0, 4, 2, 3), (1, 1, 1, 1)])
def test_every_choice_of_axes(isa, dtype, randn, shape):
    x = randn(*shape, dtype=dtype)
    for axes in subsets(4):
        check(run(x, axes), reference.sum_over, x, axes)


@pytest.mark.parametrize("shape", [(70, 33), (2, 34, 3, 5)] if EMULATED else [(70, 33), (65, 4, 33), (5, 66, 3, 7)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_change_a_bit(isa, dtype, randn, shape, layout):
    x = randn(*shape, dtype=dtype)
    for axes in subsets(len(shape)):
        expected = run(x, axes)
        assert_same_bits(run(LAYOUTS[layout](x), axes), expected)
        out = LAYOUTS[layout](np.zeros(expected.shape, dtype))
        _C.sum(x, out, axes, 1.0)
        assert_same_bits(out, expected)
    middle = np.broadcast_to(x[:, :1], shape)
    assert_same_bits(run(middle, (0,)), run(middle.copy(), (0,)))


def test_same_bits_for_any_threads(isa, dtype, randn):
    for shape, axes in (((300, 257), (0,)), ((300, 257), (1,)), ((100003,), (0,)), ((30, 65, 70), (0, 2))):
        x = randn(*shape, dtype=dtype)
        assert_same_for_any_threads(lambda x=x, axes=axes: run(x, axes))


def test_16_bits_are_summed_in_float32(isa):
    """In bfloat16 256 + 1 is 256; and 60000 + 60000 is more than float16 holds, their mean is not."""
    ones = np.ones(5000, fa.bfloat16)
    assert float(sum_over(ones, (0,))) == 4992  # 5000, rounded once
    assert float(fa.Tensor(ones).sum()) == 4992
    assert float(fa.Tensor(ones).mean()) == 1
    large = fa.Tensor(np.full((3, 4), 60000, np.float16))
    assert np.isinf(large.sum().numpy())
    assert_same_bits(large.mean(1).numpy(), np.full(3, 60000, np.float16))
    assert float(large.mean()) == float(np.float16(60000))


def test_extreme_values(isa, dtype):
    x = np.ones((70, 40), dtype)
    x[3, 5], x[7, 9], x[8, 11], x[9, 11] = np.nan, np.inf, np.inf, -np.inf
    down, along = run(x, (0,)), run(x, (1,))
    assert np.isnan(down[[5, 11]]).all()
    assert down[9] == np.inf
    assert (np.delete(down, [5, 9, 11]) == 70).all()
    assert np.isnan(along[3])
    assert along[[7, 8, 9]].tolist() == [np.inf, np.inf, -np.inf]


@pytest.mark.parametrize("shape", [(3, 5), (300, 257)])
def test_of_tensors(dtype, randn, shape):
    x = fa.Tensor(randn(*shape, dtype=dtype))
    for axes in ((0,), (1,), (0, 1)):
        for keep in (False, True):
            out = x.sum(axes, keep)
            assert (out.dtype, out.shape) == (dtype, x._data.sum(axes, keepdims=keep).shape)
            check(out.numpy().reshape(x._data.sum(axes).shape), reference.sum_over, x._data, axes)
    check(x.mean().numpy(), reference.sum_over, x._data, (0, 1), mean=True)


def test_gradient_of_a_broadcast(dtype, randn):
    x, bias, dout = randn(300, 257, dtype=dtype), randn(257, dtype=dtype), randn(300, 257, dtype=dtype)
    b = fa.Tensor(bias, requires_grad=True)
    (fa.Tensor(x) + b).backward(fa.Tensor(dout))
    assert_same_bits(b.grad.numpy(), run(dout, (0,)))


@pytest.mark.smoke
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), None])
def test_gradcheck(leaf, axes):
    assert fa.gradcheck(lambda x: x.sum(axes), leaf(3, 4, 5))
    assert fa.gradcheck(lambda x: x.mean(axes), leaf(3, 4, 5))


@pytest.mark.parity
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_16_bits_like_torch(randn, name):
    """torch keeps its sums of 16-bit floats in float32 too; the order differs, so the last bit of 16 may."""
    torch = pytest.importorskip("torch")
    a = randn(50, 70).astype(name)
    theirs = torch.tensor(a.astype(np.float32)).to(getattr(torch, name))
    for dim in (None, 0, 1):
        ours = fa.Tensor(a).sum(dim).numpy().astype(np.float64)
        want = theirs.sum(dim).double().numpy() if dim is not None else theirs.sum().double().numpy()
        np.testing.assert_allclose(ours, want, rtol=torch.finfo(theirs.dtype).eps, atol=1e-4)


X = np.zeros((2, 5))
ERRORS = [
    (lambda o: _C.sum(X, o, (0,), 1.0), ValueError, "sum: out has shape (2,); expected (5,)"),
    (lambda o: _C.sum(X, o, (2,), 1.0), ValueError, "sum: axes (2,) are not different axes of x (2, 5)"),
    (lambda o: _C.sum(X, o, (1, 1), 1.0), ValueError, "sum: axes (1, 1) are not different axes of x (2, 5)"),
    (lambda o: _C.sum(X, o, (-1,), 1.0), ValueError, "sum: axes (-1,) are not different axes of x (2, 5)"),
    (lambda o: _C.sum(X.astype(np.float32), o, (1,), 1.0), TypeError, "sum: x is float32 and out is float64"),
    (lambda o: _C.sum(X.astype(int), o, (1,), 1.0), TypeError, "sum: x has dtype int64; expected float32"),
    (lambda o: _C.sum(o[:, None], o, (1,), 1.0), ValueError, "sum: out overlaps x in memory"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full(2, 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_explain(isa):
    (what,) = fa.explain(run, np.ones((4, 25), np.float32), (0,))
    assert is_kernel(what.kernel, "sum", "float32", isa)
    assert (what.unsupported, what.flops, what.bytes) == ("", 100, 400)
