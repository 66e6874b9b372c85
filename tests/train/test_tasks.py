"""Every task: batches are functions of (seed, step), runs resume to the same bits, parts of a batch are the batch."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.train import (
    Classification,
    LanguageModeling,
    MaskedLanguageModeling,
    Progress,
    QuestionAnswering,
    Task,
    TrainConfig,
    Trainer,
    Translation,
)

BERT = {"vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
BERT |= {"max_position_embeddings": 8}
SEQ = fa.models.EncoderDecoderConfig(
    12, d_model=8, nhead=2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=16, dropout=0.0,
    bos_token_id=2, eos_token_id=3,
)  # fmt: skip


def rows(n, seed=0, low=5):
    rng = np.random.default_rng(seed)
    return [rng.integers(low, 12, k) for k in rng.integers(2, 8, n)]


def images(n):
    y = np.arange(n) % 3
    x = np.random.default_rng(1).random((n, 1, 6, 6), dtype=np.float32) * 0.3
    x[np.arange(n), 0, y, :] = 1
    return x, y


def language():
    ids = np.arange(300) % 7
    config = fa.models.GPTConfig(
        vocab_size=7, n_positions=8, n_embd=8, n_layer=1, n_head=2, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0
    )
    return fa.models.GPT(config), LanguageModeling(ids[:250], ids[250:], 8)


def masked():
    config = fa.models.BERTConfig(**BERT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    task = MaskedLanguageModeling(rows(40), rows(9, 1), mask_id=4, vocab_size=12, special=(1, 2, 3), rate=0.3)
    return fa.models.BERTForMaskedLM(config), task


def pictures(augment=None):
    return fa.models.MLP(fa.models.MLPConfig(36, [8], 3, flatten=True)), Classification(
        *images(50), *images(20), augment=augment
    )


def mixed():
    return pictures(fa.data.Augment(shift=1, mixup=0.5))


def texts():
    config = fa.models.BERTConfig(**BERT, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    x = rows(40)
    y = np.array([int(row[0] > 8) for row in x])
    return fa.models.BERTForSequenceClassification(config), Classification(x, y, x, y)


def translation():
    x = rows(40)
    return fa.models.EncoderDecoder(SEQ), Translation(x, [row[::-1] for row in x], x[:9], [r[::-1] for r in x[:9]], SEQ)


def convolutions():
    config = fa.models.LeNetConfig(image_size=6, channels=(3, 4), kernel_size=3, num_labels=3)
    return fa.models.LeNet(config), Classification(*images(50), *images(20))


def patches():
    sizes = {
        name: BERT[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    config = fa.models.ViTConfig(**sizes, image_size=6, patch_size=3, num_channels=1, num_labels=3)
    return fa.models.ViTForImageClassification(config), Classification(*images(50), *images(20))


def recurrent():
    config = fa.models.LSTMClassifierConfig(vocab_size=12, embedding_size=6, hidden_size=5, num_labels=2, dropout=0.0)
    x = rows(40)
    y = np.array([int(row[0] > 8) for row in x])
    return fa.models.LSTMClassifier(config), Classification(x, y, x, y, reads="lengths")


def answers():
    """The question is a token; its answer is that token and the one after it."""
    config = fa.models.BERTConfig(**BERT, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(np.arange(5, 12))[: rng.integers(3, 6)] for _ in range(40)]
    places = rng.integers(0, 2, 40)
    x = [np.array([text[at], 3, *text]) for text, at in zip(orders, places, strict=True)]
    data = x, [[0, 0] + [1] * (len(row) - 2) for row in x], np.stack([places + 2, places + 3], 1)
    return fa.models.BERTForQuestionAnswering(config), QuestionAnswering(*data, *(part[:9] for part in data))


TASKS = [language, masked, pictures, mixed, texts, translation, convolutions, patches, recurrent, answers]


@pytest.fixture(params=TASKS, ids=lambda make: make.__name__)
def make(request):
    """make(folder, progress, **settings): a trainer from the same start."""

    def made(folder=None, progress=None, **changes):
        settings = {"steps": 9, "batch_size": 6, "lr": 0.01, "warmup": 2, "log_every": 2, "eval_every": 3}
        config = TrainConfig(**(settings | {"checkpoint_every": 4} | changes))
        fa.manual_seed(config.seed)
        model, task = request.param()
        return Trainer(model, task, config, folder=folder, progress=progress)

    return made


@pytest.mark.smoke
def test_runs_and_measures(make, tmp_path):
    trainer = make(tmp_path, steps=30, eval_every=0)
    before = trainer.task.evaluate(trainer.model, 4)
    history = trainer.fit()
    after = history.measures
    assert before.keys() == after.keys() >= {"loss", trainer.task.primary}
    assert after["loss"] < before["loss"]
    assert trainer.model.training
    assert trainer.seen == sum(trainer.task.size(trainer.batch(i)) for i in range(30))
    assert (tmp_path / "model.safetensors").exists()
    assert f"val_{trainer.task.primary}" in (tmp_path / "history.csv").read_text().splitlines()[0].split(",")


class Killed(BaseException):
    pass


class Killer(Progress):
    def __init__(self, at):
        super().__init__()
        self.at = at

    def step(self, done):
        if done == self.at:
            raise Killed


OPTIONS = [{}, {"accumulate": 3, "ema": 0.9, "label_smoothing": 0.1, "l1": 1e-3, "l2": 1e-2, "patience": 2}]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "options"])
def test_killed_and_resumed(make, tmp_path, weights, options):
    whole = make(**options)
    whole.fit()
    with pytest.raises(Killed):
        make(tmp_path, Killer(6), **options).fit()
    again = make(tmp_path, **options)
    fa.manual_seed(99)
    again.resume()
    assert again.step == 4
    again.fit()
    assert weights(again.model) == weights(whole.model)
    assert weights(again.result) == weights(whole.result)
    for name in ("step", "seen", "loss", "val", "grad_norm"):
        assert again.history.column(name) == whole.history.column(name)
    last = make(tmp_path, **options)
    last.resume()
    assert last.done
    assert last.fit().rows == again.history.rows
    assert weights(last.result) == weights(whole.result)


def test_batches_are_functions_of_seed_and_step(make):
    one, other = make(), make()
    for step in (3, 0, 12, 3):
        for a, b in zip(one.batch(step), other.batch(step), strict=True):
            np.testing.assert_array_equal(a, b)
    other = make(seed=1)
    assert any(not np.array_equal(a, b) for s in range(3) for a, b in zip(one.batch(s), other.batch(s), strict=True))


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_parts_of_a_batch_are_the_batch(make, parts):
    """Accumulated gradients, in float64, where only roundings differ."""
    whole, pieces = make(dtype="float64", steps=3), make(dtype="float64", steps=3, accumulate=parts)
    histories = [trainer.fit() for trainer in (whole, pieces)]
    np.testing.assert_allclose(histories[1].column("loss"), histories[0].column("loss"), rtol=1e-9)
    np.testing.assert_allclose(histories[1].column("grad_norm"), histories[0].column("grad_norm"), rtol=1e-7)


def test_other_data_are_refused(make, tmp_path):
    trainer = make(tmp_path)
    trainer.fit()
    again = make(tmp_path)
    again.fingerprint = "other"
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is of a run on other data"):
        again.resume()


def test_bfloat16(make, tmp_path):
    trainer = make(tmp_path, dtype="bfloat16", ema=0.5)
    trainer.fit()
    assert {p.dtype.name for p in trainer.model.parameters()} == {"bfloat16"}
    assert {p.dtype.name for p in trainer.result.parameters()} == {"float32"}
    assert np.isfinite(trainer.history.val_loss)


def test_a_limit_of_samples(make):
    trainer = make()
    some, all_ = (trainer.task.evaluate(trainer.model, 4, limit) for limit in (3, None))
    assert some.keys() == all_.keys()
    assert some["loss"] != all_["loss"]


def test_masks():
    _, task = masked()
    task = MaskedLanguageModeling(rows(400), rows(3), mask_id=4, vocab_size=12, special=(1, 2, 3), rate=0.3)
    ids, labels, mask = task.masked(task.train, seed=0, step=0)
    plain = fa.data.pad(task.train)
    chosen = labels != -100
    assert ((mask == 1) == (plain != 0)).all()
    np.testing.assert_array_equal(labels[chosen], plain[chosen])
    np.testing.assert_array_equal(ids[~chosen], plain[~chosen])
    assert chosen.any(1).all()
    assert not (chosen & (plain == 0)).any()
    assert 0.25 < chosen.sum() / mask.sum() < 0.45  # short rows have one at least
    shares = [(ids[chosen] == 4).mean(), (ids[chosen] == plain[chosen]).mean()]
    assert 0.75 < shares[0] < 0.85
    assert 0.07 < shares[1] < 0.16
    assert set(ids[chosen & (ids != 4)]) <= set(range(5, 12)) | {0}


def test_a_row_of_special_tokens_has_nothing_to_find():
    task = MaskedLanguageModeling([[2, 3]], [[2, 3]], mask_id=4, vocab_size=12, special=(2, 3))
    assert (task.masked([[2, 3]], 0, 0)[1] == -100).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: Classification(np.ones((2, 3)), [0, 1, 0], np.ones((2, 3)), [0, 1]),
            "inputs 2, labels 3; expected one",
        ),
        (lambda: Classification(np.ones((2, 3)), [0.5, 1], np.ones((2, 3)), [0, 1]), "labels has dtype float64"),
        (lambda: Classification(np.ones((2, 3)), [0, 1], np.ones((0, 3)), []), "val_inputs 0, val_labels 0"),
        (lambda: Classification([[1]], [0], [[1]], [0], reads="all"), "reads is 'all'; expected mask or lengths"),
        (lambda: Translation([[1]], [], [[1]], [[1]], SEQ), "Translation: lengths are sources 1, targets 0"),
        (lambda: MaskedLanguageModeling([], [[1]], mask_id=4, vocab_size=9), "0 sequences to train on, 1 held out"),
        (lambda: LanguageModeling(np.arange(5), np.arange(5), 8), "the sequence has 5 tokens"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize("name", ["sampler", "inputs", "loss", "evaluate"])
def test_what_a_task_must_define(name):
    arguments = {"sampler": (1, 0), "inputs": (None, ()), "loss": (None, ()), "evaluate": (None, 1)}[name]
    with pytest.raises(NotImplementedError, match=rf"Task defines no {name}\(\)"):
        getattr(Task(), name)(*arguments)


def test_lengths_instead_of_a_mask():
    class Model(fa.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = fa.nn.Embedding(12, 2)

        def forward(self, ids, lengths):
            assert isinstance(lengths, np.ndarray)
            assert ids.shape == (len(lengths), lengths.max())
            return self.table(ids).sum(1)

    x = rows(20)
    task = Classification(x, [i % 2 for i in range(20)], x, [0] * 20, reads="lengths")
    Trainer(Model(), task, TrainConfig(steps=3, batch_size=4, warmup=0)).fit()


def test_translation_is_written_exactly():
    """A model that has learnt to copy short rows; BLEU by the way."""
    pytest.importorskip("sacrebleu")
    rng = np.random.default_rng(0)
    x = [rng.integers(4, 8, n) for n in rng.integers(1, 4, 80)]
    config = fa.models.EncoderDecoderConfig(
        8, d_model=16, nhead=2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=32, dropout=0.0,
        bos_token_id=2, eos_token_id=3, norm_first=True,
    )  # fmt: skip
    fa.manual_seed(0)
    task = Translation(x, x, x[:20], x[:20], config, decode=lambda ids: " ".join(map(str, ids)))
    settings = TrainConfig(steps=250, batch_size=16, lr=0.01, warmup=10, eval_every=0, weight_decay=0.0)
    measures = Trainer(fa.models.EncoderDecoder(config), task, settings).fit().measures
    assert measures["exact"] > 0.9
    assert measures["bleu"] == 0.0  # rows are shorter than four tokens: no 4-grams


def test_evaluations_are_not_smoothed():
    x = rows(10)
    smooth = SEQ.changed(label_smoothing=0.5)
    fa.manual_seed(0)
    model, task = fa.models.EncoderDecoder(smooth), Translation(x, x, x, x, smooth)
    batch = task.batch(x, x)
    assert task.evaluate(model, 64)["loss"] == pytest.approx(
        model.eval().loss(*split(batch), label_smoothing=0.0).item()
    )
    assert task.loss(model, batch).item() == model.loss(*split(batch), label_smoothing=0.5).item()
    assert task.loss(model, batch, 0.25).item() == model.loss(*split(batch), label_smoothing=0.25).item()


def split(batch):
    source, target = batch
    return source, np.ascontiguousarray(target[:, :-1]), np.ascontiguousarray(target[:, 1:])


def test_answers_are_spans_of_the_text():
    """Not of the question, not backwards, not too long, not of the padding."""
    rows, kinds = [[1, 2, 3, 4], [1, 2]], [[0, 1, 1, 1], [0, 1]]
    task = QuestionAnswering(rows, kinds, [[1, 3], [1, 1]], rows, kinds, [[1, 3], [1, 1]], longest=2)
    start = np.array([[9.0, 1, 0, 5], [0, 0, 8, 8]])
    end = np.array([[9.0, 7, 2, 0], [0, 0, 8, 8]])
    assert task.best_spans(start, end, kinds).tolist() == [[1, 1], [1, 1]]
    end[0] = [9, 0, 2, 9]
    start[0] = [9, 7, 6, 0]
    assert task.best_spans(start, end, kinds).tolist() == [[2, 3], [1, 1]]


def test_measures_of_answers():
    class Fixed(fa.nn.Module):
        """Says 1 to 2 of every row."""

        def forward(self, ids, mask, segments):
            at = np.arange(ids.shape[1])
            return tuple(fa.tensor(np.broadcast_to((at == n) * 50.0, ids.shape).copy()) for n in (1, 2))

    rows, kinds = [[1, 2, 3, 4, 5]] * 3, [[0, 1, 1, 1, 1]] * 3
    task = QuestionAnswering(rows, kinds, [[1, 2], [2, 4], [3, 3]], rows, kinds, [[1, 2], [2, 4], [3, 3]])
    found = task.evaluate(Fixed(), 2)
    assert found["exact"] == pytest.approx(1 / 3)
    assert found["f1"] == pytest.approx((1 + 2 / 5 + 0) / 3)
    assert found["loss"] == pytest.approx((0 + 50 + 50) / 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [[1, 2]] * 2}, "^QuestionAnswering: lengths are rows 2, segments 1, spans 1; expected one length"),
        ({"segments": [[0]]}, r"^QuestionAnswering: rows\[0\] has 2 tokens, segments\[0\] has 1$"),
        ({"spans": [[0, 1]]}, r"^QuestionAnswering: spans\[0\] is \[0, 1\], which is not in its text$"),
        ({"spans": [[1, 2]]}, r"^QuestionAnswering: spans\[0\] is \[1, 2\], which is not in its text$"),
        ({"val_spans": [[1, 0]]}, r"^QuestionAnswering: val_spans\[0\] is \[1, 0\], which is not in its text$"),
        ({"spans": [1]}, r"^QuestionAnswering: spans has dtype int64 and shape \(1,\); expected \(1, 2\) places$"),
        ({"longest": 0}, "^QuestionAnswering: longest is 0; expected a positive number$"),
    ],
)
def test_errors_of_answers(changes, message):
    given = {"rows": [[1, 2]], "segments": [[0, 1]], "spans": [[1, 1]]}
    given |= {f"val_{name}": value for name, value in given.items()}
    with pytest.raises(ValueError, match=message):
        QuestionAnswering(**given | changes)
