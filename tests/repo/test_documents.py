"""Documents say what is so: their code and their commands run, what they name is there, figures are the recorded ones."""

import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastattn as fa
from fastattn.cli import main

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "csrc/*.md", "bench/*.md", "docs/**/*.md")
    for path in sorted(ROOT.glob(pattern))
    if "_build" not in path.parts
]
# What a block may be. Blocks of directives ({...}) are Sphinx's affair, which .ci/run has build the pages.
LANGUAGES = {"python", "sh", "text"}
# Commands that are not run here, and why.
NOT_RUN = {
    "pip": "makes an environment, as .ci/run does with these lines",
    "python -m venv": "makes an environment",
    "pytest": "runs this",
    "ruff": ".ci/run runs it",
    "cmake": "builds, as .ci/run does",
    "sphinx-build": ".ci/run runs it",
    "python -m bench": "takes minutes; tests/bench runs its cases at tiny sizes",
    "fastattn bench": "the same",
}


def blocks(document):
    """(language, text) of every block in a document; an indented one has the language None."""
    text = (ROOT / document).read_text()
    fence = r"^```([^\n]*)\n(.*?)^```$"
    rest = re.sub(fence, "", text, flags=re.S | re.M)
    indented = re.findall(r"(?<=\n\n)((?: {4}[^\n]*\n)+)", rest)
    return re.findall(fence, text, re.S | re.M) + [(None, block) for block in indented]


def code(document):
    return [text for language, text in blocks(document) if language == "python"]


def commands(document):
    """The commands in blocks of shell, each with what it is piped or redirected to; && separates."""
    lines = [line for language, text in blocks(document) if language in ("sh", None) for line in text.splitlines()]
    parts = [part.strip() for line in lines for part in re.sub(r" +# .*", "", line).split("&&")]
    return [part for part in parts if re.match(r"(\w+=\S+ )?(fastattn [a-z-]|python |pip |pytest\b)", part)]


def why_not(command):
    bare = re.sub(r"^\w+=\S+ ", "", command)
    return next((reason for start, reason in NOT_RUN.items() if re.match(rf"{start}\b", bare)), None)


RUN = sorted({(document, line) for document in DOCUMENTS for line in commands(document) if why_not(line) is None})


def test_documents_are_found():
    assert {"README.md", "docs/tour.md", "docs/kernels/attention.md"} <= set(DOCUMENTS)
    assert len(RUN) > 5


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_says_what_it_is(document):
    """So that none is left out below."""
    languages = {language for language, _ in blocks(document) if language is not None}
    allowed = LANGUAGES if document.startswith("docs") or document == "README.md" else {*LANGUAGES, ""}
    assert {language for language in languages if not language.startswith("{")} <= allowed
    for language, text in blocks(document):
        if language == "sh":
            lines = [line for line in text.splitlines() if line.strip() and why_not(line) is None]
            assert [line for line in lines if line not in commands(document)] == []


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if code(document)])
def test_python_blocks_run(document, tmp_path, monkeypatch):
    """In order, in one namespace and an empty folder. What stands behind `# ->` is what the block prints."""
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": document}
    state = fa.get_rng_state()
    for block in code(document):
        if re.search(r"^import torch\b", block, re.M) and importlib.util.find_spec("torch") is None:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, document, "exec"), scope)
        expected = re.findall(r"# -> (.*)$", block, re.M)
        assert not expected or printed.getvalue().splitlines() == expected
    fa.set_rng_state(state)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny):
    """A folder with the runs, models and files that the documents name."""
    folder = tmp_path_factory.mktemp("runs")
    text = "the quick brown fox jumps over the lazy dog. The class Once\n" * 40
    (folder / "prompt.txt").write_text("the quick")
    (folder / "text.txt").write_text(text)
    run = folder / "runs/20260101-120000"
    assert main(["train", "--text", str(folder / "text.txt"), "--out", str(run), "--quiet", *tiny]) == 0
    shutil.copytree(run, folder / "gpt2")
    return folder


