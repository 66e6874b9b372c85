"""EncoderDecoder against torch's Transformer, its decoding against recomputation, and what it refuses."""

import itertools
import math

import numpy as np
import pytest

import fastattn as fa
from fastattn.generation import GenerationConfig
from fastattn.models import EncoderDecoder, EncoderDecoderConfig

V, W = 17, 13  # vocabularies read and written
SIZES = {
    "src_vocab_size": V,
    "tgt_vocab_size": W,
    "d_model": 16,
    "nhead": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "dim_feedforward": 24,
    "dropout": 0.0,
}
LENGTHS = [5, 2, 7, 1, 5]
CLOSE = {"rtol": 1e-10, "atol": 1e-11}
VARIANTS = [
    {},
    {"norm_first": True, "activation": "gelu"},
    {"tie_word_embeddings": False},
    {"share_embeddings": True, "tgt_vocab_size": V},
]


def model_of(**changes):
    """Of weights so large that its sentences do not run in circles at once."""
    fa.manual_seed(0)
    model = EncoderDecoder(EncoderDecoderConfig(**{**SIZES, **changes})).double()
    rng = np.random.default_rng(1)
    for name, p in model.named_parameters():
        std = 0.2 if p.ndim == 1 else 1.5 if name.startswith("transformer") else 0.25
        p.data = rng.standard_normal(p.shape) * std + (p.ndim == 1 and "weight" in name)
    for table in (model.src_embedding, model.tgt_embedding):
        table.weight.data[0] = 0.0
    return model


@pytest.fixture
def sources(rng):
    return [rng.integers(3, V, n) for n in LENGTHS]


def padded(rows, length=None):
    out = np.zeros((len(rows), length or max(map(len, rows))), np.int64)
    for row, tokens in zip(out, rows, strict=True):
        row[: len(tokens)] = tokens
    return out


@pytest.fixture
def batch(rng, sources):
    """Sources, targets and labels, padded."""
    texts = [rng.integers(3, W, n) for n in (4, 6, 1, 3, 2)]
    return padded(sources), padded([[1, *t] for t in texts]), padded([[*t, 2] for t in texts])


def by_torch(torch, model):
    """The same with torch's modules and the same weights."""
    c = model.config
    layers = (c.num_encoder_layers, c.num_decoder_layers, c.dim_feedforward, 0.0, c.activation)
    transformer = torch.nn.Transformer(c.d_model, c.nhead, *layers, batch_first=True, norm_first=c.norm_first).double()
    transformer.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in model.transformer.state_dict().items()})
    tables = {}
    for name in ("src_embedding", "tgt_embedding", "lm_head"):
        weight = getattr(model, name).weight
        tables[name] = tables.get(id(weight), torch.tensor(weight.detach().numpy(), requires_grad=True))
        tables[id(weight)] = tables[name]

    def embed(ids, table):
        n, e = ids.shape[1], c.d_model
        angle = np.arange(n)[:, None] / 10000 ** (np.arange(0, e, 2) / e)
        places = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(n, e)
        return torch.nn.functional.embedding(ids, table, padding_idx=0) * math.sqrt(e) + torch.from_numpy(places)

    def forward(src, tgt):
        src, tgt = torch.from_numpy(src), torch.from_numpy(tgt)
        hidden = transformer(
            embed(src, tables["src_embedding"]),
            embed(tgt, tables["tgt_embedding"]),
            tgt_mask=torch.ones(tgt.shape[1], tgt.shape[1], dtype=torch.bool).triu(1),
            src_key_padding_mask=src == 0,
            tgt_key_padding_mask=tgt == 0,
            memory_key_padding_mask=src == 0,
        )
        return hidden @ tables["lm_head"].T

    grads = {f"transformer.{name}": p for name, p in transformer.named_parameters()}
    return forward, grads | {f"{name}.weight": t for name, t in tables.items() if isinstance(name, str)}


@pytest.mark.parity
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
def test_logits_losses_and_gradients_are_torchs(changes, smoothing, batch):
    torch = pytest.importorskip("torch")
    model = model_of(**changes, label_smoothing=smoothing)
    src, tgt, labels = batch
    forward, parameters = by_torch(torch, model)
    expected = forward(src, tgt)
    logits, loss = model(src, fa.Tensor(tgt), labels)
    seen = tgt != 0  # torch gives NaN to nobody here, and both anything behind the end
    np.testing.assert_allclose(logits.detach().numpy()[seen], expected.detach().numpy()[seen], **CLOSE)
    wanted = torch.nn.functional.cross_entropy(
        expected.flatten(0, 1), torch.from_numpy(labels).flatten(), ignore_index=0, label_smoothing=smoothing
    )
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-11)
    alone = model.loss(src, tgt, labels)
    assert alone.item() == pytest.approx(wanted.item(), rel=1e-11)
    wanted.backward()
    for one in (loss, alone):
        model.zero_grad()
        one.backward()
        for name, p in model.named_parameters():
            np.testing.assert_allclose(
                p.grad.numpy(), parameters[name].grad.numpy(), rtol=1e-8, atol=1e-11, err_msg=name
            )


