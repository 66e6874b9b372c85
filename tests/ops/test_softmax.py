"""softmax, log_softmax and logsumexp: every way a row is read (along, across, gathered), masks, and gradients."""

import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import EMULATED

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    forced_isa,
    is_kernel,
    isas,
    reference,
    unchanged,
)

OPS = [(fa.softmax, reference.softmax), (fa.log_softmax, reference.log_softmax)]


@pytest.fixture(params=OPS, ids=["softmax", "log_softmax"])
def op(request):
    return request.param


# Around one vector (4 to 16 lanes), 4 and 16 vectors, and a row that is cut into more than one sum (257 vectors).
LENGTHS = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 64, 65, 127, 257, 1031, 4200]


@pytest.mark.smoke
@pytest.mark.parametrize("n", LENGTHS)
def test_oracle_along(isa, dtype, op, randn, n):
    x = 4 * randn(3, n, dtype=dtype)
    out = op[0](x)
    assert_ran("softmax_fwd", dtype, isa)
    check(out, op[1], x)


SHAPES = [(7, 33), (2, 5, 17), (3, 1, 4, 70), (1, 1), (0, 4), (4, 0)]
SHAPES += [(40, 19), (1, 257, 2)] if EMULATED else [(300, 19), (5, 257, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_axis(isa, dtype, op, randn, shape):
    x = 4 * randn(*shape, dtype=dtype)
    for axis in range(-len(shape), len(shape)):
        check(op[0](x, axis), op[1], x, axis)
        assert_same_bits(op[0](x, dim=axis), op[0](x, axis))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(isa, dtype, op, randn, layout):
    x = randn(5, 20, 33, dtype=dtype)
    for axis in range(3):
        check(op[0](LAYOUTS[layout](x), axis), op[1], x, axis)


def test_out_and_in_place(isa, dtype, op, randn):
    x = randn(6, 40, dtype=dtype)
    for axis in (0, 1):
        for layout in LAYOUTS.values():
            out = layout(np.full_like(x, 3))
            assert op[0](x, axis, out=out) is out
            check(out, op[1], x, axis)
            again = layout(x.copy())
            op[0](again, axis, out=again)
            check(again, op[1], x, axis)


@pytest.mark.parametrize("scale", [1.0, 0.125, -3.0, 0.0])
def test_scale(isa, dtype, op, randn, scale):
    x = randn(5, 37, dtype=dtype)
    check(op[0](x, scale=scale), op[1], x, scale=scale)


@pytest.mark.parametrize("mask_shape", [(4, 5, 33), (5, 33), (33,), (1, 33), (4, 1, 1), (4, 5, 1), (1, 5, 1), ()])
@pytest.mark.parametrize("kind", ["bool", "additive"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_masks(isa, dtype, op, randn, rng, mask_shape, kind, axis):
    x = randn(4, 5, 33, dtype=dtype)
    keep = np.asarray(rng.random(mask_shape) < 0.6)
    mask = keep if kind == "bool" else np.where(keep, randn(*mask_shape, dtype=dtype), -np.inf).astype(dtype)
    for layout in list(LAYOUTS.values())[: 2 if EMULATED else None]:
        check(op[0](x, axis, mask=layout(mask)), op[1], x, axis, mask=mask)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["bool", "additive"])
def test_nothing_to_keep(isa, dtype, op, randn, axis, kind):
    x = randn(20, 20, dtype=dtype)
    keep = np.ones((20, 20), bool)
    keep[:, 3] = keep[3, :] = False
    mask = keep if kind == "bool" else np.where(keep, 0, -np.inf).astype(dtype)
    out = op[0](x, axis, mask=mask)
    row = out[:, 3] if axis == 0 else out[3]
    assert (row == (0 if op[0] is fa.softmax else -np.inf)).all()
    check(out, op[1], x, axis, mask=mask)
    everything = np.full((3, 17), -np.inf, dtype)
    check(op[0](everything, axis), op[1], everything, axis)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["bool", "additive"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_behind_a_mask_does_not_leak(isa, dtype, op, randn, rng, axis, kind, poison):
    x = randn(20, 21, dtype=dtype)
    keep = rng.random((20, 21)) < 0.7
    mask = keep if kind == "bool" else np.where(keep, 0, -np.inf).astype(dtype)
    clean = op[0](np.where(keep, x, 0).astype(dtype), axis, mask=mask)
    assert_same_bits(op[0](np.where(keep, x, poison).astype(dtype), axis, mask=mask), clean)


def test_extreme_logits(isa, dtype, op):
    x = np.array([[1e4, 0, -1e4, 1e4], [-1e4, -1e4, -1e4, -1e4], [0, -np.inf, 1, -np.inf]], dtype)
    for axis in (0, 1):
        check(op[0](x, axis), op[1], x, axis)
    largest = ml_dtypes.finfo(dtype).max
    out = fa.softmax(np.array([[largest, largest, -largest]], dtype))
    assert out.tolist() == [[0.5, 0.5, 0]]


def test_nan_and_inf_make_their_row_nan(isa, dtype, op, randn):
    x = randn(30, 30, dtype=dtype)
    x[2, 7], x[9, 11] = np.nan, np.inf
    for axis in (0, 1):
        bad = np.isnan(op[0](x, axis)).any(axis)
        assert np.flatnonzero(bad).tolist() == ([2, 9] if axis == 1 else [7, 11])


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.sampled_from(isas()),
    st.lists(st.integers(0, 20), min_size=1, max_size=4).map(tuple),
    st.integers(0, 3),
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from(["float32", "float64"]),
    st.booleans(),
)
def test_any_shape_and_strides(name, shape, axis, layout, dtype, log):
    x = np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)
    op, expected = OPS[log]
    with forced_isa(name):
        check(op(LAYOUTS[layout](x), axis % len(shape)), expected, x, axis % len(shape))


def test_same_bits_for_any_threads_and_batch(isa, dtype, op, randn):
    x = randn(*((20, 12, 15) if EMULATED else (60, 40, 50)), dtype=dtype)
    for axis in (0, 1, 2):
        assert_same_for_any_threads(lambda axis=axis: op[0](x, axis))
    for axis in (1, 2):
        whole = op[0](x, axis)
        assert_same_bits(op[0](x[17:19], axis), whole[17:19])
        assert_same_bits(op[0](x[17], axis - 1), whole[17])


# Gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("scale", [1.0, -0.5])
def test_gradcheck(isa, op, leaf, axis, scale):
    assert fa.gradcheck(lambda x: op[0](x, axis, scale=scale), leaf(3, 4, 5))


@pytest.mark.parametrize("mask_shape", [(3, 4, 5), (4, 5), (5,), (3, 1, 1), (3, 1, 5), (1, 4, 1), ()])
def test_gradcheck_of_an_additive_mask(op, leaf, mask_shape):
    for axis in range(3):
        run = lambda x, m, axis=axis: op[0](x, axis, mask=m, scale=0.7)  # noqa: E731
        assert fa.gradcheck(run, [leaf(3, 4, 5), leaf(*mask_shape)])


def test_gradcheck_of_a_boolean_mask(op, leaf, rng):
    keep = rng.random((3, 4, 5)) < 0.6
    keep[1] = False
    if op[0] is fa.softmax:
        assert fa.gradcheck(lambda x: op[0](x, mask=keep), leaf(3, 4, 5))
    else:  # -inf where hidden: only the rest has differences
        x = leaf(3, 4, 5)
        keep[1] = True
        assert fa.gradcheck(lambda x: fa.where(keep, op[0](x, mask=keep), 0.0), x)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(5, 33), (40, 7), (3, 20, 9), (2, 0), (70 if EMULATED else 300, 40)])
