"""cross_entropy of logits against class ids, and its gradient."""

import re

import numpy as np
import pytest
from on_device import EMULATED, ON_CUDA

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    accumulator,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    is_kernel,
    reference_losses,
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
    check(out, reference_losses.cross_entropy, x, target, reduction=reduction)


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 300, 1100])
def test_rows(isa, dtype, randn, rng, reduction, rows):
    x, target = randn(rows, 11, dtype=dtype), rng.integers(0, 11, rows)
    check(
        fa.cross_entropy(x, target, reduction=reduction), reference_losses.cross_entropy, x, target, reduction=reduction
    )


@pytest.mark.parametrize("shape", [(7,), (5, 7), (3, 7, 4), (2, 7, 3, 5), (2, 7, 1, 3, 2)])
def test_shapes_are_those_of_torch(isa, dtype, randn, rng, reduction, shape):
    x = randn(*shape, dtype=dtype)
    target = rng.integers(0, 7, shape[:1] + shape[2:] if len(shape) > 1 else ())
    out = fa.cross_entropy(x, target, reduction=reduction)
    assert out.shape == (target.shape if reduction == "none" else ())
    check(out, reference_losses.cross_entropy, x, target, reduction=reduction)
    t = fa.Tensor(x, requires_grad=True)
    again = fa.cross_entropy(t, target, reduction=reduction)
    assert_same_bits(again._data, out)
    dout = randn(*out.shape, dtype=out.dtype)
    again.backward(fa.Tensor(dout))
    check(t.grad._data, reference_losses.cross_entropy_backward, dout, x, target, reduction=reduction)


@pytest.mark.parametrize("ignore_index", [-100, 3, 10**9])
def test_ignore_index(isa, dtype, randn, rng, reduction, ignore_index):
    x, target = randn(40, 7, dtype=dtype), rng.integers(0, 7, 40)
    target[::3] = ignore_index
    x[::3] = np.nan  # what is ignored is not read
    options = {"ignore_index": ignore_index, "reduction": reduction}
    check(fa.cross_entropy(x, target, **options), reference_losses.cross_entropy, x, target, **options)
    t = fa.Tensor(x, requires_grad=True)
    out = fa.cross_entropy(t, target, **options)
    dout = randn(*out.shape, dtype=out.dtype)
    out.backward(fa.Tensor(dout))
    assert (t.grad._data[target == ignore_index] == 0).all()
    check(t.grad._data, reference_losses.cross_entropy_backward, dout, x, target, **options)


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
    check(found, reference_losses.cross_entropy, x, target, reduction=reduction)


def test_extreme_logits(isa, dtype):
    x = np.array([[1e4, 0, -1e4], [-np.inf, 0, 0], [1e4, 1e4, 1e4]], dtype)
    target = np.array([0, 1, 2])
    check(fa.cross_entropy(x, target, reduction="none"), reference_losses.cross_entropy, x, target, reduction="none")
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
        check(t.grad._data, reference_losses.cross_entropy_backward, dout, x, target, reduction=reduction)


# Class weights, smoothing, probabilities -----------------------------------------------------------------------------


@pytest.fixture(params=["ids", "probabilities"])
def labels(request, rng):
    """labels(*shape, dtype=): a target for logits of that shape, some ids ignored."""

    def make(*shape, dtype=np.float64):
        rows = shape[:1] + shape[2:] if len(shape) > 1 else ()
        if request.param == "ids":
            ids = np.asarray(rng.integers(0, shape[min(1, len(shape) - 1)], rows))
            ids.reshape(-1)[1::5] = -100
            return ids
        y = np.exp(rng.standard_normal(shape))
        return (y / y.sum(min(1, len(shape) - 1), keepdims=True)).astype(dtype)

    return make


OPTIONS = [(False, 0.1), (True, 0.0), (True, 0.3), (False, 1.0), (False, 0.0)]


