"""The Transformer's layers against torch's, and what they promise without it."""

import copy

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn
from fastattn.nn import functional as F

S, T, B, E, H = 6, 5, 3, 8, 2
SIZES = (E, H, 12)
# Sums of at most 18 products of numbers near 1, in a few layers: hundreds of roundings, each of 1e-16; more in gradients.
CLOSE = {"rtol": 1e-11, "atol": 1e-12}
CLOSE_GRADS = {"rtol": 1e-9, "atol": 1e-11}

# torch is told to keep its copies from the fast path, which has another order of sums and warns.
pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")


def hidden(*shape):
    """A mask that hides some keys, and never the first."""
    mask = np.random.default_rng(1).random(shape) < 0.4
    mask[..., 0] = False
    return mask


def floats(*shape):
    return np.random.default_rng(2).standard_normal(shape)


def causal(n):
    return np.triu(np.ones((n, n), bool), 1)


def sequence(length, batch_first=True, batched=True, seed=0):
    x = np.random.default_rng(seed).standard_normal((B, length, E))
    if not batched:
        return x[0]
    return x if batch_first else x.swapaxes(0, 1).copy()


def pair(torch, name, *args, **options):
    """Ours and torch's of the same weights, drawn anew (norms too), in float64; both ways through a state_dict."""
    theirs = getattr(torch.nn, name)(*args, dropout=0.0, **options).double()
    generator = np.random.default_rng(3)
    for p in theirs.parameters():
        p.data = torch.from_numpy(generator.standard_normal(p.shape) * 0.3 + (p.ndim == 1) * 0.5)
    ours = getattr(nn, name)(*args, dropout=0.0, **options).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    again = getattr(torch.nn, name)(*args, dropout=0.0, **options).double()
    again.load_state_dict({key: torch.from_numpy(value.numpy()) for key, value in ours.state_dict().items()})
    for p, q in zip(again.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q)
    return ours, theirs


def compare(torch, ours, theirs, inputs, **call):
    """Forward, and every gradient: of inputs, of masks of floats, of parameters."""
    mine = [fa.tensor(x, requires_grad=True) for x in inputs]
    other = [torch.tensor(x, requires_grad=True) for x in inputs]
    masks = {k: v for k, v in call.items() if isinstance(v, np.ndarray)}
    my_call = call | {k: fa.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in masks.items()}
    other_call = call | {k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in masks.items()}
    y, expected = ours(*mine, **my_call), theirs(*other, **other_call)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), **CLOSE)
    (y * y).sum().backward()
    (expected * expected).sum().backward()
    for k in masks:  # torch ignores a mask that it takes for causal
        if other_call[k].grad is not None:
            np.testing.assert_allclose(my_call[k].grad.numpy(), other_call[k].grad.numpy(), **CLOSE_GRADS, err_msg=k)
    for x, z in zip(mine, other, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), **CLOSE_GRADS)
    for (name, p), (their_name, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == their_name
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), **CLOSE_GRADS, err_msg=name)


OPTIONS = [
    {},
    {"norm_first": True},
    {"activation": "gelu"},
    {"activation": "gelu", "norm_first": True},
    {"bias": False},
    {"layer_norm_eps": 0.1},
]


@pytest.mark.parity
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_layers_are_torchs(options, batch_first, batched):
    torch = pytest.importorskip("torch")
    tgt, memory = (sequence(n, batch_first, batched, n) for n in (T, S))
    compare(torch, *pair(torch, "TransformerEncoderLayer", *SIZES, batch_first=batch_first, **options), [tgt])
    compare(torch, *pair(torch, "TransformerDecoderLayer", *SIZES, batch_first=batch_first, **options), [tgt, memory])