def test_gradients_against_the_oracle(isa, dtype, op, randn, layout, shape):
    log = op[0] is fa.log_softmax
    x, dout = 3 * randn(*shape, dtype=dtype), randn(*shape, dtype=dtype)
    for axis in range(len(shape)):
        t = fa.Tensor(LAYOUTS[layout](x), requires_grad=True)
        op[0](t, axis, scale=0.5).backward(fa.Tensor(LAYOUTS[layout](dout)))
        assert_ran("softmax_bwd", dtype, isa)
        case = "log_softmax backward" if log else "softmax backward"
        check(t.grad._data, reference.softmax_backward, dout, x, axis, scale=0.5, log=log, case=case)


@pytest.mark.parametrize("axis", [0, 1])
def test_gradient_of_a_row_with_nothing_is_zero(isa, dtype, op, randn, axis):
    x = randn(9, 9, dtype=dtype)
    keep = np.ones((9, 9), bool)
    keep[3, :] = keep[:, 3] = False
    x[3, :] = x[:, 3] = np.nan
    t = fa.Tensor(x, requires_grad=True)
    op[0](t, axis, mask=keep).backward(fa.Tensor(randn(9, 9, dtype=dtype)))
    g = t.grad._data
    assert (g[3] == 0).all() if axis == 1 else (g[:, 3] == 0).all()
    assert np.isfinite(g).all()


