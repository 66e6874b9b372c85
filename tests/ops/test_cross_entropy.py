"""cross_entropy of logits against class ids, and its gradient."""

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
    reference,
    unchanged,
)

CLASSES = [1, 2, 3, 7, 8, 9, 17, 33, 65, 257, 1031, 4100]
REDUCTIONS = ["none", "sum", "mean"]


@pytest.fixture(params=REDUCTIONS)
def reduction(request):
    return request.param


@pytest.mark.smoke
@pytest.mark.parametrize("classes", CLASSES)
def test_oracle(isa, dtype, randn, rng, reduction, classes):
    x, target = 3 * randn(13, classes, dtype=dtype), rng.integers(0, classes, 13)
    out = fa.cross_entropy(x, target, reduction=reduction)
    assert_ran("cross_entropy_fwd", dtype, isa)
    check(out, reference.cross_entropy, x, target, reduction=reduction)


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 300, 1100])
def test_rows(isa, dtype, randn, rng, reduction, rows):
    x, target = randn(rows, 11, dtype=dtype), rng.integers(0, 11, rows)
    check(fa.cross_entropy(x, target, reduction=reduction), reference.cross_entropy, x, target, reduction=reduction)


@pytest.mark.parametrize("shape", [(7,), (5, 7), (3, 7, 4), (2, 7, 3, 5), (2, 7, 1, 3, 2)])
def test_shapes_are_those_of_torch(isa, dtype, randn, rng, reduction, shape):
    x = randn(*shape, dtype=dtype)
    target = rng.integers(0, 7, shape[:1] + shape[2:] if len(shape) > 1 else ())
    out = fa.cross_entropy(x, target, reduction=reduction)
    assert out.shape == (target.shape if reduction == "none" else ())
    check(out, reference.cross_entropy, x, target, reduction=reduction)
    t = fa.Tensor(x, requires_grad=True)
    again = fa.cross_entropy(t, target, reduction=reduction)
    assert_same_bits(again._data, out)
    dout = randn(*out.shape, dtype=out.dtype)
    again.backward(fa.Tensor(dout))
    check(t.grad._data, reference.cross_entropy_backward, dout, x, target, reduction=reduction)


@pytest.mark.parametrize("ignore_index", [-100, 3, 10**9])
def test_ignore_index(isa, dtype, randn, rng, reduction, ignore_index):
    x, target = randn(40, 7, dtype=dtype), rng.integers(0, 7, 40)
    target[::3] = ignore_index
    x[::3] = np.nan  # what is ignored is not read
    options = {"ignore_index": ignore_index, "reduction": reduction}
    check(fa.cross_entropy(x, target, **options), reference.cross_entropy, x, target, **options)
    t = fa.Tensor(x, requires_grad=True)
    out = fa.cross_entropy(t, target, **options)
    dout = randn(*out.shape, dtype=out.dtype)
    out.backward(fa.Tensor(dout))
    assert (t.grad._data[target == ignore_index] == 0).all()
    check(t.grad._data, reference.cross_entropy_backward, dout, x, target, **options)


def test_nothing_counts(isa, dtype, randn):
    x, target = randn(4, 5, dtype=dtype), np.full(4, -100)
    assert np.isnan(fa.cross_entropy(x, target))
    assert fa.cross_entropy(x, target, reduction="sum") == 0
    assert_same_bits(fa.cross_entropy(x, target, reduction="none"), np.zeros(4, accumulator(dtype)))
    assert np.isnan(fa.cross_entropy(x[:0], target[:0]))
    t = fa.Tensor(x, requires_grad=True)
    fa.cross_entropy(t, target, reduction="sum").backward()
    assert (t.grad._data == 0).all()


