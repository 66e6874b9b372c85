"""Docstrings and documents say what is so: arguments are those of the signature, and every example runs."""

import doctest
import importlib
import inspect
import os
import pkgutil
import re

import pytest

import fastattn

# Modules whose __all__ is public. Anything new under fastattn is found by itself.
PACKAGES = [
    "fastattn",
    *(
        f"fastattn.{module.name}"
        for module in pkgutil.iter_modules(fastattn.__path__)
        if module.ispkg and module.name not in {"cli", "interop"}
    ),
    "fastattn.nn.functional",
    "fastattn.nn.init",
    "fastattn.nn.utils",
    "fastattn.nn.utils.rnn",
    "fastattn.optim.lr_scheduler",
    "fastattn.cli",
]


def public():
    """(name, object) of every public function and class, each once."""
    seen = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", [n for n in vars(module) if n == "main"]):
            value = getattr(module, name)
            if (inspect.isfunction(value) or inspect.isclass(value)) and id(value) not in seen:
                seen.add(id(value))
                yield f"{package}.{name}", value


PUBLIC = dict(public())
EXCEPTIONS = {name for name, value in PUBLIC.items() if inspect.isclass(value) and issubclass(value, BaseException)}


def section(doc, title):
    """The lines of a docstring's section, without their indentation."""
    match = re.search(rf"^{title}:\n((?:    .*\n|\n)*)", inspect.cleandoc(doc) + "\n", re.M)
    return inspect.cleandoc(match[1]).splitlines() if match else []


def documented(doc):
    """Names under Args."""
    names = []
    for line in section(doc, "Args"):
        if not line.startswith(" ") and ":" in line:
            names += [name.strip().lstrip("*") for name in line.partition(":")[0].split(",")]
    return names


def test_the_api_is_found():
    assert len(PUBLIC) > 60


@pytest.mark.parametrize("name", PUBLIC)
def test_first_line(name):
    doc = PUBLIC[name].__doc__
    assert doc, f"{name} has no docstring"
    first = doc.splitlines()[0]
    assert first.strip().endswith("."), f"{name}: the first line is no sentence: {first}"


# Torch has a function or layer of the same name and meaning, which says more than we need to repeat; the test tools
# serve ourselves. One line will do for these.
TERSE = ("fastattn.autograd", "fastattn.nn", "fastattn.optim", "fastattn._r", "fastattn.testing")


def described(name):
    """Whether a docstring must list its arguments."""
    value = PUBLIC[name]
    inherits = inspect.isclass(value) and "__init__" not in vars(value)
    return not (
        inherits or hasattr(value, "_fields") or (value.__module__.startswith(TERSE) and "Args:" not in value.__doc__)
    )


def shown(name):
    """Whether a docstring must have an example."""
    value = PUBLIC[name]
    abstract = value.__name__ == "Optimizer" or hasattr(value, "_fields") or name in EXCEPTIONS
    one_line = value.__module__.startswith(TERSE) and len(value.__doc__.strip().splitlines()) <= 4
    tool = value.__module__.startswith("fastattn.testing")
    return ">>>" in value.__doc__ or not (abstract or one_line or tool)


@pytest.mark.parametrize("name", sorted(filter(described, PUBLIC.keys() - EXCEPTIONS)))
def test_arguments_are_the_signatures(name):
    """All of them under Args; an alias may instead be named in the text, as `dim` beside `axis`."""
    value = PUBLIC[name]
    signature = inspect.signature(value.__init__ if inspect.isclass(value) else value)
    wanted = [p for p in signature.parameters if p not in ("self", "cls")]
    got = documented(value.__doc__)
    assert [p for p in got if p not in wanted] == [], f"{name} documents arguments that it does not have"
    text = re.findall(r"\w+", value.__doc__.replace("Args:", ""))
    assert [p for p in wanted if p not in got and p not in text] == [], f"{name} leaves arguments out"


@pytest.mark.parametrize("name", list(filter(shown, PUBLIC)))
def test_examples_run(name):
    value = PUBLIC[name]
    tests = doctest.DocTestFinder(recurse=False).find(value, name, globs={})
    examples = [test for test in tests if test.examples]
    assert examples, f"{name} has no example"
    state = fastattn.get_rng_state()
    for test in examples:
        report = []
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
        assert not report, "".join(report)
    fastattn.set_rng_state(state)


@pytest.mark.parametrize("document", ["README.md", "docs/torch.md", "docs/training.md", "docs/generation.md"])
def test_python_blocks_run(root, document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (root / document).read_text(), re.S | re.M)
    assert blocks or document != "README.md"
    scope = {"__name__": document}
    for block in blocks:
        exec(compile(block, document, "exec"), scope)


def test_readme_shows_the_two_commands(root):
    text = (root / "README.md").read_text()
    assert "pip install '.[train]' && fastattn train" in text
    assert "pip install '.[test]' && pytest" in text


@pytest.mark.parametrize(
    "document",
    ["README.md", "CONTRIBUTING.md", "csrc/README.md", "docs/torch.md", "docs/training.md", "docs/generation.md"],
)
def test_links_and_paths_exist(root, document):
    text = (root / document).read_text()
    folder = (root / document).parent
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [target for target in targets if not (folder / target).exists()] == []
    named = re.findall(r"`((?:csrc|tests|docs|bench|\.ci)/[\w/.-]+\w)`", text)
    # X stands for the name of an op.
    assert [path for path in named if "X" not in path and not (root / path).exists()] == []


def test_flags_in_the_documents_exist(root):
    from fastattn.cli.app import generate, train

    for command in (train, generate):
        flags = {"--" + name.replace("_", "-") for name in inspect.signature(command).parameters}
        for document in ("README.md", "docs/training.md", "docs/generation.md"):
            for line in re.findall(rf"fastattn {command.__name__}[^\n`]*", (root / document).read_text()):
                assert set(re.findall(r"--[\w-]+", line)) <= flags | {"--help"}, line


def test_environment_variables_are_documented(root, package):
    used = set()
    for path in [*package.rglob("*.py"), *(root / "csrc").rglob("*.cpp")]:
        used |= set(re.findall(r'"(FASTATTN_[A-Z_]+)"', path.read_text()))
    text = (root / "README.md").read_text()
    assert {name for name in used if name not in text and name not in os.environ} == set()