def test_gradients_have_the_same_bits_for_any_threads(isa, op, randn):
    x, dout = randn(70, 500, dtype=np.float32), randn(70, 500, dtype=np.float32)

    def run():
        t = fa.Tensor(x, requires_grad=True)
        op[0](t).backward(fa.Tensor(dout))
        return t.grad._data

    assert_same_for_any_threads(run)


# logsumexp -----------------------------------------------------------------------------------------------------------


SUMMED = [(5,), (7, 33), (2, 5, 17), (3, 1, 4, 70), (4, 0), (0, 4)]
SUMMED += [(40, 19), (1100,)] if EMULATED else [(300, 19), (2, 4200), (300, 40)]


@pytest.mark.smoke
@pytest.mark.parametrize("shape", SUMMED)
def test_logsumexp(isa, dtype, randn, shape):
    x = 4 * randn(*shape, dtype=dtype)
    for axis in range(-len(shape), len(shape)):
        for keepdim in (False, True):
            out = fa.logsumexp(x, axis, keepdim)
            assert_ran("softmax_fwd", dtype, isa)
            check(out, reference.logsumexp, x, axis, keepdim)
            assert_same_bits(fa.logsumexp(x, dim=axis, keepdim=keepdim), out)
            t = fa.Tensor(x, requires_grad=True)
            dout = randn(*out.shape, dtype=dtype)
            fa.logsumexp(t, axis, keepdim).backward(fa.Tensor(dout))
            check(t.grad._data, reference.logsumexp_backward, dout, x, axis, keepdim)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_of_logsumexp(isa, dtype, randn, layout):
    x = randn(5, 20, 33, dtype=dtype)
    for axis in range(3):
        check(fa.logsumexp(LAYOUTS[layout](x), axis), reference.logsumexp, x, axis)


def test_infinities_of_logsumexp(isa, dtype):
    inf, nan = np.inf, np.nan
    x = np.array(
        [[inf, 0, -inf], [-inf, -inf, -inf], [inf, nan, 0], [1, nan, 2], [-inf, 3, -inf], [inf, inf, 1]], dtype
    )
    expected = np.array([inf, -inf, nan, nan, 3, inf], dtype)
    for n in (1, 7, 300):  # past one look at the maximum
        wide = np.repeat(x, n, axis=1)
        scaled = np.where(np.isfinite(expected), expected.astype(float) + np.log(n), expected.astype(float))
        for found in (fa.logsumexp(wide), fa.logsumexp(np.ascontiguousarray(wide.T), 0), fa.logsumexp(wide[:, ::-1])):
            np.testing.assert_allclose(found.astype(float), scaled, rtol=0.01)


def test_logsumexp_has_the_same_bits_for_any_threads(isa, dtype, randn):
    x = randn(*((20, 3, 60) if EMULATED else (70, 3, 501)), dtype=dtype)
    for axis in range(3):
        assert_same_for_any_threads(lambda axis=axis: fa.logsumexp(x, axis))


@pytest.mark.parametrize("keepdim", [False, True])
def test_gradcheck_of_logsumexp(isa, leaf, keepdim):
    for axis in range(3):
        assert fa.gradcheck(lambda x, axis=axis: fa.logsumexp(x, axis, keepdim), leaf(2, 4, 3))


