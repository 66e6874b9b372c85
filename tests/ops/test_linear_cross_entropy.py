"""linear_cross_entropy: the loss of a dense layer's logits and its gradients, by chunks of rows."""

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
    reference_losses,
    unchanged,
)

REDUCTIONS = ["none", "sum", "mean"]
CHUNK = 32 << 20  # bytes of a chunk's logits and rows


def not_on_cuda(reason):
    return pytest.mark.skipif(ON_CUDA, reason=f"on CUDA {reason}")


@pytest.fixture(params=REDUCTIONS)
def reduction(request):
    return request.param


@pytest.fixture
def case(randn, rng):
    """case(N, D, V, dtype): input, weight, target, bias."""

    def make(rows, width, classes, dtype=np.float64):
        x, weight = randn(rows, width, dtype=dtype), randn(classes, width, dtype=dtype)
        return x, weight, rng.integers(0, classes, rows), randn(classes, dtype=dtype)

    return make


def gradients(dout, x, weight, target, bias=None, **options):
    """The loss, then dinput, dweight and dbias, as ndarrays."""
    leaves = [None if a is None else fa.Tensor(a, requires_grad=True) for a in (x, weight, bias)]
    loss = fa.linear_cross_entropy(leaves[0], leaves[1], target, leaves[2], **options)
    loss.backward(None if dout is None else fa.Tensor(dout))
    return [loss._data, *(None if t is None else t.grad._data for t in leaves)]


def composed(dout, x, weight, target, bias=None, **options):
    """The same by the ops that it is made of."""
    leaves = [None if a is None else fa.Tensor(a, requires_grad=True) for a in (x, weight, bias)]
    loss = fa.cross_entropy(fa.matmul(leaves[0], leaves[1], transpose_b=True, bias=leaves[2]), target, **options)
    loss.backward(None if dout is None else fa.Tensor(dout))
    return [loss._data, *(None if t is None else t.grad._data for t in leaves)]


SHAPES = [(13, 8, 33), (1, 1, 1), (1, 5, 7), (7, 1, 17), (65, 17, 9), (37, 16, 257), (200, 3, 2)]


@pytest.mark.smoke
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("biased", [False, True])
def test_oracle(isa, dtype, case, randn, reduction, shape, biased):
    x, weight, target, bias = case(*shape, dtype)
    args = (x, weight, target, bias if biased else None)
    options = {"reduction": reduction, "label_smoothing": 0.1 if biased else 0.0}
    found = fa.linear_cross_entropy(*args, **options)
    assert_ran("linear_cross_entropy", dtype, isa)
    check(found, reference_losses.linear_cross_entropy, *args, **options)
    dout = randn(*found.shape, dtype=found.dtype)
    loss, *grads = gradients(dout, *args, **options)
    assert_same_bits(loss, found)
    check(grads, reference_losses.linear_cross_entropy_backward, dout, *args, **options)


@pytest.mark.parametrize("ignore_index", [-100, 3])
def test_ignored_rows_are_not_read(isa, dtype, case, randn, reduction, ignore_index):
    x, weight, target, bias = case(50, 8, 11, dtype)
    target[target == ignore_index] = 4
    target[::3] = ignore_index
    clean = x.copy()
    x[::3], clean[::3] = np.nan, 0
    options = {"reduction": reduction, "ignore_index": ignore_index}
    dout = randn(*(() if reduction != "none" else (50,)), dtype=accumulator(dtype))
    loss, *grads = gradients(dout, x, weight, target, bias, **options)
    check(loss, reference_losses.linear_cross_entropy, clean, weight, target, bias, **options)
    check(grads, reference_losses.linear_cross_entropy_backward, dout, clean, weight, target, bias, **options)
    assert (grads[0][::3] == 0).all()


