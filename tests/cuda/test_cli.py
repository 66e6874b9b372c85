"""`fastattn train` and `generate` on a device, in this process, where the fake CuPy is."""

import json
import sys

import numpy as np
import pytest

import fastattn as fa
from fastattn import cli
from fastattn.train import Trainer

# A run that an emulator does in seconds.
TINY = "--layers 1 --width 8 --heads 2 --context 16 --batch-size 2 --steps 3 --sample 4"
TINY = [*TINY.split(), "--checkpoint-every", "2"]


@pytest.fixture
def fastattn(capsys, tmp_path, monkeypatch):
    """Runs the command line; returns what it has written to standard output and to standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 20)

    def run(*args, code=0):
        found = cli.main([str(a) for a in args])
        out, err = capsys.readouterr()
        assert found == code, out + err
        return out, err

    return run


def history(folder):
    lines = (folder / "history.csv").read_text().splitlines()
    return [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]


@pytest.mark.smoke
def test_a_run(fastattn, tmp_path, device_name):
    """The losses of the CPU, to test_training's bound for 3 steps; files that the CPU reads; a sample."""
    out, _ = fastattn("train", "--text", "text.txt", "--out", "there", "--device", "cuda", *TINY)
    assert f"device   cuda:0, {device_name}, compute capability" in out
    assert " GiB | " in out
    fastattn("train", "--text", "text.txt", "--out", "host", *TINY)
    there, host = history(tmp_path / "there"), history(tmp_path / "host")
    eps = np.finfo(np.float32).eps
    for a, b in zip(there, host, strict=True):
        assert abs(float(a["loss"]) - float(b["loss"])) <= 3 * 20 * 10 * eps * float(b["loss"])
        assert int(a["memory"]) > 0
        assert not b["memory"]
    assert json.loads((tmp_path / "there" / "run.json").read_text())["device"] == "cuda"
    model, expected = (fa.io.from_pretrained(tmp_path / name).state_dict() for name in ("there", "host"))
    for key, value in expected.items():
        assert model[key].device == "cpu"
        scale = max(1.0, float(value.abs().max()))
        np.testing.assert_allclose(model[key].numpy(), value.numpy(), rtol=0, atol=3 * 20 * 10 * eps * scale)


def test_bfloat16(fastattn, tmp_path):
    """Weights of 16 bits with masters, on the device: losses within what 8 bits of logits leave open."""
    found = []
    for device in ("cuda", "cpu"):
        out, _ = fastattn("train", "--text", "text.txt", "--out", device, "--device", device, "--dtype", "bfloat16",
                          "--json", "--quiet", *TINY)  # fmt: skip
        found.append(json.loads(out)["loss"])
    assert abs(found[0] - found[1]) <= 32 * float(fa.finfo(fa.bfloat16).eps)
    saved = fa.io.load_tensors(tmp_path / "cuda" / "checkpoint.safetensors")
    assert {x.dtype.name for name, x in saved.items() if name.startswith("model.")} == {"bfloat16"}
    assert {x.dtype.name for name, x in saved.items() if name.endswith(".master")} == {"float32"}


def test_resume(fastattn, tmp_path, monkeypatch):
    """A run that was stopped goes on from its checkpoint to the same bits, on the device that it was on."""
    save, checkpoints = Trainer.save_checkpoint, []

    def keep(self):
        save(self)
        checkpoints.append((self.folder / "checkpoint.safetensors").read_bytes())

    monkeypatch.setattr(Trainer, "save_checkpoint", keep)
    fastattn("train", "--text", "text.txt", "--out", "run", "--device", "cuda", "--quiet", *TINY)
    whole = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert len(checkpoints) == 2  # after 2 steps and after the last
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(checkpoints[0])
    (tmp_path / "run" / "model.safetensors").unlink()
    out, _ = fastattn("train", "--resume", "run", "--json", "--quiet")
    assert (json.loads(out)["device"], json.loads(out)["step"]) == ("cuda:0", 3)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == whole


def test_resume_elsewhere(fastattn):
    fastattn("train", "--text", "text.txt", "--out", "run", "--quiet", "--device", "cuda", *TINY)
    out, _ = fastattn("train", "--resume", "run", "--device", "cpu", "--json", "--quiet")
    result = json.loads(out)
    assert (result["device"], result["step"]) == ("cpu", 3)


def test_generate(fastattn):
    fastattn("train", "--text", "text.txt", "--out", "run", "--quiet", *TINY)
    for flags in ([], ["--temperature", 0], ["--num-samples", 2, "--top-k", 5]):
        ask = ["generate", "run", "--prompt", "the ", "--max-new-tokens", 12, *flags]
        assert fastattn(*ask, "--device", "cuda:0")[0] == fastattn(*ask)[0]


@pytest.mark.parametrize("command", [["train", "--out", "new"], ["generate", "."]], ids=["train", "generate"])
def test_no_such_device(command, fastattn, tmp_path):
    before = sorted(tmp_path.iterdir())
    for wrong in ("cuad", "gpu", "cuda0", "cuda:x", "cuda:-1"):
        _, err = fastattn(*command, "--device", wrong, code=2)
        assert err.startswith(f"fastattn: Invalid value for '--device': '{wrong}' is no device; expected cpu, cuda or")
    _, err = fastattn(*command, "--device", "cuda:1", code=1)
    assert err == "fastattn: --device: there is no device 'cuda:1': there are 1, counted from 0\n"
    assert sorted(tmp_path.iterdir()) == before


def test_without_cupy(fastattn, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "fastattn.interop.cupy", raising=False)
    monkeypatch.delattr(fa.interop, "cupy", raising=False)
    before = sorted(tmp_path.iterdir())
    _, err = fastattn("train", "--out", "new", "--device", "cuda", code=1)
    assert err == "fastattn: arrays on a GPU are CuPy's, which is not installed: pip install 'fastattn[cuda13]'\n"
    assert sorted(tmp_path.iterdir()) == before


def test_info(fastattn, device_name):
    assert f"CUDA      cuda:0, {device_name}, compute capability " in fastattn("info")[0]
    assert json.loads(fastattn("info", "--json")[0])["no_gpu"] is None


def test_no_float64(fastattn):
    _, err = fastattn("train", "--device", "cuda", "--dtype", "float64", code=2)
    assert err.startswith("fastattn: --dtype float64 has no kernels on a GPU")
