"""embedding: rows by index, and the sum of gradients of equal indices in order."""

import re

import numpy as np
import pytest
from on_device import EMULATED, ON_CUDA

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    computed,
    reference,
    unchanged,
)


@pytest.fixture(params=[np.int32, np.int64], ids=["int32", "int64"])
def ids(request):
    return request.param


@pytest.mark.smoke
@pytest.mark.parametrize("width", [0, 1, 3, 8, 17, 64, 257])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (7,), (3, 50), (2, 3, 4)])
def test_oracle(isa, dtype, randn, rng, ids, width, shape):
    weight, index = randn(11, width, dtype=dtype), np.asarray(rng.integers(0, 11, shape)).astype(ids)
    out = fa.embedding(index, weight)
    assert_ran("embedding_fwd", dtype, isa)
    assert_same_bits(out, weight[index])


def test_large(isa, dtype, randn, rng):
    shape = (20, 33) if EMULATED else (70, 33)
    weight, index = randn(301, 65, dtype=dtype), rng.integers(0, 301, shape)
    assert_same_bits(fa.embedding(index, weight), weight[index])
    assert_same_for_any_threads(lambda: fa.embedding(index, weight))


def test_strides(isa, dtype, randn, rng):
    weight, index = randn(11, 33, dtype=dtype), rng.integers(0, 11, (6, 5))
    expected = weight[index]
    for view in (LAYOUTS["padded"](weight), weight[::-1].copy()[::-1]):
        assert_same_bits(fa.embedding(index, view), expected)
    for layout in LAYOUTS.values():
        assert_same_bits(fa.embedding(layout(index), weight), expected)
    assert_same_bits(fa.embedding(index[:, :-1], weight), expected[:, :-1])
    flat = index.ravel()
    for view in (LAYOUTS["strided"](flat), LAYOUTS["reverse"](flat), np.broadcast_to(flat[:1], (9,))):
        assert_same_bits(fa.embedding(view, weight), weight[view])
    assert_same_bits(fa.embedding(flat, np.broadcast_to(weight[2], (11, 33))), np.stack([weight[2]] * 30))


def gradient(dout, index, weight, padding_idx=None):
    t = fa.Tensor(weight, requires_grad=True)
    fa.embedding(index, t, padding_idx).backward(fa.Tensor(dout))
    return t.grad._data


@pytest.mark.smoke
@pytest.mark.parametrize("rows", [1, 7, 300] if EMULATED else [1, 2, 7, 300])
@pytest.mark.parametrize("width", [1, 7, 65, 200] if EMULATED else [1, 7, 16, 65, 200])
@pytest.mark.parametrize("count", [0, 1, 64, 501] if EMULATED else [0, 1, 5, 64, 501])
def test_gradient_is_the_sum_in_order(isa, dtype, randn, rng, ids, rows, width, count):
    weight, index = randn(rows, width, dtype=dtype), rng.integers(0, rows, count).astype(ids)
    dout = randn(count, width, dtype=dtype)
    found = gradient(dout, index, weight)
    assert_ran("embedding_bwd", dtype, isa)
    assert_same_bits(found, reference.embedding_backward(computed(dout), index, computed(weight)).astype(dtype))


@pytest.mark.parametrize("padding_idx", [0, 4, -1, -5])
def test_padding_row_gets_no_gradient(isa, dtype, randn, rng, padding_idx):
    weight, index, dout = randn(5, 7, dtype=dtype), rng.integers(0, 5, (4, 9)), randn(4, 9, 7, dtype=dtype)
    dout[index == padding_idx % 5] = np.nan
    found = gradient(dout, index, weight, padding_idx)
    assert (found[padding_idx] == 0).all()
    check(found, reference.embedding_backward, dout, index, weight, padding_idx)


def test_gradient_of_expanded_and_strided(isa, dtype, randn, rng):
    weight, index = randn(5, 7, dtype=dtype), rng.integers(0, 5, (4, 9))
    one = np.broadcast_to(dtype.type(1), (4, 9, 7))
    assert_same_bits(gradient(one, index, weight), gradient(one.copy(), index, weight))
    dout = randn(4, 9, 7, dtype=dtype)
    for layout in LAYOUTS.values():
        assert_same_bits(gradient(layout(dout), index, weight), gradient(dout, index, weight))