# Decoding --------------------------------------------------------------------------------------------------------------


def logits_of(model, source, tokens):
    """Of the token after bos and `tokens`, for a source alone and without a cache."""
    with fa.no_grad():
        return model.eval()(np.asarray(source)[None], np.array([[1, *tokens]])).numpy()[0, -1]


def greedy_without_cache(model, source, count):
    tokens = []
    while len(tokens) < count and 2 not in tokens:
        tokens.append(int(logits_of(model, source, tokens).argmax()))
    return tokens


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_logits_with_a_cache_are_those_without(changes, sources, rng):
    model = model_of(**changes).eval()
    tokens = np.concatenate([np.ones((5, 1), np.int64), rng.integers(3, W, (5, 8))], 1)
    with fa.no_grad():
        expected = model(padded(sources), tokens).numpy()
        writer, _ = model._writer(sources)
        cache = writer.new_cache()
        for a, b in ((0, 1), (1, 2), (2, 6), (6, 7)):
            np.testing.assert_allclose(writer.next_logits(tokens[:, a:b], cache).numpy(), expected[:, b - 1], **CLOSE)
        rows = np.array([3, 0, 0])
        for layer in cache:
            layer.reorder(rows)
        found = writer.next_logits(tokens[rows, 7:8], cache).numpy()
        np.testing.assert_allclose(found, expected[rows, 7], **CLOSE)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_greedy_is_recomputation(changes, sources):
    model = model_of(**changes)
    found = model.generate(padded(sources), max_new_tokens=15)
    for source, row in zip(sources, found, strict=True):
        assert row.tolist() == greedy_without_cache(model, source, 15)
    assert len({tuple(row.tolist()) for row in found}) > 1, "a model that says one thing shows nothing"
    assert model.training is False
    assert [row.tolist() for row in model.generate(sources, max_new_tokens=15)] == [row.tolist() for row in found]


def test_padding_is_not_seen(sources, batch):
    model = model_of().eval()
    src, tgt, _ = batch
    logits = model(src, tgt).detach().numpy()
    wide = model(padded(sources, 11), tgt).detach().numpy()
    left = np.stack([np.roll(row, (row == 0).sum()) for row in padded(sources)])
    for i, source in enumerate(sources):
        n = (tgt[i] != 0).sum()
        alone = model(source[None], tgt[i : i + 1, :n]).detach().numpy()[0]
        np.testing.assert_allclose(logits[i, :n], alone, **CLOSE)
        np.testing.assert_allclose(wide[i, :n], alone, **CLOSE)
    tokens = [row.tolist() for row in model.generate(sources, max_new_tokens=9)]
    # Rows are taken as they are without padding, wherever it is.
    assert [row.tolist() for row in model.generate(left, max_new_tokens=9)] == tokens
    assert [row.tolist() for row in model.generate(fa.Tensor(padded(sources, 11)), max_new_tokens=9)] == tokens


def test_padding_of_the_target_is_not_seen(sources):
    """Before its tokens too: what stands for padding changes nothing behind it."""
    model = model_of(tie_word_embeddings=False).eval()
    tgt = np.array([[0, 0, 1, 4, 5], [0, 1, 6, 7, 8]])
    seen = tgt != 0
    before = model(padded(sources[:2]), tgt).detach().numpy()[seen]
    model.tgt_embedding.weight.data[0] = 3.0
    after = model(padded(sources[:2]), tgt).detach().numpy()
    np.testing.assert_array_equal(after[seen], before)
    assert np.isfinite(after).all()


def score(model, source, tokens):
    total = 0.0
    for i, token in enumerate(tokens):
        x = logits_of(model, source, tokens[:i])
        total += x[token] - x.max() - np.log(np.exp(x - x.max()).sum())
    return total


def test_beams_enough_for_all_find_the_best(sources):
    model = model_of(tgt_vocab_size=5)
    found = model.generate(sources[:3], num_beams=60, max_new_tokens=3, length_penalty=0.0)
    for source, row in zip(sources, found, strict=False):
        every = [
            tokens
            for n in (1, 2, 3)
            for tokens in itertools.product(range(5), repeat=n)
            if 2 not in tokens[:-1] and (n == 3 or tokens[-1] == 2)
        ]
        assert tuple(row.tolist()) == max(every, key=lambda tokens: score(model, source, tokens))


def test_beams_of_a_row_do_not_depend_on_the_others(sources):
    model = model_of()
    found = model.generate(sources, num_beams=4, max_new_tokens=10)
    for source, row in zip(sources, found, strict=True):
        (alone,) = model.generate([source], num_beams=4, max_new_tokens=10)
        assert alone.tolist() == row.tolist()


