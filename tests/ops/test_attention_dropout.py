"""Dropout of attention's weights: the mask is Philox's, whatever tiles, layouts and threads; both passes."""

import numpy as np
import pytest
from isa_fixture import isa_fixture
from on_device import EMULATED

import fastattn as fa
from fastattn.testing import assert_ran, assert_same_bits, assert_same_for_any_threads, check, isas, reference, variants

ATTENTION = fa.scaled_dot_product_attention
isa = isa_fixture([*variants(), *isas()])


@pytest.fixture
def case(randn):
    """case(B, H, T, S, D, Dv, Hkv, dtype): dout, query, key, value."""

    def make(batch, heads, rows, keys, dim, value_dim=None, kv_heads=None, dtype=np.float64):
        kv_heads, value_dim = kv_heads or heads, value_dim or dim
        return (
            randn(batch, heads, rows, value_dim, dtype=dtype),
            randn(batch, heads, rows, dim, dtype=dtype),
            randn(batch, kv_heads, keys, dim, dtype=dtype),
            randn(batch, kv_heads, keys, value_dim, dtype=dtype),
        )

    return make


def gradients(dout, q, k, v, mask=None, p=0.3, *args, seed=7, **options):
    """dquery, dkey, dvalue and, of an additive mask, dattn_mask, as ndarrays."""
    tensors = [fa.Tensor(x, requires_grad=True) for x in (q, k, v)]
    additive = mask is not None and mask.dtype != bool
    m = fa.Tensor(mask, requires_grad=True) if additive else mask
    ATTENTION(*tensors, m, p, *args, seed=seed, **options).backward(fa.Tensor(dout))
    return [t.grad._data for t in tensors] + [m.grad._data if additive else None]


# Around the tiles, rows that begin at a block of four words and between two.
LENGTHS = [(1, 1), (1, 70), (5, 4), (25, 63), (48, 128), (49, 129), (130, 131), (100, 260), (3, 0), (0, 3)]
if EMULATED:
    LENGTHS = [(1, 1), (1, 70), (5, 4), (25, 63), (66, 130), (3, 0), (0, 3)]
HEADS = 2 if EMULATED else 4


@pytest.mark.smoke
@pytest.mark.parametrize(("rows", "keys"), LENGTHS)
@pytest.mark.parametrize("causal", [False, True])
def test_oracle(isa, dtype, case, rows, keys, causal):
    args = case(2, 2, rows, keys, 16, dtype=dtype)
    options = {"is_causal": causal, "dropout_p": 0.3, "seed": 7}
    r = ATTENTION(*args[1:], return_lse=True, **options)
    assert_ran("attention_fwd", dtype, isa)
    check((r.output, None, r.lse), reference.attention, *args[1:], **options)
    assert_same_bits(r.lse, ATTENTION(*args[1:], return_lse=True, is_causal=causal).lse)
    check(gradients(*args, None, 0.3, causal), reference.attention_backward, *args, **options)


