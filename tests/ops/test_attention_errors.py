"""What attention refuses, in which words, and that it holds no T x S array."""

import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from on_device import ON_CUDA

import fastattn as fa
from fastattn import _C
from fastattn.testing import unchanged

ATTENTION = fa.scaled_dot_product_attention
Z = np.zeros
Q, K = Z((2, 4, 5, 8)), Z((2, 4, 7, 8))
GQA = Z((2, 2, 7, 8))


def weigh(out, **choice):
    return ATTENTION(Q, K, K, return_weights=fa.Weights(**choice), out=out)


SHAPES = "query (B2, H4, T5, D8), key (B2, H4, S7, D8), value (B2, H4, S7, D8), layout 'bhtd'"
ERRORS = [
    (
        lambda o: ATTENTION(Q, Z((2, 4, 7, 9)), K, out=o),
        ValueError,
        "key head_dim 9 != query head_dim 8; query (B2, H4, T5, D8), key (B2, H4, S7, D9), value (B2, H4, S7, D8)",
    ),
    (
        lambda o: ATTENTION(Q, K[0], K, out=o),
        ValueError,
        "query, key and value need 2, 3 or 4 axes, all the same number; query (B2, H4, T5, D8), key (H4, S7, D8)",
    ),
    (
        lambda o: ATTENTION(Q[0, 0, 0], K[0, 0, 0], K[0, 0, 0]),
        ValueError,
        "query, key and value need 2, 3 or 4 axes, all the same number; query (D8,)",
    ),
    (
        lambda o: ATTENTION(Q, K[:1], K, out=o),
        ValueError,
        "query, key and value differ in batch size; query (B2, H4, T5, D8), key (B1, H4, S7, D8)",
    ),
    (
        lambda o: ATTENTION(Q, K, K[:, :, :6], out=o),
        ValueError,
        "key and value differ in heads or length; query (B2, H4, T5, D8), key (B2, H4, S7, D8), value (B2, H4, S6, D8), "
        "layout 'bhtd'. Inputs in (B, T, H, D)? pass layout=\"bthd\"",
    ),
    (lambda o: ATTENTION(Q, K, GQA, out=o), ValueError, "key and value differ in heads or length"),
    (lambda o: ATTENTION(Z((2, 4, 5, 0)), Z((2, 4, 7, 0)), K), ValueError, "head_dim is 1 to 256; query"),
    (lambda o: ATTENTION(Z((2, 4, 5, 257)), Z((2, 4, 7, 257)), K), ValueError, "head_dim is 1 to 256; query"),
    (lambda o: ATTENTION(Q, K, Z((2, 4, 7, 257))), ValueError, "head_dim is 1 to 256; query"),
    (lambda o: ATTENTION(Q, K, Z((2, 4, 7, 0))), ValueError, "head_dim is 1 to 256; query"),
    (
        lambda o: ATTENTION(Q, GQA, GQA, out=o),
        ValueError,
        "query has 4 heads and key 2; pass enable_gqa=True to share key heads; query (B2, H4, T5, D8)",
    ),
    (
        lambda o: ATTENTION(Q, Z((2, 3, 7, 8)), Z((2, 3, 7, 8)), enable_gqa=True, out=o),
        ValueError,
        "query has 4 heads and key 3; with enable_gqa a multiple of key's is expected; query",
    ),
    (
        lambda o: ATTENTION(Q, Z((2, 3, 5, 8)), Z((2, 3, 5, 8)), out=o),
        ValueError,
        "layout 'bhtd'. Inputs in (B, T, H, D)? pass layout=\"bthd\"",
    ),
    (
        lambda o: ATTENTION(Z((2, 5, 4, 8)), Z((2, 7, 3, 8)), Z((2, 7, 3, 8)), layout="bthd"),
        ValueError,
        "query has 4 heads and key 3; query (B2, T5, H4, D8), key (B2, S7, H3, D8), value (B2, S7, H3, D8), layout 'bthd'",
    ),
    (
        lambda o: ATTENTION(Q, K, K, np.ones((5, 6), bool), out=o),
        ValueError,
        "attn_mask (5, 6) does not broadcast to (B2, H4, T5, S7); " + SHAPES,
    ),
    (
        lambda o: ATTENTION(Q, K, K, np.ones((1, 2, 4, 5, 7), bool), out=o),
        ValueError,
        "attn_mask (1, 2, 4, 5, 7) does not broadcast to (B2, H4, T5, S7)",
    ),
    (
        lambda o: ATTENTION(Q, K, K, np.ones((5, 7), np.float32), out=o),
        TypeError,
        "attn_mask has dtype float32; expected bool (True = attend) or float64, that of query",
    ),
    (
        lambda o: ATTENTION(Q, K, K, np.ones((5, 7), int), out=o),
        TypeError,
        "attn_mask has dtype int64; expected bool (True = attend) or float64, that of query",
    ),
    (
        lambda o: ATTENTION(Q, K, K, dropout_p=1.5, out=o),
        ValueError,
        "dropout_p is 1.500000; expected a probability, 0 to 1",
    ),
    (
        lambda o: ATTENTION(Q, K, K, dropout_p=float("nan"), out=o),
        ValueError,
        "dropout_p is nan; expected a probability",
    ),
    (lambda o: ATTENTION(Q, K, K, window=3, out=o), ValueError, "window is 3; expected (left, right), two integers"),
    (lambda o: ATTENTION(Q, K, K, window=(1, 0.5), out=o), ValueError, "window is (1, 0.5); expected (left, right)"),
    (lambda o: ATTENTION(Q, K, K, window=(-2, 0), out=o), ValueError, "window is two numbers of -1 (all) or more"),
    (lambda o: ATTENTION(Q, K, K, window=(0, -2), out=o), ValueError, "window is two numbers of -1 (all) or more"),
    (lambda o: ATTENTION(Q, K, K, softcap=-1.0, out=o), ValueError, "softcap is -1.000000; expected 0 or more"),
    (lambda o: ATTENTION(Q, K, K, sinks=Z(3), out=o), ValueError, "sinks has shape (3,); expected (4,)"),
    (
        lambda o: ATTENTION(Q, K, K, alibi_slopes=Z(3), out=o),
        ValueError,
        "alibi_slopes (3,) does not broadcast to (B2, H4); " + SHAPES,
    ),
    (lambda o: ATTENTION(Q, K, K, alibi_slopes=Z(4, int), out=o), TypeError, "alibi_slopes has dtype int64"),
    (lambda o: ATTENTION(Q, K, K, sinks=Z(4, int), out=o), TypeError, "sinks has dtype int64; expected float32, "),
    (
        lambda o: weigh(rows=5, out=o),
        ValueError,
        "weights.rows is 5; expected numbers along an axis of 5 (index 5 is out",
    ),
    (
        lambda o: weigh(rows=[1, -4], out=o),
        ValueError,
        "weights.rows is [1, -4]; expected a row of numbers, none of them",
    ),
    (
        lambda o: weigh(heads="a", out=o),
        ValueError,
        "weights.heads is 'a'; expected numbers along an axis of 4 (only int",
    ),
    (lambda o: weigh(heads=[], mean=True, out=o), ValueError, "weights.mean is True; expected at least one head"),
    (lambda o: weigh(topk=0, out=o), ValueError, "weights.topk is 0; expected 1 or more keys"),
    (lambda o: weigh(topk=8, out=o), ValueError, "weights.topk is 8; expected at most the 7 keys; key (2, 4, 7, 8)"),
    (
        lambda o: ATTENTION(Q, K, K, return_weights=3, out=o),
        TypeError,
        "return_weights is a int; expected a bool or fastattn.Weights",
    ),
    (lambda o: ATTENTION(Q, K, K, layout="bsnd", out=o), ValueError, 'layout is \'bsnd\'; expected "bhtd" or "bthd"'),
    (
        lambda o: ATTENTION(Q, K, K, causal_align="left", out=o),
        ValueError,
        'causal_align is \'left\'; expected "top_left" or "bottom_right"',
    ),
    (
        lambda o: ATTENTION(Q.astype(np.float32), K, K, out=o),
        TypeError,
        "query is float32 and key is float64; they must have one dtype",
    ),
    (
        lambda o: ATTENTION(Q, K, K.astype(np.float32), out=o),
        TypeError,
        "query is float64 and value is float32; they must have one dtype",
    ),
    (
        lambda o: ATTENTION(*(x.astype(np.int16) for x in (Q, K, K))),
        TypeError,
        "query has dtype int16; expected float32, float64, bfloat16 or float16",
    ),
    (lambda o: ATTENTION(Q, None, K, out=o), TypeError, "key is None; expected an array"),
    (
        lambda o: ATTENTION(Q, K, Z((2, 4, 7, 9)), out=o),
        ValueError,
        "out has shape (2, 4, 5, 8); expected (2, 4, 5, 9)",
    ),
    (
        lambda o: ATTENTION(Q, K, K, out=Z((2, 4, 8, 5)).swapaxes(2, 3)),
        ValueError,
        "out is not contiguous along its last axis",
    ),
    (
        lambda o: ATTENTION(*(x.astype(np.float32) for x in (Q, K, K)), out=o),
        TypeError,
        "query is float32 and out is float64; they must have one dtype",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 4, 5, 8), 7.0)
    with unchanged(out), pytest.raises(error, match=re.escape(text)) as caught:
        call(out)
    assert str(caught.value).startswith("scaled_dot_product_attention: ")
    assert "\n" not in str(caught.value)


