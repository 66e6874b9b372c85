"""LSTMClassifier against torch's layers, and what it promises by itself."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.models import LSTMClassifier, LSTMClassifierConfig

SIZES = {"vocab_size": 17, "embedding_size": 6, "hidden_size": 5, "num_labels": 3}
IDS = np.array([[4, 5, 6, 7, 8], [3, 0, 9, 0, 0], [12, 0, 0, 0, 0], [1, 2, 3, 4, 0]])
LENGTHS = [5, 3, 1, 4]


@pytest.fixture(autouse=True)
def seed():
    fa.manual_seed(0)


def model(**changes):
    return LSTMClassifier(LSTMClassifierConfig(**{**SIZES, **changes})).eval()


def torchs(torch, ours, ids, lengths):
    """The same of torch.nn's layers, in training mode for gradients but without dropout."""
    config, nn = ours.config, torch.nn
    table = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
    lstm = nn.LSTM(
        config.embedding_size,
        config.hidden_size,
        config.num_hidden_layers,
        batch_first=True,
        bidirectional=config.bidirectional,
    )
    head = nn.Linear(lstm.hidden_size * (2 if config.bidirectional else 1), config.num_labels)
    layers = nn.ModuleDict({"embedding": table, "lstm": lstm, "classifier": head})
    layers.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    utils = nn.utils.rnn
    packed = utils.pack_padded_sequence(table(torch.tensor(ids)), lengths, batch_first=True, enforce_sorted=False)
    output, (h_n, _) = lstm(packed)
    sequences = utils.unpack_sequence(output)
    if config.pooling == "last":
        pooled = torch.cat([*h_n[-2:]], -1) if config.bidirectional else h_n[-1]
    else:
        pooled = torch.stack([s.amax(0) if config.pooling == "max" else s.mean(0) for s in sequences])
    return layers, head(pooled)


@pytest.mark.parity
@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
@pytest.mark.parametrize("changes", [{}, {"bidirectional": False}, {"num_hidden_layers": 2}], ids=str)
def test_is_torchs(pooling, changes):
    torch = pytest.importorskip("torch")
    ours = model(pooling=pooling, **changes)
    layers, expected = torchs(torch, ours, IDS, LENGTHS)
    logits = ours(IDS)
    np.testing.assert_allclose(logits.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    (logits * logits).sum().backward()
    (expected * expected).sum().backward()
    for (name, p), q in zip(ours.named_parameters(), layers.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_padding_and_the_batch_change_nothing(pooling):
    ours = model(pooling=pooling)
    logits = ours(IDS).detach().numpy()
    wider = np.pad(IDS, ((0, 0), (0, 3)))
    np.testing.assert_array_equal(ours(wider).detach().numpy(), logits)
    np.testing.assert_array_equal(ours(wider, LENGTHS_ARRAY).detach().numpy(), logits)
    for i, n in enumerate(LENGTHS):
        np.testing.assert_allclose(ours(IDS[i : i + 1, :n]).detach().numpy(), logits[i : i + 1], rtol=1e-6, atol=1e-7)


LENGTHS_ARRAY = np.array(LENGTHS)


@pytest.mark.parametrize("pooling", ["max", "mean", "last"])
def test_a_sequence_of_nothing(pooling):
    ours = model(pooling=pooling)
    logits = ours(np.zeros((2, 4), int))
    np.testing.assert_allclose(logits.detach().numpy(), [ours.classifier.bias.tolist()] * 2)
    logits.sum().backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in ours.parameters())


def test_it_learns():
    ours = LSTMClassifier(LSTMClassifierConfig(**{**SIZES, "dropout": 0.1}))
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 17, (64, 7))
    labels = (ids == 5).any(1).astype(int)
    optimizer = fa.optim.Adam(ours.parameters(), lr=0.02)
    losses = []
    for _ in range(80):
        _, loss = ours(ids, labels=labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]
    assert (ours.embedding.weight[0] == 0).all()


def test_folders(tmp_path):
    names = {0: "one", 1: "two"}
    ours = model(id2label=names, num_labels=2, pooling="mean")
    ours.save_pretrained(tmp_path)
    for back in (LSTMClassifier.from_pretrained(tmp_path), fa.io.from_pretrained(tmp_path)):
        assert back.config == ours.config
        np.testing.assert_array_equal(back.eval()(IDS).detach().numpy(), ours(IDS).detach().numpy())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"hidden_size": 0}, "LSTMClassifierConfig: hidden_size is 0; expected a positive number"),
        ({"pooling": "min"}, "LSTMClassifierConfig: pooling is 'min'; expected max or mean or last"),
        ({"pad_token_id": 17}, "LSTMClassifierConfig: pad_token_id is 17; expected one of the 17 tokens"),
        ({"dropout": 1.5}, "LSTMClassifierConfig: dropout is 1.5; expected 0 to 1"),
    ],
)
def test_bad_configs(changes, text):
    with pytest.raises(ValueError, match=text):
        model(**changes)


def test_bad_inputs():
    ours = model()
    with pytest.raises(ValueError, match=r"LSTMClassifier: input_ids has shape \(5,\); expected \(B, T\)"):
        ours(IDS[0])
    with pytest.raises(TypeError, match="LSTMClassifier: input_ids is a list"):
        ours([[1]])
    with pytest.raises(IndexError, match="lstm: a length"):
        ours(IDS, np.array([6, 1, 1, 1]))
    with pytest.raises(ValueError, match="LSTMClassifier: labels has shape"):
        ours(IDS, labels=np.array([1]))