@pytest.mark.parametrize("kind", ["bool", "additive"])
@pytest.mark.parametrize("shape", [(2, HEADS, 53, 67), (2, 1, 1, 67), (53, 1), ()])
def test_masks_and_grouped_heads(isa, dtype, case, randn, rng, kind, shape):
    args = case(2, HEADS, 53, 67, 12, 7, HEADS // 2, dtype=dtype)
    keep = np.asarray(rng.random(shape) < 0.7)
    mask = keep if kind == "bool" else np.where(keep, randn(*shape, dtype=dtype), -np.inf).astype(dtype)
    options = {"enable_gqa": True, "window": (40, 9), "dropout_p": 0.4, "seed": 3}
    check(
        ATTENTION(*args[1:], mask, **options),
        lambda *a, **o: reference.attention(*a, **o)[0],
        *args[1:],
        mask,
        **options,
    )
    found = gradients(*args, mask, 0.4, False, None, True, window=(40, 9), seed=3)
    check(found, reference.attention_backward, *args, mask, **options)


@pytest.mark.parametrize("p", [2.0**-24, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("seed", [0, 2**32 + 5, -1])
def test_the_mask_is_that_of_dropout(isa, dtype, p, seed):
    """Of weights that are all 1 / S, by values that pick them out."""
    keys = 33
    q, k, v = np.zeros((2, 3, 20, 4), dtype), np.zeros((2, 3, keys, 4), dtype), np.eye(keys, dtype=dtype)
    out = ATTENTION(q, k, np.broadcast_to(v, (2, 3, keys, keys)), dropout_p=p, seed=seed)
    kept = fa.dropout(np.ones((2, 3, 20, keys), dtype), p, seed=seed)
    assert_same_bits(out != 0, kept != 0)
    np.testing.assert_allclose(out.astype(float) * keys, kept.astype(float), rtol=0.01)


def test_composed_op_by_op(isa, case):
    args = case(2, 3, 40, 51, 8)
    q, k, v = (fa.Tensor(x, requires_grad=True) for x in args[1:])
    weights = fa.softmax(fa.matmul(q, k, transpose_b=True), scale=8**-0.5)
    out = fa.matmul(fa.dropout(weights, 0.3, seed=5), v)
    out.backward(fa.Tensor(args[0]))
    fused = ATTENTION(*args[1:], dropout_p=0.3, seed=5)
    np.testing.assert_allclose(fused, out._data, rtol=1e-12, atol=1e-14)
    for found, t in zip(gradients(*args, seed=5), (q, k, v), strict=False):
        np.testing.assert_allclose(found, t.grad._data, rtol=1e-11, atol=1e-13)


def test_layouts_have_one_mask(isa, dtype, case):
    args = case(2, 4, 30, 41, 8, 6, 2, dtype=dtype)
    expected = gradients(*args, enable_gqa=True)
    swapped = [np.ascontiguousarray(x.swapaxes(1, 2)) for x in args]
    found = gradients(*swapped, enable_gqa=True, layout="bthd")
    assert_same_bits([x.swapaxes(1, 2) for x in found[:3]], expected[:3])
    out = ATTENTION(*swapped[1:], enable_gqa=True, layout="bthd", dropout_p=0.3, seed=1)
    assert_same_bits(out.swapaxes(1, 2), ATTENTION(*args[1:], enable_gqa=True, dropout_p=0.3, seed=1))


@pytest.mark.parametrize("causal", [False, True])
def test_same_bits_for_any_threads(isa, dtype, case, randn, causal):
    rows, keys = (70, 81) if EMULATED else (150, 171)
    batch = 1 if EMULATED else 2
    args = case(batch, HEADS, rows, keys, 24, kv_heads=HEADS // 2, dtype=dtype)
    mask = randn(batch, 1, rows, keys, dtype=dtype)
    options = {"is_causal": causal, "enable_gqa": True, "dropout_p": 0.2, "seed": 4}
    assert_same_for_any_threads(lambda: ATTENTION(*args[1:], mask, **options))
    assert_same_for_any_threads(lambda: gradients(*args, mask, 0.2, causal, None, True))


def test_neighbours_in_the_batch_do_not_matter(isa, dtype, case):
    """The place of a sequence does, its neighbours and the length of the batch do not."""
    args = case(*((4, 1) if EMULATED else (5, 2)), 60, 70, 8, dtype=dtype)
    whole = gradients(*args)
    assert_same_bits([g[:2] for g in whole[:3]], gradients(*(x[:2] for x in args))[:3])
    others = [np.concatenate([x[:1] * 2, x[1:2], x[2:] * 3]) for x in args]
    assert_same_bits([g[1] for g in gradients(*others)[:3]], [g[1] for g in whole[:3]])


@pytest.mark.smoke
@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("causal", [False, True])
def test_gradcheck(isa, leaf, p, causal):
    inputs = [leaf(2, 2, 4, 3), leaf(2, 2, 5, 3), leaf(2, 2, 5, 4), leaf(4, 5)]
    assert fa.gradcheck(lambda *a: ATTENTION(*a, dropout_p=p, is_causal=causal, seed=3), inputs)


def test_gradcheck_with_lse(isa, leaf):
    def run(*a):
        r = ATTENTION(*a, dropout_p=0.4, return_lse=True, seed=3)
        return r.output, r.lse

    assert fa.gradcheck(run, [leaf(1, 2, 4, 3), leaf(1, 2, 5, 3), leaf(1, 2, 5, 4)])


def test_what_nobody_sees_does_not_leak(isa, dtype, case):
    args = case(1, 2, 70, 140, 16, dtype=dtype)
    expected = gradients(*args, None, 0.3, True)
    hidden = [x.copy() for x in args]
    hidden[2][:, :, 70:] = hidden[3][:, :, 70:] = np.nan
    assert_same_bits(gradients(*hidden, None, 0.3, True), expected)


def test_the_global_stream(case):
    args = case(1, 2, 8, 8, 4)[1:]
    state = fa.get_rng_state()
    try:
        fa.manual_seed(5)
        first, second = ATTENTION(*args, dropout_p=0.5), ATTENTION(*args, dropout_p=0.5)
        assert not np.array_equal(first, second)
        assert fa.get_rng_state() == (5, 2)
        assert_same_bits(ATTENTION(*args, dropout_p=0.5, seed=5), first)
        assert fa.get_rng_state() == (5, 2)
        ATTENTION(*args)
        assert fa.get_rng_state() == (5, 2)
    finally:
        fa.set_rng_state(state)


@pytest.mark.parity
def test_torch_tensors(case):
    torch = pytest.importorskip("torch")
    args = case(2, 2, 20, 30, 8)
    q, k, v = (torch.from_numpy(x).requires_grad_() for x in args[1:])
    out = ATTENTION(q, k, v, dropout_p=0.3, seed=7)
    keep = torch.from_numpy(reference.dropout_keep((2, 2, 20, 30), 0.3, 7))
    weights = torch.softmax(q @ k.mT / 8**0.5, -1) * keep / 0.7
    torch.testing.assert_close(out, weights @ v)
    dout = torch.from_numpy(args[0])
    expected = torch.autograd.grad(weights @ v, (q, k, v), dout)
    torch.testing.assert_close(torch.autograd.grad(out, (q, k, v), dout), expected)