def test_out_that_cannot_be_written():
    q = np.ones((1, 2, 5, 8))
    for name, arguments in {"query": (q, q + 1, q + 2), "key": (q + 1, q, q + 2), "value": (q + 1, q + 2, q)}.items():
        with unchanged(q), pytest.raises(ValueError, match=f"out overlaps {name} in memory"):
            ATTENTION(*arguments, out=q)
    frozen = q.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="scaled_dot_product_attention: out is read-only"):
        ATTENTION(q, q, q, out=frozen)


@pytest.mark.skipif(ON_CUDA, reason="its words are the CPU's")
def test_weights_without_the_statistics_that_they_are_made_from(isa):
    """Only `_C` can be called so: what no kernel does is named."""
    q, out, weights = Z((1, 1, 3, 4)), np.full((1, 1, 3, 4), 7.0), np.full((1, 1, 3, 3), 7.0)
    options = (False, 0.0, 0, 0, False, None, False, 0, -1, -1, 0.0, None, None, False)
    message = "^scaled_dot_product_attention: attention on the CPU makes weights from lse, which is absent"
    with unchanged(out), unchanged(weights), pytest.raises(fa.UnsupportedError, match=message):
        _C.attention_fwd(q, q, q, None, None, None, out, None, weights, None, *options)
    assert isinstance(fa.UnsupportedError("x"), NotImplementedError)


