"""rope: both pairings, partial rotation, tables with and without a batch axis, and the gradient."""

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

# D, R: around vectors, partial, and more pairs than go through the buffers at once (128).
WIDTHS = [(2, 2), (6, 6), (16, 16), (34, 34), (64, 64), (65, 64), (80, 32), (128, 128), (7, 0), (300, 270)]


@pytest.fixture(params=[False, True], ids=["halves", "interleaved"])
def interleaved(request):
    return request.param


def tables(positions, dim, dtype):
    return fa.rope_cos_sin(positions, dim, dtype=accumulator(dtype))


@pytest.mark.smoke
@pytest.mark.parametrize(("width", "dim"), WIDTHS)
def test_oracle(isa, dtype, randn, interleaved, width, dim):
    x = randn(2, 3, 5, width, dtype=dtype)
    cos, sin = tables(5, dim, dtype)
    out = fa.rope(x, cos, sin, interleaved=interleaved)
    assert_ran("rope", dtype, isa)
    check(out, reference.rope, x, cos, sin, interleaved)
    assert_same_bits(out[..., dim:], x[..., dim:])


def test_the_pairings_are_one_arithmetic(isa, dtype, randn):
    x = randn(4, 7, 48, dtype=dtype)
    cos, sin = tables(7, 48, dtype)
    halves = np.concatenate([x[..., ::2], x[..., 1::2]], -1)
    turned = fa.rope(halves, cos, sin)
    again = np.stack([turned[..., :24], turned[..., 24:]], -1).reshape(x.shape)
    assert_same_bits(fa.rope(x, cos, sin, interleaved=True), again)


@pytest.mark.parametrize(
    "table_shape", [(5, 8), (1, 8), (2, 5, 8), (1, 5, 8), (2, 1, 5, 8), (2, 3, 5, 8), (1, 3, 1, 8)]
)
def test_tables_broadcast(isa, dtype, rng, randn, interleaved, table_shape):
    x = randn(2, 3, 5, 20, dtype=dtype)
    angle = rng.uniform(-3, 3, table_shape)
    cos, sin = np.cos(angle).astype(accumulator(dtype)), np.sin(angle).astype(accumulator(dtype))
    full = [t[:, None] if t.ndim == 3 else t for t in (cos, sin)]
    check(fa.rope(x, cos, sin, interleaved=interleaved), reference.rope, x, *full, interleaved)


@pytest.mark.parametrize("shape", [(5, 8), (3, 5, 8), (2, 2, 3, 5, 8)])
def test_ranks(isa, dtype, randn, shape):
    x = randn(*shape, dtype=dtype)
    cos, sin = tables(5, 8, dtype)
    check(fa.rope(x, cos, sin), reference.rope, x, cos, sin)
    if len(shape) == 3:  # (B, T, D): a table of three axes is for its batch
        check(fa.rope(x, cos[None], sin[None]), reference.rope, x, cos, sin)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_and_out(isa, dtype, randn, interleaved, layout):
    x = randn(2, 3, 5, 34, dtype=dtype)
    cos, sin = tables(5, 32, dtype)
    expected = fa.rope(x, cos, sin, interleaved=interleaved)
    move = LAYOUTS[layout]
    assert_same_bits(fa.rope(move(x), move(cos), move(sin), interleaved=interleaved), expected)
    assert_same_bits(
        fa.rope(x.swapaxes(1, 2).copy().swapaxes(1, 2), cos, sin, interleaved=interleaved), expected
    )  # (B, T, H, D) as it is stored
    for other in LAYOUTS.values():
        out = other(np.full(x.shape, 7, dtype))
        assert fa.rope(move(x), cos, sin, interleaved=interleaved, out=out) is out
        assert_same_bits(out, expected)
    again = move(x.copy())
    fa.rope(again, cos, sin, interleaved=interleaved, out=again)
    assert_same_bits(again, expected)


