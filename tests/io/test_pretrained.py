"""Folders of the Hugging Face shape."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastattn as fa

IDS = np.arange(16, dtype=np.int32).reshape(2, 8) % 11


def test_round_trip(tmp_path, make_gpt):
    model = make_gpt()
    fa.io.save_pretrained(model, tmp_path / "a" / "b")
    other = fa.io.from_pretrained(tmp_path / "a" / "b")
    assert other.config == model.config
    with fa.no_grad():
        assert model.eval()(IDS).numpy().tobytes() == other.eval()(IDS).numpy().tobytes()


def test_bare_keys_and_mask_buffers(tmp_path, make_gpt, weights):
    """The files on the hub are of the bare GPT-2, with its causal masks as buffers."""
    model = make_gpt()
    fa.io.save_pretrained(model, tmp_path)
    tensors = {k.removeprefix("transformer."): v for k, v in weights(model).items() if k != "lm_head.weight"}
    tensors["h.0.attn.bias"] = np.ones((1, 1, 8, 8), np.float32)
    tensors["h.0.attn.masked_bias"] = np.array(-1e4, np.float32)
    fa.io.save_tensors(tensors, tmp_path / "model.safetensors")
    other = fa.io.from_pretrained(tmp_path)
    assert all(v.tobytes() == weights(other)[k].tobytes() for k, v in weights(model).items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "model_type is 'llama', expected 'gpt2'"),
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"n_head": 3}, "n_embd 8 is not a multiple of n_head 3"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True, expected False"),
    ],
)
def test_configs_of_other_models(tmp_path, make_gpt, change, message):
    fa.io.save_pretrained(make_gpt(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        fa.io.from_pretrained(tmp_path)


def test_config_that_is_not_json(tmp_path, make_gpt):
    fa.io.save_pretrained(make_gpt(), tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        fa.io.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(tmp_path, make_gpt, name):
    fa.io.save_pretrained(make_gpt(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        fa.io.from_pretrained(tmp_path)


@pytest.mark.parity
def test_transformers_opens_ours(tmp_path, make_gpt):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = make_gpt().eval()
    fa.io.save_pretrained(model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad(), fa.no_grad():
        assert_allclose(model(IDS).numpy(), theirs(torch.from_numpy(IDS).long()).logits.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parity
def test_we_open_theirs(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    theirs.save_pretrained(tmp_path)
    model = fa.io.from_pretrained(tmp_path).eval()
    with torch.no_grad(), fa.no_grad():
        assert_allclose(model(IDS).numpy(), theirs(torch.from_numpy(IDS).long()).logits.numpy(), rtol=1e-4, atol=1e-5)
