"""Attention on NumPy arrays: masks, grouped queries, one step with a cache; compared with the formula."""

import numpy as np

import fastattn as fa


def formula(q, k, v, seen):
    """softmax(q k^T / sqrt(D)) v over the keys that are seen, with the whole matrix of weights."""
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    scores = np.where(seen, q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


rng = np.random.default_rng(0)
batch, heads, kv_heads, tokens, head_dim = 2, 8, 2, 200, 64
q = rng.standard_normal((batch, heads, tokens, head_dim), dtype=np.float32)
k, v = rng.standard_normal((2, batch, kv_heads, tokens, head_dim), dtype=np.float32)

# The second sequence is shorter: its last 50 places are padding. Masks compose with is_causal.
lengths = np.array([200, 150])
padding = (np.arange(tokens) < lengths[:, None])[:, None, None, :]  # (batch, 1, 1, tokens)
out = fa.scaled_dot_product_attention(q, k, v, padding, is_causal=True, enable_gqa=True)

difference = np.abs(out - formula(q, k, v, padding & np.tri(tokens, dtype=bool))).max()
print(f"{out.shape} by {fa.last_kernel()}, from the formula by at most {difference:.1e}")
assert difference < 1e-5

# The same tokens one after the other: keys and values stay in the cache.
cache = fa.KVCache()
last = [
    fa.attention_with_kv_cache(q[:, :, t : t + 1], cache, k[:, :, t : t + 1], v[:, :, t : t + 1]) for t in range(150)
][-1]
difference = np.abs(last[:, :, 0] - out[:, :, 149]).max()
print(f"{cache.length} steps with a cache, from the whole by at most {difference:.1e}")
assert difference < 1e-5
