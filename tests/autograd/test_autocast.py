"""autocast: which dtype an op runs in, and that gradients come back in their parameters' own."""

import re

import numpy as np
import pytest

import fastattn as fa
from fastattn.nn import functional as F
from fastattn.testing import assert_same_bits


@pytest.fixture(params=[fa.bfloat16, fa.float16], ids=str)
def half(request):
    return request.param


@pytest.fixture
def leaf32(randn):
    return lambda *shape: fa.Tensor(randn(*shape, dtype=np.float32), requires_grad=True)


def test_products_and_attention_run_in_the_lower_dtype(half, leaf32):
    a, b, c, q = leaf32(3, 4), leaf32(4, 5), leaf32(5), leaf32(2, 6, 4)
    with fa.autocast(dtype=half):
        out = fa.matmul(a, b, bias=c)
        assert [(a @ b).dtype, F.linear(a, b.T).dtype, out.dtype] == [half] * 3
        assert fa.scaled_dot_product_attention(q, q, q).dtype == half
    expected = fa.matmul(*(x.to(half) for x in (a, b)), bias=c.to(half))
    assert_same_bits(out._data, expected._data)


def test_losses_and_softmax_run_in_float32(half, randn):
    x = fa.Tensor(randn(3, 4, dtype=half))
    with fa.autocast(dtype=half):
        for y in (fa.softmax(x), fa.log_softmax(x), fa.cross_entropy(x, np.zeros(3, int))):
            assert y.dtype == np.float32


def test_mixed_arguments_run_in_the_widest(half, leaf32, randn):
    x = fa.Tensor(randn(3, 4, dtype=half))
    with fa.autocast(dtype=half):
        assert fa.layer_norm(x, 4, leaf32(4), leaf32(4)).dtype == np.float32
        assert fa.gelu(x).dtype == half
        assert fa.gelu(leaf32(3)).dtype == np.float32
    with pytest.raises(TypeError, match="they must have one dtype"):
        fa.layer_norm(x, 4, leaf32(4), leaf32(4))


def test_gradients_have_the_dtype_of_their_leaves(half, leaf32):
    x, w, b = leaf32(8, 4), leaf32(3, 4), leaf32(3)
    with fa.autocast(dtype=half):
        loss = F.cross_entropy(F.linear(x, w, b), np.arange(8) % 3)
    assert loss.dtype == np.float32
    loss.backward()
    assert [t.grad.dtype for t in (x, w, b)] == [np.float32] * 3
    exact = [t.grad._data for t in (x, w, b)]
    for t in (x, w, b):
        t.grad = None
    F.cross_entropy(F.linear(x, w, b), np.arange(8) % 3).backward()
    for t, g in zip((x, w, b), exact, strict=True):
        np.testing.assert_allclose(g, t.grad._data, atol=0.02)
        assert not np.array_equal(g, t.grad._data)


def test_float64_and_integers_stay(half, leaf):
    with fa.autocast(dtype=half):
        assert (leaf(2, 3) @ leaf(3, 2)).dtype == np.float64
        assert fa.embedding(np.zeros(3, int), fa.ones(4, 5)).dtype == np.float32


def test_nesting_and_decorator(half):
    x = fa.ones(2, 2)
    assert not fa.is_autocast_enabled()
    with fa.autocast("cpu", half):
        with fa.autocast(enabled=False):
            assert (x @ x).dtype == np.float32
            assert not fa.is_autocast_enabled()
        assert (x @ x).dtype == half
    with pytest.raises(ZeroDivisionError), fa.autocast(dtype=half):
        1 / 0  # noqa: B018
    assert not fa.is_autocast_enabled()

    @fa.autocast(dtype=half)
    def product():
        return x @ x

    assert product().dtype == half


@pytest.mark.parametrize("dtype", [fa.float32, fa.float64, np.int32])
def test_errors(dtype):
    with pytest.raises(ValueError, match=re.escape(f"autocast: dtype is {np.dtype(dtype)}; expected bfloat16 or")):
        fa.autocast(dtype=dtype)
