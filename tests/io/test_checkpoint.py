"""Checkpoints of a whole run."""

import json

import numpy as np
import pytest

import fastattn as fa
from fastattn import _random
from fastattn.io import Checkpoint


@pytest.fixture
def run(make_gpt):
    """A model and its optimizer after some steps with gradients that follow from the seed."""

    def make(seed, steps=3, **changes):
        model = make_gpt(seed, **changes)
        optimizer = fa.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(steps):
            advance(model, optimizer, seed)
        return model, optimizer

    return make


def advance(model, optimizer, seed):
    ids = np.random.default_rng(seed).integers(0, 11, (2, 9)).astype(np.int32)
    logits = model(ids[:, :-1].copy())
    fa.nn.functional.cross_entropy(logits.reshape(-1, 11), ids[:, 1:].reshape(-1)).backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.smoke
def test_goes_on_with_the_same_bits(tmp_path, run, weights):
    model, optimizer = run(0)
    history = [{"step": 3, "loss": 0.1 + 0.2, "val_loss": None}]
    fa.manual_seed(5)
    _random.next_key()
    saved = Checkpoint(3, {"losses": [1 / 3]}, history, {"a": "b"})
    fa.io.save_checkpoint(tmp_path / "c", model, optimizer, saved)
    advance(model, optimizer, 7)

    other, other_optimizer = run(1, steps=1)
    assert fa.io.load_checkpoint(tmp_path / "c", other, other_optimizer) == saved
    assert _random.get_rng_state() == (5, 1)
    advance(other, other_optimizer, 7)
    for name, value in weights(model).items():
        assert value.tobytes() == weights(other)[name].tobytes(), name


def test_a_fresh_optimizer_round_trips(tmp_path, run):
    model, optimizer = run(0, steps=0)
    fa.io.save_checkpoint(tmp_path / "c", model, optimizer)
    assert fa.io.load_checkpoint(tmp_path / "c", *run(1, steps=0)) == Checkpoint()


def test_the_optimizers_settings_come_along(tmp_path, run):
    model, optimizer = run(0)
    optimizer.param_groups[0]["lr"] = 0.125
    fa.io.save_checkpoint(tmp_path / "c", model, optimizer)
    other, other_optimizer = run(1)
    fa.io.load_checkpoint(tmp_path / "c", other, other_optimizer)
    assert other_optimizer.param_groups[0]["lr"] == 0.125


def test_another_model_is_refused_and_nothing_changes(tmp_path, run, weights):
    fa.io.save_checkpoint(tmp_path / "c", *run(0, n_embd=4))
    model, optimizer = run(1)
    before, state, random = weights(model), json.dumps(plain(optimizer.state_dict())), _random.get_rng_state()
    with pytest.raises(ValueError, match=r"load_checkpoint: .* does not fit; nothing was loaded: ") as caught:
        fa.io.load_checkpoint(tmp_path / "c", model, optimizer)
    assert "transformer.wpe.weight has shape (8, 4), the model's is (8, 8)" in str(caught.value)
    assert "exp_avg has shape" in str(caught.value)
    assert all(before[k].tobytes() == v.tobytes() for k, v in weights(model).items())
    assert json.dumps(plain(optimizer.state_dict())) == state
    assert _random.get_rng_state() == random


def plain(state):
    """A state dict as JSON can hold it."""
    if isinstance(state, dict):
        return {str(k): plain(v) for k, v in state.items()}
    if isinstance(state, list):
        return [plain(v) for v in state]
    return np.asarray(state).tolist() if hasattr(state, "shape") else state


def test_missing_moments_are_named(tmp_path, run):
    model, optimizer = run(0)
    fa.io.save_checkpoint(tmp_path / "c", model, optimizer)
    tensors, metadata = fa.io.tensors.read(tmp_path / "c")
    del tensors["optimizer.2.exp_avg"]
    fa.io.save_tensors(tensors, tmp_path / "c", metadata)
    with pytest.raises(ValueError, match=r"missing optimizer\.2\.exp_avg$"):
        fa.io.load_checkpoint(tmp_path / "c", model, optimizer)


def test_without_an_optimizer(tmp_path, run):
    model, optimizer = run(0)
    fa.io.save_checkpoint(tmp_path / "c", model)
    fa.io.load_checkpoint(tmp_path / "c", model)
    with pytest.raises(ValueError, match="missing the optimizer"):
        fa.io.load_checkpoint(tmp_path / "c", model, optimizer)


def test_a_plain_model_is_no_checkpoint(tmp_path, run):
    model, _ = run(0)
    fa.io.save_model(model, tmp_path / "m")
    with pytest.raises(ValueError, match="is not a checkpoint of fastattn"):
        fa.io.load_checkpoint(tmp_path / "m", model)


def test_a_newer_format_is_refused(tmp_path, run):
    model, _ = run(0)
    fa.io.save_tensors({}, tmp_path / "c", {"fastattn": json.dumps({"format_version": 99})})
    with pytest.raises(ValueError, match=f"has format version 99; this fastattn reads {fa.io.FORMAT_VERSION}"):
        fa.io.load_checkpoint(tmp_path / "c", model)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.999])
def test_damaged(tmp_path, run, part):
    model, optimizer = run(0)
    path = tmp_path / "c"
    fa.io.save_checkpoint(path, model, optimizer)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match="is not a safetensors file, or is damaged"):
        fa.io.load_checkpoint(path, model, optimizer)