def test_nothing_counts(isa, dtype, case):
    x, weight, target, bias = case(4, 3, 5, dtype)
    target[:] = -100
    loss, *grads = gradients(None, x, weight, target, bias)
    assert np.isnan(loss)
    assert all((g == 0).all() for g in grads)
    assert fa.linear_cross_entropy(x, weight, target, reduction="sum") == 0
    assert np.isnan(fa.linear_cross_entropy(x[:0], weight, target[:0]))
    loss, *grads = gradients(None, x[:0], weight, target[:0], bias, reduction="sum")
    assert loss == 0
    assert [g.shape for g in grads] == [(0, 3), (5, 3), (5,)]
    assert all((g == 0).all() for g in grads)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 7), (2, 1, 3, 7)])
def test_any_number_of_axes(isa, dtype, randn, rng, reduction, shape):
    x, weight = randn(*shape, dtype=dtype), randn(9, 7, dtype=dtype)
    target = np.asarray(rng.integers(0, 9, shape[:-1]))
    found = fa.linear_cross_entropy(x, weight, target, reduction=reduction)
    flat = fa.linear_cross_entropy(x.reshape(-1, 7), weight, target.reshape(-1), reduction=reduction)
    assert_same_bits(found, flat.reshape(found.shape))
    t = fa.Tensor(x, requires_grad=True)
    fa.linear_cross_entropy(t, weight, target, reduction=reduction).sum().backward()
    assert t.grad.shape == shape


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_change_bits(isa, dtype, case, randn, reduction, layout):
    args = case(30, 12, 33, dtype)
    dout = randn(*(() if reduction != "none" else (30,)), dtype=accumulator(dtype))
    expected = gradients(dout, *args, reduction=reduction)
    assert_same_bits(gradients(LAYOUTS[layout](dout), *map(LAYOUTS[layout], args), reduction=reduction), expected)
    x = args[0].reshape(5, 6, 12)
    swapped = np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)  # rows of two strides
    target = args[2].reshape(5, 6)
    found = fa.linear_cross_entropy(swapped, args[1], target, args[3], reduction=reduction)
    assert_same_bits(found.reshape(expected[0].shape), expected[0])


@not_on_cuda("a row is summed by other threads than cross_entropy's")
def test_one_chunk_is_the_composition(isa, case, reduction):
    """To the bit, in float32 and float64."""
    for dtype in (np.float32, np.float64):
        args = case(70, 24, 40, dtype)
        if reduction == "none":
            dout = np.linspace(0.5, 2, 70).astype(dtype)
            assert_same_bits(
                gradients(dout, *args, reduction=reduction)[1:3], composed(dout, *args, reduction=reduction)[1:3]
            )
        else:
            found, expected = gradients(None, *args, reduction=reduction), composed(None, *args, reduction=reduction)
            assert_same_bits(found[0], expected[0])
            for f, e in zip(found[1:], expected[1:], strict=True):
                np.testing.assert_allclose(f, e, rtol=0, atol=4 * np.finfo(dtype).eps * np.abs(e).max())


@not_on_cuda("a chunk is 256 MB, hours of the emulator; tests/emulator has small ones")
@pytest.mark.parametrize("ignored", [0, 40])
def test_several_chunks(dtype, case, randn, reduction, ignored):
    """Vocabularies of which a chunk holds a few rows, the last of a different number."""
    rows, classes = 57, CHUNK // 4 // 20
    x, weight, target, bias = case(rows, 4, classes, dtype)
    target[:ignored] = -100
    dout = randn(*(() if reduction != "none" else (rows,)), dtype=accumulator(dtype))
    loss, *grads = gradients(dout, x, weight, target, bias, reduction=reduction)
    wide = [a.astype(np.float64) for a in (x, weight, bias)]
    expected = composed(dout.astype(np.float64), wide[0], wide[1], target, wide[2], reduction=reduction)
    eps = {"float64": 2**-52, "float32": 2**-23, "bfloat16": 2**-7, "float16": 2**-10}[dtype.name]
    for f, e in zip([loss, *grads], expected, strict=True):
        # dlogits are rounded to the storage dtype; against that the rest is small.
        np.testing.assert_allclose(f.astype(np.float64), e, rtol=0, atol=32 * eps * np.abs(e).max())