@pytest.mark.smoke
@pytest.mark.parametrize(("weighted", "smoothing"), OPTIONS)
@pytest.mark.parametrize("shape", [(13, 7), (5, 4100), (1, 1), (3, 7, 4), (9,), (2, 17, 3, 2)])
def test_weight_and_smoothing(isa, dtype, randn, rng, reduction, labels, weighted, smoothing, shape):
    x, target = randn(*shape, dtype=dtype), labels(*shape, dtype=dtype)
    classes = shape[min(1, len(shape) - 1)]
    weight = (0.1 + rng.random(classes)).astype(dtype) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing}
    check(fa.cross_entropy(x, target, weight, **options), reference_losses.cross_entropy, x, target, weight, **options)
    t = fa.Tensor(x, requires_grad=True)
    y = fa.Tensor(target, requires_grad=True) if target.ndim == x.ndim else target
    out = fa.cross_entropy(t, y, weight, **options)
    dout = randn(*out.shape, dtype=out.dtype)
    out.backward(fa.Tensor(dout))
    check(t.grad._data, reference_losses.cross_entropy_backward, dout, x, target, weight, **options)
    if target.ndim == x.ndim:
        check(y.grad._data, reference_losses.cross_entropy_dtarget, dout, x, target, weight, **options)


def test_a_class_of_weight_zero_is_not_looked_at(isa, dtype, randn):
    x, target = randn(6, 5, dtype=dtype), np.array([0, 1, 2, 3, 4, 0])
    weight = np.array([1, 2, 0, 1, 1], dtype)
    x[:, 2] = -np.inf
    losses = fa.cross_entropy(x, target, weight, reduction="none", label_smoothing=0.1)
    assert np.isfinite(losses).all()
    y = np.eye(5, dtype=dtype)[[0, 1, 3]]
    assert np.isfinite(fa.cross_entropy(x[:3], y))
    assert np.isnan(fa.cross_entropy(x[2:3], target[2:3], weight))  # 0 / 0, as in torch


def test_extreme_logits_with_smoothing(isa, dtype):
    x = np.array([[1e4, 0, -1e4], [1e4, 1e4, 9e3]], dtype)
    options = {"reduction": "none", "label_smoothing": 0.2}
    check(
        fa.cross_entropy(x, np.array([0, 2]), **options), reference_losses.cross_entropy, x, np.array([0, 2]), **options
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_of_what_is_weighted(isa, dtype, randn, rng, labels, layout):
    x, target, weight = randn(30, 33, dtype=dtype), labels(30, 33, dtype=dtype), rng.random(33).astype(dtype)
    place = LAYOUTS[layout]
    found = fa.cross_entropy(place(x), place(target), place(weight), label_smoothing=0.1)
    check(found, reference_losses.cross_entropy, x, target, weight, label_smoothing=0.1)


@pytest.mark.smoke
@pytest.mark.parametrize(("weighted", "smoothing"), OPTIONS)
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 5, 3)])
def test_gradcheck_of_options(isa, leaf, rng, reduction, labels, weighted, smoothing, shape):
    weight = 0.1 + rng.random(5) if weighted else None
    target = labels(*shape)
    inputs = [leaf(*shape)] + ([fa.Tensor(target, requires_grad=True)] if target.ndim == len(shape) else [])
    options = {"reduction": reduction, "label_smoothing": smoothing}
    assert fa.gradcheck(
        lambda x, y=target: fa.cross_entropy(x, y, weight, **options), inputs if len(inputs) > 1 else inputs[0]
    )


def test_options_have_the_same_bits_for_any_threads(isa, dtype, randn, rng, reduction, labels):
    rows = 100 if EMULATED else 501
    x, target, weight = randn(rows, 257, dtype=dtype), labels(rows, 257, dtype=dtype), rng.random(257).astype(dtype)

    def run():
        t = fa.Tensor(x, requires_grad=True)
        out = fa.cross_entropy(t, target, weight, reduction=reduction, label_smoothing=0.1)
        out.sum().backward()
        return out._data, t.grad._data

    assert_same_for_any_threads(run)


