"""Models and tensors as safetensors files."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastattn as fa


def same(a, b):
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)


@pytest.mark.smoke
def test_model_round_trip(tmp_path, make_gpt, weights):
    model, other = make_gpt(0), make_gpt(1)
    assert not same(weights(model), weights(other))
    fa.io.save_model(model, tmp_path / "m.safetensors")
    fa.io.load_model(other, tmp_path / "m.safetensors")
    assert same(weights(model), weights(other))


def test_arrays_round_trip(tmp_path):
    arrays = {
        "f64": np.linspace(0, 1, 7),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "scalar": np.array(3, np.int64),
        "empty": np.empty((0, 3), np.float32),
    }
    fa.io.save_tensors(arrays, tmp_path / "a", {"note": "x"})
    read = fa.io.load_tensors(tmp_path / "a")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        assert_array_equal(read[name], array)


def test_metadata_says_pt(tmp_path):
    from safetensors import safe_open

    fa.io.save_tensors({"a": np.zeros(1)}, tmp_path / "a", {"note": "x"})
    with safe_open(tmp_path / "a", framework="numpy") as file:
        assert file.metadata() == {"format": "pt", "note": "x"}


def test_tied_weights_are_stored_once(tmp_path, make_gpt):
    model = make_gpt()
    fa.io.save_model(model, tmp_path / "m")
    names = fa.io.load_tensors(tmp_path / "m").keys()
    assert "transformer.wte.weight" in names
    assert "lm_head.weight" not in names


def test_tied_weights_may_come_twice_if_they_are_equal(tmp_path, make_gpt, weights):
    model, other = make_gpt(0), make_gpt(1)
    tensors = weights(model)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    fa.io.save_tensors(tensors, tmp_path / "m")
    fa.io.load_model(other, tmp_path / "m")
    assert same(weights(model), weights(other))
    fa.io.save_tensors(tensors | {"lm_head.weight": tensors["transformer.wte.weight"] + 1}, tmp_path / "m")
    with pytest.raises(ValueError, match=r"lm_head\.weight differs from transformer\.wte\.weight"):
        fa.io.load_model(other, tmp_path / "m")


def test_either_name_of_a_tied_weight_will_do(tmp_path, make_gpt, weights):
    model, other = make_gpt(0), make_gpt(1)
    tensors = weights(model)
    tensors["lm_head.weight"] = tensors.pop("transformer.wte.weight")
    fa.io.save_tensors(tensors, tmp_path / "m")
    fa.io.load_model(other, tmp_path / "m")
    assert same(weights(model), weights(other))


def test_one_error_lists_everything_and_nothing_changes(tmp_path, make_gpt, weights):
    model = make_gpt()
    before = weights(model)
    tensors = {name: value + 1 for name, value in before.items() if name != "lm_head.weight"}
    del tensors["transformer.ln_f.weight"]
    del tensors["transformer.h.0.ln_1.bias"]
    tensors["extra"] = np.zeros(2, np.float32)
    tensors["transformer.wpe.weight"] = np.zeros((9, 8), np.float32)
    tensors["transformer.ln_f.bias"] = np.zeros(8, np.int32)
    fa.io.save_tensors(tensors, tmp_path / "m")
    with pytest.raises(ValueError, match="does not fit; nothing was loaded") as caught:
        fa.io.load_model(model, tmp_path / "m")
    message = str(caught.value)
    for part in (
        "missing transformer.ln_f.weight",
        "missing transformer.h.0.ln_1.bias",
        "unexpected extra",
        "transformer.wpe.weight has shape (9, 8), the model's is (8, 8)",
        "transformer.ln_f.bias is int32, the model's is float32",
    ):
        assert part in message
    assert "\n" not in message
    assert same(before, weights(model))


@pytest.mark.parametrize("keep", [0, 4, 8, 40, 200, 0.5, -1])
def test_damaged_files(tmp_path, make_gpt, weights, keep):
    model = make_gpt()
    before = weights(model)
    path = tmp_path / "m"
    fa.io.save_model(make_gpt(1), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match="is not a safetensors file, or is damaged") as caught:
        fa.io.load_model(model, path)
    assert "\n" not in str(caught.value)
    assert same(before, weights(model))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        fa.io.load_tensors(tmp_path / "m")


@pytest.mark.parity
def test_torch_reads_it(tmp_path, make_gpt, weights):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    pytest.importorskip("torch")
    model = make_gpt()
    fa.io.save_model(model, tmp_path / "m")
    for name, tensor in safetensors_torch.load_file(tmp_path / "m").items():
        assert_array_equal(tensor.numpy(), weights(model)[name])
