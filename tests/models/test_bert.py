"""BERT and its heads against transformers, folders of either, and what they promise by themselves."""

import json

import numpy as np
import pytest

import fastattn as fa
from fastattn.models import (
    BERT,
    GPT,
    BERTConfig,
    BERTForMaskedLM,
    BERTForQuestionAnswering,
    BERTForSequenceClassification,
)

V, B, T = 50, 3, 9
SIZES = {
    "vocab_size": V,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
HEADS = [BERT, BERTForMaskedLM, BERTForSequenceClassification, BERTForQuestionAnswering]
CLOSE = {"rtol": 1e-10, "atol": 1e-11}


@pytest.fixture(autouse=True)
def seed():
    fa.manual_seed(0)


@pytest.fixture
def inputs():
    """Rows of 9, 5 and 1 tokens, in two segments."""
    rng = np.random.default_rng(0)
    mask = (np.arange(T) < np.array([9, 5, 1])[:, None]).astype(np.int64)
    ids = rng.integers(1, V, (B, T)) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": (np.arange(T) > 3) * mask}


def config(**changes):
    return BERTConfig(**{**SIZES, **NO_DROPOUT, **changes})


def theirs_of(cls, **changes):
    """transformers' model of random weights, biases and norms too."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, cls.architecture)(transformers.BertConfig(**{**SIZES, **NO_DROPOUT, **changes}))
    generator = np.random.default_rng(1)
    for p in theirs.parameters():
        p.data = torch.from_numpy(generator.standard_normal(p.shape) * 0.2 + 0.3 * (p.ndim == 1)).float()
    return theirs


def pair(cls, **changes):
    """Ours and transformers' of the same weights, in float64."""
    theirs = theirs_of(cls, **changes).double()
    ours = cls(config(**changes)).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    return ours, theirs


def call(theirs, inputs, **labels):
    import torch

    given = {name: torch.from_numpy(np.asarray(x)) for name, x in {**inputs, **labels}.items()}
    return theirs(**given)


def logits_of(output):
    """What transformers returns, as ours does."""
    names = ("last_hidden_state", "pooler_output", "logits", "start_logits", "end_logits")
    return [output[name] for name in names if name in output]


def ours_of(output):
    return list(output) if isinstance(output, tuple) else [output]


VARIANTS = [
    {},
    {"hidden_act": "gelu_new"},
    {"hidden_act": "relu"},
    {"num_attention_heads": 1, "layer_norm_eps": 0.1},
    {"tie_word_embeddings": False},
    {"type_vocab_size": 3},
]


@pytest.mark.parity
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("cls", HEADS, ids=lambda c: c.__name__)
def test_outputs_and_gradients_are_transformers(cls, changes, inputs):
    ours, theirs = pair(cls, **changes)
    mine, other = ours_of(ours(**inputs)), logits_of(call(theirs, inputs))
    weights = [np.random.default_rng(2).standard_normal(y.shape) for y in mine]
    for y, expected in zip(mine, other, strict=True):
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), **CLOSE)
    import torch

    sum((y * fa.Tensor(w)).sum() for y, w in zip(mine, weights, strict=True)).backward()
    sum((y * torch.from_numpy(w)).sum() for y, w in zip(other, weights, strict=True)).backward()
    for (name, p), (their_name, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == their_name
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parity
@pytest.mark.parametrize("left_out", [["token_type_ids"], ["attention_mask"], ["token_type_ids", "attention_mask"]])
def test_what_is_left_out_is_transformers(left_out, inputs):
    ours, theirs = pair(BERT)
    given = {name: x for name, x in inputs.items() if name not in left_out}
    for y, expected in zip(ours(**given), logits_of(call(theirs, given)), strict=True):
        np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), **CLOSE)


@pytest.mark.parity
def test_positions_are_transformers(inputs):
    ours, theirs = pair(BERT)
    for positions in (np.arange(T) + 3, np.arange(B * T).reshape(B, T) % 16):
        expected = call(theirs, inputs, position_ids=np.broadcast_to(positions, (B, T)).copy())
        np.testing.assert_allclose(
            ours(**inputs, position_ids=positions)[0].detach().numpy(), expected[0].detach().numpy(), **CLOSE
        )


