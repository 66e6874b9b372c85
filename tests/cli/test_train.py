"""`fastattn train`: what it says and writes, and that a killed run resumes to the same bits."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

FILES = ["checkpoint.safetensors", "config.json", "history.csv", "model.safetensors", "run.json", "vocab.json"]


@pytest.fixture
def weights(tmp_path):
    return lambda name: (tmp_path / name / "model.safetensors").read_bytes()


@pytest.mark.smoke
def test_a_run(fastattn, text, tiny, tmp_path):
    done = fastattn("train", "--text", text, "--out", "run", "--threads", 2, *tiny)
    assert sorted({p.name for p in (tmp_path / "run").iterdir()} - {"loss.png"}) == FILES
    out = done.stdout
    for part in ("2 threads", "1,800 characters, 29 different", "180 of them, the last tenth", "1 layers x 8, 2 heads",
                 "12 steps x 32 tokens (2 windows of 16) = 384 tokens", "folder   run", "nats per character",
                 "sample at temperature 0.8:"):  # fmt: skip
        assert part in out
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"validation loss {float(rows[-1]['val_loss']):.4f} nats per character" in out
    for row in rows:
        line = f"step {row['step']}/12 | loss {float(row['loss']):.4f} | val_loss {float(row['val_loss'] or 0):.4f}"
        assert (line in out) == bool(row["val_loss"])
    assert [row["step"] for row in rows if row["val_loss"]] == ["4", "8", "12"]


def test_transformers_sizes_in_the_config(fastattn, text, tiny, tmp_path):
    fastattn("train", "--text", text, "--out", "run", *tiny)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    sizes = {"model_type": "gpt2", "vocab_size": 29, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}
    assert sizes.items() <= config.items()


def test_json_and_quiet(fastattn, text, tiny):
    done = fastattn("train", "--text", text, "--out", "a", "--json", *tiny)
    result = json.loads(done.stdout)
    assert result["step"] == result["steps"] == 12
    assert result["tokens"] == 384
    assert len(result["sample"]) == 8
    assert not result["interrupted"]
    assert f"validation loss {result['val_loss']:.4f}" in done.stderr
    again = json.loads(fastattn("train", "--text", text, "--out", "b", "--json", "--quiet", *tiny).stdout)
    assert again["val_loss"] == result["val_loss"]
    done = fastattn("train", "--text", text, "--out", "c", "--quiet", *tiny)
    assert done.stdout == done.stderr == ""


def test_tokens_instead_of_steps(fastattn, text, tiny):
    flags = [x for x in tiny if x not in ("--steps", "12")]
    result = json.loads(fastattn("train", "--text", text, "--out", "a", "--json", "--tokens", 100, *flags).stdout)
    assert result["steps"] == 4


def test_run_folders(fastattn, text, tiny, tmp_path):
    fastattn("train", "--text", text, *tiny)
    fastattn("train", "--text", text, *tiny)
    assert len(list((tmp_path / "runs").iterdir())) == 2
    fastattn("train", "--text", text, "--out", "a", *tiny)
    done = fastattn("train", "--text", text, "--out", "a", *tiny, code=1)
    assert "a already holds a run; go on with it by --resume a, or name another --out" in done.stderr


def test_text_too_short(fastattn, tiny, tmp_path):
    (tmp_path / "a.txt").write_text("too short")
    assert "are too few to hold out" in fastattn("train", "--text", "a.txt", *tiny, code=1).stderr
    assert not (tmp_path / "runs").exists()


def test_without_matplotlib(fastattn, text, tiny, tmp_path):
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('hidden')")
    done = fastattn("train", "--text", text, "--out", "run", *tiny, PYTHONPATH=with_path(tmp_path))
    assert done.stderr == "fastattn: loss.png needs matplotlib: pip install 'fastattn[train]'\n"
    assert not (tmp_path / "run" / "loss.png").exists()


def with_path(folder):
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def start(tmp_path, *args):
    command = [sys.executable, "-m", "fastattn", "train", *map(str, args)]
    return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


# Long enough that a signal arrives in the middle of it, whatever the machine.
LONG = {"layers": 2, "width": 16, "heads": 2, "context": 16, "batch-size": 2, "sample": 0, "dropout": 0.1}
LONG = [word for name, value in LONG.items() for word in (f"--{name}", str(value))]


def test_killed_runs_resume_to_the_same_bits(fastattn, text, tmp_path, weights):
    """SIGKILL, several times in one run, at whatever moment it falls on."""
    flags = ["--text", text, *LONG, "--steps", 400, "--eval-every", 50, "--checkpoint-every", 3]
    fastattn("train", "--out", "whole", *flags)
    process = start(tmp_path, "--out", "killed", *flags)
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    kills = 0
    for wait in (0.01, 0.13, 0.29):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(wait)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        process = start(tmp_path, "--resume", "killed")
    out, _ = process.communicate()
    assert process.returncode == 0, out
    assert kills, "the run was over before it could be killed"
    assert weights("killed") == weights("whole")
    names = ("step", "loss", "val_loss", "lr", "grad_norm")  # not the times
    histories = []
    for run in ("whole", "killed"):
        with open(tmp_path / run / "history.csv", newline="") as file:
            histories.append([[row[name] for name in names] for row in csv.DictReader(file)])
    assert histories[0] == histories[1]
    assert not list((tmp_path / "killed").glob(".*.tmp"))


def test_killed_before_the_first_checkpoint(fastattn, text, tmp_path, tiny, weights):
    fastattn("train", "--text", text, "--out", "whole", *tiny)
    fastattn("train", "--text", text, "--out", "killed", *tiny)
    for name in ("checkpoint.safetensors", "model.safetensors", "history.csv"):
        (tmp_path / "killed" / name).unlink()
    fastattn("train", "--resume", "killed")
    assert weights("killed") == weights("whole")


def test_ctrl_c(fastattn, text, tmp_path, weights):
    flags = ["--text", text, *LONG, "--steps", 300, "--eval-every", 20]
    fastattn("train", "--out", "whole", *flags)
    process = start(tmp_path, "--out", "stopped", *flags)
    for line in process.stdout:
        if line.startswith("step "):
            process.send_signal(signal.SIGINT)
            break
    out, _ = process.communicate()
    assert process.returncode == 130, out
    assert "go on with: fastattn train --resume stopped" in out
    assert "Traceback" not in out
    assert weights("stopped") != weights("whole")
    done = fastattn("train", "--resume", "stopped")
    assert "resumed after step " in done.stdout
    assert weights("stopped") == weights("whole")


def test_resume_refuses_another_text(fastattn, text, tiny):
    fastattn("train", "--text", text, "--out", "run", *tiny)
    text.write_text(text.read_text() + "!")
    assert "is not the text that run was started with" in fastattn("train", "--resume", "run", code=1).stderr


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "run.json", "vocab.json"])
def test_resume_of_a_damaged_run(fastattn, text, tiny, tmp_path, name):
    fastattn("train", "--text", text, "--out", "run", *tiny)
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes()[:20])
    assert name in fastattn("train", "--resume", "run", code=1).stderr


def test_a_run_that_diverges_says_so(fastattn, text, tiny):
    flags = ["--lr", "1e30", "--warmup", 0, "--grad-clip", 0, "--weight-decay", 0]
    done = fastattn("train", "--text", text, "--out", "run", *tiny, *flags, code=1)
    assert done.stderr.startswith("fastattn: training stopped at step ")
    assert "is not finite" in done.stderr


def test_threads_do_not_change_a_bit(fastattn, text, tiny, weights):
    for threads in (1, 2, 3):
        fastattn("train", "--text", text, "--out", threads, "--threads", threads, *tiny)
    assert weights("1") == weights("2") == weights("3")
