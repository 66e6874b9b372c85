"""What TrainConfig's options do to a run."""

import dataclasses

import numpy as np
import pytest

import fastattn as fa
from fastattn.train import Task, TrainConfig, Trainer


class Quadratic(Task):
    """One matrix is drawn to a target; evaluations give what they are told."""

    num_samples = 10
    primary = "score"
    higher_is_better = True

    def __init__(self, scores=()):
        self.scores = list(scores)

    def sampler(self, batch_size, seed):
        return lambda step: (np.zeros((batch_size, 1), np.float32),)

    def inputs(self, model, batch):
        return (fa.tensor(batch[0]),)

    def loss(self, model, batch, label_smoothing=0.0):
        return ((model.weight - 1.0) ** 2).sum() * 0.5

    def evaluate(self, model, batch_size, limit=None):
        score = self.scores.pop(0) if self.scores else 0.0
        return {"loss": 1.0, "score": score, "weight": float(model.weight[0, 0].item())}


def trainer(scores=(), folder=None, **changes):
    settings = {"steps": 8, "batch_size": 2, "lr": 0.1, "warmup": 0, "weight_decay": 0.0, "grad_clip": 0.0,
                "schedule": "constant", "eval_every": 1, "checkpoint_every": 0, "log_every": 1}  # fmt: skip
    model = fa.nn.Linear(2, 2, bias=False)
    with fa.no_grad():
        model.weight.fill_(0.5)
    return Trainer(model, Quadratic(scores), TrainConfig(**(settings | changes)), folder=folder)


def test_patience_stops_and_keeps_the_best(tmp_path):
    run = trainer([0.1, 0.5, 0.5, 0.4, 0.9], tmp_path, patience=2)
    history = run.fit()
    assert run.step == 4
    assert run.done
    assert not history.interrupted
    best = history.best("score", True)
    assert best.step == 2
    assert float(run.result.weight[0, 0].item()) == best.val["weight"] != float(run.model.weight[0, 0].item())
    kept = fa.io.load_tensors(tmp_path / "model.safetensors")["weight"]
    assert kept[0, 0] == np.float32(best.val["weight"])


def test_patience_of_a_loss_that_falls():
    run = trainer([3.0, 2.0, 2.5, 1.0, 1.5, 1.25, 0.5], patience=3)
    run.task.higher_is_better = False
    run.fit()
    assert run.step == 8
    assert run.history.best("score", False).val["score"] == 0.0


def test_without_patience_the_last_is_kept():
    run = trainer([0.9])
    run.fit()
    assert run.step == 8
    assert run.result is run.model


def test_ema_is_the_mean_of_the_weights():
    run = trainer(ema=0.5, steps=5)
    mean, seen = 0.5, []
    for step in range(5):
        run._train_step()
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * run.model.weight[0, 0].item()
        seen.append(mean)
        assert run.result.weight[0, 0].item() == pytest.approx(mean, rel=1e-5)
    assert run.evaluated is run.result is not run.model
    assert seen == sorted(seen)


@pytest.mark.parametrize(("name", "gradient"), [("l1", 0.25), ("l2", 0.25 * 0.5)])
def test_penalties_are_gradients_of_matrices(name, gradient):
    """Of SGD they would be a step by the gradient; the norm tells it."""
    run = trainer(**{name: 0.25}, steps=1)
    run.fit()
    assert run.history.rows[0].grad_norm == pytest.approx(2 * abs(-0.5 + gradient))
    assert run.history.rows[0].loss == pytest.approx(0.5)


def test_label_smoothing_is_for_training_alone():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((32, 4)).astype(np.float32), rng.integers(0, 3, 32)
    task = fa.train.Classification(x, y, x, y)
    fa.manual_seed(0)
    model = fa.models.MLP(fa.models.MLPConfig(4, [], 3))
    logits = model(fa.tensor(x))
    smoothed = fa.nn.functional.cross_entropy(logits, fa.tensor(y), label_smoothing=0.3).item()
    plain = fa.nn.functional.cross_entropy(logits, fa.tensor(y)).item()
    assert task.loss(model, (x, y), 0.3).item() == smoothed != plain
    assert task.evaluate(model, 32)["loss"] == pytest.approx(plain, rel=1e-6)


def test_epochs_are_steps():
    run = trainer(epochs=3, batch_size=4)
    assert run.config.steps == 8  # 30 samples in batches of 4
    assert run.config.epochs is None
    assert TrainConfig(epochs=0.5, batch_size=4).for_samples(10).steps == 2


