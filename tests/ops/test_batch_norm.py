"""batch_norm in training and not, its running statistics, and its gradients."""

import re

import numpy as np
import pytest
from on_device import ON_CUDA

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    accumulator,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    computed,
    is_kernel,
    reference_batch_norm,
    unchanged,
)

# Channels across vectors and tiles, positions across blocks of both loops.
SHAPES = [
    (2, 1),
    (5, 3),
    (300, 17),
    (1, 3, 5),
    (3, 65, 7),
    (7, 33, 1, 5),
    (2, 3, 33, 65),
    (9, 2 if ON_CUDA else 5, 40, 40),
    (260, 4, 1, 1),
    (2, 2, 3, 4, 5),
]
FORMS = ["nchw", "nhwc"]
AFFINE = [(True, True), (True, False), (False, True), (False, False)]


def last(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def first(x):
    return np.moveaxis(x, -1, 1)


def run(x, *args, layout="nchw", **options):
    """The result in the order (N, C, ...), whatever the layout."""
    if layout == "nchw":
        return fa.batch_norm(x, *args, **options)
    return first(fa.batch_norm(last(x), *args, layout=layout, **options))


def gradients(dout, x, mean, var, weight, bias, *, layout="nchw", **options):
    move = last if layout == "nhwc" else np.asarray
    tensors = [None if a is None else fa.Tensor(a, requires_grad=True) for a in (move(x), weight, bias)]
    out = fa.batch_norm(tensors[0], mean, var, *tensors[1:], layout=layout, **options)
    out.backward(fa.Tensor(move(dout)))
    dx, *rest = [None if t is None else t.grad._data for t in tensors]
    return [first(dx) if layout == "nhwc" else dx, *rest]


@pytest.mark.smoke
@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_training(isa, dtype, randn, layout, shape):
    C = shape[1]
    x, dout = 2 * randn(*shape, dtype=dtype) + 1, randn(*shape, dtype=dtype)
    weight, bias = randn(C, dtype=dtype), randn(C, dtype=dtype)
    mean, var = randn(C, dtype=accumulator(dtype)), randn(C, dtype=accumulator(dtype)) ** 2
    old = mean.copy(), var.copy()
    out = run(x, mean, var, weight, bias, training=True, momentum=0.3, layout=layout)
    assert_ran("batch_norm_fwd", dtype, isa)
    check(out, reference_batch_norm.batch_norm, x, weight, bias)
    # The statistics are of float32 for 16 bits, and so is what they are compared with.
    check((mean, var), reference_batch_norm.running, computed(x), *old, 0.3)
    found = gradients(dout, x, None, None, weight, bias, training=True, layout=layout)
    assert_ran("batch_norm_bwd", dtype, isa)
    check(found, reference_batch_norm.batch_norm_backward, dout, x, weight)


def test_two_elements_of_a_channel(isa, dtype, randn):
    x = randn(2, 5, dtype=dtype)
    check(run(x, None, None, training=True), reference_batch_norm.batch_norm, x)


@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize(("with_weight", "with_bias"), AFFINE)
@pytest.mark.parametrize("shape", [(1, 1), (3, 65, 7), (2, 3, 33, 65), (0, 3, 4, 4)])
def test_evaluation(isa, dtype, randn, layout, shape, with_weight, with_bias):
    C = shape[1]
    x, dout = randn(*shape, dtype=dtype), randn(*shape, dtype=dtype)
    weight = randn(C, dtype=dtype) if with_weight else None
    bias = randn(C, dtype=dtype) if with_bias else None
    mean, var = randn(C, dtype=dtype), (1 + randn(C) ** 2).astype(dtype)
    with unchanged(mean, var):
        out = run(x, mean, var, weight, bias, layout=layout)
        check(out, reference_batch_norm.batch_norm, x, weight, bias, mean, var)
        found = gradients(dout, x, mean, var, weight, bias, layout=layout)
    expected = [found[0], found[1] if with_weight else None, found[2] if with_bias else None]
    check(expected, reference_batch_norm.batch_norm_backward, dout, x, weight, mean, var)


@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize("offset", [1e3, -1e4])
def test_a_mean_far_from_zero(isa, dtype, randn, layout, offset):
    """The variance is that of centred values, not a difference of squares."""
    x = randn(4, 3, 20, 40, dtype=dtype) + dtype.type(offset)
    out = run(x, None, None, training=True, layout=layout)
    check(out, reference_batch_norm.batch_norm, x)


def test_statistics_of_many_elements(isa, randn):
    """A million elements of a channel: float32 keeps the mean and the variance to a few roundings."""
    x = (3 + randn(4, 2, *((60, 90) if ON_CUDA else (512, 512)))).astype(np.float32)
    for layout in FORMS:
        mean, var = np.zeros(2, np.float32), np.zeros(2, np.float32)
        run(x, mean, var, training=True, momentum=1.0, layout=layout)
        wide = x.astype(np.float64)
        np.testing.assert_allclose(mean, wide.mean((0, 2, 3)), rtol=4e-7)
        np.testing.assert_allclose(var, wide.var((0, 2, 3), ddof=1), rtol=4e-7)


def test_nan_stays_in_its_channel(isa, dtype, randn):
    x = randn(3, 5, 7, 7, dtype=dtype)
    expected = run(x, None, None, training=True)
    x[1, 2, 3, 3] = np.nan
    for layout in FORMS:
        out = run(x, None, None, training=True, layout=layout)
        assert np.isnan(out[:, 2].astype(float)).all()
        check(out[:, [0, 1, 3, 4]], lambda x: x, expected[:, [0, 1, 3, 4]])


@pytest.mark.parametrize("layout", FORMS)
def test_strides_and_out(isa, dtype, randn, layout):
    x, weight, bias = randn(2, 20, 9, 33, dtype=dtype), randn(20, dtype=dtype), randn(20, dtype=dtype)
    x = last(x) if layout == "nhwc" else x
    dout = randn(*x.shape, dtype=dtype)
    C = x.shape[-1 if layout == "nhwc" else 1]
    weight, bias = weight[:C], bias[:C]

    def call(x, **out):
        return fa.batch_norm(x, None, None, weight, bias, True, layout=layout, **out)

    expected = call(x)
    for name in ("padded",) if layout == "nhwc" else LAYOUTS:
        assert_same_bits(call(LAYOUTS[name](x)), expected)
    assert_same_bits(call(x, out=LAYOUTS["padded"](np.zeros_like(x))), expected)
    again = x.copy()
    assert call(again, out=again) is again
    assert_same_bits(again, expected)
    t = [fa.Tensor(a, requires_grad=True) for a in (LAYOUTS["padded"](x), x)]
    for one in t:
        fa.batch_norm(one, None, None, weight, bias, True, layout=layout).backward(fa.Tensor(dout))
    assert_same_bits(t[0].grad._data, t[1].grad._data)


def test_strided_statistics(isa, dtype, randn):
    x = randn(6, 5, 3, dtype=dtype)
    plain = [np.zeros(5, dtype), np.ones(5, dtype), *randn(2, 5, dtype=dtype)]
    strided = [LAYOUTS["strided"](a) for a in plain]
    assert_same_bits(fa.batch_norm(x, *strided, training=True), fa.batch_norm(x, *plain, training=True))
    assert_same_bits(strided[:2], plain[:2])


@pytest.mark.parametrize("layout", FORMS)
def test_same_bits_for_any_threads(isa, dtype, randn, layout):
    C, rows = (18, 3) if ON_CUDA else (67, 40)
    x, dout = randn(5, C, rows, 141, dtype=dtype), randn(5, C, rows, 141, dtype=dtype)
    weight, bias = randn(C, dtype=dtype), randn(C, dtype=dtype)
    assert_same_for_any_threads(lambda: run(x, None, None, weight, bias, training=True, layout=layout))
    assert_same_for_any_threads(lambda: gradients(dout, x, None, None, weight, bias, training=True, layout=layout))


@pytest.mark.smoke
@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("with_weight", "with_bias"), AFFINE)
def test_gradcheck(isa, leaf, randn, layout, training, with_weight, with_bias):
    shape = (3, 4, 2, 2) if layout == "nchw" else (3, 2, 2, 4)
    inputs = [leaf(*shape), leaf(4) if with_weight else None, leaf(4) if with_bias else None]
    mean, var = randn(4), 1 + randn(4) ** 2

    def call(x, weight, bias):
        return fa.batch_norm(x, mean.copy(), var.copy(), weight, bias, training, eps=0.1, layout=layout)

    assert fa.gradcheck(call, inputs)


