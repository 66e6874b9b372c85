"""Attention's gradients: finite differences for every argument and option, the oracle for both dtypes."""

import numpy as np
import pytest
from isa_fixture import isa_fixture
from on_device import EMULATED

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    accumulator,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    isas,
    reference,
    variants,
)

ATTENTION = fa.scaled_dot_product_attention


isa = isa_fixture([*variants(), *isas()])


def gradients(dout, q, k, v, mask=None, *args, dlse=None, **options):
    """dquery, dkey, dvalue and, of an additive mask, dattn_mask, as ndarrays."""
    tensors = [fa.Tensor(x, requires_grad=True) for x in (q, k, v)]
    additive = mask is not None and mask.dtype != bool
    m = fa.Tensor(mask, requires_grad=True) if additive else mask
    if dlse is None:
        ATTENTION(*tensors, m, *args, **options).backward(fa.Tensor(dout))
    else:
        r = ATTENTION(*tensors, m, *args, return_lse=True, **options)
        ((r.output * fa.Tensor(dout)).sum() + (r.lse * fa.Tensor(dlse)).sum()).backward()
    return [t.grad._data for t in tensors] + [m.grad._data if additive else None]


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


# Finite differences --------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("align", ["top_left", "bottom_right"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("rows", "keys"), [(4, 4), (3, 6), (6, 3)])
def test_gradcheck(isa, leaf, align, causal, rows, keys):
    q, k, v = leaf(1, 2, rows, 3), leaf(1, 2, keys, 3), leaf(1, 2, keys, 4)
    assert fa.gradcheck(lambda *a: ATTENTION(*a, is_causal=causal, causal_align=align), [q, k, v])


@pytest.mark.parametrize("options", [{"scale": 0.3}, {"scale": -1.0}, {"window": (1, 0)}, {"window": (0, 2)}])
def test_gradcheck_options(leaf, options):
    assert fa.gradcheck(lambda *a: ATTENTION(*a, **options), [leaf(1, 2, 4, 3), leaf(1, 2, 5, 3), leaf(1, 2, 5, 3)])


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 1)])
def test_gradcheck_grouped_heads(isa, leaf, heads, kv_heads):
    inputs = [leaf(2, heads, 3, 2), leaf(2, kv_heads, 4, 2), leaf(2, kv_heads, 4, 3), leaf(2, heads, 3, 4)]
    assert fa.gradcheck(lambda *a: ATTENTION(*a, enable_gqa=True), inputs)


MASK_SHAPES = [
    (2, 3, 4, 5),
    (1, 3, 4, 5),
    (2, 1, 4, 5),
    (2, 3, 1, 5),
    (2, 3, 4, 1),
    (2, 1, 1, 5),
    (1, 3, 1, 1),
    (2, 1, 4, 1),
]
MASK_SHAPES += [(3, 4, 5), (3, 1, 1), (4, 5), (1, 5), (4, 1), (5,), (1,), ()]


@pytest.mark.parametrize("shape", MASK_SHAPES)
@pytest.mark.parametrize("causal", [False, True])
def test_gradcheck_of_an_additive_mask(isa, leaf, shape, causal):
    inputs = [leaf(2, 3, 4, 2), leaf(2, 3, 5, 2), leaf(2, 3, 5, 2), leaf(*shape)]
    for t in inputs[:3]:
        t.requires_grad = False
    assert fa.gradcheck(lambda *a: ATTENTION(*a, is_causal=causal), inputs)


@pytest.mark.parametrize("wanted", range(4))
def test_gradcheck_one_at_a_time(leaf, wanted):
    inputs = [leaf(1, 2, 3, 2), leaf(1, 2, 4, 2), leaf(1, 2, 4, 2), leaf(3, 4)]
    for i, t in enumerate(inputs):
        t.requires_grad = i == wanted
    assert fa.gradcheck(ATTENTION, inputs)


def test_gradcheck_of_a_boolean_mask(isa, leaf, rng):
    keep = rng.random((1, 2, 4, 5)) < 0.6
    keep[0, 0, 1] = False
    assert fa.gradcheck(lambda *a: ATTENTION(*a, keep), [leaf(1, 2, 4, 3), leaf(1, 2, 5, 3), leaf(1, 2, 5, 3)])


@pytest.mark.parametrize("causal", [False, True])
def test_gradcheck_of_lse(isa, leaf, causal):
    def run(*a):
        r = ATTENTION(*a, is_causal=causal, return_lse=True)
        return r.output, r.lse

    inputs = [leaf(1, 2, 4, 3), leaf(1, 2, 5, 3), leaf(1, 2, 5, 3), leaf(4, 5)]
    assert fa.gradcheck(run, inputs)
    assert fa.gradcheck(lambda *a: run(*a)[1], inputs)