@pytest.mark.parametrize("shape", [(0, 3, 5, 8), (2, 3, 0, 8), (1, 1, 1, 2), (1, 1, 1, 1)])
def test_edges(isa, dtype, randn, interleaved, shape):
    x = randn(*shape, dtype=dtype)
    cos, sin = tables(shape[2], shape[3] // 2 * 2, dtype)
    check(fa.rope(x, cos, sin, interleaved=interleaved), reference.rope, x, cos, sin, interleaved)


def test_nan_and_inf_stay_in_their_pair(isa, dtype, interleaved):
    x = np.ones((4, 8), dtype)
    x[1, 0], x[2, 5] = np.nan, np.inf
    cos, sin = tables(4, 8, dtype)
    out = fa.rope(x, cos, sin, interleaved=interleaved)
    partner = {False: (4, 1), True: (1, 4)}[interleaved]
    bad = np.zeros((4, 8), bool)
    bad[1, [0, partner[0]]] = bad[2, [5, partner[1]]] = True
    assert_same_bits(np.isfinite(out.astype(np.float64)), ~bad)


def test_same_bits_for_any_threads_and_batch(isa, dtype, randn, interleaved):
    x = randn(3, 4, 65, 96, dtype=dtype)
    cos, sin = tables(65, 96, dtype)
    assert_same_for_any_threads(lambda: fa.rope(x, cos, sin, interleaved=interleaved))
    expected = fa.rope(x, cos, sin, interleaved=interleaved)
    assert_same_bits(fa.rope(x[1:2], cos, sin, interleaved=interleaved), expected[1:2])
    # Decoding, a token at a time.
    one = fa.rope(x[:, :, 7:8], cos[7:8], sin[7:8], interleaved=interleaved)
    assert_same_bits(one, expected[:, :, 7:8])


def test_scores_depend_on_the_distance_alone(isa, randn, interleaved):
    q, k = randn(1, 32), randn(1, 32)
    turn = lambda x, t: fa.rope(x, *tables(np.array([t]), 32, np.float64), interleaved=interleaved)  # noqa: E731
    for a, b in ((0, 5), (100, 105), (9995, 10000)):
        np.testing.assert_allclose(turn(q, a) @ turn(k, b).T, turn(q, 0) @ turn(k, 5).T, rtol=1e-10)


# Gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("dim", [6, 4])
def test_gradcheck(isa, leaf, interleaved, dim):
    cos, sin = tables(3, dim, np.float64)
    assert fa.gradcheck(lambda x: fa.rope(x, cos, sin, interleaved=interleaved), leaf(2, 2, 3, 6))


def test_gradient_is_the_inverse(isa, dtype, randn, interleaved):
    x, dout = randn(2, 3, 5, 40, dtype=dtype), randn(2, 3, 5, 40, dtype=dtype)
    cos, sin = tables(np.arange(10).reshape(2, 5), 32, dtype)
    t = fa.Tensor(x, requires_grad=True)
    fa.rope(t, cos, sin, interleaved=interleaved).backward(fa.Tensor(dout))
    assert_ran("rope", dtype, isa)
    check(t.grad._data, reference.rope, dout, cos[:, None], sin[:, None], interleaved, inverse=True)
    expanded = np.broadcast_to(dtype.type(1), x.shape)
    t.grad = None
    fa.rope(t, cos, sin, interleaved=interleaved).backward(fa.Tensor(expanded))
    check(t.grad._data, reference.rope, expanded, cos[:, None], sin[:, None], interleaved, inverse=True)


def test_autocast_keeps_the_dtype_of_x(randn):
    x = fa.Tensor(randn(2, 5, 8, dtype=fa.bfloat16))
    with fa.autocast(dtype=fa.bfloat16):
        assert fa.rope(x, *fa.rope_cos_sin(5, 8)).dtype == fa.bfloat16
        assert fa.rope(x.float(), *fa.rope_cos_sin(5, 8)).dtype == np.float32


# The tables, and peers -----------------------------------------------------------------------------------------------


def test_tables():
    cos, sin = fa.rope_cos_sin(np.array([[0, 1], [2, 100000]]), 8, base=500000.0)
    assert (cos.shape, cos.dtype, sin.dtype) == ((2, 2, 4), np.float32, np.float32)
    frequency = 500000.0 ** -np.array([0, 0.25, 0.5, 0.75])
    np.testing.assert_array_equal(cos[1, 1], np.cos(100000 * frequency).astype(np.float32))
    np.testing.assert_array_equal(sin[1, 0], np.sin(2 * frequency).astype(np.float32))
    assert fa.rope_cos_sin(3, 0)[0].shape == (3, 0)
    with pytest.raises(ValueError, match="rope_cos_sin: dim is 7; expected an even number"):
        fa.rope_cos_sin(3, 7)


@pytest.mark.parity
@pytest.mark.parametrize("batched", [False, True])
def test_like_transformers(randn, batched):
    torch = pytest.importorskip("torch")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    from transformers import LlamaConfig

    config = LlamaConfig(hidden_size=64, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=50)
    positions = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 9, 10, 11]]) if batched else torch.arange(5)[None]
    q, k = (torch.tensor(randn(2, 2, 5, 32, dtype=np.float32), requires_grad=True) for _ in range(2))
    cos, sin = llama.LlamaRotaryEmbedding(config)(q, positions)
    expected = llama.apply_rotary_pos_emb(q, k, cos, sin)
    for x, theirs in zip((q, k), expected, strict=True):
        ours = fa.rope(x, cos[..., :16], sin[..., :16])
        np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-5, atol=1e-6)
        dout = torch.tensor(randn(*x.shape, dtype=np.float32))
        (mine,) = torch.autograd.grad(ours, x, dout)
        (other,) = torch.autograd.grad(theirs, x, dout)
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    tables = fa.rope_cos_sin(positions.numpy(), 32)
    for mine, other in zip(tables, (cos, sin), strict=True):
        np.testing.assert_allclose(mine, other[..., :16], atol=2e-6)


