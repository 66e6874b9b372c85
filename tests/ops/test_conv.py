"""conv1d and conv2d, and their gradients."""

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
    reference_conv,
    unchanged,
)

# x (N, C, H, W), outputs, kernel, options
CASES = {
    "1 x 1 x 1": ((1, 1, 1, 1), 1, (1, 1), {}),
    "one channel": ((2, 1, 9, 28), 33, (3, 3), {"padding": (1, 1, 1, 1)}),
    "5 x 5": ((1, 2, 7, 13), 17, (5, 5), {"padding": (2, 2, 2, 2)}),
    "1 x 1": ((2, 17, 5, 7), 50, (1, 1), {}),
    "valid": ((2, 3, 6, 9), 16, (3, 2), {}),
    "more channels than a chunk": ((1, 130, 3, 5), 5, (3, 3), {"padding": (1, 1, 1, 1)}),
    "many columns": ((1, 2, 2, 9), 200, (1, 3), {"padding": (0, 1, 0, 1)}),
    "many pixels": ((2 if ON_CUDA else 3, 2, 20, 33), 3, (3, 3), {"padding": (1, 1, 1, 1)}),
    "small images": ((19, 3, 2, 2), 18, (2, 2), {"padding": (1, 0, 0, 1)}),
    "one pixel each": ((21, 3, 3, 3), 18, (3, 3), {}),
    "one column": ((2, 3, 19, 1), 5, (3, 1), {"padding": (1, 0, 1, 0)}),
    "stride": ((2, 3, 11, 12), 5, (3, 3), {"stride": (2, 3), "padding": (1, 1, 1, 1)}),
    "stride over the kernel": ((2, 3, 11, 12), 5, (1, 2), {"stride": (3, 4)}),
    "dilation": ((2, 3, 11, 12), 5, (3, 2), {"dilation": (2, 3), "padding": (2, 1, 3, 2)}),
    "stride and dilation": ((2, 3, 15, 17), 5, (3, 3), {"stride": (2, 3), "dilation": (4, 2), "padding": (1, 5, 3, 2)}),
    "padding beyond the kernel": ((1, 2, 3, 4), 3, (2, 2), {"padding": (4, 3, 5, 6)}),
    "groups": ((2, 6, 5, 8), 9, (3, 3), {"groups": 3, "padding": (1, 1, 1, 1)}),
    "one channel a group": ((2, 37, 9, 21), 37, (3, 3), {"groups": 37, "padding": (1, 1, 1, 1)}),
    "... wide": ((1, 3, 4, 71), 3, (3, 3), {"groups": 3, "padding": (1, 1, 1, 1)}),
    "... stride": ((2, 18, 9, 70), 18, (3, 3), {"groups": 18, "padding": (1, 1, 1, 1), "stride": (2, 2)}),
    "... stride over the kernel": ((2, 3, 11, 12), 3, (1, 2), {"groups": 3, "stride": (3, 4)}),
    "... dilation": ((1, 5, 17, 19), 5, (5, 6), {"groups": 5, "dilation": (2, 1), "padding": (4, 2, 3, 3)}),
    "... padding beyond the kernel": ((1, 17, 3, 4), 17, (2, 2), {"groups": 17, "padding": (4, 3, 5, 6)}),
    "groups of a pack": ((1, 16, 4, 5), 24, (2, 2), {"groups": 2, "padding": (1, 0, 0, 1), "stride": (2, 1)}),
    "depthwise": ((2, 7, 5, 8), 14, (3, 3), {"groups": 7, "padding": (1, 1, 1, 1), "stride": (1, 2)}),
}