@pytest.mark.skipif(ON_CUDA, reason="there are no float64 kernels on CUDA")
def test_explain(isa):
    (what,) = fa.explain(ATTENTION, Q, K, K)
    assert what.kernel == f"attention_fwd_f64_{isa}"
    assert what.unsupported == ""
    assert what.flops == 2 * 2 * 4 * 5 * 7 * (8 + 8)
    square = np.zeros((1, 1, 64, 8))
    (causal,) = fa.explain(ATTENTION, square, square, square, is_causal=True)
    assert causal.flops == 2 * 16 * 64 * 65 / 2


MEMORY = """
    import numpy as np
    import fastattn as fa

    def peak():
        # Not ru_maxrss, which begins at what the process that started this one had.
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

    rng = np.random.default_rng(0)
    T = 4096
    q, k, v = (fa.Tensor(rng.standard_normal((1, 1, T, 32)).astype(np.float32), requires_grad=True) for _ in range(3))
    small = [fa.Tensor(x._data[:, :, :64].copy(), requires_grad=True) for x in (q, k, v)]
    fa.scaled_dot_product_attention(*small, is_causal=True).sum().backward()  # loads what is loaded once
    mask = fa.Tensor(np.zeros((1, T), np.float32), requires_grad=True)
    before = peak()
    for options in ({}, {"is_causal": True}, {"attn_mask": mask}, {"return_lse": True}):
        result = fa.scaled_dot_product_attention(q, k, v, **options)
        (result.output if options.get("return_lse") else result).sum().backward()
    print(peak() - before)
"""


def test_no_array_of_queries_by_keys_is_held():
    """Forward and backward at T = S = 4096, 32 wide: the score matrix would be 64 MB, tensors are 512 KB each."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY)], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 24e6
