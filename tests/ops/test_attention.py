"""Attention forward and its options. Gradients are in test_attention_backward.py, errors in test_attention_errors.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isa_fixture import isa_fixture
from on_device import EMULATED

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    forced_isa,
    isas,
    reference,
    variants,
)

ATTENTION = fa.scaled_dot_product_attention
isa = isa_fixture([*variants(), *isas()])


def attend(q, k, v, *args, **options):
    """(output, None, lse), to be compared with the reference, whose weights are not looked at."""
    r = ATTENTION(q, k, v, *args, return_lse=True, **options)
    return r.output, None, r.lse


# Query blocks are 48 (f32) or 24 (f64) rows, key blocks 64. Pairs, not the product of lengths: each length meets a
# shorter and a longer one.
LENGTHS = [
    (1, 1),
    (1, 65),
    (2, 63),
    (23, 64),
    (24, 129),
    (25, 1),
    (47, 3),
    (48, 127),
    (49, 50),
    (97, 31),
    (0, 5),
    (5, 0),
]
LENGTHS += [(0, 0), (131, 200)]
if EMULATED:
    LENGTHS = [(1, 1), (1, 65), (2, 63), (63, 64), (64, 1), (66, 129), (0, 5), (5, 0), (0, 0)]


@pytest.fixture
def qkv(randn):
    def make(batch, heads, rows, keys, dim, value_dim=None, kv_heads=None, dtype=np.float64):
        kv_heads = heads if kv_heads is None else kv_heads
        return (
            randn(batch, heads, rows, dim, dtype=dtype),
            randn(batch, kv_heads, keys, dim, dtype=dtype),
            randn(batch, kv_heads, keys, dim if value_dim is None else value_dim, dtype=dtype),
        )

    return make


@pytest.mark.smoke
@pytest.mark.parametrize(("rows", "keys"), LENGTHS)
def test_lengths(isa, dtype, qkv, rows, keys):
    q, k, v = qkv(2, 2, rows, keys, 17, dtype=dtype)
    out = attend(q, k, v)
    assert_ran("attention_fwd", dtype, isa)
    check(out, reference.attention, q, k, v)


@pytest.mark.parametrize("dim", [1, 3, 17, 64, 80, 128, 192, 256])
def test_head_dims(isa, dtype, qkv, dim):
    for value_dim in (dim, 5, 256 - dim or 1):
        q, k, v = qkv(1, 2, 30, 41, dim, value_dim, dtype=dtype)
        check(attend(q, k, v, None, 0.0, True), reference.attention, q, k, v, None, True)


@pytest.mark.parametrize("scale", [None, 1.0, 0.3, -0.5, 0.0])
def test_scale(isa, dtype, qkv, scale):
    q, k, v = qkv(1, 1, 20, 30, 8, dtype=dtype)
    check(attend(q, k, v, scale=scale), reference.attention, q, k, v, scale=scale)


@pytest.mark.parametrize("align", ["top_left", "bottom_right"])
@pytest.mark.parametrize(("rows", "keys"), [(70, 70), (50, 140), (140, 50), (1, 90), (90, 1), (48, 64), (49, 65)])
def test_causal(isa, dtype, qkv, align, rows, keys):
    q, k, v = qkv(1, 2, rows, keys, 16, dtype=dtype)
    out = attend(q, k, v, is_causal=True, causal_align=align)
    check(out, reference.attention, q, k, v, is_causal=True, causal_align=align)
    if align == "bottom_right" and rows > keys:  # the first queries see nothing
        assert (out[0][:, :, : rows - keys] == 0).all()
        assert (out[2][:, :, : rows - keys] == -np.inf).all()


@pytest.mark.parametrize("align", ["top_left", "bottom_right"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("window", [(0, 0), (3, 0), (0, 3), (70, -1), (-1, 70), (5, 9), (200, 200), (-1, -1)])
def test_window(isa, dtype, qkv, align, is_causal, window):
    for rows, keys in [(100, 100), (60, 130), (130, 61)]:
        q, k, v = qkv(1, 1, rows, keys, 8, dtype=dtype)
        options = {"is_causal": is_causal, "causal_align": align, "window": window}
        check(attend(q, k, v, **options), reference.attention, q, k, v, **options)


HEADS = 2 if EMULATED else 4  # two for each head of keys
BROADCASTS = [
    (2, HEADS, 53, 67),
    (1, HEADS, 53, 67),
    (2, 1, 53, 67),
    (2, HEADS, 1, 67),
    (2, HEADS, 53, 1),
    (2, 1, 1, 67),
    (HEADS, 1, 1),
    (53, 67),
    (53, 1),
    (67,),
    (),
]
if EMULATED:
    del BROADCASTS[1:3], BROADCASTS[5:7]


@pytest.mark.parametrize("shape", BROADCASTS)
@pytest.mark.parametrize("kind", ["bool", "additive"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_masks(isa, dtype, qkv, randn, rng, shape, kind, is_causal):
    q, k, v = qkv(2, HEADS, 53, 67, 12, kv_heads=HEADS // 2, dtype=dtype)
    keep = np.asarray(rng.random(shape) < 0.7)
    mask = keep if kind == "bool" else np.where(keep, randn(*shape, dtype=dtype), -np.inf).astype(dtype)
    args = (mask, 0.0, is_causal, None, True)
    out = attend(q, k, v, *args)
    check(out, reference.attention, q, k, v, mask, is_causal, None, True)
    for layout in list(LAYOUTS.values())[1 : 2 if EMULATED else None]:
        assert_same_bits(attend(q, k, v, layout(mask), *args[1:]), out)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (4, 1), (6, 3), (0, 2)])
def test_grouped_heads(isa, dtype, qkv, rng, heads, kv_heads):
    q, k, v = qkv(2, heads, 50, 60, 9, 13, kv_heads, dtype=dtype)
    mask = rng.random((2, heads, 50, 60)) < 0.8
    out = attend(q, k, v, mask, enable_gqa=True)
    check(out, reference.attention, q, k, v, mask, enable_gqa=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_change_bits(isa, dtype, qkv, layout):
    q, k, v = qkv(2, 2 if EMULATED else 3, 50, 70, 19, 11, dtype=dtype)
    move = LAYOUTS[layout]
    assert_same_bits(attend(move(q), move(k), move(v)), attend(q, k, v))
    # Layouts that projections give: (B, T, H, D) and (T, B, H, D) seen as (B, H, T, D).
    for order in [(0, 2, 1, 3), (2, 0, 1, 3)]:
        back = np.argsort(order)
        views = [np.ascontiguousarray(x.transpose(order)).transpose(back) for x in (q, k, v)]
        assert_same_bits(attend(*views), attend(q, k, v))


def test_bthd_is_the_same_with_axes_named_otherwise(isa, dtype, qkv, rng):
    q, k, v = qkv(2, 4, 30, 40, 8, kv_heads=2, dtype=dtype)
    mask = rng.random((2, 4, 30, 40)) < 0.8
    out, _, lse = attend(q, k, v, mask, 0.0, True, None, True)
    swapped = [x.swapaxes(1, 2) for x in (q, k, v)]
    again, _, lse_again = attend(*swapped, mask, 0.0, True, None, True, layout="bthd")
    assert again.shape == (2, 30, 4, 8)
    assert_same_bits(again.swapaxes(1, 2), out)
    assert_same_bits(lse_again, lse)


def test_two_and_three_axes(isa, dtype, qkv):
    q, k, v = qkv(1, 3, 20, 30, 7, 5, dtype=dtype)
    out, _, lse = attend(q, k, v, is_causal=True)
    assert_same_bits(attend(q[0], k[0], v[0], is_causal=True), (out[0], None, lse[0]))
    assert_same_bits(attend(q[0, 1], k[0, 1], v[0, 1], is_causal=True), (out[0, 1], None, lse[0, 1]))
    swapped = [x[0].swapaxes(0, 1) for x in (q, k, v)]
    again = attend(*swapped, is_causal=True, layout="bthd")
    assert_same_bits((again[0].swapaxes(0, 1), None, again[2]), (out[0], None, lse[0]))
    assert_same_bits(attend(q[0, 1], k[0, 1], v[0, 1], layout="bthd")[0], attend(q, k, v)[0][0, 1])


def test_out(isa, dtype, qkv):
    q, k, v = qkv(2, 3, 20, 30, 7, 5, dtype=dtype)
    expected = ATTENTION(q, k, v)
    out = np.full_like(expected, np.nan)
    assert ATTENTION(q, k, v, out=out) is out
    assert_same_bits(out, expected)
    joined = np.full((2, 20, 3, 5), np.nan, dtype)  # heads side by side: what an output projection reads
    ATTENTION(q, k, v, out=joined.swapaxes(1, 2))
    assert_same_bits(joined.swapaxes(1, 2), expected)
    assert_same_bits(ATTENTION(q, k, v, return_lse=True, out=out).output, expected)


@pytest.mark.parametrize("magnitude", [1e2, 1e4])
def test_extreme_logits(isa, dtype, qkv, magnitude):
    q, k, v = qkv(1, 2, 60, 80, 8, dtype=dtype)
    large = dtype.type(magnitude) * q
    out = attend(large, k, v, scale=1.0)
    check(out, reference.attention, large, k, v, scale=1.0)
    mask = np.full((60, 80), -magnitude, dtype)
    mask[:, ::3] = magnitude
    check(attend(q, k, v, mask), reference.attention, q, k, v, mask)


# Rows that see nothing, and NaN that nobody sees ---------------------------------------------------------------------


def hidden_by(kind, rows, keys, dtype):
    """(mask or None, is_causal, keys nobody sees, queries that see nothing)."""
    if kind == "causal":  # T < S: keys T and later
        return None, True, np.arange(keys) >= rows, np.zeros(rows, bool)
    keep = np.ones((rows, keys), bool)
    lost_keys, lost_rows = np.zeros(keys, bool), np.zeros(rows, bool)
    lost_keys[[0, 5, keys - 1]] = True
    lost_keys[64:] = True  # a block of keys
    lost_rows[[1, rows - 2]] = True
    keep[:, lost_keys] = False
    keep[lost_rows] = False
    mask = keep if kind == "bool" else np.where(keep, 0.25, -np.inf).astype(dtype)
    return mask, False, lost_keys, lost_rows


@pytest.mark.smoke
@pytest.mark.parametrize("kind", ["causal", "bool", "additive"])
@pytest.mark.parametrize("poison", [np.nan, np.inf] if EMULATED else [np.nan, np.inf, -np.inf])
def test_what_nobody_sees_does_not_leak(isa, dtype, qkv, kind, poison):
    q, k, v = qkv(1, 2, 70, 140, 16, dtype=dtype)
    mask, causal, lost_keys, lost_rows = hidden_by(kind, 70, 140, dtype)
    expected = attend(q, k, v, mask, 0.0, causal)
    q, k, v = q.copy(), k.copy(), v.copy()
    k[:, :, lost_keys] = poison
    v[:, :, lost_keys] = poison
    q[:, :, lost_rows] = poison
    out = attend(q, k, v, mask, 0.0, causal)
    assert_same_bits(out, expected)
    assert np.isfinite(out[0]).all()
    assert (out[0][:, :, lost_rows] == 0).all()
    assert (out[2][:, :, lost_rows] == -np.inf).all()
    assert np.isfinite(out[2][:, :, ~lost_rows]).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_value_reaches_only_who_sees_it(isa, dtype, qkv, poison):
    q, k, v = qkv(1, 1, 100, 100, 16, dtype=dtype)
    expected = ATTENTION(q, k, v, is_causal=True)
    v = v.copy()
    v[0, 0, 40, 3] = poison
    out = ATTENTION(q, k, v, is_causal=True)
    assert_same_bits(out[0, 0, :40], expected[0, 0, :40])
    assert not np.isfinite(out[0, 0, 40:, 3]).any()
    untouched = np.delete(out[0, 0, 40:], 3, -1)
    np.testing.assert_allclose(untouched, np.delete(expected[0, 0, 40:], 3, -1), rtol=1e-5)


def test_nan_in_key_and_query(isa, dtype, qkv):
    q, k, v = qkv(1, 1, 100, 100, 16, dtype=dtype)
    expected = attend(q, k, v, is_causal=True)
    bad = k.copy()
    bad[0, 0, 70, 2] = np.nan
    out = attend(q, bad, v, is_causal=True)
    assert_same_bits(out[0][0, 0, :70], expected[0][0, 0, :70])
    assert np.isnan(out[0][0, 0, 70:]).all()
    assert np.isnan(out[2][0, 0, 70:]).all()
    bad = q.copy()
    bad[0, 0, 7] = np.nan
    out = attend(bad, k, v)
    assert np.isnan(out[0][0, 0]).any(-1).nonzero()[0].tolist() == [7]


def test_all_scores_minus_infinity(isa, dtype, qkv):
    """A row whose scores are all -inf gives 0 and lse -inf, also where no mask says so."""
    q, k, v = qkv(1, 1, 5, 70, 4, dtype=dtype)
    q = np.abs(q)
    q[0, 0, 2] = -np.inf
    out = attend(q, np.abs(k), v)
    assert (out[0][0, 0, 2] == 0).all()
    assert out[2][0, 0, 2] == -np.inf
    assert np.isfinite(np.delete(out[0], 2, 2)).all()


# The bitwise rule ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_same_bits_for_any_threads(isa, dtype, qkv, causal):
    q, k, v = qkv(2, *((2, 70, 130) if EMULATED else (3, 150, 170)), 24, dtype=dtype)
    assert_same_for_any_threads(lambda: attend(q, k, v, is_causal=causal))


def test_a_sequence_does_not_depend_on_the_batch(isa, dtype, qkv, rng):
    rows, keys = (66, 70) if EMULATED else (100, 130)
    q, k, v = qkv(5, 4, rows, keys, 24, kv_heads=2, dtype=dtype)
    mask = rng.random((5, 1, rows, keys)) < 0.7
    out, _, lse = attend(q, k, v, mask, enable_gqa=True)
    one = attend(q[3:4], k[3:4], v[3:4], mask[3:4], enable_gqa=True)
    assert_same_bits(one, (out[3:4], None, lse[3:4]))
    last = attend(q[3, 3], k[3, 1], v[3, 1], mask[3, 0])
    assert_same_bits(last, (out[3, 3], None, lse[3, 3]))


def test_without_lse_the_output_is_the_same(isa, dtype, qkv):
    q, k, v = qkv(1, 2, 60, 70, 8, dtype=dtype)
    assert_same_bits(ATTENTION(q, k, v), ATTENTION(q, k, v, return_lse=True).output)


@settings(deadline=None, derandomize=True, max_examples=20 if EMULATED else 60)
@given(
    st.sampled_from([*variants(), *isas()]),
    st.tuples(st.integers(0, 70), st.integers(0, 140), st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(1, 3)),
    st.booleans(),
    st.sampled_from(["top_left", "bottom_right"]),
    st.sampled_from([None, (3, 5), (20, -1), (-1, 0)]),
    st.sampled_from([None, "bool", "additive"]),
    st.sampled_from(list(LAYOUTS)),
    st.sampled_from(["float32", "float64"]),
)
def test_any_combination(name, size, heads, causal, align, window, kind, layout, dtype):
    rows, keys, dim, value_dim = size
    batch, kv_heads, group = heads
    rng = np.random.default_rng(rows + 128 * keys)
    q = rng.standard_normal((batch, kv_heads * group, rows, dim)).astype(dtype)
    k = rng.standard_normal((batch, kv_heads, keys, dim)).astype(dtype)
    v = rng.standard_normal((batch, kv_heads, keys, value_dim)).astype(dtype)
    keep = rng.random((batch, 1, rows, keys)) < 0.5
    mask = {None: None, "bool": keep, "additive": np.where(keep, 0.5, -np.inf).astype(dtype)}[kind]
    options = {"is_causal": causal, "causal_align": align, "window": window, "enable_gqa": True}
    with forced_isa(name):
        out = attend(*map(LAYOUTS[layout], (q, k, v)), mask, **options)
    check(out, reference.attention, q, k, v, mask, **options)