def test_same_bits_for_any_threads(isa, dtype, case, randn, reduction):
    args = case(101, 20, 70, dtype)
    dout = randn(*(() if reduction != "none" else (101,)), dtype=accumulator(dtype))
    assert_same_for_any_threads(lambda: gradients(dout, *args, reduction=reduction))


@not_on_cuda("a chunk is 256 MB, hours of the emulator; there are no threads")
def test_chunks_have_the_same_bits_for_any_threads(dtype, case):
    args = case(45, 3, CHUNK // 4 // 20, dtype)
    args[2][5:9] = -100
    assert_same_for_any_threads(lambda: gradients(None, *args))


@pytest.mark.smoke
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradcheck(isa, leaf, rng, reduction, smoothing):
    target = rng.integers(0, 5, 4)
    target[1] = -100
    options = {"reduction": reduction, "label_smoothing": smoothing}
    assert fa.gradcheck(
        lambda x, w, b: fa.linear_cross_entropy(x, w, target, b, **options), [leaf(4, 3), leaf(5, 3), leaf(5)]
    )


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_what_is_wanted(isa, case, reduction, wanted):
    x, weight, target, bias = case(20, 6, 9)
    expected = gradients(None if reduction != "none" else np.ones(20), x, weight, target, bias, reduction=reduction)
    leaves = [fa.Tensor(a, requires_grad=w) for a, w in zip((x, weight, bias), wanted, strict=True)]
    fa.linear_cross_entropy(leaves[0], leaves[1], target, leaves[2], reduction=reduction).sum().backward()
    for t, e, w in zip(leaves, expected[1:], wanted, strict=True):
        assert (t.grad is not None) == w
        if w:
            assert_same_bits(t.grad._data, e)


def test_walking_twice_adds_twice(isa, case):
    x, weight, target, _ = case(20, 6, 9)
    w = fa.Tensor(weight, requires_grad=True)
    loss = fa.linear_cross_entropy(x, w, target)
    loss.backward(retain_graph=True)
    once = w.grad._data.copy()
    loss.backward()
    assert_same_bits(w.grad._data, 2 * once)


@not_on_cuda("the composition in float64 has no kernel, and 3000 rows take the emulator a minute")
def test_small_gradients_of_float16_survive_a_scaled_loss(isa, randn):
    """A mean over many rows has gradients below float16's smallest number; the scale of the loss lifts them."""
    x, weight = randn(3000, 8, dtype=np.float16), (1e-3 * randn(50, 8)).astype(np.float16)
    target = np.arange(3000) % 50
    scale = np.array(2**15, np.float32)
    _, dx, dw, _ = gradients(scale, x, weight, target)
    wide = composed(scale.astype(np.float64), x.astype(np.float64), weight.astype(np.float64), target)
    np.testing.assert_allclose(dw.astype(np.float64), wide[2], rtol=0, atol=2e-3 * np.abs(wide[2]).max())
    np.testing.assert_allclose(dx.astype(np.float64), wide[1], rtol=0, atol=4e-3 * np.abs(wide[1]).max())


@not_on_cuda("a chunk is 256 MB, and the emulator takes hours for it")
def test_memory():
    """No logits: what is allocated beyond the arrays and their gradients stays near a chunk."""
    import tracemalloc  # counts NumPy's small arrays; the large ones come from our allocator

    from fastattn import _C

    x, weight = np.zeros((1024, 16), np.float32), np.zeros((50257, 16), np.float32)
    target = np.zeros(1024, np.int64)
    fa.empty_cache()
    tracemalloc.start()
    (what,) = fa.explain(fa.linear_cross_entropy, x, weight, target)
    assert what.workspace < 40e6 < 1024 * 50257 * 4
    before = _C.live_bytes()
    gradients(None, x, weight, target)
    assert _C.live_bytes() - before < 1e6
    assert _C.cache_bytes() < 40e6 + 3 * weight.nbytes
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()
    fa.empty_cache()


@pytest.mark.parity
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_is_torchs_composition(case, reduction, smoothing):
    torch = pytest.importorskip("torch")
    x, weight, target, bias = case(40, 6, 13)
    target[::7] = -100
    options = {"reduction": reduction, "label_smoothing": smoothing}
    ours = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, weight, bias)]
    theirs = [torch.from_numpy(a.copy()).requires_grad_() for a in (x, weight, bias)]
    ids = torch.from_numpy(target)
    found = fa.linear_cross_entropy(ours[0], ours[1], ids, ours[2], **options)
    expected = torch.nn.functional.cross_entropy(torch.nn.functional.linear(*theirs), ids, **options)
    torch.testing.assert_close(found, expected)
    (3 * found).sum().backward()
    (3 * expected).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


