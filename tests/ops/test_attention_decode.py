"""Attention of a few queries: the kernel that reads keys and values once, for all queries of a key head."""

import numpy as np
import pytest
from isa_fixture import isa_fixture
from on_device import EMULATED

import fastattn as fa
from fastattn.testing import assert_ran, assert_same_bits, assert_same_for_any_threads, check, isas, reference, variants

ATTENTION = fa.scaled_dot_product_attention
isa = isa_fixture([*variants(), *isas()])
# T, S, query heads to a key head, D, Dv: around tiles of 64 keys, splits of 512, four rows, vectors of columns. CUDA's
# splits are of 256, and its emulator is slow.
SHAPES = [
    (1, 1, 1, 64, 64),
    (1, 63, 3, 1, 5),
    (1, 513, 1, 128, 16),
    (1, 1100, 8, 17, 33),
    (2, 64, 2, 256, 256),
    (3, 1024, 5, 65, 130),
    (4, 130, 1, 40, 1),
    (4, 600, 7, 12, 20),
]
if EMULATED:
    SHAPES = [(1, 1, 1, 64, 64), (1, 63, 3, 1, 5), (1, 265, 2, 17, 33), (2, 64, 1, 130, 256), (4, 66, 1, 40, 1)]


def draw(randn, shape, dtype, kv_heads=2):
    rows, keys, group, dim, value_dim = shape
    return (
        randn(2, kv_heads * group, rows, dim, dtype=dtype),
        randn(2, kv_heads, keys, dim, dtype=dtype),
        randn(2, kv_heads, keys, value_dim, dtype=dtype),
    )


@pytest.fixture
def calls(randn, rng):
    """calls(shape, dtype): query, key and value, and with them a mask or None and options, one after the other."""

    def make(shape, dtype):
        args = draw(randn, shape, dtype)
        rows, keys = shape[:2]
        keep = rng.random((2, 1, rows, keys)) < 0.7
        added = randn(2 * shape[2], 1, keys, dtype=dtype)
        added[rng.random(added.shape) < 0.2] = -np.inf
        heads = {"alibi_slopes": np.abs(randn(2 * shape[2], dtype=dtype)), "sinks": randn(2 * shape[2], dtype=dtype)}
        for mask, options in (
            (None, {}),
            (keep, {}),
            (added, {"dropout_p": 0.3, "seed": 5}),
            (None, {"is_causal": True, "causal_align": "bottom_right"}),
            (keep, {"window": (70, 0), "causal_align": "bottom_right"}),
            (added, {"softcap": 2.0, "causal_align": "bottom_right", **heads}),
        ):
            yield (*args, mask), {"enable_gqa": True, **options}

    return make


@pytest.mark.smoke
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_oracle(isa, dtype, calls, shape):
    for args, options in calls(shape, dtype):
        r = ATTENTION(*args, return_lse=True, return_weights=True, **options)
        check(tuple(r), reference.attention, *args, **options)
        assert_same_bits(ATTENTION(*args, **options), r.output)
        assert_ran("attention_fwd", dtype, isa)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_bits_for_any_threads(isa, dtype, calls, shape):
    for args, options in calls(shape, dtype):
        assert_same_for_any_threads(lambda args=args, options=options: ATTENTION(*args, **options))


def test_a_key_that_is_hidden_changes_no_bit(isa, dtype, randn):
    """Nor does NaN or inf in it, nor how many there are of them behind the last that is seen."""
    q, k, v = draw(randn, (1, 700, 3, 20, 24), dtype)
    seen = 530
    expected = ATTENTION(q, k[:, :, :seen], v[:, :, :seen], enable_gqa=True)
    mask = np.arange(700) < seen
    assert_same_bits(ATTENTION(q, k, v, mask, enable_gqa=True), expected)
    k[:, :, seen:], v[:, :, seen::2], v[:, :, seen + 1 :: 2] = np.nan, np.inf, np.nan
    assert_same_bits(ATTENTION(q, k, v, mask, enable_gqa=True), expected)
    v[1, 0, 3, 2] = np.nan  # one that is seen goes where it belongs
    found = ATTENTION(q, k, v, mask, enable_gqa=True)
    assert np.isnan(found[1, :3, 0, 2]).all()
    found[1, :3, 0, 2] = expected[1, :3, 0, 2]
    assert_same_bits(found, expected)


def test_nothing_to_see(isa, dtype, randn):
    q, k, v = draw(randn, (2, 600, 2, 16, 16), dtype)
    mask = np.ones((2, 4, 2, 600), bool)
    mask[1, 2, 1] = False
    r = ATTENTION(q, k, v, mask, enable_gqa=True, return_lse=True)
    assert not r.output[1, 2, 1].any()
    assert r.lse[1, 2, 1] == -np.inf
    sinks = randn(4, dtype=dtype)
    only = ATTENTION(q, k, v, mask, enable_gqa=True, return_lse=True, sinks=sinks)
    assert not only.output[1, 2, 1].any()
    assert only.lse[1, 2, 1] == sinks[2]
    rest = np.ones((2, 4, 2), bool)
    rest[1, 2, 1] = False
    assert_same_bits(r.output[rest], ATTENTION(q, k, v, enable_gqa=True)[rest])


def test_large_scores(isa, dtype, randn):
    """Of one key that dominates, and of a tile whose scores are all far below those before it."""
    q, k, v = draw(randn, (1, 600, 1, 8, 8), dtype)
    k[:, :, 70] = 100 * q[:, :, 0]
    found = ATTENTION(q, k, v, return_lse=True)
    check((found.output, None, found.lse), reference.attention, q, k, v)


def test_strides_do_not_change_bits(isa, dtype, randn):
    """Heads interleaved, keys from a larger buffer, columns that are not contiguous."""
    q, k, v = draw(randn, (1, 530, 2, 24, 40), dtype)
    expected = ATTENTION(q, k, v, enable_gqa=True)
    swapped = [np.ascontiguousarray(x.swapaxes(1, 2)) for x in (q, k, v)]
    assert_same_bits(ATTENTION(*swapped, enable_gqa=True, layout="bthd").swapaxes(1, 2), expected)
    buffers = [np.zeros((2, 2, 900, x.shape[-1]), dtype) for x in (k, v)]
    for buffer, x in zip(buffers, (k, v), strict=True):
        buffer[:, :, :530] = x
    assert_same_bits(ATTENTION(q, *(b[:, :, :530] for b in buffers), enable_gqa=True), expected)
    out = np.full((2, 4, 3, 40), 7, dtype)
    ATTENTION(q, k, v, enable_gqa=True, out=out[:, :, 1:2])
    assert_same_bits(out[:, :, 1:2], expected)
    assert (out[:, :, ::2] == 7).all()
    assert_same_bits(ATTENTION(q[:1], k[:1], v[:1], enable_gqa=True), expected[:1])  # whatever else is in the batch
