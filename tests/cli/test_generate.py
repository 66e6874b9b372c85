"""`fastattn generate`: what it writes where, as it comes, and what it refuses."""

import functools
import io
import json
import os
import signal
import subprocess
import sys

import pytest

import fastattn as fa
from fastattn.cli import main

CHARACTERS = "\n abcdefghijé€😀"


def save_run(folder, characters=CHARACTERS, **changes):
    """A run folder of a model that was never trained."""
    fa.manual_seed(0)
    sizes = {"vocab_size": len(characters), "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    fa.io.save_pretrained(fa.models.GPT(fa.models.GPTConfig(**sizes | changes, initializer_range=0.4)), folder)
    fa.data.CharVocabulary("".join(sorted(characters))).save(folder / "vocab.json")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_run(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def generate(run, capsys):
    """Runs the command in this process; returns what it wrote to standard output, without the last newline."""

    def call(*args, code=0):
        capsys.readouterr()
        assert main(["generate", "run", *map(str, args)]) == code
        captured = capsys.readouterr()
        call.stderr = captured.err
        return captured.out.removesuffix("\n")

    return call


def expected(run, prompt, count, **options):
    """The same from Python."""
    vocabulary, model = fa.data.load_tokenizer(run), fa.io.from_pretrained(run)
    start = vocabulary.encode(prompt)
    options = {"do_sample": True, "temperature": 0.8, "seed": 0} | options
    return vocabulary.decode(model.generate([start], max_new_tokens=count, **options)[0][len(start) :])


def test_text_on_stdout_statistics_on_stderr(generate, run):
    assert generate("--prompt", "abé", "--max-new-tokens", 40) == expected(run, "abé", 40)
    assert generate.stderr.startswith("3 tokens read, 40 generated in ")
    assert generate.stderr.endswith("tokens/s)\n")
    assert generate("--prompt", "abé", "--max-new-tokens", 40, "--quiet") == expected(run, "abé", 40)
    assert generate.stderr == ""


def test_flags(generate, run):
    flags = ["--temperature", 1.3, "--top-k", 9, "--top-p", 0.9, "--repetition-penalty", 1.2, "--seed", 3]
    options = {"temperature": 1.3, "top_k": 9, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 3}
    assert generate("--prompt", "a", "--max-new-tokens", 30, *flags) == expected(run, "a", 30, **options)
    greedy = expected(run, "a", 30, do_sample=False, temperature=1.0, seed=None)
    assert generate("--prompt", "a", "--max-new-tokens", 30, "--temperature", 0) == greedy
    assert generate("--max-new-tokens", 0) == ""
    assert "1 tokens read, 0 generated" in generate.stderr
    before = fa.get_num_threads()
    try:
        one = generate("--max-new-tokens", 30, "--threads", 1)
        assert fa.get_num_threads() == 1
        assert one == generate("--max-new-tokens", 30, "--threads", 2)
    finally:
        fa.set_num_threads(before)


def test_without_a_prompt_it_begins_after_a_newline(generate, run):
    assert generate("--max-new-tokens", 30) == expected(run, "\n", 30)
    assert generate("--max-new-tokens", 30, "--prompt", "") == expected(run, "\n", 30)


def test_prompt_on_stdin(generate, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("a\né".encode())))
    assert generate("--prompt", "-", "--max-new-tokens", 30) == expected(run, "a\né", 30)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    generate("--prompt", "-", code=1)
    assert generate.stderr == "fastattn: the prompt on standard input is not UTF-8: byte 2 is 0xff\n"


def test_samples_come_one_after_the_other(generate, run):
    samples = generate("--prompt", "a", "--max-new-tokens", 30, "--num-samples", 3).split("\n---\n")
    assert samples == [expected(run, "a", 30, seed=seed) for seed in range(3)]
    assert "90 generated" in generate.stderr


def test_stop(generate, run):
    free = expected(run, "a", 60)
    stop = free[20:22]
    assert generate("--prompt", "a", "--max-new-tokens", 60, "--stop", stop) == free[: free.index(stop)]
    assert generate("--prompt", "a", "--max-new-tokens", 60, "--stop", "no", "--stop", stop) == free[: free.index(stop)]
    samples = generate("--prompt", "a", "--max-new-tokens", 60, "--stop", stop, "--num-samples", 4).split("\n---\n")
    for seed, sample in enumerate(samples):
        free = expected(run, "a", 60, seed=seed)
        assert sample == free.partition(stop)[0]


def test_a_prompt_longer_than_the_context(generate, run):
    prompt = "abcdefghij" * 3
    assert generate("--prompt", prompt, "--max-new-tokens", 5) == expected(run, prompt, 5)
    assert generate.stderr.startswith("the prompt has 30 tokens; the model reads the last 16\n")


def test_every_token_is_flushed(run, monkeypatch):
    class Pipe(io.StringIO):
        def flush(self):
            seen.append(self.getvalue())

    seen, pipe = [], Pipe()
    monkeypatch.setattr(sys, "stdout", pipe)
    assert main(["generate", "run", "--max-new-tokens", "20", "--quiet"]) == 0
    text = expected(run, "\n", 20)
    assert [text[:n] for n in range(1, 21)] == [part for part in dict.fromkeys(seen) if part][:20]


def start(run, *args):
    command = [sys.executable, "-m", "fastattn", "generate", str(run), *map(str, args)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    # A shell's background jobs, and what they start, ignore Ctrl-C.
    listens = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, env=environment, preexec_fn=listens)


def test_it_streams_and_ctrl_c_stops_it(run):
    process = start(run, "--max-new-tokens", 10**8)
    begun = process.stdout.read(50).decode(errors="ignore")  # a pipe, while the process goes on
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == b""
    assert begun.rstrip("�") == expected(run, "\n", 50)[: len(begun)]


def test_a_closed_pipe_ends_it_without_a_word(run):
    process = start(run, "--max-new-tokens", 10**8)
    process.stdout.read(5)
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.smoke
def test_a_trained_run(fastattn, text, tiny):
    done = fastattn("train", "--text", text, "--out", "run", "--json", *tiny)
    sample = json.loads(done.stdout)["sample"]
    assert fastattn("generate", "run", "--max-new-tokens", len(sample)).stdout == sample + "\n"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--prompt", "ab?"], 1, "the prompt: the character '?' at 2 is not among the 15 of the vocabulary"),
        (["--top-p", "0"], 2, "--top-p is 0.0; expected a number over 0 and at most 1"),
        (["--repetition-penalty", "0"], 2, "--repetition-penalty is 0.0; expected a finite number over 0"),
        (["--temperature", "inf"], 2, "--temperature is inf; expected a finite number of at least 0"),
        (["--seed", str(2**64)], 2, f"--seed is {2**64}; expected an integer of 0 to 2^64 - 1"),
        (["--stop", ""], 2, "--stop is ['']; expected texts that are not empty"),
    ],
)
def test_errors(generate, args, code, message):
    assert generate(*args, code=code) == ""
    assert generate.stderr == f"fastattn: {message}\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", "run holds no trained model: it has no model.safetensors"),
        ("config.json", "config.json"),
        ("vocab.json", "run has no tokenizer: neither tokenizer.json nor vocab.json"),
    ],
)
def test_incomplete_folders(generate, run, name, message):
    (run / name).unlink()
    generate(code=1)
    assert message in generate.stderr
    assert len(generate.stderr.splitlines()) == 1