@pytest.mark.parity
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_whole_is_torchs(options, batch_first):
    torch = pytest.importorskip("torch")
    ours, theirs = pair(torch, "Transformer", E, H, 2, 2, 12, batch_first=batch_first, **options)
    src, tgt = (sequence(n, batch_first, True, n) for n in (S, T))
    mask = np.where(causal(T), -np.inf, 0.0)
    compare(torch, ours, theirs, [src, tgt], tgt_mask=mask, src_key_padding_mask=hidden(B, S))
    assert (ours.d_model, ours.nhead, ours.batch_first) == (theirs.d_model, theirs.nhead, theirs.batch_first)


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu"}], ids=str)
def test_float32_is_as_near_as_torchs(options, seed):
    """torch's float64 is the oracle, its float32 the naive evaluation: twice its error, and a few roundings.

    The largest error of one number after a hundred ops in a row is chance, and so is a small tensor's: errors are root mean
    squares, and those of the parameters' gradients are taken together.
    """
    torch = pytest.importorskip("torch")
    ours, theirs = pair(torch, "Transformer", 32, 4, 2, 2, 48, batch_first=True, **options)
    found = {}
    inputs = [np.random.default_rng(seed).standard_normal((B, n, 32)).astype(np.float32) for n in (40, 33)]
    for p in theirs.parameters():  # so that all three have the same weights
        p.data = p.data.float().double()
    ours.load_state_dict(theirs.state_dict())
    for name, module, make, dtype in (
        ("oracle", theirs, torch.tensor, np.float64),
        ("naive", copy.deepcopy(theirs).float(), torch.tensor, np.float32),
        ("ours", ours.float(), fa.tensor, np.float32),
    ):
        given = [make(x.astype(dtype), requires_grad=True) for x in inputs]
        y = module(*given, tgt_mask=make(np.where(causal(33), -np.inf, 0).astype(dtype)))
        (y * make(np.random.default_rng(9).standard_normal(y.shape).astype(dtype))).sum().backward()
        grads = {key: p.grad.numpy() for key, p in module.named_parameters()}
        found[name] = {"out": y.detach().numpy(), "src": given[0].grad.numpy(), "tgt": given[1].grad.numpy(), **grads}
    ratios = []
    for key, oracle in found["oracle"].items():
        error, naive = (np.sqrt(np.mean((found[one][key] - oracle) ** 2)) for one in ("ours", "naive"))
        allowed = 2 * naive + 4 * np.finfo(np.float32).eps * np.sqrt(np.mean(oracle**2))
        if key in ("out", "src", "tgt"):
            assert error <= allowed, key
        else:
            ratios.append(error / allowed)
    assert np.exp(np.mean(np.log(ratios))) < 1


@pytest.mark.parity
def test_functions_and_layers_as_activation():
    torch = pytest.importorskip("torch")
    for name in ("silu", "tanh"):
        ours, theirs = pair(torch, "TransformerEncoderLayer", *SIZES)
        ours.activation, theirs.activation = getattr(F, name), getattr(torch.nn.functional, name)
        compare(torch, ours, theirs, [sequence(T)])
    for approximate in ("none", "tanh"):
        ours, theirs = pair(torch, "TransformerEncoderLayer", *SIZES)
        ours.activation = nn.GELU(approximate)
        theirs.activation = torch.nn.GELU(approximate)
        compare(torch, ours, theirs, [sequence(T)])


ENCODER_MASKS = {
    "bool": {"src_mask": hidden(T, T)},
    "bool by head": {"src_mask": hidden(B * H, T, T)},
    "floats": {"src_mask": floats(T, T)},
    "floats by head": {"src_mask": floats(B * H, T, T)},
    "padding": {"src_key_padding_mask": hidden(B, T)},
    "padding of floats": {"src_key_padding_mask": floats(B, T)},
    "both": {"src_mask": hidden(T, T), "src_key_padding_mask": hidden(B, T)},
    "both of floats": {"src_mask": floats(T, T), "src_key_padding_mask": floats(B, T)},
    "causal": {"src_mask": causal(T), "is_causal": True},
    "causal of floats": {"src_mask": np.where(causal(T), -np.inf, 0.0)},
    "causal, padding": {"src_mask": causal(T), "src_key_padding_mask": hidden(B, T), "is_causal": True},
}


@pytest.mark.parity
@pytest.mark.parametrize("name", ENCODER_MASKS)
@pytest.mark.parametrize("norm_first", [False, True])
def test_masks_of_the_encoder_are_torchs(name, norm_first):
    torch = pytest.importorskip("torch")
    call = ENCODER_MASKS[name]
    options = {"batch_first": True, "norm_first": norm_first}
    compare(torch, *pair(torch, "TransformerEncoderLayer", *SIZES, **options), [sequence(T)], **call)
    ours, theirs = pair(torch, "TransformerEncoderLayer", *SIZES, **options)
    norms = nn.LayerNorm(E).double(), torch.nn.LayerNorm(E).double()
    stacks = nn.TransformerEncoder(ours, 2, norms[0]), torch.nn.TransformerEncoder(theirs, 2, norms[1])
    call = {"mask" if key == "src_mask" else key: value for key, value in call.items()}
    compare(torch, *stacks, [sequence(T)], **call)


