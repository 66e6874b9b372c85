"""The training loop: what it computes and what it leaves in its folder."""

import csv
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastattn as fa
from fastattn.train import Progress, TrainConfig


@pytest.mark.smoke
def test_learns(make_trainer):
    trainer = make_trainer(steps=150, batch_size=8, eval_every=0, lr=0.03)
    before = fa.train.evaluate(trainer.model, trainer.task.val_ids, 8)
    history = trainer.fit()
    # The text steps by 0, 1 or 2 at random: no model gets below log 3.
    assert before > 1.8
    assert np.log(3) - 0.1 < history.val_loss < 1.35


def test_is_a_function_of_its_seed(make_trainer, weights):
    one, two, other = make_trainer(), make_trainer(), make_trainer(seed=1)
    losses = [trainer.fit().column("loss") for trainer in (one, two, other)]
    assert losses[0] == losses[1] != losses[2]
    assert weights(one.model) == weights(two.model) != weights(other.model)


def test_steps_are_adamw_steps_of_a_plain_loop(make_trainer, tokens, weights):
    trainer = make_trainer(steps=5, eval_every=0)
    trainer.fit()
    plain = make_trainer(steps=5)
    model, config = plain.model, plain.config
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = fa.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.99))
    for step in range(5):
        inputs, targets = fa.data.WindowSampler(tokens[0], 2, 8, seed=0)(step)
        logits = model(inputs)
        fa.nn.functional.cross_entropy(logits.reshape(-1, 7), targets.reshape(-1)).backward()
        fa.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate(step)
        optimizer.step()
        optimizer.zero_grad()
    assert weights(model) == weights(trainer.model)


def test_rows(make_trainer):
    history = make_trainer(steps=9, log_every=2, eval_every=3).fit()
    assert history.column("step") == [2, 3, 4, 6, 8, 9]
    assert [row.step for row in history.rows if row.val_loss is not None] == [3, 6, 9]
    assert history.column("seen") == [16 * step for step in history.column("step")]
    assert not history.interrupted


def test_row_loss_is_the_mean_of_its_steps(make_trainer):
    each = make_trainer(log_every=1, eval_every=0).fit().column("loss")
    pairs = make_trainer(log_every=2, eval_every=0).fit().column("loss")
    assert pairs == [(a + b) / 2 for a, b in zip(each[::2], each[1::2], strict=True)]


def test_the_schedule():
    config = TrainConfig(steps=100, warmup=10, lr=2.0, min_lr=0.25)
    lrs = [config.learning_rate(step) for step in range(101)]
    assert lrs[0] == 0.2
    assert lrs[9] == lrs[10] == 2.0
    assert lrs[55] == pytest.approx(1.25)
    assert lrs[100] == pytest.approx(0.5)
    assert TrainConfig(steps=1, warmup=0).learning_rate(0) == TrainConfig().lr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0), ("steps", 1.5), ("batch_size", 0), ("accumulate", 0), ("accumulate", 9), ("epochs", 0.0),
        ("warmup", -1), ("eval_every", -1),
        ("log_every", 0), ("eval_samples", -1), ("patience", -1), ("ema", 1.0), ("label_smoothing", 1.0), ("l1", -1.0),
        ("l2", float("inf")), ("schedule", "step"), ("checkpoint_every", True), ("seed", -1), ("seed", 2**64), ("lr", -1.0),
        ("lr", float("nan")), ("weight_decay", float("inf")), ("grad_clip", -0.5), ("beta1", 1.0), ("beta2", -0.1),
        ("min_lr", 1.5),
    ],
)  # fmt: skip
def test_config_names_what_is_wrong(name, value):
    with pytest.raises(ValueError, match=f"TrainConfig: {name} is {value!r}; expected "):
        TrainConfig(**{name: value})


def test_context_beyond_the_positions(make_trainer):
    with pytest.raises(ValueError, match="context 9 exceeds the model's n_positions 8"):
        make_trainer(context=9)