@pytest.mark.parity
def test_logsumexp_is_torchs(randn):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(randn(4, 5, 6))
    for dim in range(3):
        a, b = (x.clone().requires_grad_() for _ in range(2))
        found, expected = fa.logsumexp(a, dim), torch.logsumexp(b, dim)
        torch.testing.assert_close(found, expected)
        found.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(a.grad, b.grad)


def test_errors_of_logsumexp():
    with pytest.raises(ValueError, match=r"^logsumexp: axis 2 is out of range for x \(2, 3\)"):
        fa.logsumexp(np.zeros((2, 3)), 2)
    with pytest.raises(ValueError, match=r"^logsumexp: x has no axes"):
        fa.logsumexp(np.zeros(()))
    with pytest.raises(TypeError, match=r"^logsumexp: x has dtype int64; expected float32"):
        fa.logsumexp(np.zeros(3, int))
    with pytest.raises(TypeError, match=r"^logsumexp: axis and dim are the same argument"):
        fa.logsumexp(np.zeros(3), 0, dim=0)


# Errors --------------------------------------------------------------------------------------------------------------

X = np.zeros((2, 5))
ERRORS = [
    (lambda f, o: f(X, 2, out=o), ValueError, "axis 2 is out of range for x (2, 5)"),
    (lambda f, o: f(X, -3, out=o), ValueError, "axis -3 is out of range for x (2, 5)"),
    (lambda f, o: f(np.zeros(()), 0), ValueError, "x has no axes"),
    (lambda f, o: f(X, 1, dim=1), TypeError, "axis and dim are the same argument; pass one of them"),
    (lambda f, o: f(X, mask=np.ones(4, bool), out=o), ValueError, "mask (4,) does not broadcast to x (2, 5)"),
    (lambda f, o: f(X, mask=np.ones((1, 2, 5), bool), out=o), ValueError, "mask (1, 2, 5) does not broadcast to x"),
    (
        lambda f, o: f(X, mask=np.ones(5, np.int32), out=o),
        TypeError,
        "mask has dtype int32; expected bool (True = keep) or float64, that of x",
    ),
    (
        lambda f, o: f(X, mask=np.ones(5, np.float32), out=o),
        TypeError,
        "mask has dtype float32; expected bool (True = keep) or float64, that of x",
    ),
    (lambda f, o: f(np.zeros((2, 4)), out=o), ValueError, "out has shape (2, 5); expected (2, 4)"),
    (
        lambda f, o: f(X.astype(np.float32), out=o),
        TypeError,
        "x is float32 and out is float64; they must have one dtype",
    ),
    (
        lambda f, o: f(X.astype(int), out=o),
        TypeError,
        "x has dtype int64; expected float32, float64, bfloat16 or float16",
    ),
    (lambda f, o: f([1.0]), TypeError, "x is a list; expected an array"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(op, call, error, text):
    out = np.full((2, 5), 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(f"{op[0].__name__}: {text}")):
        call(op[0], out)


def test_out_that_cannot_be_written(op):
    x = np.arange(20.0)
    with unchanged(x), pytest.raises(ValueError, match="softmax: out overlaps x in memory"):
        op[0](x[:10], out=x[5:15])
    with unchanged(x), pytest.raises(ValueError, match="softmax: out overlaps x in memory"):
        op[0](x, out=x[::-1])
    mask = x[:10].copy()
    with unchanged(mask), pytest.raises(ValueError, match="softmax: out overlaps mask in memory"):
        op[0](x[:10], mask=mask, out=mask)
    x.flags.writeable = False
    with pytest.raises(ValueError, match="softmax: out is read-only"):
        op[0](x, out=x)
    with pytest.raises(ValueError, match=r"softmax: out is (read-only|a broadcast view, which cannot be written)"):
        op[0](np.zeros((3, 4)), out=np.broadcast_to(np.zeros(4), (3, 4)))


def test_explain(isa, op):
    (what,) = fa.explain(op[0], np.ones((4, 8), np.float32))
    assert is_kernel(what.kernel, "softmax_fwd", "float32", isa)
    assert what.unsupported == ""
    assert what.bytes == 2 * 4 * 32
    assert what.flops > 0