def test_a_run_that_is_not_over(generate, run):
    (run / "model.safetensors").unlink()
    (run / "run.json").write_text("{}")
    generate(code=1)
    assert "finish the run with: fastattn train --resume run" in generate.stderr


def test_a_vocabulary_of_another_model(generate, run):
    fa.data.CharVocabulary("abc" + CHARACTERS[:2] + "xyzuvwrstklmno").save(run / "vocab.json")
    generate(code=1)
    assert "run: the tokenizer has 19 tokens, the model 15" in generate.stderr


# Folders of Hugging Face's form ---------------------------------------------------------------------------------------


@pytest.fixture
def theirs(run):
    """What transformers saves of a GPT-2, with a tokenizer of bytes."""
    transformers = pytest.importorskip("transformers")
    import tokenizers
    import torch

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {c: i for i, c in enumerate(alphabet, 1)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=257, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
        initializer_range=0.4,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    model.save_pretrained(run)
    (run / "vocab.json").unlink()
    tokenizer.save(str(run / "tokenizer.json"))
    return model, tokenizer


@pytest.mark.parity
@pytest.mark.parametrize("prompt", ["naïve ", None])
def test_greedy_text_is_transformers(generate, theirs, prompt):
    import torch

    model, tokenizer = theirs
    start = [0] if prompt is None else tokenizer.encode(prompt).ids
    ids = torch.tensor([start])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, pad_token_id=0
    )[0, len(start) :].tolist()  # fmt: skip
    args = [] if prompt is None else ["--prompt", prompt]
    assert generate("--temperature", 0, "--max-new-tokens", 40, *args) == tokenizer.decode(out)


@pytest.mark.parity
def test_it_ends_at_the_end_of_the_text(generate, theirs, run):
    config = json.loads((run / "config.json").read_text())
    free = generate("--temperature", 0, "--max-new-tokens", 40, "--prompt", "a")
    model, tokenizer = fa.io.from_pretrained(run), fa.data.load_tokenizer(run)
    end = model.generate([tokenizer.encode("a")], max_new_tokens=10)[0][6].item()
    (run / "generation_config.json").unlink(missing_ok=True)
    (run / "config.json").write_text(json.dumps(config | {"eos_token_id": [end, 0]}))
    cut = generate("--temperature", 0, "--max-new-tokens", 40, "--prompt", "a")
    assert len(cut) < len(free)
    assert free.startswith(cut.rstrip("�"))


@pytest.mark.parity
def test_no_token_to_begin_after(generate, theirs, run):
    for name in ("config.json", "generation_config.json"):
        values = json.loads((run / name).read_text()) | {"eos_token_id": None}
        (run / name).write_text(json.dumps(values))
    generate(code=2)
    assert generate.stderr == "fastattn: the model says no token that a text begins after; pass --prompt TEXT\n"
