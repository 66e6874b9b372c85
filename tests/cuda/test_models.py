"""Transformers of all kinds on a device: what they give, and what they learn, is what the CPU gives."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import models, nn

B, S, T, E, V = 2, 5, 4, 8, 13
ENCODER = {"hidden_size": E, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
BERT = models.BERTConfig(vocab_size=V, max_position_embeddings=8, **ENCODER)
RNG = np.random.default_rng(0)
IDS = RNG.integers(3, V, (B, S))
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
TARGET = np.array([[1, 4, 5, 0], [1, 6, 7, 8]])
IMAGES = RNG.standard_normal((B, 3, 4, 4)).astype(np.float32)


def on(device, array):
    return fa.Tensor(array).to(device)


def encoder_layer(mask):
    """A layer of an encoder behind positions, with a mask of floats or bools and padding."""

    def run(model, device):
        given = on(device, np.triu(np.ones((S, S), bool), 1) if mask == "bool" else np.ones((S, S), np.float32))
        return model(on(device, X), given, on(device, MASK == 0))

    return run


def packed(model, x):
    """Sequences of 3 and 5 steps, and what they come to."""
    lengths = np.array([3, 5])
    given = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    output, h_n = model(given)
    return nn.utils.rnn.pad_packed_sequence(output, batch_first=True)[0].sum(1) + h_n.sum(0).sum(1, keepdim=True)


X = RNG.standard_normal((B, S, E)).astype(np.float32)
Y = RNG.standard_normal((B, T, E)).astype(np.float32)
SIZES = {"dim_feedforward": 12, "dropout": 0.0, "batch_first": True}
ENCODER_DECODER = models.EncoderDecoderConfig(V, None, E, 2, 1, 1, 12, dropout=0.0)
CASES = {
    "encoder layer, bool": (lambda: nn.TransformerEncoderLayer(E, 2, **SIZES), encoder_layer("bool")),
    "encoder layer, floats": (lambda: nn.TransformerEncoderLayer(E, 2, **SIZES), encoder_layer("floats")),
    "encoder, causal": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(E, 2, activation="gelu", **SIZES), 2),
        lambda m, d: m(on(d, X), nn.Transformer.generate_square_subsequent_mask(S, device=d)),
    ),
    "attention, appended keys": (
        lambda: nn.MultiheadAttention(E, 2, add_bias_kv=True, add_zero_attn=True, batch_first=True),
        lambda m, d: m(*[on(d, X)] * 3, on(d, MASK * 1.0), False, is_causal=True)[0],
    ),
    "transformer": (
        lambda: nn.Transformer(E, 2, 1, 1, **SIZES),
        lambda m, d: m(on(d, X), on(d, Y), tgt_is_causal=True, memory_key_padding_mask=on(d, MASK == 0)),
    ),
    "sinusoids": (lambda: nn.SinusoidalPositionalEncoding(E), lambda m, d: m(on(d, X), [3, 1, 0, 7, 2])),
    "positions": (lambda: nn.LearnedPositionalEmbedding(9, E), lambda m, d: m(on(d, X), [3, 1, 0, 7, 2]) + m(on(d, X))),
    "rotary": (lambda: nn.RotaryEmbedding(E), lambda m, d: m(on(d, X)) + m(on(d, X), np.arange(S) + 2)),
    "bert": (lambda: models.BERT(BERT), lambda m, d: m(IDS, MASK, position_ids=np.arange(S))[1]),
    "bert embed": (lambda: models.BERT(BERT), lambda m, d: m.embed(on(d, IDS), MASK)),
    "bert masked": (lambda: models.BERTForMaskedLM(BERT), lambda m, d: m.loss(IDS, IDS, MASK)),
    "bert classes": (
        lambda: models.BERTForSequenceClassification(BERT),
        lambda m, d: m(IDS, MASK, labels=np.array([0, 1]))[1],
    ),
    "bert answers": (
        lambda: models.BERTForQuestionAnswering(BERT),
        lambda m, d: m(IDS, start_positions=np.array([0, 1]), end_positions=np.array([2, 9]))[2],
    ),
    "vit": (
        lambda: models.ViTForImageClassification(models.ViTConfig(image_size=4, patch_size=2, **ENCODER)),
        lambda m, d: m(IMAGES, np.array([1, 0]))[1],
    ),
    "encoder-decoder": (
        lambda: models.EncoderDecoder(ENCODER_DECODER),
        lambda m, d: m.loss(IDS * MASK, TARGET, np.roll(TARGET, -1, 1)),
    ),
    "lstm": (lambda: nn.LSTM(E, 5, 2, batch_first=True, bidirectional=True), lambda m, d: m(on(d, X))[0]),
    "gru, packed": (lambda: nn.GRU(E, 5, bidirectional=True), lambda m, d: packed(m, on(d, X))),
    "rnn cell": (lambda: nn.RNNCell(E, 5), lambda m, d: m(on(d, X[:, 0]))),
    "lstm classes": (
        lambda: models.LSTMClassifier(
            models.LSTMClassifierConfig(vocab_size=V, embedding_size=4, hidden_size=5, num_labels=3)
        ),
        lambda m, d: m(IDS * MASK, labels=np.array([0, 2]))[1],
    ),
    "mlp": (lambda: models.MLP(models.MLPConfig(E, [6], 3, "gelu")), lambda m, d: m(on(d, X))),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_cpus(name):
    """Outputs and gradients."""
    make, run = CASES[name]
    fa.manual_seed(0)
    host, there = make().eval(), make().eval()
    there.load_state_dict(host.state_dict())
    there.to("cuda")
    y, z = run(host, "cpu"), run(there, "cuda")
    assert z.device == "cuda:0"
    np.testing.assert_allclose(z.detach().cpu().numpy(), y.detach().numpy(), rtol=0, atol=3e-5)
    if not list(host.parameters()):
        return
    for out in (y, z):
        (out * out).sum().backward()
    for (key, p), (_, q) in zip(host.named_parameters(), there.named_parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), key
        if p.grad is not None:
            scale = max(1.0, float(np.abs(p.grad.numpy()).max()))
            np.testing.assert_allclose(q.grad.cpu().numpy(), p.grad.numpy(), rtol=0, atol=3e-5 * scale, err_msg=key)


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_is_the_cpus(beams):
    fa.manual_seed(0)
    host, there = (models.EncoderDecoder(ENCODER_DECODER) for _ in range(2))
    there.load_state_dict(host.state_dict())
    there.to("cuda")
    found, expected = (m.generate(IDS * MASK, num_beams=beams, max_new_tokens=6) for m in (there, host))
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]
