"""Attention's softcap, ALiBi slopes, sinks and weights: both passes, alone and with everything else."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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
    forced_isa,
    isas,
    reference,
    variants,
)

ATTENTION = fa.scaled_dot_product_attention
isa = isa_fixture([*variants(), *isas()])


class Case:
    """Arguments of attention with slopes and sinks, and gradients to come in, all of one dtype."""

    def __init__(self, dtype, batch, heads, rows, keys, dim, value_dim=None, kv_heads=None, seed=0):
        rng = np.random.default_rng(seed + rows + 128 * keys)
        draw = lambda *shape, of=dtype: rng.standard_normal(shape).astype(of)  # noqa: E731
        kv_heads, value_dim = kv_heads or heads, value_dim or dim
        self.q, self.k, self.v = (
            draw(batch, heads, rows, dim),
            draw(batch, kv_heads, keys, dim),
            draw(batch, kv_heads, keys, value_dim),
        )
        self.slopes = np.abs(draw(batch, heads)) * np.asarray(0.1, dtype)
        self.sinks = draw(heads)
        self.dout, self.dlse = draw(batch, heads, rows, value_dim), draw(batch, heads, rows, of=accumulator(dtype))
        self.dweights = draw(batch, heads, rows, keys)
        self.mask = np.where(rng.random((batch, 1, rows, keys)) < 0.7, draw(batch, 1, rows, keys), -np.inf).astype(
            dtype
        )

    def forward(self, mask=None, **options):
        """output, weights and lse."""
        r = ATTENTION(self.q, self.k, self.v, mask, return_weights=True, return_lse=True, **options)
        return r.output, r.weights, r.lse

    def gradients(self, mask=None, dweights=None, dlse=None, **options):
        """dquery, dkey, dvalue, dattn_mask, and where there are slopes or sinks theirs; None for what is not there."""
        names = [name for name in ("alibi_slopes", "sinks") if options.get(name) is not None]
        leaves = {name: fa.Tensor(options.pop(name), requires_grad=True) for name in names}
        tensors = [fa.Tensor(x, requires_grad=True) for x in (self.q, self.k, self.v)]
        additive = mask is not None and mask.dtype != bool
        m = fa.Tensor(mask, requires_grad=True) if additive else mask
        wanted = {"return_weights": dweights is not None, "return_lse": dlse is not None}
        r = ATTENTION(*tensors, m, **leaves, **options, **wanted)
        output = r if isinstance(r, fa.Tensor) else r.output
        with np.errstate(invalid="ignore"):  # an lse of -inf, or what a test hides
            loss = (output * fa.Tensor(self.dout)).sum()
            for result, gradient in ((getattr(r, "weights", None), dweights), (getattr(r, "lse", None), dlse)):
                loss = loss if gradient is None else loss + (result * fa.Tensor(gradient)).sum()
        loss.backward()
        found = [t.grad._data for t in tensors] + [m.grad._data if additive else None]
        return found + [leaves[n].grad._data if n in leaves else None for n in ("alibi_slopes", "sinks") if leaves]

    def check(self, mask=None, dweights=None, dlse=None, **options):
        """Both passes against the oracle."""
        arrays = self.q, self.k, self.v, mask
        check(self.forward(mask, **options), reference.attention, *arrays, **options)
        found = self.gradients(mask, dweights, dlse, **options)
        check(found, reference.attention_backward, self.dout, *arrays, dweights=dweights, dlse=dlse, **options)


# One option at a time, and all -----------------------------------------------------------------------------------------

# Around blocks of 24 and 48 queries, tiles of 64 and 128 keys.
LENGTHS = [(1, 1), (25, 63), (66, 33)] if EMULATED else [(1, 1), (25, 63), (49, 129), (130, 65)]


@pytest.mark.smoke
@pytest.mark.parametrize(("rows", "keys"), LENGTHS)
def test_oracle(isa, dtype, rows, keys):
    c = Case(dtype, 1 if EMULATED else 2, 2, rows, keys, 12, 7)
    c.check(softcap=0.7)
    assert_ran("attention_bwd", dtype, isa)
    c.check(alibi_slopes=c.slopes, causal_align="bottom_right")
    c.check(alibi_slopes=c.slopes[0], is_causal=True)
    c.check(sinks=c.sinks, dlse=c.dlse)
    c.check(dweights=c.dweights, window=(40, 20))
    c.check(c.mask, c.dweights, c.dlse, softcap=2.0, alibi_slopes=c.slopes, sinks=c.sinks, is_causal=True)
    c.check(c.mask == 0, c.dweights, softcap=2.0, alibi_slopes=c.slopes, sinks=c.sinks, dropout_p=0.4, seed=3)


@pytest.mark.smoke
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_gradcheck(isa, leaf, causal, p):
    def run(q, k, v, mask, slopes, sinks):
        r = ATTENTION(
            q, k, v, mask, p, causal, None, True, alibi_slopes=slopes, sinks=sinks, softcap=1.5, seed=5,
            causal_align="bottom_right", return_weights=True, return_lse=True,
        )  # fmt: skip
        return r.output, r.weights, r.lse

    # T > S: the first queries see no key when causal. Slopes of positive numbers: |distance| has no kink in them.
    inputs = [leaf(2, 4, 5, 3), leaf(2, 2, 4, 3), leaf(2, 2, 4, 2), leaf(5, 4), leaf(2, 4), leaf(4)]
    assert fa.gradcheck(run, inputs)
    assert fa.gradcheck(lambda *a: run(*a)[1], inputs)  # the weights alone


@pytest.mark.parametrize("option", ["softcap", "alibi_slopes", "sinks"])
def test_gradcheck_of_one(leaf, option):
    inputs = [leaf(2, 2, 4, 3), leaf(2, 2, 5, 3), leaf(2, 2, 5, 2)]
    if option == "softcap":
        assert fa.gradcheck(lambda *a: ATTENTION(*a, softcap=0.8), inputs)
        return
    for shape in ((2,),) if option == "sinks" else ((2,), (2, 2), (1, 2), (2, 1), ()):
        x = leaf(*shape)
        assert fa.gradcheck(lambda *a: ATTENTION(*a[:3], **{option: a[3]}), [*inputs, x])
        assert fa.gradcheck(lambda a: ATTENTION(*(t.detach() for t in inputs), **{option: a}), [x])


def test_slopes_and_sinks_of_another_dtype(isa, dtype):
    """float32 slopes beside 16-bit queries, as flash-attn has them: read as they are, with a gradient of their dtype."""
    c = Case(dtype, 2, 4, 30, 41, 8)
    of = np.float32 if dtype != np.float32 else np.float64
    options = {"alibi_slopes": c.slopes.astype(of), "sinks": c.sinks.astype(of)}
    same = {name: x.astype(dtype) for name, x in options.items()}
    assert_same_bits(c.forward(**options), c.forward(**same))
    found, expected = c.gradients(**options), c.gradients(**same)
    assert_same_bits(found[:3], expected[:3])
    assert [g.dtype for g in found[4:]] == [of, of]
    narrow = min(dtype, np.dtype(of), key=lambda d: d.itemsize)
    assert_same_bits(*([g.astype(narrow) for g in pair[4:]] for pair in (found, expected)))


def test_values_that_mean_nothing(isa, dtype):
    """A softcap of inf, slopes of 0 and sinks of -inf change no bit."""
    c = Case(dtype, 2, 2, 50, 70, 8)
    off = {"alibi_slopes": np.zeros(2, dtype), "sinks": np.full(2, -np.inf, dtype), "softcap": np.inf}
    assert_same_bits(c.forward(c.mask, **off), c.forward(c.mask))
    found = c.gradients(c.mask, **off)
    assert_same_bits(found[:4], c.gradients(c.mask))
    assert (found[5] == 0).all()


# What nobody sees ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_nobody_sees_does_not_leak(isa, dtype, poison):
    c = Case(dtype, 1, 1 if EMULATED else 2, 70, 140, 16)
    keep = np.ones((70, 140), bool)
    keep[:, [0, 5, *range(64, 140)]] = False
    keep[[1, 68]] = False
    options = {"softcap": 2.0, "alibi_slopes": c.slopes, "sinks": c.sinks}
    out, weights, lse = expected = c.forward(keep, **options)
    gradients = c.gradients(keep, c.dweights, **options)
    lost_keys, lost_rows = ~keep[0], ~keep[:, 1]
    assert (out[:, :, lost_rows] == 0).all()
    assert (weights[:, :, ~keep] == 0).all()
    assert_same_bits(lse[0][:, lost_rows], np.repeat(c.sinks.astype(lse.dtype)[:, None], 2, 1))
    without = c.forward(keep, softcap=2.0, alibi_slopes=c.slopes)[2]
    assert (without[:, :, lost_rows] == -np.inf).all()
    for x in (c.k, c.v):
        x[:, :, lost_keys] = poison
    for x in (c.q, c.dout):
        x[:, :, lost_rows] = poison
    c.dweights[:, :, ~keep] = poison
    assert_same_bits(c.forward(keep, **options), expected)
    assert_same_bits(c.gradients(keep, c.dweights, **options), gradients)


def test_a_value_that_some_see_reaches_only_them(isa, dtype):
    c = Case(dtype, 1, 1, 100, 100, 16)
    options = {"is_causal": True, "softcap": 2.0, "alibi_slopes": c.slopes, "sinks": c.sinks}
    expected = c.forward(**options)
    c.k[0, 0, 70, 2] = np.nan
    found = c.forward(**options)
    for x, y in zip(found, expected, strict=True):
        assert_same_bits(x[0, 0, :70], y[0, 0, :70])
        assert np.isnan(x[0, 0, 70:]).any(-1).all()


def test_large_scores(isa, dtype):
    """Sinks and weights with logits in the hundreds, whose lse is rounded too far to make weights from."""
    c = Case(dtype, 1, 2, 60, 80, 8)
    c.q = c.q * dtype.type(50)
    sinks = np.asarray([100, 300], dtype)
    _, weights, lse = c.forward(scale=1.0, sinks=sinks)
    of_sink = np.exp(sinks.astype(float)[:, None] - lse.astype(float))
    np.testing.assert_allclose(weights.astype(float).sum(-1) + of_sink, 1, atol=0.02)
    expected = reference.attention(*(x.astype(float) for x in (c.q, c.k, c.v)), scale=1.0, sinks=sinks.astype(float))
    eps = max(float(fa.testing.tolerance._finfo(dtype).eps), 300 * float(np.finfo(accumulator(dtype)).eps))
    np.testing.assert_allclose(weights.astype(float), expected[1], atol=4 * eps)
    assert all(np.isfinite(g).all() for g in c.gradients(dweights=c.dweights, scale=1.0, sinks=sinks) if g is not None)


# Weights ---------------------------------------------------------------------------------------------------------------


def test_weights_change_no_bit_of_the_output(isa, dtype):
    c = Case(dtype, 2, 4, 100, 130, 24, kv_heads=2)
    options = {"enable_gqa": True, "is_causal": True, "dropout_p": 0.3, "seed": 2}
    plain = ATTENTION(c.q, c.k, c.v, **options)
    for weights in (True, fa.Weights(rows=-1, topk=3), fa.Weights(mean=True)):
        assert_same_bits(ATTENTION(c.q, c.k, c.v, return_weights=weights, **options).output, plain)


CHOICES = [
    fa.Weights(rows=[50, 3, -1]),
    fa.Weights(heads=[3, 0]),
    fa.Weights(mean=True),
    fa.Weights(heads=slice(1, 3), rows=slice(40, None), mean=True),
    fa.Weights(topk=5),
    fa.Weights(rows=52, heads=2, topk=67, mean=True),
]


def chosen_of(weights, choice):
    """The same from whole weights (B, H, T, S)."""
    heads = np.atleast_1d(np.arange(weights.shape[1])[choice.heads if choice.heads is not None else slice(None)])
    rows = np.atleast_1d(np.arange(weights.shape[2])[choice.rows if choice.rows is not None else slice(None)])
    found = weights[:, heads][:, :, rows]
    found = found.mean(1) if choice.mean else found
    if choice.topk is None:
        return found, None
    order = np.argsort(-found, -1, kind="stable")[..., : choice.topk]
    return np.take_along_axis(found, order, -1), order


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("causal", [True] if EMULATED else [False, True])
def test_chosen_weights(isa, dtype, choice, causal):
    c = Case(dtype, 2, 4, 53, 67, 12, 7, 2)
    options = {"enable_gqa": True, "is_causal": causal, "softcap": 3.0, "alibi_slopes": c.slopes, "sinks": c.sinks}
    wide = {name: x.astype(np.float64) if isinstance(x, np.ndarray) else x for name, x in options.items()}
    whole = reference.attention(*(x.astype(np.float64) for x in (c.q, c.k, c.v)), **wide)[1]
    expected, order = chosen_of(whole, choice)
    found = ATTENTION(c.q, c.k, c.v, return_weights=choice, **options).weights
    eps = float(fa.testing.tolerance._finfo(dtype).eps)
    values = found if choice.topk is None else found.values
    assert values.dtype == dtype
    np.testing.assert_allclose(values.astype(np.float64), expected, atol=8 * eps)
    if choice.topk is not None:
        assert found.indices.dtype == np.int64
        if dtype == np.float64:
            np.testing.assert_array_equal(found.indices, order)
    # bthd, and arrays without a batch, are the same weights.
    swapped = [x.swapaxes(1, 2) for x in (c.q, c.k, c.v)]
    assert_same_bits(ATTENTION(*swapped, return_weights=choice, layout="bthd", **options).weights, found)
    one = {**options, "alibi_slopes": c.slopes[:1]}
    again = ATTENTION(c.q[0], c.k[0], c.v[0], return_weights=choice, **one).weights
    assert_same_bits(again, fa.ops.TopWeights(*(x[0] for x in found)) if choice.topk else found[0])


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("of", [np.float32, np.float64])
def test_gradients_of_chosen_weights(isa, choice, of):
    """Against those of whole weights, from which the same is chosen op by op."""
    c = Case(np.dtype(of), 2, 4, 53, 67, 5, 3, 2)
    leaves = [[fa.Tensor(x, requires_grad=True) for x in (c.q, c.k, c.v, c.slopes, c.sinks)] for _ in range(2)]

    def run(q, k, v, slopes, sinks, weights):
        return ATTENTION(
            q, k, v, None, 0.3, True, None, True, alibi_slopes=slopes, sinks=sinks, seed=1, return_weights=weights
        )

    r = run(*leaves[0], choice)
    values = r.weights if choice.topk is None else r.weights.values
    g = np.random.default_rng(5).standard_normal(values.shape).astype(of)
    ((r.output * fa.Tensor(c.dout)).sum() + (values * fa.Tensor(g)).sum()).backward()
    # The gradient of whole weights, spread by hand.
    whole = run(*leaves[1], True)
    spread = np.zeros(whole.weights.shape, of)
    heads = np.atleast_1d(np.arange(4)[choice.heads if choice.heads is not None else slice(None)])
    rows = np.atleast_1d(np.arange(53)[choice.rows if choice.rows is not None else slice(None)])
    full = g
    if choice.topk is not None:
        full = np.zeros((*g.shape[:-1], 67), of)
        np.put_along_axis(full, r.weights.indices.numpy(), g, -1)
    full = np.repeat(full[:, None], len(heads), 1) / len(heads) if choice.mean else full
    spread[np.ix_(range(2), heads, rows, range(67))] = full
    ((whole.output * fa.Tensor(c.dout)).sum() + (whole.weights * fa.Tensor(spread)).sum()).backward()
    for a, b in zip(*leaves, strict=True):
        if of == np.float64:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-11)
        else:  # sums of some thousand terms around 1
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5, atol=2e-5)


def test_shapes_of_weights():
    q, k = np.zeros((2, 4, 5, 8)), np.zeros((2, 4, 7, 8))
    shape = lambda w, n=4: ATTENTION(q[(0,) * (4 - n)], k[(0,) * (4 - n)], k[(0,) * (4 - n)], return_weights=w).weights  # noqa: E731
    assert shape(True).shape == (2, 4, 5, 7)
    assert shape(fa.Weights(rows=2, heads=[1])).shape == (2, 1, 1, 7)
    assert shape(fa.Weights(mean=True)).shape == (2, 5, 7)
    assert shape(fa.Weights(mean=True), 3).shape == (5, 7)
    assert shape(fa.Weights(mean=True), 2).shape == (5, 7)
    assert shape(fa.Weights(rows=[]), 3).shape == (4, 0, 7)
    top = shape(fa.Weights(topk=2))
    assert top.values.shape == top.indices.shape == (2, 4, 5, 2)
    assert (top.indices == [0, 1]).all()  # of equal weights the first
    for rows, keys in ((0, 3), (3, 0)):
        assert ATTENTION(q[:, :, :rows], k[:, :, :keys], k[:, :, :keys], return_weights=True).weights.shape == (
            2,
            4,
            rows,
            keys,
        )


# The bitwise rule, and the doors ---------------------------------------------------------------------------------------


def test_same_bits_for_any_threads_and_strides(isa, dtype):
    c = Case(dtype, *((1, 2, 20, 40) if EMULATED else (2, 4, 150, 170)), 24, kv_heads=1 if EMULATED else 2)
    options = {"enable_gqa": True, "softcap": 4.0, "alibi_slopes": c.slopes[0], "sinks": c.sinks, "is_causal": True}
    assert_same_for_any_threads(lambda: c.forward(**options))
    assert_same_for_any_threads(lambda: c.gradients(c.mask, c.dweights, c.dlse, **options))
    top = fa.Weights(topk=4, mean=True)
    assert_same_for_any_threads(lambda: tuple(ATTENTION(c.q, c.k, c.v, return_weights=top, **options).weights))
    forward, backward = c.forward(**options), c.gradients(**options)
    move = LAYOUTS["transposed"]
    c.q, c.k, c.v, options["alibi_slopes"] = move(c.q), move(c.k), move(c.v), c.slopes[0].repeat(2)[::2]
    assert_same_bits(c.forward(**options), forward)
    assert_same_bits(c.gradients(**options), backward)


def test_a_sequence_does_not_depend_on_the_batch(isa, dtype):
    c = Case(dtype, 3, 2, *((20, 70) if EMULATED else (100, 130)), 24)
    options = {"softcap": 4.0, "alibi_slopes": c.slopes, "sinks": c.sinks}
    whole, gradients = c.forward(**options), c.gradients(dweights=c.dweights, **options)
    for name in ("q", "k", "v", "dout", "dweights"):
        setattr(c, name, getattr(c, name)[1:2])
    options["alibi_slopes"] = c.slopes[1:2]
    assert_same_bits(c.forward(**options), tuple(x[1:2] for x in whole))
    found = c.gradients(dweights=c.dweights, **options)
    assert_same_bits([*found[:3], found[4]], [g[1:2] for g in (*gradients[:3], gradients[4])])


@pytest.mark.parity
def test_torch_tensors():
    torch = pytest.importorskip("torch")
    c = Case(np.dtype(np.float64), 2, 4, 20, 30, 8, kv_heads=2)
    leaves = [torch.from_numpy(x).requires_grad_() for x in (c.q, c.k, c.v, c.slopes, c.sinks)]
    q, k, v, slopes, sinks = leaves
    r = ATTENTION(
        q, k, v, enable_gqa=True, softcap=2.0, alibi_slopes=slopes, sinks=sinks, return_weights=True, return_lse=True
    )
    scores = 2 * torch.tanh(q @ k.repeat_interleave(2, 1).mT / 8**0.5 / 2)
    distance = (torch.arange(20)[:, None] - torch.arange(30)).abs()
    scores = scores - slopes[..., None, None] * distance
    scores = torch.cat([scores, sinks[:, None, None].expand(2, 4, 20, 1)], -1)
    weights = torch.softmax(scores, -1)[..., :-1]
    expected = weights @ v.repeat_interleave(2, 1), weights, torch.logsumexp(scores, -1)
    torch.testing.assert_close((r.output, r.weights, r.lse), expected)
    grads = tuple(torch.from_numpy(x) for x in (c.dout, c.dweights, c.dlse))
    torch.testing.assert_close(
        torch.autograd.grad((r.output, r.weights, r.lse), leaves, grads), torch.autograd.grad(expected, leaves, grads)
    )
    top = ATTENTION(q, k, v, enable_gqa=True, return_weights=fa.Weights(topk=2)).weights
    assert top.indices.dtype == torch.int64
    assert not top.indices.requires_grad
    torch.autograd.grad(top.values.sum(), q)


def test_captured_weights(isa, dtype):
    c = Case(dtype, 2, 2, 9, 11, 8)
    plain, expected = ATTENTION(c.q, c.k, c.v), c.forward()
    with fa.capture_attention() as maps:
        assert_same_bits(ATTENTION(c.q, c.k, c.v), plain)
        r = ATTENTION(c.q, c.k, c.v, return_lse=True)
        with fa.capture_attention() as inner:
            c.forward()  # returns weights itself
    ATTENTION(c.q, c.k, c.v)
    assert r.weights is None
    assert_same_bits(r.lse, expected[2])
    assert not inner
    assert len(maps) == 2
    for found in maps:
        assert_same_bits(found, expected[1])


@settings(deadline=None, derandomize=True, max_examples=10 if EMULATED else 60)
@given(
    st.sampled_from([*variants(), *isas()]),
    st.tuples(st.integers(0, 70), st.integers(0, 140), st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(1, 3)),
    st.fixed_dictionaries(
        {
            "is_causal": st.booleans(),
            "causal_align": st.sampled_from(["top_left", "bottom_right"]),
            "window": st.sampled_from([None, (3, 5), (20, -1)]),
            "softcap": st.sampled_from([0.0, 1.5]),
            "dropout_p": st.sampled_from([0.0, 0.3]),
        }
    ),
    st.tuples(st.sampled_from([None, "bool", "additive"]), *(st.booleans() for _ in range(4))),
    st.sampled_from(["float32", "float64"]),
)
def test_any_combination(name, size, heads, options, present, dtype):
    rows, keys, dim, value_dim = size
    batch, kv_heads, group = heads
    c = Case(np.dtype(dtype), batch, kv_heads * group, rows, keys, dim, value_dim, kv_heads)
    kind, slopes, sinks, dweights, dlse = present
    mask = {None: None, "bool": c.mask != -np.inf, "additive": c.mask}[kind]
    options = {**options, "enable_gqa": True, "seed": 4}
    options |= {"alibi_slopes": c.slopes} if slopes else {}
    options |= {"sinks": c.sinks} if sinks else {}
    with forced_isa(name):
        c.check(mask, c.dweights if dweights else None, c.dlse if dlse else None, **options)


MEMORY = """
    import numpy as np
    import fastattn as fa

    def peak():
        # Not ru_maxrss, which begins at what the process that started this one had.
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

    rng = np.random.default_rng(0)
    T = 4096
    draw = lambda n: [fa.Tensor(rng.standard_normal((1, 2, n, 32)).astype(np.float32), requires_grad=True) for _ in "qkv"]
    slopes, sinks = (fa.Tensor(np.ones(2, np.float32), requires_grad=True) for _ in range(2))
    def run(n):
        r = fa.scaled_dot_product_attention(
            *draw(n), softcap=5.0, alibi_slopes=slopes, sinks=sinks,
            return_weights=fa.Weights(rows=slice(-8, None), topk=16, mean=True))
        (r.output.sum() + r.weights.values.sum()).backward()
    run(64)
    before = peak()
    run(T)
    print(peak() - before)
"""


@pytest.mark.skipif(EMULATED, reason="T = S = 4096 takes minutes on an emulator")
def test_no_array_of_queries_by_keys_is_held():
    """A head's score matrix at T = S = 4096 would be 64 MB."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY)], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 40e6
