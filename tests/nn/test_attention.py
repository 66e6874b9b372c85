"""MultiheadAttention against torch's, fused and op by op."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn

T, S, B, E, H = 5, 7, 3, 8, 2


def arrays(batch_first, batched, kdim=E, vdim=E):
    rng = np.random.default_rng(0)
    shapes = [(T, B, E), (S, B, kdim), (S, B, vdim)]
    if not batched:
        shapes = [(n, width) for n, _, width in shapes]
    elif batch_first:
        shapes = [(b, n, width) for n, b, width in shapes]
    return [rng.standard_normal(shape) for shape in shapes]


def both(torch, **options):
    theirs = torch.nn.MultiheadAttention(E, H, **options).double()
    ours = nn.MultiheadAttention(E, H, **options).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def compare(torch, ours, theirs, inputs, **call):
    ours_in = [fa.tensor(x, requires_grad=True) for x in inputs]
    theirs_in = [torch.tensor(x, requires_grad=True) for x in inputs]
    torch_call = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}
    our_call = {k: fa.Tensor(v) if isinstance(v, np.ndarray) else v for k, v in call.items()}
    y, w = ours(*ours_in, **our_call)
    ty, tw = theirs(*theirs_in, **torch_call)
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-11, atol=1e-12)
    assert (w is None) == (tw is None)
    if w is not None:
        np.testing.assert_allclose(w.detach().numpy(), tw.detach().numpy(), rtol=1e-11, atol=1e-12)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    for x, tx in zip(ours_in, theirs_in, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-9, atol=1e-11)
    for (name, p), (_, tp) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), tp.grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parity
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"kdim": 6},
        {"kdim": 6, "vdim": 4},
        {"add_bias_kv": True},
        {"add_zero_attn": True},
        {"add_bias_kv": True, "add_zero_attn": True, "kdim": 6},
    ],
)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_is_torchs(options, batch_first, batched, need_weights):
    torch = pytest.importorskip("torch")
    inputs = arrays(batch_first, batched, options.get("kdim", E), options.get("vdim", E))
    ours, theirs = both(torch, batch_first=batch_first, **options)
    compare(torch, ours, theirs, inputs, need_weights=need_weights)


def hidden(*shape):
    """A mask that hides some keys, and not all of any query."""
    mask = np.random.default_rng(1).random(shape) < 0.4
    mask[..., 0] = False
    return mask


MASKS = {
    "attn": {"attn_mask": hidden(T, S)},
    "attn by head": {"attn_mask": hidden(B * H, T, S)},
    "padding": {"key_padding_mask": hidden(B, S)},
    "both": {"attn_mask": hidden(T, S), "key_padding_mask": hidden(B, S)},
    "attn of floats": {"attn_mask": np.random.default_rng(2).standard_normal((T, S))},
    "attn of floats by head": {"attn_mask": np.random.default_rng(2).standard_normal((B * H, T, S))},
    "both of floats": {
        "attn_mask": np.where(hidden(T, S), -np.inf, 0.3),
        "key_padding_mask": np.where(hidden(B, S), -np.inf, 0.0),
    },
}


@pytest.mark.parity
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("need_weights", [False, True])
def test_masks_are_torchs(name, need_weights):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, batch_first=True)
    compare(torch, ours, theirs, arrays(True, True), need_weights=need_weights, **MASKS[name])


@pytest.mark.parity
def test_weights_of_each_head_are_torchs():
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, batch_first=True)
    compare(torch, ours, theirs, arrays(True, True), average_attn_weights=False)
    ours, theirs = both(torch)
    compare(torch, ours, theirs, arrays(False, False), average_attn_weights=False)


@pytest.mark.parity
@pytest.mark.parametrize("need_weights", [False, True])
def test_causal_is_torchs(need_weights):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, batch_first=True)
    x = fa.randn(B, T, E, dtype=fa.float64)
    tx = torch.from_numpy(x.numpy())
    mask = torch.nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64)
    expected, _ = theirs(tx, tx, tx, attn_mask=mask, need_weights=False)
    y, _ = ours(x, x, x, is_causal=True, need_weights=need_weights)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-12)


def test_causal_composes_with_masks():
    attention = nn.MultiheadAttention(E, H, batch_first=True).double()
    x = fa.randn(B, T, E, dtype=fa.float64)
    triangle = np.triu(np.ones((T, T), bool), 1)
    mask = hidden(T, T)
    expected, weights = attention(x, x, x, attn_mask=fa.Tensor(mask | triangle))
    for need_weights in (False, True):
        for m in (mask, np.where(mask, -np.inf, 0.0)):
            y, w = attention(x, x, x, attn_mask=fa.Tensor(m), is_causal=True, need_weights=need_weights)
            np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(w.detach().numpy(), weights.detach().numpy(), rtol=1e-11, atol=1e-13)


def test_self_attention_is_one_product():
    attention = nn.MultiheadAttention(E, H, batch_first=True)
    x = fa.randn(B, T, E)
    y, _ = attention(x, x, x, need_weights=False)
    z, _ = attention(x, x + 0, x + 0, need_weights=False)
    np.testing.assert_allclose(y.tolist(), z.tolist(), rtol=1e-4, atol=1e-6)


def test_a_query_that_sees_nothing_gives_the_bias():
    attention = nn.MultiheadAttention(E, H, batch_first=True)
    x = fa.randn(1, T, E)
    everything = fa.ones(1, T, dtype=fa.bool_)
    for need_weights in (False, True):
        y, w = attention(x, x, x, key_padding_mask=everything, need_weights=need_weights)
        np.testing.assert_array_equal(y.detach().numpy(), np.broadcast_to(attention.out_proj.bias.tolist(), y.shape))
    assert not w.any()


def test_dropout_is_of_training_only():
    attention = nn.MultiheadAttention(E, H, dropout=0.5, batch_first=True)
    x = fa.randn(B, T, E)
    fa.manual_seed(3)
    a, weights = attention(x, x, x)
    fa.manual_seed(3)
    b, _ = attention(x, x, x, need_weights=False)  # the fused op: the same mask
    np.testing.assert_allclose(a.tolist(), b.tolist(), rtol=1e-4, atol=1e-6)
    assert not (attention(x, x, x, need_weights=False)[0] == b).all()
    assert (weights == 0).any()
    # Those of each head are what made the output: dropped, and divided by what is kept.
    fa.manual_seed(3)
    _, each = attention(x, x, x, average_attn_weights=False)
    np.testing.assert_allclose(each.mean(1).tolist(), weights.tolist(), rtol=1e-5)
    assert 0.2 < np.mean(each.detach().numpy() == 0) < 0.8
    attention.eval()
    a, weights = attention(x, x, x)
    b, _ = attention(x, x, x, need_weights=False)
    np.testing.assert_allclose(a.tolist(), b.tolist(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(weights.sum(-1).tolist(), np.ones((B, T)), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, x: nn.MultiheadAttention(8, 3), ValueError, "embed_dim 8 is not a multiple of num_heads 3"),
        (lambda a, x: a(x, x[0], x), ValueError, r"query \(5, 3, 8\), key \(3, 8\) and value \(5, 3, 8\)"),
        (
            lambda a, x: a(x, x, x, attn_mask=fa.ones(2, 2)),
            ValueError,
            r"attn_mask has shape \(2, 2\); expected \(5, 5\) or \(6, 5, 5\)",
        ),
        (
            lambda a, x: a(x, x, x, key_padding_mask=fa.ones(5, 3)),
            ValueError,
            r"key_padding_mask has shape \(5, 3\); expected \(3, 5\)",
        ),
        (lambda a, x: a(x, x, x, attn_mask=np.ones((5, 5))), TypeError, "attn_mask is a ndarray; expected a Tensor"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(nn.MultiheadAttention(E, H), fa.ones(T, B, E))


@pytest.mark.parity
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_appended_keys_are_seen_behind_masks(need_weights, kind):
    torch = pytest.importorskip("torch")
    inputs = arrays(True, True)
    ours, theirs = both(torch, batch_first=True, add_bias_kv=True, add_zero_attn=True)
    hidden = np.zeros((B, S), dtype=bool)
    hidden[0] = True  # this sequence has nothing but the appended keys
    later = np.triu(np.ones((T, S), dtype=bool), 1)
    if kind == "float":
        hidden, later = (np.where(m, -np.inf, 0.0) for m in (hidden, later))
    compare(torch, ours, theirs, inputs, need_weights=need_weights, key_padding_mask=hidden, attn_mask=later)
    # is_causal is the same mask here.
    x = [fa.tensor(a) for a in inputs]
    masked = ours(*x, attn_mask=fa.Tensor(later), need_weights=need_weights)[0]
    causal = ours(*x, is_causal=True, need_weights=need_weights)[0]
    np.testing.assert_array_equal(masked.detach().numpy(), causal.detach().numpy())