@pytest.mark.parametrize("layout", ["bhtd", "bthd"])
@pytest.mark.parametrize("ndim", [2, 3, 4])
def test_gradcheck_layouts(leaf, layout, ndim):
    if ndim == 2:
        shapes = (4, 3), (5, 3), (5, 2)
    else:
        head = (2, 3)[ndim - 3 :] if layout == "bhtd" else (2,)[ndim - 3 :] if ndim == 3 else (2,)
        shapes = tuple(
            (*head, n, d) if layout == "bhtd" else (*((2,) if ndim == 4 else ()), n, 3, d)
            for n, d in ((4, 3), (5, 3), (5, 2))
        )
    assert fa.gradcheck(lambda *a: ATTENTION(*a, layout=layout), [leaf(*s) for s in shapes])


# The oracle ----------------------------------------------------------------------------------------------------------

# Around the blocks of 24, 48 and 64 and past two of them.
LENGTHS = [(1, 1), (1, 70), (70, 1), (24, 64), (25, 63), (47, 65), (48, 129), (49, 49), (130, 131), (3, 0), (0, 3)]
if EMULATED:
    LENGTHS = [(1, 1), (1, 70), (70, 1), (25, 64), (66, 130), (3, 0), (0, 3)]
HEADS = 1 if EMULATED else 2


@pytest.mark.smoke
@pytest.mark.parametrize(("rows", "keys"), LENGTHS)
@pytest.mark.parametrize("causal", [False, True])
def test_oracle(isa, dtype, case, rows, keys, causal):
    args = case(2, 2, rows, keys, 16, dtype=dtype)
    found = gradients(*args, is_causal=causal)
    assert_ran("attention_bwd", dtype, isa)
    check(found, reference.attention_backward, *args, is_causal=causal)


@pytest.mark.parametrize("dim", [1, 3, 17, 64, 80, 128, 192, 256])
def test_head_dims(isa, dtype, case, dim):
    for value_dim in (dim, 5):
        args = case(1, 1, 30, 41, dim, value_dim, dtype=dtype)
        check(gradients(*args), reference.attention_backward, *args)


MASKS = [(2, 2 * HEADS, 53, 67), (1, 2 * HEADS, 1, 67), (2, 1, 53, 1), (67,), *([] if EMULATED else [(53, 67), ()])]


@pytest.mark.parametrize("shape", MASKS)
@pytest.mark.parametrize("kind", ["bool", "additive"])
@pytest.mark.parametrize("causal", [False, True])
def test_masks(isa, dtype, case, randn, rng, shape, kind, causal):
    args = case(2, 2 * HEADS, 53, 67, 12, 7, HEADS, dtype=dtype)
    keep = np.asarray(rng.random(shape) < 0.7)
    mask = keep if kind == "bool" else np.where(keep, randn(*shape, dtype=dtype), -np.inf).astype(dtype)
    found = gradients(*args, mask, 0.0, causal, None, True)
    check(found, reference.attention_backward, *args, mask, causal, None, True)


@pytest.mark.parametrize("window", [(0, 0), (3, 0), (70, -1), (5, 9)])
@pytest.mark.parametrize("align", ["top_left", "bottom_right"])
def test_window(isa, dtype, case, window, align):
    for rows, keys in [(60, 130), (130, 60)]:
        args = case(1, 1, rows, keys, 8, dtype=dtype)
        options = {"window": window, "causal_align": align}
        check(gradients(*args, **options), reference.attention_backward, *args, **options)


def test_lse_gradient(isa, dtype, case, randn):
    args, dlse = case(1, 2, 60, 70, 8, dtype=dtype), randn(1, 2, 60, dtype=dtype)
    check(gradients(*args, dlse=dlse), reference.attention_backward, *args, dlse=dlse)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_change_bits(isa, dtype, case, layout):
    args = case(2, HEADS, 50, 70, 19, 11, dtype=dtype)
    assert_same_bits(gradients(*map(LAYOUTS[layout], args)), gradients(*args))


def test_bthd(isa, dtype, case):
    args = case(2, 4, 30, 40, 8, 6, 2, dtype=dtype)
    expected = gradients(*args, enable_gqa=True)
    swapped = [np.ascontiguousarray(x.swapaxes(1, 2)) for x in args]
    found = gradients(*swapped, enable_gqa=True, layout="bthd")
    assert_same_bits([x.swapaxes(1, 2) for x in found[:3]], expected[:3])