RNG = np.random.default_rng(3)
LABELS = {
    "masked": (BERTForMaskedLM, {}, {"labels": np.where(RNG.random((B, T)) < 0.5, RNG.integers(0, V, (B, T)), -100)}),
    "classes": (BERTForSequenceClassification, {"num_labels": 5}, {"labels": np.array([4, 0, 2])}),
    "two classes": (BERTForSequenceClassification, {}, {"labels": np.array([1, 0, 1])}),
    "several at once": (
        BERTForSequenceClassification,
        {"num_labels": 5},
        {"labels": RNG.integers(0, 2, (B, 5)).astype(np.float64)},
    ),
    "numbers": (BERTForSequenceClassification, {"num_labels": 1}, {"labels": RNG.standard_normal(B)}),
    "answers": (
        BERTForQuestionAnswering,
        {},
        {"start_positions": np.array([0, 3, 30]), "end_positions": np.array([2, 3, 8])},
    ),
}


@pytest.mark.parity
@pytest.mark.parametrize("name", LABELS)
def test_losses_are_transformers(name, inputs):
    cls, changes, labels = LABELS[name]
    ours, theirs = pair(cls, **changes)
    expected = call(theirs, inputs, **labels)
    *logits, loss = ours(**inputs, **labels)
    assert len(logits) == len(logits_of(expected))
    assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-6)  # transformers computes some in float32
    loss.backward()
    expected.loss.backward()
    for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parity
def test_first_weights_are_distributed_as_transformers():
    transformers = pytest.importorskip("transformers")
    wide = {**SIZES, "hidden_size": 64}
    for cls in HEADS:
        ours = cls(BERTConfig(**wide))
        theirs = getattr(transformers, cls.architecture)(transformers.BertConfig(**wide))
        for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            a, b = p.detach().numpy(), q.detach().numpy()
            if a.size < 1000 or not b.std():
                assert (a.std() > 0) == (b.std() > 0), name
                assert b.std() > 0 or a.flat[0] == b.flat[0], name
            else:
                assert a.std() == pytest.approx(b.std(), rel=0.15), name
        assert not ours.state_dict()[f"{'' if cls is BERT else 'bert.'}embeddings.word_embeddings.weight"][0].any()


# Folders ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("cls", HEADS, ids=lambda c: c.__name__)
def test_we_open_theirs(cls, tmp_path, inputs):
    theirs = theirs_of(cls).eval()
    theirs.save_pretrained(tmp_path)
    for opened in (fa.io.from_pretrained(tmp_path), cls.from_pretrained(tmp_path)):
        assert type(opened) is cls
        with fa.no_grad():
            found = ours_of(opened.eval()(**inputs))
        for y, expected in zip(found, logits_of(call(theirs, inputs)), strict=True):
            np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("cls", HEADS, ids=lambda c: c.__name__)
def test_transformers_opens_ours(cls, tmp_path, inputs):
    transformers = pytest.importorskip("transformers")
    names = {0: "no", 1: "yes", 2: "perhaps"} if cls is BERTForSequenceClassification else None
    ours = cls(config(id2label=names, num_labels=3 if names else 2)).eval()
    ours.save_pretrained(tmp_path)
    theirs, report = getattr(transformers, cls.architecture).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(transformers.AutoConfig.from_pretrained(tmp_path)) is transformers.BertConfig
    with fa.no_grad():
        for y, expected in zip(ours_of(ours(**inputs)), logits_of(call(theirs.eval(), inputs)), strict=True):
            np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    if names:
        assert theirs.config.id2label == names
        assert fa.io.from_pretrained(tmp_path).config.id2label == names


@pytest.mark.parametrize("cls", HEADS, ids=lambda c: c.__name__)
def test_round_trip(cls, tmp_path, inputs):
    model = cls(config()).eval()
    fa.io.save_pretrained(model, tmp_path)
    other = fa.io.from_pretrained(tmp_path).eval()
    assert type(other) is cls
    with fa.no_grad():
        for y, z in zip(ours_of(model(**inputs)), ours_of(other(**inputs)), strict=True):
            assert y.numpy().tobytes() == z.numpy().tobytes()