def drawn(randn, dtype, name, bias=True):
    shape, outs, kernel, options = CASES[name]
    x = randn(*shape, dtype=dtype)
    weight = randn(outs, shape[1] // options.get("groups", 1), *kernel, dtype=dtype)
    return (x, weight, randn(outs, dtype=dtype) if bias else None), options


def public(options):
    """Options of the reference as the public function takes them, which pads both sides alike; what is more is in `extra`,
    to add to x."""
    top, left, bottom, right = options.get("padding", (0, 0, 0, 0))
    same = (min(top, bottom), min(left, right))
    extra = ((top - same[0], bottom - same[0]), (left - same[1], right - same[1]))
    return {**options, "padding": same}, extra


def convolve(x, weight, bias, options, channels_last=False):
    """fa.conv2d of (N, C, H, W) arrays in either layout, as (N, O, P, Q)."""
    options, extra = public(options)
    x = np.pad(x, ((0, 0), (0, 0), *extra)) if np.any(extra) else x
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        return fa.conv2d(x, weight, bias, **options, layout="nhwc").transpose(0, 3, 1, 2)
    return fa.conv2d(x, weight, bias, **options)


def gradients(dout, x, weight, bias, options, channels_last=False):
    options, extra = public(options)
    padded = np.pad(x, ((0, 0), (0, 0), *extra)) if np.any(extra) else x
    if channels_last:
        padded, dout = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (padded, dout))
    leaves = [None if a is None else fa.Tensor(a, requires_grad=True) for a in (padded, weight, bias)]
    fa.conv2d(*leaves, **options, layout="nhwc" if channels_last else "nchw").backward(fa.Tensor(dout))
    dx, *others = [None if t is None else t.grad._data for t in leaves]
    dx = dx.transpose(0, 3, 1, 2) if channels_last else dx
    (top, _), (left, _) = extra
    return [dx[:, :, top : top + x.shape[2], left : left + x.shape[3]], *others]


@pytest.mark.smoke
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_oracle(isa, dtype, randn, name, channels_last):
    arguments, options = drawn(randn, dtype, name, bias=not channels_last)
    out = convolve(*arguments, options, channels_last)
    assert_ran("conv_fwd", dtype, isa)
    check(out, reference_conv.conv2d, *arguments, **options)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_gradients_against_the_oracle(isa, dtype, randn, name, channels_last):
    arguments, options = drawn(randn, dtype, name)
    dout = randn(*reference_conv.conv2d(*(a.astype(float) for a in arguments), **options).shape, dtype=dtype)
    found = gradients(dout, *arguments, options, channels_last)
    assert_ran("conv_bwd_weight", dtype, isa)
    check(found, reference_conv.conv2d_backward, dout, *arguments, **options)


@pytest.mark.parametrize("shape", [(0, 2, 4, 5), (2, 0, 4, 5)])
def test_nothing_to_sum(isa, dtype, randn, shape):
    x, weight, bias = randn(*shape, dtype=dtype), randn(3, shape[1], 2, 2, dtype=dtype), randn(3, dtype=dtype)
    out = fa.conv2d(x, weight, bias)
    assert_same_bits(out, np.broadcast_to(bias[:, None, None], (shape[0], 3, 3, 4)))
    dout = randn(*out.shape, dtype=dtype)
    dx, dweight, dbias = gradients(dout, x, weight, bias, {})
    assert (dx.shape, dweight.shape) == (x.shape, weight.shape)
    assert (dweight == 0).all()
    check(dbias, lambda d: reference_conv.total(d, (0, 2, 3)), dout)


def test_no_outputs(isa, dtype, randn):
    x, weight = randn(2, 3, 4, 5, dtype=dtype), randn(0, 3, 2, 2, dtype=dtype)
    assert fa.conv2d(x, weight).shape == (2, 0, 3, 4)
    assert (gradients(np.zeros((2, 0, 3, 4), dtype), x, weight, None, {})[0] == 0).all()


