"""KVCache and attention_with_kv_cache: against the reference on each row alone, and what they refuse."""

import re
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

import fastattn as fa
from fastattn.testing import assert_same_bits, assert_same_for_any_threads, check, reference

H, HKV, D, DV = 4, 2, 8, 5
LENGTHS = [5, 131, 1, 64]  # of the rows after the prompt; keys come in tiles of 128
STEPS = [1, 1, 3, 1]  # tokens of the calls after it


@pytest.fixture
def rows(randn):
    """(query, key, value) of each row, (1, heads, all its tokens, D)."""

    def make(lengths, dtype=np.float64):
        return [
            tuple(randn(1, h, n + sum(STEPS), d, dtype=dtype) for h, d in ((H, D), (HKV, D), (HKV, DV)))
            for n in lengths
        ]

    return make


def padded(arrays, starts, stops, layout="bhtd", longest=0):
    """One batch of arrays[b][:, :, starts[b] : stops[b]], with rubbish behind the shorter ones."""
    longest = max(longest, *(b - a for a, b in zip(starts, stops, strict=True)))
    parts = []
    for x, a, b in zip(arrays, starts, stops, strict=True):
        part = np.full((1, x.shape[1], longest, x.shape[3]), 1e3, x.dtype)
        part[:, :, : b - a] = x[:, :, a:b]
        parts.append(part)
    batch = np.concatenate(parts)
    return np.ascontiguousarray(batch.swapaxes(1, 2)) if layout == "bthd" else batch


def attend(rows, lengths, cache, layout="bhtd", padding=0, **options):
    """The output of each row, (1, H, all its tokens, DV): a prompt, padded to the longest or more, then the steps."""
    stops, outs = [0] * len(rows), [[] for _ in rows]
    for counts in (list(lengths), *([n] * len(rows) for n in STEPS)):
        starts, stops = stops, [a + n for a, n in zip(stops, counts, strict=True)]
        longest = 0 if any(starts) else padding
        q, k, v = (padded([row[i] for row in rows], starts, stops, layout, longest) for i in range(3))
        given = None if any(starts) else counts
        out = fa.attention_with_kv_cache(q, cache, k, v, lengths=given, layout=layout, **options)
        assert cache.lengths.tolist() == stops
        out = out.swapaxes(1, 2) if layout == "bthd" else out
        for b, n in enumerate(counts):
            outs[b].append(out[b : b + 1, :, :n])
    return [np.concatenate(parts, 2) for parts in outs]


@pytest.mark.parametrize("layout", ["bhtd", "bthd"])
@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"window": (7, 0)}, {"window": (2, -1)}], ids=str)
def test_rows_of_different_lengths(rows, dtype, layout, options):
    data = rows(LENGTHS, dtype)
    outs = attend(data, LENGTHS, fa.KVCache(), layout, **options)
    for (q, k, v), out in zip(data, outs, strict=True):
        # The reference sees the row whole; a window to the right ends at the diagonal.
        check([out, None, None], reference.attention, q, k, v, is_causal=True, enable_gqa=True, **options)


@pytest.mark.parametrize("layout", ["bhtd", "bthd"])
def test_softcap_slopes_and_sinks(rows, dtype, isa, layout):
    """Distances count from each row's own tokens; slopes of one for all, and of each row."""
    data = rows(LENGTHS, dtype)
    slopes = np.asarray([0.5, 0.25, 0.125, 0.1], dtype)
    options = {"softcap": 2.0, "sinks": np.linspace(-1, 1, H).astype(dtype)}
    for given in (slopes, np.stack([slopes * dtype.type(b + 1) for b in range(len(data))])):
        outs = attend(data, LENGTHS, fa.KVCache(), layout, alibi_slopes=given, **options)
        for b, ((q, k, v), out) in enumerate(zip(data, outs, strict=True)):
            own = {**options, "alibi_slopes": given if given.ndim == 1 else given[b]}
            check([out, None, None], reference.attention, q, k, v, is_causal=True, enable_gqa=True, **own)


