"""The examples run as they are, in seconds, and say that they got what they claim."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# What an example's output must show: an example asserts its claim, and says so here.
SHOWS = {
    "adam_step": r"step 300: error 0\.0001",
    "benchmark": r"numpy +[\d.]+ ms +[\d.]+ GFLOP/s",
    "generate": r"greedy: the quick brown fox jumps over the lazy dog\.",
    "mixed_precision": r"bfloat16 with masters +loss 0\.0",
    "numpy_attention": r"150 steps with a cache, from the whole by at most",
    "train_gpt": r"step 299  loss [12]\.\d+",
}
# Those about another library are tests of parity with it.
PARITY = {
    "load_gpt2": r"transformers' logits differ by at most",
    "torch_attention": r"gradients of 49,984 parameters differ by at most",
}


def run(name, folder, *options):
    command = [sys.executable, *options, str(EXAMPLES / f"{name}.py")]
    return subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )


def test_every_example_is_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == SHOWS.keys() | PARITY.keys()


@pytest.mark.parametrize("name", SHOWS)
def test_example(name, tmp_path):
    done = run(name, tmp_path, "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(SHOWS[name], done.stdout), done.stdout


@pytest.mark.parity
@pytest.mark.parametrize("name", PARITY)
def test_example_beside_another_library(name, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    done = run(name, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(PARITY[name], done.stdout), done.stdout


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("torch_attention", 1, "pip install torch"),
        ("load_gpt2", 0, "transformers is not installed, so there is nothing to compare with"),
    ],
)
def test_example_without_the_other_library(name, code, says, tmp_path):
    """As where it is not installed: its modules cannot be found."""
    blocked = (
        "import runpy, sys; sys.modules |= dict.fromkeys(('torch', 'transformers')); runpy.run_path(sys.argv.pop())"
    )
    command = [sys.executable, "-W", "error", "-c", blocked, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_small(path):
    assert len(path.read_text().splitlines()) <= 60