def test_another_head_starts_anew(tmp_path):
    model = BERTForMaskedLM(config())
    model.save_pretrained(tmp_path)
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    for cls in (BERT, BERTForSequenceClassification, BERTForQuestionAnswering):
        other = cls.from_pretrained(tmp_path)
        for key, value in other.state_dict().items():
            name = f"bert.{key}" if cls is BERT else key
            if "embeddings" in key or "encoder" in key:
                np.testing.assert_array_equal(value.numpy(), state[name])
            else:
                assert key.startswith(("pooler", "bert.pooler", "classifier", "qa_outputs")), key
    other = BERTForSequenceClassification.from_pretrained(tmp_path, num_labels=7, hidden_dropout_prob=0.5)
    assert other.classifier.weight.shape == (7, 24)
    assert other.config == config(num_labels=7, hidden_dropout_prob=0.5)
    other = BERTForSequenceClassification.from_pretrained(tmp_path, id2label={0: "a", 1: "b", 2: "c"})
    assert other.classifier.weight.shape == (3, 24)
    with pytest.raises(ValueError, match=r"model_type is 'bert', expected 'gpt2'"):
        GPT.from_pretrained(tmp_path)
    # What the bare model needs must be there all the same.
    tensors = fa.io.load_tensors(tmp_path / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.bias"]
    fa.io.save_tensors(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing bert.encoder.layer.1.output.dense.bias$"):
        BERTForSequenceClassification.from_pretrained(tmp_path)


def test_names_of_other_versions(inputs):
    """gamma and beta, places as a buffer, the other head of pretraining, the bare model with and without its prefix."""
    model = BERTForMaskedLM(config())
    state = {key: value.numpy() + 1 for key, value in model.state_dict().items()}
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in state.items()
        if "decoder" not in key
    }
    old |= {
        "bert.embeddings.position_ids": np.arange(16)[None],
        "cls.seq_relationship.weight": np.ones((2, 24)),
        "bert.pooler.dense.weight": np.ones((24, 24)),
    }
    assert model.load_state_dict(old) == ([], [])
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state[key])
    bare = {key.removeprefix("bert."): value for key, value in state.items() if key.startswith("bert.")}
    for names in (bare, {f"bert.{key}": value for key, value in bare.items()}):
        one = BERT(config(), add_pooling_layer=False)
        assert one.load_state_dict(names) == ([], [])
        assert one(**inputs).pooler_output is None
    head = {key: value for key, value in state.items() if key.startswith("cls.")}
    assert BERTForMaskedLM(config()).load_state_dict(bare | head) == ([], [])


# By itself -------------------------------------------------------------------------------------------------------------


def test_padding_is_not_seen(inputs):
    model = BERT(config()).double().eval()
    hidden, pooled = model(**inputs)
    changed = dict(inputs, input_ids=np.where(inputs["attention_mask"], inputs["input_ids"], 7))
    other, also = model(**changed)
    seen = inputs["attention_mask"].astype(bool)
    np.testing.assert_array_equal(hidden.detach().numpy()[seen], other.detach().numpy()[seen])
    np.testing.assert_array_equal(pooled.tolist(), also.tolist())
    for mask in (seen, inputs["attention_mask"].astype(np.float32), fa.Tensor(inputs["attention_mask"])):
        np.testing.assert_array_equal(model(**dict(inputs, attention_mask=mask))[0].tolist(), hidden.tolist())
    alone = model(inputs["input_ids"][1:2, :5], None, inputs["token_type_ids"][1:2, :5])[0]
    np.testing.assert_allclose(alone.tolist(), hidden[1:2, :5].tolist(), **CLOSE)


@pytest.mark.parametrize("normalize", [True, False])
def test_embeddings_of_sentences(inputs, normalize):
    model = BERT(config()).double().eval()
    hidden = model(**inputs).last_hidden_state.detach().numpy()
    expected = np.stack([row[:n].mean(0) for row, n in zip(hidden, (9, 5, 1), strict=True)])
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = model.embed(**inputs, normalize=normalize)
    np.testing.assert_allclose(found.tolist(), expected, **CLOSE)
    alone = model.embed(
        inputs["input_ids"][1:2, :5], token_type_ids=inputs["token_type_ids"][1:2, :5], normalize=normalize
    )
    np.testing.assert_allclose(alone.tolist(), expected[1:2], **CLOSE)
    found.sum().backward()
    assert model.embeddings.word_embeddings.weight.grad is not None