def test_evaluation_takes_the_whole_held_out_text(make_trainer):
    trainer = make_trainer()
    ids, model = trainer.task.val_ids, trainer.model.eval()
    total = 0.0
    with fa.no_grad():
        for start in range(0, len(ids) - 1, 8):
            window, targets = ids[start : start + 8][: len(ids) - 1 - start], ids[start + 1 : start + 9]
            logits = model(window[None]).numpy().astype(np.float64)[0]
            logits -= logits.max(-1, keepdims=True)
            total -= (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[range(len(targets)), targets].sum()
    trainer.model.train()
    assert fa.train.evaluate(trainer.model, ids, 8, batch_size=3) == pytest.approx(total / (len(ids) - 1), rel=1e-5)
    assert trainer.model.training


def test_the_last_evaluation_ignores_the_limit(make_trainer):
    trainer = make_trainer(eval_samples=2)
    history = trainer.fit()
    assert history.val_loss == fa.train.evaluate(trainer.model, trainer.task.val_ids, 8, batch_size=2)


def test_the_folder(make_trainer, tmp_path, weights):
    pytest.importorskip("matplotlib")
    trainer = make_trainer(tmp_path)
    history = trainer.fit()
    names = ["checkpoint.safetensors", "config.json", "history.csv", "loss.png", "model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert weights(fa.io.from_pretrained(tmp_path)) == weights(trainer.model)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(history.rows)
    for text, row in zip(rows, history.rows, strict=True):
        want = {"val_loss": None, "val_perplexity": None} | row.flat()
        assert {k: None if v == "" else type(want[k] or 0.0)(v) for k, v in text.items()} == want


def test_without_matplotlib_training_works(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.warns(UserWarning, match=r"^loss\.png needs matplotlib: pip install 'fastattn\[train\]'$"):
        make_trainer(tmp_path).fit()
    assert (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "loss.png").exists()


class Interrupter(Progress):
    """Sends this process a signal during a step."""

    def __init__(self, at, number=signal.SIGINT):
        super().__init__()
        self.at, self.number = at, number

    def step(self, done):
        super().step(done)
        if done == self.at:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_returns_what_there_is_and_resumes(make_trainer, tmp_path, weights, number):
    whole = make_trainer()
    whole.fit()
    before = signal.getsignal(number)
    trainer = make_trainer(tmp_path, Interrupter(7, number))
    history = trainer.fit()
    assert history.interrupted
    assert trainer.step == 7
    assert history.column("step") == [2, 4, 6]
    assert signal.getsignal(number) is before
    again = make_trainer(tmp_path, seed=0)
    again.resume()
    assert again.step == 7
    assert not again.fit().interrupted
    assert weights(again.model) == weights(whole.model)
    assert again.history.column("loss") == whole.history.column("loss")


def test_works_outside_the_main_thread(make_trainer, weights):
    trainer, other = make_trainer(), make_trainer()
    trainer.fit()
    fa.manual_seed(0)
    thread = threading.Thread(target=other.fit)
    thread.start()
    thread.join()
    assert weights(other.model) == weights(trainer.model)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("stop", [5, 6, 10])
def test_resume_from_any_checkpoint(make_trainer, tmp_path, weights, stop, dropout):
    whole = make_trainer(dropout=dropout)
    whole.fit()

    class Killed(BaseException):
        pass

    class Killer(Progress):
        def step(self, done):
            if done == stop + 1:
                raise Killed

    with pytest.raises(Killed):
        make_trainer(tmp_path, Killer(), dropout=dropout).fit()
    again = make_trainer(tmp_path, dropout=dropout)
    fa.manual_seed(99)  # another process starts with another random state
    again.resume()
    assert again.step == stop // 5 * 5
    # The file had rows of steps that the checkpoint does not know; they are gone.
    with open(tmp_path / "history.csv", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == again.history.column("step")
    again.fit()
    assert weights(again.model) == weights(whole.model)
    for name in ("step", "loss", "val_loss", "lr", "grad_norm"):
        assert again.history.column(name) == whole.history.column(name)


def test_resume_sweeps_up_killed_writes(make_trainer, tmp_path):
    (tmp_path / ".model.safetensors.12345678.tmp").write_bytes(b"half")
    make_trainer(tmp_path).resume()
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_resume_needs_a_folder(make_trainer):
    with pytest.raises(ValueError, match="without a folder"):
        make_trainer().resume()


def test_a_finished_run_resumes_to_itself(make_trainer, tmp_path, weights):
    trainer = make_trainer(tmp_path)
    trainer.fit()
    again = make_trainer(tmp_path)
    again.resume()
    history = again.fit()
    assert history.rows == trainer.history.rows
    assert weights(again.model) == weights(trainer.model)


THREADS = """
import hashlib, sys
import numpy as np
import fastattn as fa
ids = np.random.default_rng(0).integers(0, 60, 30000).cumsum().astype(np.int32) % 61
fa.manual_seed(0)
config = fa.models.GPTConfig(vocab_size=61, n_positions=96, n_embd=64, n_layer=2, n_head=2, attn_pdrop=0.1)
model = fa.models.GPT(config)
train = fa.train.TrainConfig(steps=6, batch_size=5, warmup=2, log_every=1, eval_every=3)
history = fa.train.Trainer(model, fa.train.LanguageModeling(ids[:-3000], ids[-3000:], 96), train).fit()
digest = hashlib.sha256(b"".join(x.numpy().tobytes() for x in model.state_dict().values())).hexdigest()
print(history.column("loss"), history.column("val_loss"), history.column("grad_norm"), digest)
"""


def test_the_same_bits_for_any_number_of_threads():
    outputs = set()
    for threads in ("1", "2", "3"):
        environment = os.environ | {"FASTATTN_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