@pytest.mark.parametrize("wanted", range(3))
@pytest.mark.parametrize("training", [True, False])
def test_gradcheck_one_at_a_time(leaf, training, wanted):
    inputs = [leaf(5, 3), leaf(3), leaf(3)]
    for i, t in enumerate(inputs):
        t.requires_grad = i == wanted
    assert fa.gradcheck(lambda x, w, b: fa.batch_norm(x, np.zeros(3), np.ones(3), w, b, training), inputs)


def test_half_precision_keeps_float32_statistics(isa, randn):
    x, state = randn(64, 3, dtype=np.float16), [np.zeros(3, np.float32), np.ones(3, np.float32)]
    weight, bias = randn(3, dtype=np.float32), randn(3, dtype=np.float32)
    out = fa.batch_norm(x, *state, weight, bias, True)
    assert out.dtype == np.float16
    np.testing.assert_allclose(state[0], 0.1 * x.astype(np.float64).mean(0), rtol=1e-5, atol=1e-6)
    dx, dweight, dbias = gradients(x, x, *state, weight, bias, training=True)
    assert (dx.dtype, dweight.dtype, dbias.dtype) == (np.float16, np.float32, np.float32)


def test_explaining_changes_nothing(randn):
    state = [fa.zeros(3), fa.ones(3)]
    fa.explain(fa.batch_norm, fa.tensor(randn(4, 3, dtype=np.float32)), *state, training=True)
    assert state[0].sum() == 0