def test_the_loss_alone(inputs):
    labels = LABELS["masked"][2]["labels"]
    for tied in (True, False):
        model = BERTForMaskedLM(config(tie_word_embeddings=tied)).double()
        loss = model.loss(inputs["input_ids"], labels, inputs["attention_mask"], inputs["token_type_ids"])
        loss.backward()
        grads = {key: p.grad.numpy() for key, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        _, expected = model(**inputs, labels=labels)
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        for key, p in model.named_parameters():
            if p.grad is not None:
                np.testing.assert_allclose(grads[key], p.grad.numpy(), rtol=1e-8, atol=1e-12, err_msg=key)


def test_masked_words_are_learned():
    """Rows of one word each: a hidden one is known from the others."""
    model = BERTForMaskedLM(config())
    optimizer = fa.optim.AdamW(model.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(150):
        labels = np.repeat(rng.integers(2, V, (32, 1)), 8, 1)
        masked = rng.random(labels.shape) < 0.2
        loss = model.loss(np.where(masked, 1, labels), np.where(masked, labels, -100))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(V), abs=0.3)
    assert np.mean(losses[-5:]) < 0.3 * losses[0]


def test_dropout_trains_and_eval_does_not(inputs):
    model = BERTForSequenceClassification(BERTConfig(**SIZES, classifier_dropout=0.5))
    assert not (model(**inputs) == model(**inputs)).all()
    model(**inputs, labels=np.array([0, 1, 1]))[1].backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    assert (model(**inputs) == model(**inputs)).all()


def test_config():
    assert BERTConfig.from_dict({**config().to_dict(), "model_type": "bert", "use_cache": True}) == config()
    assert BERTConfig.from_dict({"id2label": {"0": "a", "1": "b", "2": "c"}}).num_labels == 3
    model = BERTForMaskedLM(config())
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert model.num_parameters() == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda: config(num_hidden_layers=0), ValueError, "^BERTConfig: num_hidden_layers is 0; expected a positive"),
        (lambda: config(num_labels=0), ValueError, "^BERTConfig: num_labels is 0; expected a positive number$"),
        (
            lambda: config(num_attention_heads=5),
            ValueError,
            "hidden_size 24 is not a multiple of num_attention_heads 5",
        ),
        (lambda: config(hidden_act="mish"), ValueError, "^BERTConfig: hidden_act is 'mish'; expected gelu or"),
        (
            lambda: config(id2label={0: "a"}),
            ValueError,
            "^BERTConfig: id2label is .*; expected names of the classes 0 to 1$",
        ),
        (
            lambda: BERT(config())(np.zeros((1, 17), int)),
            ValueError,
            r"^BERT: input_ids has shape \(1, 17\); expected \(B, T\) with T at most 16$",
        ),
        (lambda: BERT(config())(np.zeros(3, int)), ValueError, r"^BERT: input_ids has shape \(3,\)"),
        (
            lambda: BERT(config())([[1]]),
            TypeError,
            "^BERT: input_ids is a list; expected a Tensor or an array of token ids$",
        ),
        (
            lambda: BERT(config())(np.zeros((2, 3), int), np.ones((2, 2), int)),
            ValueError,
            r"^BERT: attention_mask has shape \(2, 2\); expected \(2, 3\), that of input_ids$",
        ),
        (
            lambda: BERT(config())(np.zeros((2, 3), int), None, np.ones(3, int)),
            ValueError,
            r"^BERT: token_type_ids has shape \(3,\)",
        ),
        (
            lambda: BERT(config())(np.zeros((2, 3), int), position_ids=np.ones(2, int)),
            ValueError,
            r"^BERT: position_ids has shape \(2,\)",
        ),
        (lambda: BERT(config())(np.full((1, 3), V)), IndexError, str(V)),
        (
            lambda: BERTForMaskedLM(config())(np.zeros((2, 3), int), labels=np.zeros((2, 4), int)),
            ValueError,
            r"^BERTForMaskedLM: labels has shape \(2, 4\); expected \(2, 3\)$",
        ),
        (
            lambda: BERTForSequenceClassification(config())(np.zeros((2, 3), int), labels=np.zeros(3, int)),
            ValueError,
            r"^BERTForSequenceClassification: labels has shape \(3,\); expected \(2,\)$",
        ),
        (
            lambda: BERTForSequenceClassification(config())(np.zeros((2, 3), int), labels=np.zeros((2, 3))),
            ValueError,
            r"labels has shape \(2, 3\); expected \(2, 2\)$",
        ),
        (
            lambda: BERTForQuestionAnswering(config())(np.zeros((2, 3), int), start_positions=np.zeros(2, int)),
            TypeError,
            "^BERTForQuestionAnswering: end_positions is a NoneType; expected a Tensor or an array of labels$",
        ),
    ],
)
def test_errors(run, error, message):
    with pytest.raises(error, match=message):
        run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_decoder": True}, "is_decoder is True, expected False"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key', expected 'absolute'"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"model_type": "roberta"}, "model_type is 'roberta', expected 'gpt2'"),
        ({"hidden_size": 28}, r"shape \(50, 24\), the model's is \(50, 28\)"),
    ],
)
def test_configs_of_other_models(tmp_path, change, message):
    BERT(config()).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        fa.io.from_pretrained(tmp_path)