@pytest.mark.parametrize("groups", [1, 18])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_and_out(isa, dtype, randn, layout, groups):
    channels = 5 if groups == 1 else 18
    x, weight = randn(2, channels, 7, 9, dtype=dtype), randn(18, channels // groups, 3, 2, dtype=dtype)
    bias = randn(18, dtype=dtype)
    move, options = LAYOUTS[layout], {"padding": 1, "stride": (1, 2), "groups": groups}
    expected = fa.conv2d(x, weight, bias, **options)
    assert_same_bits(fa.conv2d(move(x), move(weight), move(bias), **options), expected)
    last = fa.conv2d(move(x.transpose(0, 2, 3, 1)), move(weight), bias, **options, layout="nhwc")
    assert_same_bits(last.transpose(0, 3, 1, 2), expected)
    out = move(np.zeros_like(expected))
    assert fa.conv2d(x, weight, bias, **options, out=out) is out
    assert_same_bits(out, expected)
    dout = randn(*expected.shape, dtype=dtype)
    options = {"padding": (1, 1, 1, 1), "stride": (1, 2), "groups": groups}
    assert_same_bits(
        gradients(move(dout), move(x), move(weight), bias, options), gradients(dout, x, weight, bias, options)
    )
    one = np.broadcast_to(dtype.type(1), dout.shape)
    assert_same_bits(
        gradients(one, x, weight, bias, options), gradients(np.ascontiguousarray(one), x, weight, bias, options)
    )


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "name", ["many pixels", "more channels than a chunk", "groups", "stride", "one channel a group", "... stride"]
)
def test_same_bits_for_any_threads(isa, dtype, randn, name, channels_last):
    arguments, options = drawn(randn, dtype, name)
    out = convolve(*arguments, options, channels_last)
    assert_same_for_any_threads(lambda: convolve(*arguments, options, channels_last))
    assert_same_for_any_threads(lambda: gradients(out, *arguments, options, channels_last))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", ["small images", "one channel a group"])
def test_the_bits_of_an_image_are_its_own(isa, dtype, randn, name, channels_last):
    arguments, options = drawn(randn, dtype, name)
    x, weight, bias = arguments
    out = convolve(x, weight, bias, options, channels_last)
    dx = gradients(out, x, weight, bias, options, channels_last)[0]
    assert_same_bits(convolve(x[1:2], weight, bias, options, channels_last), out[1:2])
    assert_same_bits(gradients(out[1:2], x[1:2], weight, bias, options, channels_last)[0], dx[1:2])


def test_what_is_outside_does_not_count(isa, dtype, randn):
    """A NaN or an infinity reaches the outputs that see it, and no other."""
    x, weight = randn(1, 2, 6, 20, dtype=dtype), randn(3, 2, 3, 3, dtype=dtype)
    expected = fa.conv2d(x, weight, padding=1)
    x[0, 1, 2, 17] = np.nan
    out = fa.conv2d(x, weight, padding=1)
    seen = np.zeros((6, 20), bool)
    seen[1:4, 16:19] = True
    assert np.isnan(out.astype(float))[..., seen].all()
    assert_same_bits(out[..., ~seen], expected[..., ~seen])


# One axis, no batch, names of paddings -------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["ncl", "nlc"])
def test_one_axis(isa, dtype, randn, layout):
    x, weight, bias = randn(2, 4, 23, dtype=dtype), randn(6, 2, 3, dtype=dtype), randn(6, dtype=dtype)
    options = {"stride": 2, "padding": 2, "dilation": 3, "groups": 2}
    data = x if layout == "ncl" else x.swapaxes(1, 2)
    leaves = [fa.Tensor(a, requires_grad=True) for a in (data, weight, bias)]
    out = fa.conv1d(*leaves, **options, layout=layout)
    found = out._data if layout == "ncl" else out._data.swapaxes(1, 2)
    wide = [x[:, :, None], weight[:, :, None], bias]
    options = {"stride": (1, 2), "padding": (0, 2, 0, 2), "dilation": (1, 3), "groups": 2}
    check(found[:, :, None], reference_conv.conv2d, *wide, **options)
    dout = randn(*out.shape, dtype=dtype)
    out.backward(fa.Tensor(dout))
    dx, dweight, dbias = (t.grad._data for t in leaves)
    first = (dout, dx) if layout == "ncl" else (dout.swapaxes(1, 2), dx.swapaxes(1, 2))
    check(
        [first[1][:, :, None], dweight[:, :, None], dbias],
        reference_conv.conv2d_backward,
        first[0][:, :, None],
        *wide,
        **options,
    )