@pytest.mark.parity
@pytest.mark.parametrize(("weighted", "smoothing"), OPTIONS)
def test_options_are_those_of_torch(randn, rng, reduction, labels, weighted, smoothing):
    torch = pytest.importorskip("torch")
    for shape in [(7,), (11, 7), (3, 7, 4)]:
        x, target = randn(*shape), labels(*shape)
        weight = 0.1 + rng.random(7) if weighted else None
        options = {"reduction": reduction, "label_smoothing": smoothing}
        ours, theirs = (torch.from_numpy(x.copy()).requires_grad_() for _ in range(2))
        y = [torch.from_numpy(target.copy()) for _ in range(2)]
        if target.ndim == x.ndim:
            for t in y:
                t.requires_grad_()
        w = None if weight is None else torch.from_numpy(weight)
        found = fa.cross_entropy(ours, y[0], w, **options)
        expected = torch.nn.functional.cross_entropy(theirs, y[1], w, **options)
        torch.testing.assert_close(found, expected)
        dout = torch.from_numpy(np.asarray(randn(*expected.shape)))
        found.backward(dout)
        expected.backward(dout)
        torch.testing.assert_close(ours.grad, theirs.grad)
        if target.ndim == x.ndim:
            torch.testing.assert_close(y[0].grad, y[1].grad)


# Errors --------------------------------------------------------------------------------------------------------------

X, Y = np.zeros((3, 5)), np.array([0, 1, 2])
NEEDS = "cross_entropy: target needs the shape of input without its class axis; input {}, target {}"
ERRORS = [
    (lambda: fa.cross_entropy(X, Y[:2]), ValueError, NEEDS.format("(3, 5)", "(2,)")),
    (lambda: fa.cross_entropy(X, np.array(0)), ValueError, NEEDS.format("(3, 5)", "()")),
    (lambda: fa.cross_entropy(np.zeros(()), np.array(0)), ValueError, NEEDS.format("()", "()")),
    (
        lambda: fa.cross_entropy(X, X.astype(bool)),
        TypeError,
        "cross_entropy: target has dtype bool; expected int32 or int64",
    ),
    (
        lambda: fa.cross_entropy(X, X[:2]),
        ValueError,
        "cross_entropy: a target of probabilities needs the shape of input; input (3, 5), target (2, 5)",
    ),
    (
        lambda: fa.cross_entropy(X, X.astype(np.float32)),
        TypeError,
        "cross_entropy: input is float64 and target is float32; they must have one dtype",
    ),
    (
        lambda: fa.cross_entropy(X, X, ignore_index=0),
        ValueError,
        "cross_entropy: ignore_index is 0; a target of probabilities ignores no class, leave it out",
    ),
    (
        lambda: fa.cross_entropy(X, Y, np.ones(4)),
        ValueError,
        "cross_entropy: weight has shape (4,); expected (5,)",
    ),
    (
        lambda: fa.cross_entropy(X, Y, np.ones(5, np.float32)),
        TypeError,
        "cross_entropy: input is float64 and weight is float32; they must have one dtype",
    ),
    (
        lambda: fa.cross_entropy(X, Y, label_smoothing=1.5),
        ValueError,
        "cross_entropy: label_smoothing is 1.5; expected 0 to 1",
    ),
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


@pytest.mark.skipif(ON_CUDA, reason="a CUDA kernel gives NaN for an id out of range")
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
            _C.cross_entropy_fwd(x, target, None, loss, lse, -100, code, 0.0)
        with pytest.raises(IndexError, match="cross_entropy: target"):
            _C.cross_entropy_bwd(x, target, None, lse, loss, dx, None, -100, code, 0.0)


def test_explain(isa):
    (what,) = fa.explain(fa.cross_entropy, np.ones((4, 8), np.float32), np.zeros(4, int))
    assert is_kernel(what.kernel, "cross_entropy_fwd", "float32", isa)
    assert what.unsupported == ""