# Errors --------------------------------------------------------------------------------------------------------------

X, W, Y = np.zeros((3, 4)), np.zeros((5, 4)), np.array([0, 1, 2])
CALL = fa.linear_cross_entropy
ERRORS = [
    (lambda: CALL(X, W.T, Y), ValueError, "expected input (..., D) and weight (V, D); input (3, 4), weight (4, 5)"),
    (lambda: CALL(X, W[0], Y), ValueError, "expected input (..., D) and weight (V, D); input (3, 4), weight (4,)"),
    (
        lambda: CALL(X, W, Y[:2]),
        ValueError,
        "target needs the shape of input without its last axis; input (3, 4), target (2,)",
    ),
    (lambda: CALL(X, W, Y, np.zeros(4)), ValueError, "bias has shape (4,); expected (5,)"),
    (lambda: CALL(X, W.astype(np.float32), Y), TypeError, "input is float64 and weight is float32"),
    (lambda: CALL(X, W, Y.astype(float)), TypeError, "target has dtype float64; expected int32 or int64"),
    (lambda: CALL(X.astype(int), W, Y), TypeError, "input has dtype int64; expected float32, float64"),
    (lambda: CALL(X, W, Y, reduction="avg"), ValueError, "reduction is 'avg'; expected"),
    (lambda: CALL(X, W, Y, label_smoothing=-0.1), ValueError, "label_smoothing is -0.1; expected 0 to 1"),
    (lambda: CALL(X, None, Y), TypeError, "weight is None; expected an array"),
    (lambda: CALL([[1.0]], W, Y), TypeError, "input is a list; expected an array"),
    (lambda: CALL(X, W, Y + 3), IndexError, "target 5 at position 2 is outside 0..4"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:50] for e in ERRORS])
def test_errors(call, error, text):
    with unchanged(X, W, Y), pytest.raises(error, match=re.escape("linear_cross_entropy: " + text)):
        call()


@not_on_cuda("such a row has a loss of NaN: the host does not see targets")
@pytest.mark.parametrize("bad", [5, -1, 2**31, -(2**40)])
def test_a_target_out_of_range_changes_nothing(isa, dtype, bad):
    from fastattn import _C

    x, weight, target = np.zeros((30, 4), dtype), np.zeros((5, 4), dtype), np.zeros(30, np.int64)
    target[17] = bad
    outs = [np.full(shape, 7, accumulator(dtype)) for shape in ((), (30, 4), (5, 4), (5,))]
    with unchanged(*outs), pytest.raises(IndexError, match=f"target {bad} at position 17"):
        _C.linear_cross_entropy(x, weight, target, None, None, *outs, -100, 2, 0.0)


def test_explain(isa):
    (what,) = fa.explain(
        fa.linear_cross_entropy, np.ones((4, 8), np.float32), np.ones((9, 8), np.float32), np.zeros(4, int)
    )
    assert (what.kernel, what.flops) == (f"linear_cross_entropy_f32_{isa}", 2 * 4 * 8 * 9)