def test_slopes_without_causality(randn):
    k, v, q, slopes = randn(2, HKV, 7, D), randn(2, HKV, 7, DV), randn(2, H, 3, D), randn(H)
    cache = fa.KVCache()
    cache.append(k, v, [4, 7])
    out = fa.attention_with_kv_cache(q, cache, is_causal=False, alibi_slopes=fa.Tensor(slopes))
    for b, n in enumerate([4, 7]):
        arrays = q[b : b + 1], k[b : b + 1, :, :n], v[b : b + 1, :, :n]
        options = {"enable_gqa": True, "causal_align": "bottom_right", "alibi_slopes": slopes}
        check([out[b : b + 1], None, None], reference.attention, *arrays, **options)


@pytest.mark.parametrize("capacity", [0, 7, 1000])
def test_a_row_does_not_depend_on_the_others_nor_on_the_capacity(rows, dtype, isa, capacity):
    data = rows(LENGTHS, dtype)
    together = attend(data, LENGTHS, fa.KVCache(capacity))
    for row, n, out in zip(data, LENGTHS, together, strict=True):
        alone = attend([row], [n], fa.KVCache(), padding=max(LENGTHS))[0]
        exact = [*range(n + 2), n + 5]  # the prompt and the steps of one token; the step of three sums in another order
        assert_same_bits(alone[:, :, exact], out[:, :, exact])
        np.testing.assert_allclose(alone, out, rtol=0, atol=8 * ml_dtypes.finfo(dtype).eps * np.abs(out).max())


def test_threads(rows):
    data = rows(LENGTHS)
    assert_same_for_any_threads(lambda: np.concatenate(attend(data, LENGTHS, fa.KVCache()), 2))


@pytest.mark.parametrize("lengths", [[5, 5], [3, 7]])
def test_cross_attention(randn, lengths):
    k, v, q = randn(2, HKV, 7, D), randn(2, HKV, 7, DV), randn(2, H, 3, D)
    cache = fa.KVCache()
    cache.append(k, v, lengths)
    out = fa.attention_with_kv_cache(q, cache, is_causal=False)
    for b, n in enumerate(lengths):
        row = slice(b, b + 1)
        check([out[row], None, None], reference.attention, q[row], k[row, :, :n], v[row, :, :n], enable_gqa=True)
    assert cache.lengths.tolist() == lengths


def test_queries_at_the_end_of_what_is_there(rows):
    data = rows(LENGTHS)
    expected = attend(data, LENGTHS, cache := fa.KVCache())
    stops = [n + sum(STEPS) for n in LENGTHS]
    last = padded([q for q, _, _ in data], [n - 2 for n in stops], stops)
    out = fa.attention_with_kv_cache(last, cache)
    for b, whole in enumerate(expected):
        np.testing.assert_allclose(out[b : b + 1], whole[:, :, -2:], rtol=1e-12, atol=1e-14)


def test_new_tokens_without_causality(randn):
    k, v, q = randn(2, HKV, 4, D), randn(2, HKV, 4, DV), randn(2, H, 4, D)
    out = fa.attention_with_kv_cache(q, fa.KVCache(), k, v, lengths=[4, 2], is_causal=False)
    check([out[:1], None, None], reference.attention, q[:1], k[:1], v[:1], enable_gqa=True)
    check([out[1:], None, None], reference.attention, q[1:], k[1:, :, :2], v[1:, :, :2], enable_gqa=True)


def test_nan_behind_the_end_of_a_row(rows):
    data = rows([3, 9])
    clean = attend(data, [3, 9], fa.KVCache())
    cache = fa.KVCache(64)
    cache.append(*(np.full((2, HKV, 40, d), np.nan) for d in (D, DV)))
    cache.truncate(0)
    for out, expected in zip(attend(data, [3, 9], cache), clean, strict=True):
        assert_same_bits(out, expected)


# The cache ------------------------------------------------------------------------------------------------------------


def filled(randn, lengths, capacity=0):
    k, v = randn(len(lengths), HKV, max(lengths), D), randn(len(lengths), HKV, max(lengths), DV)
    cache = fa.KVCache(capacity)
    cache.append(k, v, lengths)
    return cache, k, v


