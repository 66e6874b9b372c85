"""Files and states of what is on a device: written from there, read into what is there."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn
from fastattn.models import GPT, GPTConfig
from fastattn.train import LanguageModeling, TrainConfig, Trainer

CONFIG = GPTConfig(vocab_size=7, n_positions=8, n_embd=8, n_layer=1, n_head=2)
IDS = np.random.default_rng(0).integers(0, 7, 200)
TASK = LanguageModeling(IDS[:150], IDS[150:], context=8)


def bits(model):
    return {name: value.cpu().numpy().tobytes() for name, value in model.state_dict().items()}


def made(seed, device):
    fa.manual_seed(seed)
    return GPT(CONFIG).to(device)


@pytest.mark.parametrize("to", ["cuda", "cpu"])
def test_models(to, tmp_path):
    """A tied weight is stored once, and the file of a device's model is that of the CPU's."""
    host, there, other = made(0, "cpu"), made(0, "cuda"), made(1, to)
    fa.io.save_model(host, tmp_path / "host")
    fa.io.save_model(there, tmp_path / "there")
    assert (tmp_path / "host").read_bytes() == (tmp_path / "there").read_bytes()
    fa.io.load_model(other, tmp_path / "there")
    assert bits(other) == bits(host)
    assert {p.device.type for p in other.parameters()} == {to}
    assert other.lm_head.weight is other.transformer.wte.weight
    fa.io.save_pretrained(there, tmp_path / "folder")
    assert bits(fa.io.from_pretrained(tmp_path / "folder")) == bits(host)


def test_what_does_not_fit_changes_nothing(tmp_path):
    there = nn.Linear(2, 3).to("cuda")
    before = bits(there)
    fa.io.save_tensors({"weight": fa.ones(3, 3, device="cuda"), "bias": np.ones(3, np.float32)}, tmp_path / "a")
    with pytest.raises(ValueError, match=r"weight has shape \(3, 3\), the model's is \(3, 2\)$"):
        fa.io.load_model(there, tmp_path / "a")
    assert bits(there) == before


@pytest.mark.parametrize(("source", "to"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_state_dicts(source, to):
    """Of a module and an optimizer, from one device into those of another."""
    model, other = made(0, source), made(1, to)
    optimizers = [fa.optim.AdamW(m.parameters(), lr=0.1) for m in (model, other)]
    model.loss(IDS[None, :8], IDS[None, 1:9]).backward()
    optimizers[0].step()
    other.load_state_dict(model.state_dict())
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    assert bits(other) == bits(model)
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    for number, values in states[0].items():
        for name in ("exp_avg", "exp_avg_sq"):
            found = states[1][number][name]
            assert found.device.type == to
            assert np.array_equal(found.cpu().numpy(), values[name].cpu().numpy())
    assert {p.device.type for p in other.parameters()} == {to}


@pytest.mark.parametrize("to", ["cuda", "cpu"])
def test_checkpoints(to, tmp_path):
    def trainer(seed, device):
        config = TrainConfig(steps=3, batch_size=2, warmup=1, eval_every=0, checkpoint_every=0)
        return Trainer(made(seed, device), TASK, config, folder=tmp_path)

    first = trainer(0, "cuda")
    first.fit()
    second = trainer(1, to)
    second.resume()
    assert second.step == 3
    assert bits(second.model) == bits(first.model)
    for mine, theirs in zip(second.optimizer.state.values(), first.optimizer.state.values(), strict=True):
        assert mine["exp_avg"].device.type == to
        assert np.array_equal(mine["exp_avg"].cpu().numpy(), theirs["exp_avg"].cpu().numpy())


class Plain(nn.Module):
    """A language model with logits and no loss of its own, that takes Tensors alone."""

    def __init__(self):
        super().__init__()
        self.config = CONFIG
        self.table = nn.Embedding(7, 8)
        self.head = nn.Linear(8, 7)

    def forward(self, ids):
        return self.head(self.table(ids.to(fa.int64)))


def test_a_model_that_takes_tensors():
    """Its batches come where it is; a NaN in it is named."""
    fa.manual_seed(0)
    config = TrainConfig(steps=4, batch_size=2, warmup=1, lr=0.01, log_every=1)
    trainer = Trainer(Plain().to("cuda"), TASK, config)
    history = trainer.fit()
    assert history.rows[-1].val_loss < 3
    assert all(row.memory > 0 for row in history.rows)
    config = TrainConfig(steps=5, batch_size=2, warmup=1)
    broken = Trainer(trainer.model, TASK, config)
    with fa.no_grad():
        trainer.model.head.bias[0] = float("nan")
    with pytest.raises(fa.train.NonFiniteError, match=r"the output of head \(Linear\), whose bias is not finite"):
        broken.fit()