def test_schedules():
    config = TrainConfig(steps=110, warmup=10, lr=2.0, min_lr=0.5, schedule="linear")
    assert [config.learning_rate(step) for step in (9, 10, 60, 110)] == [2.0, 2.0, 1.5, 1.0]
    config = dataclasses.replace(config, schedule="constant")
    assert {config.learning_rate(step) for step in range(9, 111)} == {2.0}


def test_mixup_is_the_mean_of_both_losses():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 1, 2, 2)).astype(np.float32), np.array([0, 1, 2, 0])
    task = fa.train.Classification(x, y, x, y)
    model = fa.models.MLP(fa.models.MLPConfig(4, [], 3, flatten=True))
    other, part = np.array([2, 2, 1, 1]), np.array([0.5, 0.75, 1.0, 0.6])
    found = task.loss(model, (x, np.stack([y, other, part], 1))).item()
    logits = model(fa.tensor(x))
    one, two = (
        fa.nn.functional.cross_entropy(logits, fa.tensor(t), reduction="none").detach().numpy() for t in (y, other)
    )
    assert found == pytest.approx(float((one * part + two * (1 - part)).mean()), rel=1e-6)


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    run = trainer([0.1, 0.5, 0.4], tmp_path, steps=3)
    run.fit()
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    fa.train.plot_confusion(np.eye(3, dtype=int) * 5, tmp_path / "confusion.png", ["a", "b", "a long name"])
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"matrix has shape \(3, 3\) for 2 names; expected a square of as many"):
        fa.train.plot_confusion(np.eye(3), tmp_path / "x.png", ["a", "b"])


def test_pictures_of_attention(tmp_path, rng):
    pytest.importorskip("matplotlib")
    model = fa.models.GPT(fa.models.GPTConfig(vocab_size=11, n_positions=8, n_embd=8, n_layer=2, n_head=2))
    model.eval()
    with fa.capture_attention() as maps:
        model(rng.integers(0, 11, (1, 5)))
    fa.train.plot_attention(maps, tmp_path / "a.png", list("abcde"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    fa.train.plot_attention([np.eye(3)[None], np.ones((2, 3, 4))], tmp_path / "b.png")
    for given, text in (
        ((maps, tmp_path / "c.png", list("abcd")), r"4 queries for weights of shape \(2, 5, 5\); expected 5"),
        ((maps, tmp_path / "c.png", None, list("ab")), r"2 keys for weights of shape \(2, 5, 5\); expected 5"),
        (([], tmp_path / "c.png"), "maps is empty; expected weights of at least one layer"),
        ((np.ones((2, 2, 3, 3)), tmp_path / "c.png"), r"weights have shape \(2, 2, 3, 3\); expected \(H, T, S\)"),
    ):
        with pytest.raises(ValueError, match=rf"^plot_attention: {text}"):
            fa.train.plot_attention(*given)
    assert not (tmp_path / "c.png").exists()


def test_batches_made_ahead_are_the_same(weights):
    import threading

    rng = np.random.default_rng(0)
    x, y = rng.random((30, 1, 6, 6), dtype=np.float32), rng.integers(0, 3, 30)
    task = fa.train.Classification(x, y, x, y, augment=fa.data.Augment(shift=1, mixup=0.3))
    assert task.prefetch
    found = []
    for ahead in (True, False):
        task.prefetch = ahead
        fa.manual_seed(0)
        run = Trainer(
            fa.models.MLP(fa.models.MLPConfig(36, [8], 3, flatten=True)),
            task,
            TrainConfig(steps=12, batch_size=7, warmup=0),
        )
        run.fit()
        found.append(weights(run.model))
    assert found[0] == found[1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fastattn-batches")]


def test_a_batch_that_cannot_be_made_is_an_error():
    class Broken(Quadratic):
        prefetch = True

        def sampler(self, batch_size, seed):
            def batch(step):
                if step == 2:
                    raise ValueError("no such image")
                return super(Broken, self).sampler(batch_size, seed)(step)

            return batch

    run = Trainer(fa.nn.Linear(2, 2, bias=False), Broken(), TrainConfig(steps=5, batch_size=2, warmup=0, eval_every=0))
    with pytest.raises(ValueError, match="no such image"):
        run.fit()
    assert run.step == 2