@pytest.mark.parametrize("magnitude", [1e2, 1e4])
def test_extreme_logits(isa, dtype, case, magnitude):
    dout, q, k, v = case(1, 2, 60, 80, 8, dtype=dtype)
    large = dtype.type(magnitude) * q
    # delta comes from out, and of 16 bits that is rounded more than anything else here.
    half = accumulator(dtype) != dtype
    name = "attention_backward" if half else "attention_backward, extreme logits"
    found = gradients(dout, large, k, v, scale=1.0)
    assert all(np.isfinite(g).all() for g in found[:3])
    check(found, reference.attention_backward, dout, large, k, v, scale=1.0, case=name)


# What nobody sees ----------------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("kind", ["causal", "bool", "additive"])
@pytest.mark.parametrize("poison", [np.nan, np.inf] if EMULATED else [np.nan, np.inf, -np.inf])
def test_what_nobody_sees_does_not_leak(isa, dtype, case, kind, poison):
    dout, q, k, v = case(1, HEADS, 70, 140, 16, dtype=dtype)
    lost_keys, lost_rows = np.zeros(140, bool), np.zeros(70, bool)
    mask = None
    if kind == "causal":
        lost_keys[70:] = True
    else:
        lost_keys[[0, 5, *range(64, 140)]] = True
        lost_rows[[1, 68]] = True
        keep = np.ones((70, 140), bool)
        keep[:, lost_keys] = False
        keep[lost_rows] = False
        mask = keep if kind == "bool" else np.where(keep, 0.25, -np.inf).astype(dtype)
    causal = kind == "causal"
    expected = gradients(dout, q, k, v, mask, 0.0, causal)
    q, k, v, dout = q.copy(), k.copy(), v.copy(), dout.copy()
    k[:, :, lost_keys] = poison
    v[:, :, lost_keys] = poison
    q[:, :, lost_rows] = poison
    dout[:, :, lost_rows] = poison
    found = gradients(dout, q, k, v, mask, 0.0, causal)
    assert_same_bits(found, expected)
    dq, dk, dv, dmask = found
    assert (dq[:, :, lost_rows] == 0).all()
    assert (dk[:, :, lost_keys] == 0).all()
    assert (dv[:, :, lost_keys] == 0).all()
    assert all(np.isfinite(g).all() for g in (dq, dk, dv))
    if dmask is not None:
        assert (dmask[~keep] == 0).all()
        assert np.isfinite(dmask).all()


def test_a_value_that_some_see_reaches_only_them(isa, dtype, case):
    """NaN in key 40 of a causal sequence: queries before it keep their gradient."""
    args = case(1, 1, 100, 100, 16, dtype=dtype)
    expected = gradients(*args, is_causal=True)[0]
    v = args[3].copy()
    v[0, 0, 40] = np.nan
    dq = gradients(*args[:3], v, is_causal=True)[0]
    assert_same_bits(dq[0, 0, :40], expected[0, 0, :40])
    assert np.isnan(dq[0, 0, 40:]).all()


def test_a_key_of_no_weight_has_a_value_of_no_gradient(isa, dtype, case):
    """Of an odd number of queries, whose tiles have rows that stand for nobody."""
    dout, q, k, v = case(1, 1, 33, 40, 16, dtype=dtype)
    q[..., 0], k[0, 0, 7, 0] = 1, -np.inf
    dv = gradients(dout, q, k, v)[2]
    assert (dv[0, 0, 7] == 0).all()
    assert np.isfinite(dv).all()


# The bitwise rule ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
def test_same_bits_for_any_threads(isa, dtype, case, randn, causal):
    rows, keys = (70, 80) if EMULATED else (150, 170)
    heads = 2 * HEADS
    args, mask = (
        case(HEADS, heads, rows, keys, 24, kv_heads=HEADS, dtype=dtype),
        randn(HEADS, 1, rows, keys, dtype=dtype),
    )
    assert_same_for_any_threads(lambda: gradients(*args, mask, 0.0, causal, None, True))
    assert_same_for_any_threads(lambda: gradients(*args, mask[:1, :, :1], 0.0, causal, None, True))


def test_a_sequence_does_not_depend_on_the_batch(isa, dtype, case):
    args = case(
        4 if EMULATED else 5, 2 * HEADS, *((66, 70) if EMULATED else (100, 130)), 24, kv_heads=HEADS, dtype=dtype
    )
    whole = gradients(*args, enable_gqa=True)
    one = gradients(*(x[3:4] for x in args), enable_gqa=True)
    assert_same_bits(one[:3], [g[3:4] for g in whole[:3]])
