"""max_pool, avg_pool and their adaptive forms, over one axis and over two; and their gradients."""

import re

import numpy as np
import pytest
from on_device import ON_CUDA

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    is_kernel,
    reference_pool,
    unchanged,
)

# Windows of two axes: kernel, stride, padding, dilation, ceil_mode.
WINDOWS = [
    ((2, 2), (2, 2), (0, 0), (1, 1), False),
    ((3, 3), (2, 2), (1, 1), (1, 1), False),
    ((3, 3), (2, 2), (1, 1), (1, 1), True),
    ((3, 3), (1, 1), (1, 1), (1, 1), False),
    ((1, 1), (1, 1), (0, 0), (1, 1), False),
    ((2, 3), (3, 1), (1, 0), (1, 2), True),
    ((5, 4), (1, 3), (2, 2), (2, 1), False),
    ((1, 5), (1, 4), (0, 2), (1, 1), True),
    ((17, 16), (5, 7), (8, 8), (1, 1), False),  # 272 taps: positions in 8 bytes
]
# Channels across vectors and their blocks of four, rows across vectors and chunks.
SHAPES = [(2, 3, 7, 9), (1, 1, 18, 17), (1, 9 if ON_CUDA else 69, 6, 5), (0, 2, 19, 18)]
LONG = (1, 2, 3, 600)
# Windows side by side have loops of their own: across vectors, with rows and columns behind the last window.
SIDE_BY_SIDE = [(k, k, (0, 0), (1, 1), False) for k in ((2, 2), (3, 3), (1, 2), (3, 2), (2, 1), (16, 16))]
WIDE = [(2, 3, 16, 66), (1, 70, 17, 37), (3, 2, 32, 32)]
ADAPTIVE = [((1, 1), (2, 3, 7, 9)), ((3, 4), (2, 3, 7, 9)), ((7, 9), (1, 2, 7, 9)), ((5, 11), (1, 17, 3, 4))]
FORMS = ["nchw", "nhwc"]


def options_of(window, dilated=True):
    kernel, stride, padding, dilation, ceil_mode = window
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    return kernel, {**options, "dilation": dilation} if dilated else options


def fits(shape, window):
    kernel, _, padding, dilation, _ = window
    return all(n + 2 * p > d * (k - 1) for n, k, p, d in zip(shape[-2:], kernel, padding, dilation, strict=True))


CASES = [
    *((s, w) for w in WINDOWS for s in SHAPES if fits(s, w)),
    *((LONG, w) for w in WINDOWS[:4]),
    *((s, w) for w in SIDE_BY_SIDE for s in WIDE),
]
AVERAGES = [(s, (k, st, p, (1, 1), c)) for s, (k, st, p, _, c) in CASES]