@pytest.mark.parametrize("ids", [np.int32, np.int64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_and_id_types(isa, dtype, randn, rng, reduction, layout, ids):
    x, target = randn(30, 33, dtype=dtype), rng.integers(0, 33, 30).astype(ids)
    found = fa.cross_entropy(LAYOUTS[layout](x), LAYOUTS[layout](target), reduction=reduction)
    check(found, reference.cross_entropy, x, target, reduction=reduction)


def test_extreme_logits(isa, dtype):
    x = np.array([[1e4, 0, -1e4], [-np.inf, 0, 0], [1e4, 1e4, 1e4]], dtype)
    target = np.array([0, 1, 2])
    check(fa.cross_entropy(x, target, reduction="none"), reference.cross_entropy, x, target, reduction="none")
    assert fa.cross_entropy(x[1:2], np.array([0])) == np.inf
    assert fa.cross_entropy(x[:1], np.array([2])) == 2 * float(x[0, 0])
    t = fa.Tensor(x, requires_grad=True)
    fa.cross_entropy(t, target, reduction="sum").backward()
    assert np.isfinite(t.grad._data).all()


def test_nan_stays_in_its_row(isa, dtype, randn):
    x, target = randn(9, 33, dtype=dtype), np.arange(9)
    x[4, 20] = np.nan
    assert np.flatnonzero(np.isnan(fa.cross_entropy(x, target, reduction="none"))).tolist() == [4]


def test_same_bits_for_any_threads_and_batch(isa, dtype, randn, rng, reduction):
    x, target = randn(501, 257, dtype=dtype), rng.integers(0, 257, 501)

    def run():
        t = fa.Tensor(x, requires_grad=True)
        out = fa.cross_entropy(t, target, reduction=reduction)
        out.sum().backward()
        return out._data, t.grad._data

    assert_same_for_any_threads(run)
    losses = fa.cross_entropy(x, target, reduction="none")
    assert_same_bits(fa.cross_entropy(x[7:9], target[7:9], reduction="none"), losses[7:9])


@pytest.mark.smoke
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 5, 3)])
def test_gradcheck(isa, leaf, rng, reduction, shape):
    target = rng.integers(0, 5, shape[:1] + shape[2:] if len(shape) > 1 else ())
    if target.size > 1:
        target.reshape(-1)[1] = -100
    assert fa.gradcheck(lambda x: fa.cross_entropy(x, target, reduction=reduction), leaf(*shape))


def test_large_gradients_against_the_oracle(isa, dtype, randn, rng, reduction):
    for rows, classes in [(300, 17), (5, 4100)]:
        x, target = randn(rows, classes, dtype=dtype), rng.integers(0, classes, rows)
        t = fa.Tensor(x, requires_grad=True)
        out = fa.cross_entropy(t, target, reduction=reduction)
        dout = randn(*out.shape, dtype=out.dtype)
        out.backward(fa.Tensor(dout))
        assert_ran("cross_entropy_bwd", dtype, isa)
        check(t.grad._data, reference.cross_entropy_backward, dout, x, target, reduction=reduction)


# Errors --------------------------------------------------------------------------------------------------------------

X, Y = np.zeros((3, 5)), np.array([0, 1, 2])
NEEDS = "cross_entropy: target needs the shape of input without its class axis; input {}, target {}"
ERRORS = [
    (lambda: fa.cross_entropy(X, Y[:2]), ValueError, NEEDS.format("(3, 5)", "(2,)")),
    (lambda: fa.cross_entropy(X, np.array(0)), ValueError, NEEDS.format("(3, 5)", "()")),
    (lambda: fa.cross_entropy(np.zeros(()), np.array(0)), ValueError, NEEDS.format("()", "()")),
    (lambda: fa.cross_entropy(X, X), TypeError, "cross_entropy: target has dtype float64; expected int32 or int64"),
    (
        lambda: fa.cross_entropy(X, Y.astype(np.int16)),
        TypeError,
        "cross_entropy: target has dtype int16; expected int32 or int64",
    ),
    (
        lambda: fa.cross_entropy(X.astype(int), Y),
        TypeError,
        "cross_entropy: input has dtype int64; expected float32, float64, bfloat16 or float16",
    ),
    (
        lambda: fa.cross_entropy(X, Y, reduction="avg"),
        ValueError,
        'cross_entropy: reduction is \'avg\'; expected "none", "sum" or "mean"',
    ),
    (lambda: fa.cross_entropy([[1.0]], Y), TypeError, "cross_entropy: input is a list; expected an array"),
    (lambda: fa.cross_entropy(X, None), TypeError, "cross_entropy: target is None; expected an array"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:60] for e in ERRORS])
def test_errors(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


@pytest.mark.parametrize("bad", [5, -1, 2**31, -(2**40)])
def test_a_target_out_of_range_changes_nothing(isa, dtype, reduction, bad):
    from fastattn import _C

    x, target = np.zeros((300, 5), dtype), np.zeros(300, np.int64)
    target[170] = bad
    with pytest.raises(IndexError, match="cross_entropy: target"):
        fa.cross_entropy(x, target, reduction=reduction)
    shape = (300,) if reduction == "none" else ()
    code = REDUCTIONS.index(reduction)
    loss, lse = np.full(shape, 7, accumulator(dtype)), np.full(300, 7, accumulator(dtype))
    dx = np.full((300, 5), 7, dtype)
    with unchanged(loss, lse, dx):
        with pytest.raises(IndexError, match="cross_entropy: target"):
            _C.cross_entropy_fwd(x, target, loss, lse, -100, code)
        with pytest.raises(IndexError, match="cross_entropy: target"):
            _C.cross_entropy_bwd(x, target, lse, loss, dx, -100, code)


def test_explain(isa):
    (what,) = fa.explain(fa.cross_entropy, np.ones((4, 8), np.float32), np.zeros(4, int))
    assert (what.kernel, what.unsupported) == (f"cross_entropy_fwd_f32_{isa}", "")
