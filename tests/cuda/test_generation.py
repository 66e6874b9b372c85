"""Decoding on a device: the tokens of the CPU, from caches that are there."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.models import GPT, GPTConfig
from fastattn.ops import KVCache

CONFIG = GPTConfig(vocab_size=13, n_positions=12, n_embd=16, n_layer=2, n_head=2)
# Wide enough apart that roundings do not choose: the tests of tokens would be tests of ties.
SCALE = 20.0


@pytest.fixture
def models():
    """The same GPT on the CPU and on the device."""
    fa.manual_seed(0)
    host = GPT(CONFIG)
    with fa.no_grad():
        for p in host.parameters():
            if p.ndim == 2:
                p *= SCALE
    there = GPT(CONFIG)
    there.load_state_dict(host.state_dict())
    return host, there.to("cuda")


RAGGED = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11, 12]]
WAYS = {
    "greedy": {"max_new_tokens": 6},
    "beyond the context": {"max_new_tokens": 10},
    "drawn": {"max_new_tokens": 6, "do_sample": True, "seed": 3},
    "filtered": {
        "max_new_tokens": 6,
        "do_sample": True,
        "top_k": 5,
        "top_p": 0.9,
        "repetition_penalty": 1.3,
        "seed": 1,
    },
    "ended": {"max_new_tokens": 6, "do_sample": True, "seed": 2, "eos_token_id": [1, 2, 3, 4]},
}


@pytest.mark.smoke
@pytest.mark.parametrize("way", WAYS)
def test_the_tokens_of_the_cpu(way, models):
    host, there = models
    expected, found = (model.generate(RAGGED, **WAYS[way]) for model in (host, there))
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]
    assert len({tuple(row.tolist()) for row in found}) == len(RAGGED)


def test_the_seed_of_the_global_stream(models):
    found = []
    for model in models:
        fa.manual_seed(5)
        found.append(model.generate(np.array([[1, 2]]), do_sample=True, max_new_tokens=5).tolist())
    assert found[0] == found[1]


def test_ids_of_any_kind(models, cuda):
    """Prompts from anywhere; the result is of their kind and where they are."""
    host, there = models
    ids = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    expected = host.generate(ids, max_new_tokens=4)
    tensor = there.generate(fa.tensor(ids, device="cuda"), max_new_tokens=4)
    assert (tensor.device, tensor.dtype) == ("cuda:0", np.int32)
    assert np.array_equal(tensor.cpu().numpy(), expected)
    array = there.generate(cuda.asarray(ids), max_new_tokens=4)
    assert type(array) is cuda.ndarray
    assert np.array_equal(array.get(), expected)
    for given in (ids, fa.tensor(ids)):
        on_host = there.generate(given, max_new_tokens=4)
        assert type(on_host) is type(given)
        assert np.array_equal(np.asarray(on_host), expected)
    assert np.array_equal(host.generate(fa.tensor(ids, device="cuda"), max_new_tokens=4).cpu().numpy(), expected)
    rows = there.generate([cuda.asarray(ids[0]), fa.tensor(ids[1], device="cuda")], max_new_tokens=4)
    assert [row.tolist() for row in rows] == expected.tolist()
    mask = np.array([[0, 1, 1], [1, 1, 1]])
    padded = host.generate(ids, attention_mask=mask, max_new_tokens=4)
    for given in (mask, fa.tensor(mask, device="cuda"), cuda.asarray(mask)):
        assert np.array_equal(there.generate(ids, attention_mask=given, max_new_tokens=4), padded)


def test_stream(models):
    host, there = models
    expected, found = (list(model.stream(RAGGED, max_new_tokens=3)) for model in (host, there))
    assert found == expected


def filled(array, randn, lengths):
    """A cache of two appends, the second of different lengths, what attention gives from it, and its keys."""
    cache, like = KVCache(), [randn(3, 2, 4, 8).astype(np.float32) for _ in range(6)]
    k, v, k2, v2, q, k3 = (array(x) for x in like)
    cache.append(k, v)
    cache.append(k2, v2, lengths)
    out = fa.attention_with_kv_cache(q[:, :, :1], cache, k3[:, :, :1], v[:, :, :1])
    cache.reorder([2, 0])
    cache.truncate([6, 5])
    other = KVCache()
    other.append(k[:1], v[:1])
    return out, KVCache.cat([cache, other])


@pytest.mark.parametrize("lengths", [None, [4, 1, 2]], ids=["even", "ragged"])
def test_cache(lengths, cuda):
    def of(array):
        again = np.random.default_rng(0)
        return filled(array, lambda *shape: again.standard_normal(shape), lengths)

    out, cache = of(np.asarray)
    out_there, there = of(cuda.asarray)
    assert type(there.keys) is cuda.ndarray
    assert np.array_equal(there.keys.get(), cache.keys)
    assert np.array_equal(there.values.get(), cache.values)
    assert there.lengths.tolist() == cache.lengths.tolist()
    assert (there.nbytes, repr(there)) == (cache.nbytes, repr(cache))
    np.testing.assert_allclose(out_there.get(), out, rtol=0, atol=64 * np.finfo(np.float32).eps * np.abs(out).max())


def test_cache_takes_one_device(cuda):
    x = np.ones((1, 1, 2, 4), np.float32)
    cache = KVCache()
    cache.append(x, x)
    with pytest.raises(TypeError, match=r"^KVCache.append: key has .*\(cupy\); the cache holds .*\(numpy\)$"):
        cache.append(cuda.asarray(x), cuda.asarray(x))
    with pytest.raises(TypeError, match=r"^KVCache.append: key is a cupy array and value a numpy array; pass"):
        KVCache().append(cuda.asarray(x), x)