def last(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def run(function, x, *args, layout="nchw", **options):
    """The result in the order (N, C, H, W), whatever the layout."""
    if layout == "nchw":
        return function(x, *args, **options)
    out = function(last(x), *args, layout="nhwc", **options)
    return tuple(np.moveaxis(o, -1, 1) for o in out) if isinstance(out, tuple) else np.moveaxis(out, -1, 1)


def gradient(function, dout, x, *args, layout="nchw", **options):
    t = fa.Tensor(last(x) if layout == "nhwc" else x, requires_grad=True)
    out = function(t, *args, layout=layout, **options)
    out.backward(fa.Tensor(last(dout) if layout == "nhwc" else dout))
    return np.moveaxis(t.grad._data, -1, 1) if layout == "nhwc" else t.grad._data


@pytest.mark.smoke
@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize(("shape", "window"), CASES)
def test_max(isa, dtype, randn, layout, shape, window):
    x = randn(*shape, dtype=dtype)
    x[..., ::3] = x[..., :1]  # equal ones
    kernel, options = options_of(window)
    out, index = run(fa.max_pool2d, x, kernel, return_indices=True, layout=layout, **options)
    assert_ran("max_pool_fwd", dtype, isa)
    expected, positions = reference_pool.max_pool(x.astype(np.float64), kernel, **options)
    assert_same_bits(out, expected.astype(dtype))
    assert_same_bits(index, positions)
    assert_same_bits(run(fa.max_pool2d, x, kernel, layout=layout, **options), out)
    dout = randn(*out.shape, dtype=dtype)
    found = gradient(fa.max_pool2d, dout, x, kernel, layout=layout, **options)
    assert_ran("max_pool_bwd", dtype, isa)
    check(found, reference_pool.max_pool_backward, dout, x, kernel, **options)


@pytest.mark.smoke
@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize(("shape", "window"), AVERAGES)
def test_average(isa, dtype, randn, layout, shape, window):
    x = randn(*shape, dtype=dtype)
    kernel, options = options_of(window, dilated=False)
    out = run(fa.avg_pool2d, x, kernel, layout=layout, **options)
    assert_ran("avg_pool_fwd", dtype, isa)
    check(out, reference_pool.avg_pool, x, kernel, **options)
    for more in ({"count_include_pad": False}, {"divisor_override": 7}, {"divisor_override": -3}):
        named = {k.removesuffix("_override"): v for k, v in more.items()}
        out = run(fa.avg_pool2d, x, kernel, layout=layout, **options, **more)
        check(out, reference_pool.avg_pool, x, kernel, **options, **named)
        dout = randn(*out.shape, dtype=dtype)
        found = gradient(fa.avg_pool2d, dout, x, kernel, layout=layout, **options, **more)
        assert_ran("avg_pool_bwd", dtype, isa)
        check(found, reference_pool.avg_pool_backward, dout, x, kernel, **options, **named)


@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize(("size", "shape"), ADAPTIVE)
def test_adaptive(isa, dtype, randn, layout, size, shape):
    x = randn(*shape, dtype=dtype)
    dout = randn(*shape[:2], *size, dtype=dtype)
    out = run(fa.adaptive_avg_pool2d, x, size, layout=layout)
    check(out, reference_pool.avg_pool, x, size, adaptive=True)
    found = gradient(fa.adaptive_avg_pool2d, dout, x, size, layout=layout)
    check(found, reference_pool.avg_pool_backward, dout, x, size, adaptive=True)
    out, index = run(fa.adaptive_max_pool2d, x, size, return_indices=True, layout=layout)
    expected, positions = reference_pool.max_pool(x.astype(np.float64), size, adaptive=True)
    assert_same_bits(out, expected.astype(dtype))
    assert_same_bits(index, positions)
    found = gradient(fa.adaptive_max_pool2d, dout, x, size, layout=layout)
    check(found, reference_pool.max_pool_backward, dout, x, size, adaptive=True)


def test_adaptive_of_large_planes(isa, dtype, randn):
    """Windows wider than what is summed at a time, and too many taps for a byte."""
    x, dout = randn(2, 2, 37, 700, dtype=dtype), randn(2, 2, 2, 2, dtype=dtype)
    for layout in FORMS:
        check(run(fa.adaptive_avg_pool2d, x, 2, layout=layout), reference_pool.avg_pool, x, (2, 2), adaptive=True)
        found = gradient(fa.adaptive_max_pool2d, dout, x, 2, layout=layout)
        check(found, reference_pool.max_pool_backward, dout, x, (2, 2), adaptive=True)


@pytest.mark.parametrize("shape", [(2, 3, 40), (3, 40), (1, 1, 1), (0, 3, 40)])
def test_one_axis(isa, dtype, randn, shape):
    x = randn(*shape, dtype=dtype)
    flat = x[..., None, :]
    for kernel, stride, padding in ((1, 1, 0), (2, None, 1), (3, 2, 1), (5, 1, 2)):
        if shape[-1] + 2 * padding < kernel:
            continue
        options = {"stride": (1, stride or kernel), "padding": (0, padding)}
        out, index = fa.max_pool1d(x, kernel, stride, padding, return_indices=True)
        assert_same_bits(
            (out[..., None, :], index[..., None, :]), reference_pool.max_pool(flat, (1, kernel), **options)
        )
        out = fa.avg_pool1d(x, kernel, stride, padding)
        check(out[..., None, :], reference_pool.avg_pool, flat, (1, kernel), **options)
    for size in (1, 3, 40):
        out = fa.adaptive_avg_pool1d(x, size)
        check(out[..., None, :], reference_pool.avg_pool, flat, (1, size), adaptive=True)
        out, index = fa.adaptive_max_pool1d(x, size, return_indices=True)
        assert_same_bits(
            (out[..., None, :], index[..., None, :]), reference_pool.max_pool(flat, (1, size), adaptive=True)
        )


@pytest.mark.parametrize("layout", FORMS)
def test_nan_and_infinity(isa, dtype, layout):
    """The last NaN of a window is its maximum; where all are -inf, the first."""
    x = np.zeros((1, 2, 4, 6), dtype)
    x[0, :, 0, 0] = x[0, :, 1, 0] = np.nan
    x[0, :, :2, 2:4] = -np.inf
    x[0, :, 2, 5] = np.inf
    out, index = run(fa.max_pool2d, x, 2, return_indices=True, layout=layout)
    np.testing.assert_array_equal(out[0, 1].astype(float), [[np.nan, -np.inf, 0], [0, 0, np.inf]])
    np.testing.assert_array_equal(index[0, 1], [[6, 2, 4], [12, 14, 17]])
    dx = gradient(fa.max_pool2d, np.ones((1, 2, 2, 3), dtype), x, 2, layout=layout)
    expected = np.zeros(24)
    expected[index[0, 0].ravel()] = 1
    np.testing.assert_array_equal(dx[0, 0].ravel().astype(float), expected)


@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize("kernel", [(2, 2), (3, 2), (3, 3)])
def test_special_values_in_every_lane(isa, dtype, rng, layout, kernel):
    x = rng.choice([np.nan, -np.inf, np.inf, 0.0, -0.0, 1.0], (1, 37, 7, 71)).astype(dtype)
    wide = x.astype(np.float64)
    out, index = run(fa.max_pool2d, x, kernel, return_indices=True, layout=layout)
    expected, positions = reference_pool.max_pool(wide, kernel, stride=kernel)
    np.testing.assert_array_equal(out.astype(np.float64), expected)
    assert_same_bits(index, positions)
    np.testing.assert_array_equal(run(fa.max_pool2d, x, kernel, layout=layout).astype(np.float64), expected)
    dout = rng.standard_normal(out.shape).astype(dtype)
    found = gradient(fa.max_pool2d, dout, x, kernel, layout=layout)
    np.testing.assert_array_equal(
        found.astype(np.float64), reference_pool.max_pool_backward(dout.astype(np.float64), wide, kernel, stride=kernel)
    )


def test_a_window_that_steps_over_all(isa, dtype):
    """Dilated taps in the padding at both ends, and none inside."""
    x = np.ones((1, 1, 2), dtype)
    out, index = fa.max_pool1d(x, 2, 1, 1, 3, return_indices=True)
    assert (out.tolist(), index.tolist()) == ([[[-np.inf]]], [[[-1]]])
    t = fa.Tensor(x, requires_grad=True)
    fa.max_pool1d(t, 2, 1, 1, 3).backward(fa.Tensor(np.ones((1, 1, 1), dtype)))
    assert (t.grad._data == 0).all()


@pytest.mark.parametrize("layout", FORMS)
def test_strides_and_out(isa, dtype, randn, layout):
    x = randn(2, 20, 9, 40, dtype=dtype)
    x = last(x) if layout == "nhwc" else x
    calls = [
        lambda x, **out: fa.max_pool2d(x, 3, 2, 1, layout=layout, **out),
        lambda x, **out: fa.max_pool2d(x, 2, layout=layout, **out),
        lambda x, **out: fa.avg_pool2d(x, 3, 1, 1, layout=layout, **out),
        lambda x, **out: fa.avg_pool2d(x, 2, layout=layout, **out),
        lambda x, **out: fa.adaptive_max_pool2d(x, (2, 3), layout=layout, **out),
    ]
    for call in calls:
        expected = call(x)
        for move in LAYOUTS.values():
            assert_same_bits(call(move(x)), expected)
        out = LAYOUTS["strided"](np.zeros_like(expected))
        assert call(x, out=out) is out
        assert_same_bits(out, expected)
    expected = fa.adaptive_avg_pool2d(x, (2, 3), layout=layout)
    for move in (LAYOUTS["padded"], LAYOUTS["reverse"]):
        check(fa.adaptive_avg_pool2d(move(x), (2, 3), layout=layout), lambda x: x, expected)


def test_same_bits_in_both_layouts_and_without_a_batch(isa, dtype, randn):
    c, h, w = (5, 7, 12) if ON_CUDA else (17, 13, 70)
    x = randn(2, c, h, w, dtype=dtype)
    for call in (
        lambda x, layout="nchw": fa.max_pool2d(x, 3, 2, 1, layout=layout),
        lambda x, layout="nchw": fa.avg_pool2d(x, 3, 2, 1, layout=layout),
        lambda x, layout="nchw": fa.max_pool2d(x, 2, layout=layout),
        lambda x, layout="nchw": fa.avg_pool2d(x, 2, layout=layout),
    ):
        expected = call(x)
        assert_same_bits(np.moveaxis(call(last(x), "nhwc"), -1, 1), expected)
        assert_same_bits(call(x[1]), expected[1])
    dout = randn(2, c, h // 2 + 1, w // 2, dtype=dtype)
    for function in (fa.max_pool2d, fa.avg_pool2d):
        expected = gradient(function, dout, x, 3, stride=2, padding=1)
        assert_same_bits(gradient(function, dout, x, 3, stride=2, padding=1, layout="nhwc"), expected)
        pairs = dout[:, :, : h // 2]
        assert_same_bits(gradient(function, pairs, x, 2, layout="nhwc"), gradient(function, pairs, x, 2))


def test_same_bits_for_any_threads(isa, dtype, randn):
    n, c = (1, 3) if ON_CUDA else (4, 40)
    x, dout = randn(n, c, 33, 65, dtype=dtype), randn(n, c, 17, 33, dtype=dtype)
    for layout in FORMS:
        for function in (fa.max_pool2d, fa.avg_pool2d):
            assert_same_for_any_threads(lambda f=function, how=layout: run(f, x, 3, 2, 1, layout=how))
            assert_same_for_any_threads(
                lambda f=function, how=layout: gradient(f, dout, x, 3, stride=2, padding=1, layout=how)
            )
            assert_same_for_any_threads(lambda f=function, how=layout: run(f, x, 2, layout=how))
            assert_same_for_any_threads(
                lambda f=function, how=layout: gradient(f, dout[:, :, :16, :32], x, 2, layout=how)
            )
        assert_same_for_any_threads(lambda how=layout: run(fa.adaptive_avg_pool2d, x, 5, layout=how))


@pytest.mark.smoke
@pytest.mark.parametrize("layout", FORMS)
def test_gradcheck(isa, leaf, rng, layout):
    shape = (2, 2, 5, 6) if layout == "nchw" else (2, 5, 6, 2)
    # Values far apart: a maximum stays where it is.
    apart = fa.Tensor(rng.permutation(np.arange(120.0)).reshape(shape), requires_grad=True)
    for kernel, stride, padding, dilation, ceil_mode in WINDOWS[:7]:
        if not fits((5, 6), ((kernel), stride, padding, dilation, ceil_mode)):
            continue
        assert fa.gradcheck(
            lambda x, a=(kernel, stride, padding, dilation, ceil_mode): fa.max_pool2d(x, *a, layout=layout), apart
        )
        for include in (True, False):
            assert fa.gradcheck(
                lambda x, a=(kernel, stride, padding, ceil_mode, include): fa.avg_pool2d(x, *a, layout=layout),
                leaf(*shape),
            )
    assert fa.gradcheck(lambda x: fa.adaptive_avg_pool2d(x, (3, 4), layout=layout), leaf(*shape))
    assert fa.gradcheck(lambda x: fa.adaptive_max_pool2d(x, (3, 4), layout=layout), apart)
    assert fa.gradcheck(lambda x: fa.max_pool2d(x, 2, return_indices=True, layout=layout)[0], apart)


def test_the_input_may_change_before_the_backward(randn):
    x = randn(1, 1, 4, 4)
    t = fa.Tensor(x.copy(), requires_grad=True)
    out = fa.max_pool2d(t, 2)
    with fa.no_grad():
        t.add_(1.0)
    out.sum().backward()
    check(t.grad._data, reference_pool.max_pool_backward, np.ones((1, 1, 2, 2)), x, (2, 2), stride=(2, 2))


@pytest.mark.parity
@pytest.mark.parametrize(("shape", "window"), CASES)
def test_torch_agrees(randn, shape, window):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x = randn(*shape)
    kernel, stride, padding, dilation, ceil_mode = window
    tensors = [torch.tensor(x, requires_grad=True) for _ in range(2)]
    ours, index = fa.max_pool2d(tensors[0], kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    theirs, expected = F.max_pool2d(tensors[1], kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    assert torch.equal(ours, theirs)
    assert torch.equal(index, expected)
    g = torch.randn_like(theirs)
    ours.backward(g)
    theirs.backward(g)
    torch.testing.assert_close(tensors[0].grad, tensors[1].grad)
    tensors = [torch.tensor(x, requires_grad=True) for _ in range(2)]
    ours, theirs = (
        f(t, kernel, stride, padding, ceil_mode, False)
        for f, t in zip((fa.avg_pool2d, F.avg_pool2d), tensors, strict=True)
    )
    torch.testing.assert_close(ours, theirs)
    g = torch.randn_like(theirs)
    ours.backward(g)
    theirs.backward(g)
    torch.testing.assert_close(tensors[0].grad, tensors[1].grad)


# Errors --------------------------------------------------------------------------------------------------------------

X = np.zeros((2, 3, 8, 8))
ERRORS = [
    (
        lambda: fa.max_pool2d(X[0, 0], 2),
        ValueError,
        "max_pool2d: input needs the axes (N, C, H, W) or (C, H, W); input (8, 8)",
    ),
    (lambda: fa.max_pool2d(X[0, 0], 2, layout="nhwc"), ValueError, "input needs the axes (N, H, W, C) or (H, W, C)"),
    (
        lambda: fa.avg_pool1d(X, 2),
        ValueError,
        "avg_pool1d: input needs the axes (N, C, L) or (C, L); input (2, 3, 8, 8)",
    ),
    (lambda: fa.max_pool2d(X, 0), ValueError, "max_pool2d: kernel_size is 0; expected 1 or more"),
    (lambda: fa.max_pool2d(X, 2, 0), ValueError, "max_pool2d: stride is 0; expected 1 or more"),
    (lambda: fa.max_pool2d(X, 2, padding=-1), ValueError, "max_pool2d: padding is -1; expected 0 or more"),
    (lambda: fa.max_pool2d(X, 2, dilation=0), ValueError, "max_pool2d: dilation is 0; expected 1 or more"),
    (
        lambda: fa.avg_pool2d(X, 3, padding=2),
        ValueError,
        "avg_pool2d: padding is 2; expected at most half of the window's 3",
    ),
    (
        lambda: fa.avg_pool2d(X, 9),
        ValueError,
        "avg_pool2d: a window of 9 does not fit into the padded axis of 8 of input (2, 3, 8, 8)",
    ),
    (lambda: fa.max_pool2d(X[:, :0], 2), ValueError, "max_pool2d: input has an axis of size 0 that is not the batch"),
    (lambda: fa.adaptive_avg_pool2d(X, 0), ValueError, "adaptive_avg_pool2d: output_size is 0; expected 1 or more"),
    (lambda: fa.max_pool2d(X, (2, 2, 2)), ValueError, "kernel_size is (2, 2, 2); expected an int or two of them"),
    (lambda: fa.max_pool1d(X[0], 2.0), ValueError, "max_pool1d: kernel_size is 2.0; expected an int"),
    (lambda: fa.max_pool2d(X, 2, layout="chw"), ValueError, "max_pool2d: layout is 'chw'; expected 'nchw' or 'nhwc'"),
    (
        lambda: fa.avg_pool2d(X, 2, divisor_override=0),
        ValueError,
        "divisor_override is 0; expected a divisor other than 0",
    ),
    (
        lambda: fa.max_pool2d(X, 2, out=np.zeros((2, 3, 8, 8))),
        ValueError,
        "out has shape (2, 3, 8, 8); expected (2, 3, 4, 4)",
    ),
    (lambda: fa.max_pool2d(X, 1, out=X), ValueError, "max_pool2d: out overlaps input in memory"),
    (
        lambda: fa.max_pool2d(X.astype(int), 2),
        TypeError,
        "max_pool2d: input has dtype int64; expected float32, float64",
    ),
    (lambda: fa.max_pool2d([1.0], 2), TypeError, "max_pool2d: input is a list; expected an array"),
    (lambda: fa.max_pool2d(None, 2), TypeError, "max_pool2d: input is None; expected an array"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    with unchanged(X), pytest.raises(error, match=re.escape(text)):
        call()


def test_errors_of_the_binding():
    from fastattn import _C

    window = (0, False, (17, 17), (1, 1), (0, 0), (1, 1), False, False, 0, False)
    x, out = np.zeros((1, 1, 20, 20)), np.zeros((1, 1, 4, 4))
    text = "max_pool2d: index is uint8, which has no number for each tap of a window"
    with pytest.raises(TypeError, match=text):
        _C.pool_fwd(x, out, np.zeros((1, 1, 4, 4), np.uint8), window)
    with pytest.raises(TypeError, match="max_pool2d: index has dtype int32; expected int64"):
        _C.pool_fwd(x, out, np.zeros((1, 1, 4, 4), np.int32), window)
    with pytest.raises(TypeError, match="max_pool2d: index is None; expected an array"):
        _C.pool_bwd(out, None, x, window)


def test_explain(isa):
    (what,) = fa.explain(fa.max_pool2d, np.ones((1, 2, 8, 8), np.float32), 2)
    assert is_kernel(what.kernel, "max_pool_fwd", "float32", isa)
    assert what.unsupported == ""
    assert what.bytes == 4 * (128 + 32)