def test_gradient_has_the_same_bits_for_any_threads(isa, dtype, randn, rng):
    n = 800 if EMULATED else 3000
    weight, index, dout = randn(37, 130, dtype=dtype), rng.integers(0, 37, n), randn(n, 130, dtype=dtype)
    assert_same_for_any_threads(lambda: gradient(dout, index, weight))


@pytest.mark.smoke
def test_gradcheck(isa, leaf, rng):
    index = rng.integers(0, 5, (3, 4))
    assert fa.gradcheck(lambda w: fa.embedding(index, w), leaf(5, 3))
    assert fa.gradcheck(lambda w: fa.embedding(index.ravel()[:0], w), leaf(5, 3))


W = np.zeros((5, 3))
I = np.zeros(4, int)  # noqa: E741
ERRORS = [
    (lambda: fa.embedding(I, np.zeros(3)), ValueError, "embedding: weight needs two axes (V, D); weight (3,)"),
    (lambda: fa.embedding(I, np.zeros((2, 5, 3))), ValueError, "weight needs two axes (V, D); weight (2, 5, 3)"),
    (lambda: fa.embedding(I, np.zeros((3, 5)).T), ValueError, "weight is not contiguous along its last axis"),
    (lambda: fa.embedding(np.zeros((1,) * 8, int), W), ValueError, "axes"),
    (lambda: fa.embedding(I * 0.0, W), TypeError, "embedding: index has dtype float64; expected int32 or int64"),
    (lambda: fa.embedding(I > 0, W), TypeError, "embedding: index has dtype bool; expected int32 or int64"),
    (
        lambda: fa.embedding(I, I[:, None]),
        TypeError,
        "embedding: weight has dtype int64; expected float32, float64, bfloat16 or float16",
    ),
    (lambda: fa.embedding([0], W), TypeError, "embedding: index is a list; expected an array"),
    (lambda: fa.embedding(None, W), TypeError, "embedding: index is None; expected an array"),
    (lambda: fa.embedding(I, None), TypeError, "embedding: weight is None; expected an array"),
    (lambda: fa.embedding(I, W, 5), ValueError, "embedding: padding_idx 5 is outside the 5 rows of weight"),
    (lambda: fa.embedding(I, W, -6), ValueError, "embedding: padding_idx -6 is outside the 5 rows of weight"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    with unchanged(W, I), pytest.raises(error, match=re.escape(text)):
        call()


@pytest.mark.skipif(ON_CUDA, reason="a CUDA kernel gives NaN for an id out of range")
@pytest.mark.parametrize("bad", [5, -1, 2**31 - 1])
def test_an_index_out_of_range_changes_nothing(isa, dtype, ids, bad):
    from fastattn import _C

    weight, index = np.zeros((5, 3), dtype), np.zeros(30000, ids)
    index[20001] = bad
    out, dweight, dout = np.full((30000, 3), 7, dtype), np.full((5, 3), 7, dtype), np.zeros((30000, 3), dtype)
    with pytest.raises(IndexError, match=f"embedding: index.*{bad}"):
        fa.embedding(index, weight)
    with unchanged(out, dweight):
        with pytest.raises(IndexError, match="embedding: index"):
            _C.embedding_fwd(weight, index, out)
        with pytest.raises(IndexError, match="embedding: index"):
            _C.embedding_bwd(index, dout, dweight, -1)


def test_an_empty_table(isa):
    assert fa.embedding(np.zeros(0, int), np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(IndexError, match="embedding: index"):
        fa.embedding(np.zeros(1, int), np.zeros((0, 3)))


def test_explain(isa):
    (what,) = fa.explain(fa.embedding, np.zeros(4, int), np.ones((5, 8), np.float32))
    assert (what.kernel, what.unsupported) == (f"embedding_fwd_f32_{isa}", "")
    assert what.bytes > 0


def test_the_table_may_change_before_the_backward() -> None:
    weight = fa.Tensor(np.ones((3, 2)), requires_grad=True)
    out = fa.embedding(np.array([2, 0, 2]), weight)
    with fa.no_grad():
        weight.add_(1.0)
    out.sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), [[1, 1], [0, 0], [2, 2]])