def held(cache):
    """Keys and values of each row, without what stands behind its end."""
    return [(cache.keys[b, :, :n], cache.values[b, :, :n]) for b, n in enumerate(cache.lengths)]


def test_it_grows_by_doubling_and_not_at_every_step(randn):
    cache, k, v = filled(randn, [10, 10])
    assert cache.capacity == 10
    addresses, capacities = set(), []
    for _ in range(100):
        cache.append(k[:, :, :1], v[:, :, :1])
        addresses.add(cache.keys.__array_interface__["data"][0])
        capacities.append(cache.capacity)
    assert sorted(set(capacities)) == [20, 40, 80, 160]
    assert len(addresses) <= 4
    np.testing.assert_array_equal(cache.keys, np.concatenate([k, *[k[:, :, :1]] * 100], 2))
    np.testing.assert_array_equal(cache.values, np.concatenate([v, *[v[:, :, :1]] * 100], 2))
    assert cache.nbytes == 2 * HKV * 160 * (D + DV) * 8


def test_a_step_within_the_capacity_allocates_nothing_of_the_caches_size(randn):
    cache, k, v = filled(randn, [2000, 1990], capacity=2100)
    q = randn(2, H, 1, D)
    fa.attention_with_kv_cache(q, cache, k[:, :, :1], v[:, :, :1])
    tracemalloc.start()
    fa.attention_with_kv_cache(q, cache, k[:, :, :1], v[:, :, :1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < cache.nbytes / 10


def test_cat(rows, dtype):
    """Rows that are read alone and then put together."""
    data = rows(LENGTHS, dtype)
    caches, alone = [fa.KVCache(n) for n in LENGTHS], []
    for (q, k, v), n, cache in zip(data, LENGTHS, caches, strict=True):
        fa.attention_with_kv_cache(q[:, :, :n], cache, k[:, :, :n], v[:, :, :n])
    together = fa.KVCache.cat([fa.KVCache.cat(caches[:2]), *caches[2:]])
    assert together.lengths.tolist() == LENGTHS
    assert together.capacity == max(LENGTHS)
    stops = [n + 1 for n in LENGTHS]
    new = [padded([row[i] for row in data], LENGTHS, stops) for i in range(3)]
    out = fa.attention_with_kv_cache(new[0], together, *new[1:])
    for b, cache in enumerate(caches):
        q, k, v = (x[b : b + 1] for x in new)
        alone.append(fa.attention_with_kv_cache(q, cache, k, v))
    assert_same_bits(out, np.concatenate(alone))


@pytest.mark.parametrize("lengths", [[4, 4, 4], [4, 2, 6]])
def test_truncate(randn, lengths):
    cache, k, v = filled(randn, lengths)
    cache.truncate(3)
    assert cache.lengths.tolist() == [min(n, 3) for n in lengths]
    cache.truncate([1, 5, 2])
    assert cache.lengths.tolist() == [1, 2 if 2 in lengths else 3, 2]
    for b, (keys, values) in enumerate(held(cache)):
        np.testing.assert_array_equal(keys, k[b, :, : keys.shape[1]])
        np.testing.assert_array_equal(values, v[b, :, : keys.shape[1]])
    cache.append(k[:, :, :1], v[:, :, :1])
    np.testing.assert_array_equal(cache.keys[0, :, :2], k[0][:, [0, 0]])


@pytest.mark.parametrize("lengths", [[4, 4, 4], [4, 2, 6]])
@pytest.mark.parametrize("order", [[2, 0], [1, 1, 0, 2], [1], []], ids=str)
def test_reorder(randn, lengths, order):
    cache, k, v = filled(randn, lengths)
    cache.reorder(order)
    assert cache.lengths.tolist() == [lengths[b] for b in order]
    assert cache.batch_size == len(order)
    for b, (keys, values) in zip(order, held(cache), strict=True):
        np.testing.assert_array_equal(keys, k[b, :, : lengths[b]])
        np.testing.assert_array_equal(values, v[b, :, : lengths[b]])


def test_an_empty_cache_takes_another_shape(randn):
    cache, _, _ = filled(randn, [4, 2], capacity=50)
    cache.truncate(0)
    cache.append(np.ones((1, 3, 2, 4), np.float32), np.ones((1, 3, 2, 4), np.float32))
    assert cache.keys.shape == (1, 3, 2, 4)
    assert cache.capacity == 50


def test_repr(randn):
    assert repr(fa.KVCache()) == "KVCache(None, lengths=0)"
    assert repr(filled(randn, [4, 2], 8)[0]) == "KVCache((2, 2, 8, 8), lengths=[4, 2])"


# Kinds of arrays ------------------------------------------------------------------------------------------------------


def test_tensors(rows):
    data = rows(LENGTHS)
    expected = attend(data, LENGTHS, fa.KVCache())
    q, k, v = (fa.Tensor(x) for x in data[0])
    cache = fa.KVCache()
    parts = [
        fa.attention_with_kv_cache(q[:, :, a:b], cache, k[:, :, a:b], v[:, :, a:b])
        for a, b in ((0, 5), (5, 6), (6, 11))
    ]
    assert all(isinstance(part, fa.Tensor) for part in parts)
    np.testing.assert_allclose(fa.cat(parts, 2).numpy(), expected[0], rtol=1e-12, atol=1e-14)


class Producer:
    """An array of a framework that nobody knows."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack_arrays(rows):
    q, k, v = rows([5])[0]
    out = fa.attention_with_kv_cache(Producer(q), fa.KVCache(), Producer(k), Producer(v))
    assert_same_bits(out, fa.attention_with_kv_cache(q, fa.KVCache(), k, v))


@pytest.mark.parity
def test_torch_tensors(rows):
    torch = pytest.importorskip("torch")
    data = rows([3, 9])
    expected = attend(data, [3, 9], fa.KVCache())
    cache = fa.KVCache()
    q, k, v = (torch.from_numpy(padded([row[i] for row in data], [0, 0], [3, 9])) for i in range(3))
    prompt = fa.attention_with_kv_cache(q, cache, k, v, lengths=[3, 9])
    q, k, v = (torch.from_numpy(padded([row[i] for row in data], [3, 9], [4, 10])) for i in range(3))
    step = fa.attention_with_kv_cache(q, cache, k, v)
    assert isinstance(step, torch.Tensor)
    assert isinstance(cache.keys, torch.Tensor)
    for b, n in enumerate([3, 9]):
        assert_same_bits(prompt.numpy()[b : b + 1, :, :n], expected[b][:, :, :n])
        assert_same_bits(step.numpy()[b : b + 1], expected[b][:, :, n : n + 1])
    cache.reorder([1])
    assert cache.lengths.tolist() == [10]


# Errors ---------------------------------------------------------------------------------------------------------------

Z = np.zeros
Q, K, V = Z((2, H, 3, D)), Z((2, HKV, 3, D)), Z((2, HKV, 3, DV))
ATTEND = fa.attention_with_kv_cache
ERRORS = [
    (lambda c: ATTEND(Q, c, K), TypeError, "key and value come together; value is missing"),
    (
        lambda c: ATTEND(Q, c, lengths=[1, 1]),
        TypeError,
        "lengths says how many of the new tokens count; there is no key",
    ),
    (lambda c: ATTEND(Q, None, K, V), TypeError, "cache is a NoneType; expected a KVCache"),
    (lambda c: ATTEND(Q, c, K, V, layout="tbhd"), ValueError, 'layout is \'tbhd\'; expected "bhtd" or "bthd"'),
    (lambda c: ATTEND([1], c, K, V), ValueError, "query has shape (); expected (B, H, T, D), with T that of key"),
    (lambda c: ATTEND(Q[0], c, K, V), ValueError, "query has shape (4, 3, 8); expected (B, H, T, D)"),
    (lambda c: ATTEND(Q[:, :, :2], c, K, V), ValueError, "query has shape (2, 4, 2, 8); expected (B, H, T, D), with T"),
    (lambda c: ATTEND(Q[:, :3], c, K, V), ValueError, "expected B 2, D 8 and H a multiple of 2"),
    (lambda c: ATTEND(Q[..., :7], c, K, V), ValueError, "query has shape (2, 4, 3, 7); expected B 2, D 8"),
    (lambda c: ATTEND(Q, c, K, V[:, :1]), ValueError, "key has shape (2, 2, 3, 8) and value (2, 1, 3, 5); expected"),
    (
        lambda c: ATTEND(Q, c, K[:1], V[:1]),
        ValueError,
        "key has B 1, Hkv 2, D 8 of float64 (numpy); the cache holds B 2",
    ),
    (
        lambda c: ATTEND(Q, c, K.astype("f"), V),
        TypeError,
        "key has B 2, Hkv 2, D 8 of float32 (numpy); the cache holds",
    ),
    (lambda c: ATTEND(Q, c, [1], V), TypeError, "key is a list"),
    (lambda c: ATTEND(Q, c, K, V, lengths=[1, 4]), ValueError, "lengths is [1, 4]; expected 2 integers of 0 to 3"),
    (lambda c: ATTEND(Q, c, K, V, lengths=[1]), ValueError, "lengths is [1]; expected 2 integers of 0 to 3"),
    (lambda c: ATTEND(Q, c, K, V, lengths=[1.0, 2.0]), ValueError, "expected 2 integers of 0 to 3"),
    (lambda c: ATTEND(Q.astype("f"), c, K, V), TypeError, "query"),
    (lambda c: ATTEND(fa.Tensor(Q, requires_grad=True), c, K, V), RuntimeError, "query requires a gradient"),
    (lambda c: ATTEND(Q, c, K, V, softcap=-1.0), ValueError, "softcap"),
    (
        lambda c: ATTEND(Q, c, K, V, sinks=fa.Tensor(Z(H), requires_grad=True)),
        RuntimeError,
        "sinks requires a gradient",
    ),
    (lambda c: c.append(K, V, [1]), ValueError, "KVCache.append: lengths is [1]"),
    (lambda c: fa.KVCache.cat([]), ValueError, "KVCache.cat: caches is []; expected at least one"),
    (
        lambda c: fa.KVCache.cat([c, filled(lambda *s: Z(s, "f"), [3])[0]]),
        TypeError,
        "KVCache.cat: keys has B 1, Hkv 2, D 8 of float32 (numpy); the cache holds B 2, Hkv 2, D 8 of float64 (numpy)",
    ),
    (lambda c: c.truncate(-1), ValueError, "KVCache.truncate: lengths is -1; expected 0 or more, one or 2 of them"),
    (lambda c: c.truncate([1, 2, 3]), ValueError, "KVCache.truncate: lengths is [1, 2, 3]"),
    (lambda c: c.reorder([2]), ValueError, "KVCache.reorder: rows is [2]; expected row numbers of 0 to 1"),
    (lambda c: c.reorder([-1]), ValueError, "KVCache.reorder: rows is [-1]"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
@pytest.mark.parametrize("lengths", [[4, 4], [4, 2]])
def test_errors_change_nothing(randn, lengths, call, error, message):
    cache, k, v = filled(randn, lengths)
    with pytest.raises(error, match=re.escape(message)) as raised:
        call(cache)
    assert "\n" not in str(raised.value)
    assert cache.lengths.tolist() == lengths
    for b, (keys, values) in enumerate(held(cache)):
        np.testing.assert_array_equal(keys, k[b, :, : lengths[b]])
        np.testing.assert_array_equal(values, v[b, :, : lengths[b]])


def test_nothing_there():
    with pytest.raises(RuntimeError, match=r"^KVCache: nothing has been appended yet"):
        fa.attention_with_kv_cache(Q, fa.KVCache())
    with pytest.raises(ValueError, match=r"^KVCache: capacity is -1; expected 0 or more tokens"):
        fa.KVCache(-1)