@pytest.mark.parity
def test_interleaved_is_like_gptj(randn):
    torch = pytest.importorskip("torch")
    gptj = pytest.importorskip("transformers.models.gptj.modeling_gptj")
    x = torch.tensor(randn(2, 5, 3, 32, dtype=np.float32))  # (B, T, H, D)
    cos, sin = fa.rope_cos_sin(5, 32)
    expected = gptj.apply_rotary_pos_emb(x, torch.tensor(sin)[None], torch.tensor(cos)[None])
    ours = fa.rope(x.transpose(1, 2), torch.tensor(cos), torch.tensor(sin), interleaved=True).transpose(1, 2)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


X = np.zeros((2, 3, 5, 8))
COS = np.ones((5, 4))
ERRORS = [
    (
        lambda o: fa.rope(X, np.ones((4, 4)), np.ones((4, 4)), out=o),
        ValueError,
        "cos (4, 4) does not broadcast to the rows",
    ),
    (
        lambda o: fa.rope(X, np.ones((3, 5, 4)), np.ones((3, 5, 4)), out=o),
        ValueError,
        "rope: cos (3, 5, 4) does not broadcast to the rows of x (2, 3, 5, 8); expected (T, R/2), or (B, T, R/2) for x "
        "(B, H, T, D)",
    ),
    (lambda o: fa.rope(X, COS, np.ones((5, 3)), out=o), ValueError, "rope: sin has shape (5, 3); expected (5, 4)"),
    (
        lambda o: fa.rope(X, np.ones((5, 8)), np.ones((5, 8)), out=o),
        ValueError,
        "rope: cos (5, 8) turns 16 elements of a row, and x (2, 3, 5, 8) has 8; pass one column a pair",
    ),
    (lambda o: fa.rope(np.zeros(8), COS[0], COS[0]), ValueError, "rope: x (8,) has too few axes; expected (..., T, D)"),
    (lambda o: fa.rope(X, np.ones(()), np.ones(())), ValueError, "rope: cos () has no axes; expected (T, R/2)"),
    (lambda o: fa.rope(X, COS.astype(np.float32), COS, out=o), TypeError, "cos has dtype float32; expected float64"),
    (lambda o: fa.rope(X.astype(np.float16), COS, COS), TypeError, "rope: cos has dtype float64; expected float32"),
    (lambda o: fa.rope(X.astype(int), COS, COS), TypeError, "rope: x has dtype int64; expected float32"),
    (lambda o: fa.rope(X, None, COS), TypeError, "rope: cos is None; expected an array"),
    (lambda o: fa.rope(X[:1], COS, COS, out=o), ValueError, "rope: out has shape (2, 3, 5, 8); expected (1, 3, 5, 8)"),
    (lambda o: fa.rope(o[::-1], COS, COS, out=o), ValueError, "rope: out overlaps x in memory"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full(X.shape, 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_explain(isa):
    (what,) = fa.explain(fa.rope, np.ones((2, 5, 8), np.float32), *fa.rope_cos_sin(5, 8))
    assert (what.kernel, what.unsupported, what.bytes, what.flops) == (f"rope_f32_{isa}", "", 640, 240)