@pytest.mark.parametrize(("document", "line"), RUN)
def test_commands_run(document, line, runs, tiny, tmp_path):
    """As they stand there; training with sizes that take no time."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    words = shlex.split(line)
    if "train" in words and "--resume" not in words:
        line = f"{line} {shlex.join(tiny)}"
    script = f'fastattn() {{ {shlex.quote(sys.executable)} -W error -m fastattn "$@"; }}\n{line}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_readme_shows_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "pip install '.[train]' && fastattn train" in text
    assert "pip install '.[test]' && pytest" in text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_paths_exist(document):
    text = (ROOT / document).read_text()
    folder = (ROOT / document).parent
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [target for target in targets if not (folder / target).exists()] == []
    named = re.findall(r"`((?:csrc|tests|docs|bench|examples|\.ci)/[\w/.-]+\w)`", text)
    # X and OP stand for the name of an op.
    assert [path for path in named if not re.search("X|OP", path) and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_flags_in_the_documents_exist(document):
    import typer.main

    from fastattn.cli.app import app

    for name, command in typer.main.get_command(app).commands.items():
        below = getattr(command, "commands", {}).values()  # the kinds that `train` has
        parameters = [parameter for one in (command, *below) for parameter in one.params]
        flags = {"--help", *(flag for parameter in parameters for flag in parameter.opts)}
        for line in re.findall(rf"fastattn {name}\b[^\n`]*", (ROOT / document).read_text()):
            assert set(re.findall(r"--[\w-]+", line)) <= flags, line


# Variables for those who work on the kernels; their page is docs/emulator.md.
FOR_TESTS = {"FASTATTN_TEST_BACKEND", "FASTATTN_EMULATOR_SEED"}


def test_environment_variables_are_documented(package):
    used = set()
    for path in [*package.rglob("*.py"), *(ROOT / "csrc").rglob("*.cpp")]:
        used |= set(re.findall(r'"(FASTATTN_[A-Z_]+)"', path.read_text()))
    assert used >= FOR_TESTS
    assert [name for name in FOR_TESTS if name not in (ROOT / "docs/emulator.md").read_text()] == []
    for document in ("README.md", "docs/install.md"):
        text = (ROOT / document).read_text()
        assert {name for name in used - FOR_TESTS if name not in text and name not in os.environ} == set()


def test_extras_are_documented():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "docs/install.md").read_text()
    assert set(re.findall(r"^\| `([a-z0-9]+)` \|", text, re.M)) == set(extras)


def test_every_record_is_shown_the_newest_first():
    text = (ROOT / "docs/benchmarks.md").read_text()
    assert re.findall(r"^```\{record\} (\S+)$", text, re.M) == sorted(
        (p.name for p in (ROOT / "bench/results").iterdir()), reverse=True
    )


def test_tables_of_a_record(reference, tmp_path):
    path = tmp_path / "record.json"
    results = {"fastattn": {"median": 1.5e-3, "of_limit": 0.834}, "torch": {"median": 0.133}}
    environment = {"date": "2030-01-02T03:04:05", "cpu": "A CPU", "isa": "avx2", "threads": 3, "numpy": "9.9"}
    case = {"op": "matmul", "case": "8 x 8", "ideal": 9.06e-9, "results": results}
    missing = case | {"case": "9 x 9", "results": {"fastattn": results["fastattn"]}}
    path.write_text(
        json.dumps(
            {
                "environment": environment | {"contestants": ["fastattn", "torch"]},
                "limits": {"float32 ymm x1": 2e11, "bfloat16 zmm x1": 1e12, "read x1": 3.14e10},
                "cases": [case, missing],
            }
        )
    )
    text = reference.record(path).replace("\u00a0", " ")
    assert text.startswith("A CPU, 3 threads, avx2, 2030-01-02; numpy 9.9.\n")
    assert "| float32 ymm x1 | 200.0 GFLOP/s |\n| bfloat16 zmm x1 | 1000.0 GFLOP/s |\n| read x1 | 31.4 GB/s |" in text
    assert "| matmul | 8 x 8 | 9.06 ns | 1.50 ms | 133 ms | 83% |" in text
    assert "| matmul | 9 x 9 | 9.06 ns | 1.50 ms |  | 83% |" in text