DECODER_MASKS = {
    "tgt": {"tgt_mask": hidden(T, T)},
    "tgt by head": {"tgt_mask": hidden(B * H, T, T)},
    "tgt of floats": {"tgt_mask": floats(T, T)},
    "tgt padding": {"tgt_key_padding_mask": hidden(B, T)},
    "causal": {"tgt_mask": causal(T), "tgt_is_causal": True},
    "memory": {"memory_mask": hidden(T, S)},
    "memory by head": {"memory_mask": hidden(B * H, T, S)},
    "memory of floats": {"memory_mask": floats(T, S)},
    "memory padding": {"memory_key_padding_mask": hidden(B, S)},
    "memory causal": {"memory_mask": np.triu(np.ones((T, S), bool), 1), "memory_is_causal": True},
    "all": {
        "tgt_mask": causal(T),
        "memory_mask": hidden(T, S),
        "tgt_key_padding_mask": hidden(B, T),
        "memory_key_padding_mask": hidden(B, S),
    },
    "all of floats": {
        "tgt_mask": np.where(causal(T), -np.inf, 0.0),
        "memory_mask": floats(T, S),
        "tgt_key_padding_mask": floats(B, T),
        "memory_key_padding_mask": floats(B, S),
    },
}


@pytest.mark.parity
@pytest.mark.parametrize("name", DECODER_MASKS)
@pytest.mark.parametrize("norm_first", [False, True])
def test_masks_of_the_decoder_are_torchs(name, norm_first):
    torch = pytest.importorskip("torch")
    inputs = [sequence(T, seed=1), sequence(S, seed=2)]
    ours, theirs = pair(torch, "TransformerDecoderLayer", *SIZES, batch_first=True, norm_first=norm_first)
    compare(torch, ours, theirs, inputs, **DECODER_MASKS[name])
    for module in (ours, theirs):
        module.zero_grad()
    compare(
        torch, nn.TransformerDecoder(ours, 2), torch.nn.TransformerDecoder(theirs, 2), inputs, **DECODER_MASKS[name]
    )


@pytest.mark.parity
def test_first_weights_are_distributed_as_torchs():
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Transformer(64, 4, 1, 1, 96), torch.nn.Transformer(64, 4, 1, 1, 96)
    for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        a, b = p.detach().numpy(), q.detach().numpy()
        if a.size < 1000:
            assert (a.std() > 0) == (b.std() > 0), name
            assert b.std() > 0 or a.flat[0] == b.flat[0], name
        else:
            assert a.std() == pytest.approx(b.std(), rel=0.1), name
            assert abs(a).max() == pytest.approx(abs(b).max(), rel=0.1), name


@pytest.mark.parity
def test_arguments_are_torchs():
    """Names, order and defaults; of forward too."""
    import inspect

    torch = pytest.importorskip("torch")
    for name in ("", "Encoder", "Decoder", "EncoderLayer", "DecoderLayer"):
        for method in ("__init__", "forward"):
            mine, other = (
                {
                    key: p.default if not callable(p.default) or p.default is p.empty else p.default.__name__
                    for key, p in inspect.signature(
                        getattr(getattr(m, f"Transformer{name}"), method)
                    ).parameters.items()
                }
                for m in (nn, torch.nn)
            )
            assert list(mine.items()) == list(other.items()), f"Transformer{name}.{method}"


# Without torch ---------------------------------------------------------------------------------------------------------


def by_hand(layer, x, memory=None, mask=None):
    """The layer's formula, of its parts."""

    def attend(attention, query, key, m=None):
        return attention(query, key, key, need_weights=False, attn_mask=m)[0]

    steps = [lambda y: attend(layer.self_attn, y, y, mask)]
    if memory is not None:
        steps.append(lambda y: attend(layer.multihead_attn, y, memory))
    steps.append(lambda y: layer.linear2(layer.activation(layer.linear1(y))))
    for i, step in enumerate(steps):
        norm = getattr(layer, f"norm{i + 1}")
        x = x + step(norm(x)) if layer.norm_first else norm(x + step(x))
    return x


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_layers_are_their_formulas(norm_first, activation):
    options = {"batch_first": True, "norm_first": norm_first, "activation": activation, "dropout": 0.0}
    x, memory = fa.tensor(sequence(T)), fa.tensor(sequence(S))
    mask = fa.Tensor(causal(T))
    encoder = nn.TransformerEncoderLayer(*SIZES, **options).double()
    expected = by_hand(encoder, x, mask=mask)
    np.testing.assert_allclose(encoder(x, mask).tolist(), expected.tolist(), **CLOSE)
    np.testing.assert_allclose(encoder(x, is_causal=True).tolist(), expected.tolist(), **CLOSE)
    decoder = nn.TransformerDecoderLayer(*SIZES, **options).double()
    expected = by_hand(decoder, x, memory, mask)
    np.testing.assert_allclose(decoder(x, memory, mask).tolist(), expected.tolist(), **CLOSE)
    np.testing.assert_allclose(decoder(x, memory, tgt_is_causal=True).tolist(), expected.tolist(), **CLOSE)