def test_without_a_batch(isa, dtype, randn):
    x, weight = randn(3, 6, 7, dtype=dtype), randn(4, 3, 2, 2, dtype=dtype)
    assert_same_bits(fa.conv2d(x, weight), fa.conv2d(x[None], weight)[0])
    assert_same_bits(fa.conv1d(x[:, 0], weight[..., 0]), fa.conv1d(x[None, :, 0], weight[..., 0])[0])
    last = fa.conv2d(x.transpose(1, 2, 0), weight, layout="nhwc")
    assert_same_bits(last.transpose(2, 0, 1), fa.conv2d(x, weight))


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (4, 5)])
def test_padding_by_name(isa, dtype, randn, kernel):
    x, weight = randn(2, 2, 9, 11, dtype=dtype), randn(3, 2, *kernel, dtype=dtype)
    assert_same_bits(fa.conv2d(x, weight, padding="valid"), fa.conv2d(x, weight))
    whole = [2 * (kernel[0] - 1), kernel[1] - 1]
    sides = (whole[0] // 2, whole[1] // 2, whole[0] - whole[0] // 2, whole[1] - whole[1] // 2)
    out = fa.conv2d(x, weight, padding="same", dilation=(2, 1))
    assert out.shape == (2, 3, 9, 11)
    check(out, reference_conv.conv2d, x, weight, padding=sides, dilation=(2, 1))
    row = fa.conv1d(x[:, :, 0], weight[:, :, 0], padding="same")
    assert_same_bits(row, fa.conv2d(x[:, :, :1], weight[:, :, :1], padding="same")[:, :, 0])


# Gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 1, "stride": (2, 1)},
        {"padding": "same", "dilation": 2},
        {"groups": 2, "layout": "nhwc"},
        {"groups": 4, "padding": (0, 1), "stride": 2},
        {"groups": 4, "padding": (0, 1), "stride": 2, "layout": "nhwc"},
    ],
)
def test_gradcheck(isa, leaf, options):
    shape = (2, 4, 5, 4) if "layout" in options else (2, 4, 4, 5)
    inputs = [leaf(*shape), leaf(4, 4 // options.get("groups", 1), 2, 3), leaf(4)]
    assert fa.gradcheck(lambda x, w, b: fa.conv2d(x, w, b, **options), inputs)


@pytest.mark.parametrize("wanted", range(3))
def test_one_gradient_at_a_time(isa, leaf, wanted):
    inputs = [leaf(2, 3, 4, 5), leaf(4, 3, 2, 3), leaf(4)]
    for i, t in enumerate(inputs):
        t.requires_grad = i == wanted
    assert fa.gradcheck(fa.conv2d, inputs)


# Peers ---------------------------------------------------------------------------------------------------------------

OPTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"padding": "same", "dilation": (2, 1)},
    {"padding": (0, 2), "stride": (1, 3), "groups": 2},
    {"groups": 4, "dilation": 2, "padding": 3},
]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("axes", [1, 2])
def test_like_torch(randn, options, name, axes):
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, name)
    options = {k: v[-1] if axes == 1 and isinstance(v, tuple) else v for k, v in options.items()}
    shapes = [(2, 4, 9, 12)[: 2 + axes], (8, 4 // options.get("groups", 1), 3, 2)[: 2 + axes], (8,)]
    arrays = [torch.tensor(randn(*shape)).to(dtype) for shape in shapes]
    ours = [a.detach().clone().requires_grad_() for a in arrays]
    theirs = [a.detach().double().requires_grad_() for a in arrays]
    function = f"conv{axes}d"
    out = getattr(fa, function)(*ours, **options)
    expected = getattr(torch.nn.functional, function)(*theirs, **options)
    assert (out.dtype, out.shape) == (dtype, expected.shape)
    dout = torch.tensor(randn(*out.shape)).to(dtype)
    out.backward(dout)
    expected.backward(dout.double())
    pairs = [(out, expected), *((a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))]
    for a, b in pairs:
        assert a.dtype == dtype
        assert (a.double() - b).abs().max() <= 16 * torch.finfo(dtype).eps * b.abs().max()


# Errors --------------------------------------------------------------------------------------------------------------

X, W = np.zeros((2, 4, 5, 6)), np.zeros((6, 4, 3, 3))
ERRORS = [
    (lambda: fa.conv2d(X, W[0]), ValueError, "conv: weight needs 4 axes (O, C, H, W); weight (4, 3, 3)"),
    (lambda: fa.conv1d(X, W), ValueError, "conv: weight needs 3 axes (O, C, L); weight (6, 4, 3, 3)"),
    (lambda: fa.conv2d(X[0, 0], W), ValueError, "conv: x needs 4 axes, or one fewer without a batch; x (5, 6)"),
    (lambda: fa.conv2d(X, W, groups=0), ValueError, "conv: groups is 0; expected 1 or more"),
    (lambda: fa.conv2d(X, W, groups=4), ValueError, "conv: groups 4 does not divide the output channels; weight (6, 4"),
    (
        lambda: fa.conv2d(X, W, groups=2),
        ValueError,
        "conv: x has 4 channels, and the weight takes 8 in 2 groups; x (N2, C4, H5, W6), weight (6, 4, 3, 3)",
    ),
    (lambda: fa.conv2d(X, W, layout="nhwc"), ValueError, "conv: x has 6 channels, and the weight takes 4 in 1 groups"),
    (lambda: fa.conv2d(X, W, stride=0), ValueError, "conv: stride is 0; expected 1 or more"),
    (lambda: fa.conv2d(X, W, dilation=(1, 0)), ValueError, "conv: dilation is 0; expected 1 or more"),
    (lambda: fa.conv2d(X, W, padding=-1), ValueError, "conv: padding is negative"),
    (lambda: fa.conv2d(X, W[:, :, :0]), ValueError, "conv: weight's kernel is empty; weight (6, 4, 0, 3)"),
    (
        lambda: fa.conv2d(X, W, dilation=3),
        ValueError,
        "conv: the kernel reaches over 7 and the padded input has 5; x (N2, C4, H5, W6), weight (6, 4, 3, 3)",
    ),
    (lambda: fa.conv2d(X, W, np.zeros(4)), ValueError, "conv: bias has shape (4,); expected (6,)"),
    (lambda: fa.conv2d(X, W, out=X), ValueError, "conv: out has shape (2, 4, 5, 6); expected (2, 6, 3, 4)"),
    (lambda: fa.conv2d(X, W.astype(np.float32)), TypeError, "conv: x is float64 and weight is float32"),
    (lambda: fa.conv2d(X.astype(int), W), TypeError, "conv: x has dtype int64; expected float32, float64"),
    (lambda: fa.conv2d([1.0], W), TypeError, "conv: x is a list; expected an array"),
    (lambda: fa.conv2d(X, None), TypeError, "conv: weight is None; expected an array"),
    (lambda: fa.conv2d(X, W, stride=(1, 2, 3)), ValueError, "conv2d: stride is (1, 2, 3); expected an int or two"),
    (lambda: fa.conv1d(X, W, padding=(1, 2)), ValueError, "conv1d: padding is (1, 2); expected an int"),
    (lambda: fa.conv2d(X, W, groups=1.5), ValueError, "conv2d: groups is 1.5; expected an int"),
    (lambda: fa.conv2d(X, W, padding="full"), ValueError, 'conv2d: padding is \'full\'; expected "same", "valid"'),
    (lambda: fa.conv2d(X, W, stride=2, padding="same"), ValueError, 'conv2d: padding is "same" and stride is 2'),
    (lambda: fa.conv2d(X, W, layout="chwn"), ValueError, 'conv2d: layout is \'chwn\'; expected "nchw" or "nhwc"'),
    (lambda: fa.conv1d(X, W, layout="nchw"), ValueError, 'conv1d: layout is \'nchw\'; expected "ncl" or "nlc"'),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    with unchanged(X, W), pytest.raises(error, match=re.escape(text)):
        call()


def test_out_may_not_be_x():
    x = np.zeros((1, 1, 4, 4))
    with pytest.raises(ValueError, match="conv: out overlaps x in memory"):
        fa.conv2d(x, np.zeros((1, 1, 1, 1)), out=x)


def test_explain(isa):
    x, weight = np.ones((2, 3, 6, 7), np.float32), np.ones((5, 3, 2, 2), np.float32)
    (what,) = fa.explain(fa.conv2d, x, weight)
    assert is_kernel(what.kernel, "conv_fwd", "float32", isa)
    assert (what.unsupported, what.flops) == ("", 2 * 2 * 5 * 6 * weight.size)
    assert what.bytes == 4 * (x.size + weight.size + 2 * 5 * 5 * 6)