def test_running_statistics_that_the_tape_needs(randn):
    """They are written in place: a graph that has read them must not go backward."""
    mean, var = fa.tensor(randn(3)), fa.ones(3, dtype=np.float64)
    x = fa.tensor(randn(4, 3), requires_grad=True)
    product = x * mean
    fa.batch_norm(x, mean, var, training=True)
    with pytest.raises(RuntimeError, match="in place"):
        product.sum().backward()


@pytest.mark.parity
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_torch_agrees(randn, shape, training):
    torch = pytest.importorskip("torch")
    results = []
    data = [randn(*shape), randn(shape[1]), randn(shape[1]), randn(*shape)]
    for function in (fa.batch_norm, torch.nn.functional.batch_norm):
        mean, var = torch.zeros(shape[1]).double(), torch.ones(shape[1]).double()
        leaves = [torch.tensor(a, requires_grad=True) for a in data[:3]]
        out = function(leaves[0], mean, var, leaves[1], leaves[2], training, 0.2, 1e-3)
        out.backward(torch.tensor(data[3]))
        results.append([out.detach(), mean, var, *[t.grad for t in leaves]])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


# Errors --------------------------------------------------------------------------------------------------------------

X = np.zeros((2, 5, 3))
S = np.zeros(5)
ERRORS = [
    (
        lambda o: fa.batch_norm(S, S, S, out=o),
        ValueError,
        "batch_norm: input needs the axes (N, C) or more; input (5,)",
    ),
    (
        lambda o: fa.batch_norm(X, None, None, out=o),
        ValueError,
        "batch_norm: running_mean and running_var are None; expected them where training is False",
    ),
    (
        lambda o: fa.batch_norm(X, S, None, training=True, out=o),
        ValueError,
        "batch_norm: running_mean and running_var are given together or not at all",
    ),
    (
        lambda o: fa.batch_norm(X[:1, :, :1], None, None, training=True),
        ValueError,
        "batch_norm: input has one value per channel, expected more when training; input (1, 5, 1)",
    ),
    (lambda o: fa.batch_norm(X, S, S, S[:4], out=o), ValueError, "batch_norm: weight has shape (4,); expected (5,)"),
    (lambda o: fa.batch_norm(X, S, S, None, S[:4], out=o), ValueError, "bias has shape (4,); expected (5,)"),
    (lambda o: fa.batch_norm(X, S[:3], S, out=o), ValueError, "running_mean has shape (3,); expected (5,)"),
    (lambda o: fa.batch_norm(X, S, S[:3], out=o), ValueError, "running_var has shape (3,); expected (5,)"),
    (lambda o: fa.batch_norm(X, S[:3], S[:3], layout="nhwc", out=o[:1]), ValueError, "out has shape (1, 5, 3)"),
    (lambda o: fa.batch_norm(X, S, S, layout="ncl", out=o), ValueError, "layout is 'ncl'; expected 'nchw' or 'nhwc'"),
    (
        lambda o: fa.batch_norm(X, S.astype(np.float32), S, out=o),
        TypeError,
        "batch_norm: running_mean is not of input's dtype; expected float64",
    ),
    (
        lambda o: fa.batch_norm(X.astype(np.float16), S, S),
        TypeError,
        "batch_norm: running_mean is not of input's dtype; expected float16 or float32",
    ),
    (lambda o: fa.batch_norm(X.astype(int), S, S), TypeError, "batch_norm: input has dtype int64; expected float32"),
    (lambda o: fa.batch_norm([1.0], S, S), TypeError, "batch_norm: input is a list; expected an array"),
    (lambda o: fa.batch_norm(None, S, S), TypeError, "batch_norm: input is None; expected an array"),
    (lambda o: fa.batch_norm(o[::-1], S, S, out=o), ValueError, "batch_norm: out overlaps input in memory"),
    (
        lambda o: fa.batch_norm(np.zeros((2, 3, 4, 6, 8))[:, :, ::2, ::2, ::2], *np.zeros((2, 3))),
        ValueError,
        "batch_norm: input has positions along more than two axes that do not fold into one; pass a contiguous copy of it",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5, 3), 7.0)
    with unchanged(out, X, S), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_explain(isa):
    (what,) = fa.explain(fa.batch_norm, np.ones((4, 8), np.float32), None, None, training=True)
    assert is_kernel(what.kernel, "batch_norm_fwd", "float32", isa)
    assert what.unsupported == ""
    assert what.bytes == 3 * 4 * 32