def test_stacks_are_copies_of_a_layer():
    layer = nn.TransformerEncoderLayer(*SIZES, batch_first=True, dropout=0.0).double()
    stack = nn.TransformerEncoder(layer, 3, nn.LayerNorm(E).double())
    assert all(not {*map(id, one.parameters())} & {*map(id, layer.parameters())} for one in stack.layers)
    x = fa.tensor(sequence(T))
    expected = stack.norm(layer(layer(layer(x))))
    np.testing.assert_allclose(stack(x).tolist(), expected.tolist(), **CLOSE)
    assert nn.TransformerEncoder(layer, 0)(x) is x
    assert nn.TransformerDecoder(nn.TransformerDecoderLayer(*SIZES), 0)(x, x) is x
    assert stack(x).tolist() == copy.deepcopy(stack)(x).tolist()


@pytest.mark.parametrize("kind", ["bool", "floats"])
def test_a_causal_mask_is_found_out(kind):
    """The layers are told, and need no mask any more; another mask stays, also one with a gradient."""
    seen = []
    layer = nn.TransformerEncoderLayer(*SIZES, batch_first=True, dropout=0.0).double()
    stack = nn.TransformerEncoder(layer, 1)
    stack.layers[0].register_forward_pre_hook(lambda m, args, kwargs: seen.append(kwargs), with_kwargs=True)
    x = fa.tensor(sequence(T))
    triangle = causal(T) if kind == "bool" else np.where(causal(T), -np.inf, 0.0)
    found = stack(x, fa.Tensor(triangle))
    assert seen[-1]["src_mask"] is None
    assert seen[-1]["is_causal"] is True
    said = stack(x, fa.Tensor(triangle), is_causal=False)
    assert seen[-1]["src_mask"] is not None
    np.testing.assert_allclose(found.tolist(), said.tolist(), **CLOSE)
    other = triangle.copy()
    other[0, 0] = True
    others = [fa.Tensor(other), fa.Tensor(np.broadcast_to(triangle, (B * H, T, T)).copy())]
    if kind == "floats":
        others.append(fa.tensor(triangle, requires_grad=True))
    for mask in others:
        stack(x, mask)
        assert seen[-1]["src_mask"] is mask
        assert seen[-1]["is_causal"] is False


def test_a_layer_of_ones_own_gets_the_mask():
    class Layer(nn.Module):
        def forward(self, src, src_mask=None, is_causal=False, src_key_padding_mask=None):
            return src + src_mask.shape[0]

    stack = nn.TransformerEncoder(Layer(), 2)
    assert stack(fa.zeros(1), fa.Tensor(causal(3))).tolist() == [6.0]
    model = nn.Transformer(E, H, custom_encoder=stack, custom_decoder=nn.TransformerDecoder(Layer(), 0))
    assert model.encoder is stack


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_hooks_and_other_layers_see_what_is_theirs(activation):
    """What is fused comes apart where somebody looks, or has put a layer of their own."""
    layer = nn.TransformerEncoderLayer(*SIZES, batch_first=True, dropout=0.0, activation=activation).double()
    x = fa.tensor(sequence(T))
    plain = layer(x).tolist()
    seen = {}
    for name in ("linear1", "linear2"):
        getattr(layer, name).register_forward_hook(lambda m, args, out, name=name: seen.update({name: (args[0], out)}))
    np.testing.assert_allclose(layer(x).tolist(), plain, **CLOSE)
    before, after = seen["linear1"]
    np.testing.assert_allclose(after.tolist(), F.linear(before, layer.linear1.weight, layer.linear1.bias).tolist())
    before, after = seen["linear2"]
    np.testing.assert_allclose(after.tolist(), F.linear(before, layer.linear2.weight, layer.linear2.bias).tolist())

    class Double(nn.Linear):
        def forward(self, input):
            return super().forward(input) * 2

    layer.linear1 = Double(E, 12, dtype=fa.float64)
    expected = by_hand(layer, x)
    np.testing.assert_allclose(layer(x).tolist(), expected.tolist(), **CLOSE)