def test_stream_and_sampling(sources):
    model = model_of().train()
    options = {"max_new_tokens": 12, "do_sample": True, "top_k": 5, "seed": 3}
    expected = model.generate(sources, **options)
    rows = [[] for _ in sources]
    for token in model.stream(padded(sources), **options):
        rows[token.row].append(token.id)
    assert rows == [row.tolist() for row in expected]
    assert model.training
    assert all(module.training for module in model.modules())
    # A config of one's own says everything.
    free = model.generate(sources, GenerationConfig(max_new_tokens=30))
    assert {len(row) for row in free} == {30}
    ended = model.generate(sources, GenerationConfig(max_new_tokens=30), eos_token_id=int(free[0][3]))
    assert len(ended[0]) < 30


def test_it_learns_to_reverse():
    fa.manual_seed(0)
    sizes = {"d_model": 16, "nhead": 2, "num_encoder_layers": 1, "num_decoder_layers": 1, "dim_feedforward": 32}
    model = EncoderDecoder(EncoderDecoderConfig(9, **sizes, dropout=0.0))
    optimizer = fa.optim.AdamW(model.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    for _ in range(400):
        texts = [rng.integers(3, 9, rng.integers(1, 5)) for _ in range(32)]
        src, tgt, labels = (
            padded([[*before, *text, *behind] for text in rows])
            for before, behind, rows in (
                ([], [2], texts),
                ([1], [], [text[::-1] for text in texts]),
                ([], [2], [text[::-1] for text in texts]),
            )
        )
        loss = model.loss(src, tgt, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    texts = [rng.integers(3, 9, 1 + i % 4) for i in range(40)]
    for options in ({}, {"num_beams": 3}):
        found = model.generate([[*text, 2] for text in texts], max_new_tokens=8, **options)
        right = [row.tolist() == [*text[::-1], 2] for row, text in zip(found, texts, strict=True)]
        assert np.mean(right) > 0.9


def test_tables(batch):
    shared = model_of(share_embeddings=True, tgt_vocab_size=None)
    assert shared.lm_head.weight is shared.tgt_embedding.weight is shared.src_embedding.weight
    tied = model_of()
    assert tied.lm_head.weight is tied.tgt_embedding.weight is not tied.src_embedding.weight
    free = model_of(tie_word_embeddings=False)
    assert free.lm_head.weight is not free.tgt_embedding.weight
    assert not free.src_embedding.weight[0].any()
    free(*batch)[1].backward()
    assert not free.src_embedding.weight.grad[0].any()
    other = model_of(tie_word_embeddings=False)
    other.load_state_dict(free.state_dict())
    assert (other(*batch)[0] == free(*batch)[0]).all()


def config(**changes):
    return EncoderDecoderConfig(**{**SIZES, **changes})


IDS = np.array([[3, 4]])


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda: config(d_model=0), ValueError, "^EncoderDecoderConfig: d_model is 0; expected a positive number$"),
        (lambda: config(nhead=3), ValueError, "^EncoderDecoderConfig: d_model 16 is not a multiple of nhead 3$"),
        (lambda: config(activation="tanh"), ValueError, "activation is 'tanh'; expected relu or gelu$"),
        (lambda: config(pad_token_id=W), ValueError, "pad_token_id is 13; expected a token of both vocabularies$"),
        (lambda: config(bos_token_id=0), ValueError, "bos_token_id is 0; expected a token of the target's vocabulary"),
        (lambda: config(eos_token_id=W), ValueError, "eos_token_id is 13; expected a token of the target's vocabulary"),
        (
            lambda: config(share_embeddings=True),
            ValueError,
            "tgt_vocab_size is 13; expected src_vocab_size 17, with share",
        ),
        (lambda: model_of()(IDS[0], IDS), ValueError, r"^EncoderDecoder: src_ids has shape \(2,\); expected \(B, T\)$"),
        (lambda: model_of()(IDS, IDS[0]), ValueError, r"^EncoderDecoder: tgt_ids has shape \(2,\); expected \(B, T\)$"),
        (
            lambda: model_of()(IDS, np.repeat(IDS, 2, 0)),
            ValueError,
            r"^EncoderDecoder: tgt_ids has shape \(2, 2\); expected \(1, T\), the batch of src_ids$",
        ),
        (
            lambda: model_of()([[1]], IDS),
            TypeError,
            "^EncoderDecoder: src_ids is a list; expected a Tensor or an array",
        ),
        (
            lambda: model_of()(IDS, IDS, IDS[:, :1]),
            ValueError,
            r"^EncoderDecoder: labels has shape \(1, 1\); expected \(1, 2\)$",
        ),
        (lambda: model_of().generate([[]]), ValueError, "^generate: a row of src_ids is empty; expected at least one"),
        (lambda: model_of().generate(np.zeros((1, 3), int)), ValueError, "^generate: a row of src_ids is empty"),
        (lambda: model_of().generate(IDS * 1.0), TypeError, "^generate: src_ids has dtype float64; expected integers$"),
        (lambda: model_of().generate(IDS, top_q=1), TypeError, "^generate: there is no option 'top_q'"),
    ],
)
def test_errors(run, error, message):
    with pytest.raises(error, match=message):
        run()