def test_dropout_is_of_training_only():
    model = nn.Transformer(E, H, 1, 1, 12, dropout=0.3, batch_first=True)
    src, tgt = fa.randn(B, S, E), fa.randn(B, T, E)
    assert not (model(src, tgt) == model(src, tgt)).all()
    model(src, tgt).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    assert (model(src, tgt) == model(src, tgt)).all()
    # Of the hidden numbers, every one of linear1's and every sum's is dropped with the same probability.
    layer = nn.TransformerEncoderLayer(E, H, 12, dropout=1.0, batch_first=True)
    x = fa.randn(B, T, E)
    np.testing.assert_allclose(layer(x).tolist(), layer.norm2(layer.norm1(x)).tolist(), rtol=1e-5, atol=1e-6)


def test_autocast_keeps_the_sums_wide():
    layer = nn.TransformerEncoderLayer(*SIZES, batch_first=True, dropout=0.0, activation="gelu", norm_first=True)
    x = fa.randn(B, T, E)
    with fa.autocast(dtype=fa.bfloat16):
        y = layer(x)
    assert y.dtype == fa.float32
    np.testing.assert_allclose(y.tolist(), layer(x).tolist(), atol=0.1)


def test_generate_square_subsequent_mask():
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0, -np.inf, -np.inf], [0, 0, -np.inf], [0, 0, 0]]
    assert mask.dtype == fa.float32
    assert nn.Transformer.generate_square_subsequent_mask(3, dtype=fa.float64).dtype == fa.float64


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.TransformerEncoderLayer(8, 3), ValueError, "embed_dim 8 is not a multiple of num_heads 3"),
        (
            lambda: nn.TransformerEncoderLayer(8, 2, activation="swish"),
            ValueError,
            "^TransformerEncoderLayer: activation is 'swish'; expected 'relu', 'gelu' or a function$",
        ),
        (
            lambda: nn.TransformerDecoderLayer(8, 2, activation=""),
            ValueError,
            "^TransformerDecoderLayer: activation is ''",
        ),
        (lambda: nn.TransformerEncoderLayer(8, 2, dropout=2.0), ValueError, "p is 2.0; expected a probability"),
        (
            lambda: nn.TransformerEncoder(nn.Identity(), -1),
            ValueError,
            "^TransformerEncoder: num_layers is -1; expected 0 or more$",
        ),
        (lambda: nn.TransformerDecoder(nn.Identity(), -1), ValueError, "^TransformerDecoder: num_layers is -1"),
        (
            lambda: nn.Transformer(8, 2, 1, 1, 8)(fa.ones(4, 3, 8), fa.ones(4, 2, 8)),
            ValueError,
            r"^Transformer: src \(4, 3, 8\) and tgt \(4, 2, 8\); expected the same batch, axis 1$",
        ),
        (
            lambda: nn.Transformer(8, 2, 1, 1, 8, batch_first=True)(fa.ones(3, 4, 8), fa.ones(2, 4, 8)),
            ValueError,
            "expected the same batch, axis 0$",
        ),
        (
            lambda: nn.Transformer(8, 2, 1, 1, 8)(fa.ones(4, 3, 7), fa.ones(4, 3, 8)),
            ValueError,
            r"^Transformer: src has shape \(4, 3, 7\); expected \(..., 8\), d_model$",
        ),
        (
            lambda: nn.Transformer(8, 2, 1, 1, 8)(fa.ones(4, 8), fa.ones(4, 7)),
            ValueError,
            "^Transformer: tgt has shape",
        ),
        (
            lambda: nn.TransformerEncoderLayer(8, 2)(fa.ones(4, 3, 8), fa.ones(3, 3)),
            ValueError,
            r"attn_mask has shape \(3, 3\); expected \(4, 4\) or \(6, 4, 4\)",
        ),
        (
            lambda: nn.TransformerEncoderLayer(8, 2)(fa.ones(4, 3, 8), src_key_padding_mask=fa.ones(4, 3)),
            ValueError,
            r"key_padding_mask has shape \(4, 3\); expected \(3, 4\)",
        ),
        (
            lambda: nn.TransformerDecoderLayer(8, 2)(fa.ones(4, 3, 8), fa.ones(5, 8)),
            ValueError,
            r"query \(4, 3, 8\), key \(5, 8\)",
        ),
        (
            lambda: nn.TransformerDecoderLayer(8, 2)(fa.ones(4, 3, 8), fa.ones(5, 3, 8), memory_mask=fa.ones(5, 4)),
            ValueError,
            r"attn_mask has shape \(5, 4\); expected \(4, 5\)",
        ),
        (
            lambda: nn.TransformerEncoderLayer(8, 2)(fa.ones(4, 3, 8), np.ones((4, 4))),
            TypeError,
            "attn_mask is a ndarray; expected a Tensor",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
