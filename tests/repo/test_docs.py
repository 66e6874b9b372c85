"""Docstrings say what is so: arguments are those of the signature, every example runs, and every name is in the API."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

import fastattn

# Modules whose __all__ is public. Anything new under fastattn is found by itself.
KERAS = (
    *(
        "activations",
        "backend",
        "callbacks",
        "config",
        "constraints",
        "datasets",
        "initializers",
        "layers",
        "losses",
        "metrics",
        "models",
        "optimizers",
    ),
    *("regularizers", "saving", "utils"),
)
PACKAGES = [
    "fastattn",
    *(
        f"fastattn.{module.name}"
        for module in pkgutil.iter_modules(fastattn.__path__)
        if module.ispkg and module.name not in {"bench", "cli", "interop"}  # bench: a tool, in wheels
    ),
    *(f"fastattn.keras.{name}" for name in KERAS),
    "fastattn.keras.optimizers.schedules",
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
        for name in module.__all__:
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


# Torch or Keras has a function or layer of the same name and meaning, which says more than we need to repeat; the test
# tools serve ourselves. One line will do for these.
TERSE = ("fastattn.autograd", "fastattn.keras", "fastattn.nn", "fastattn.optim", "fastattn._r", "fastattn.testing")


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


def test_every_public_name_is_in_the_api(reference):
    """On the page of its module, or on one of `fastattn` itself; docs/reference.py finds what is there."""
    shown = {
        f"{module}.{name}" for _, module, chosen in reference.pages() for name, _ in reference.public(module, **chosen)
    }
    missing = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            same = f"fastattn.{name}" in shown and getattr(fastattn, name) is value
            if not (f"{package}.{name}" in shown or same or inspect.ismodule(value) or name.startswith("__")):
                missing.append(f"{package}.{name}")
    assert missing == [], "no page in docs/api has these"


def test_the_api_tells_of_each_name_once(reference):
    found = [
        f"{module}.{name}" for _, module, chosen in reference.pages() for name, _ in reference.public(module, **chosen)
    ]
    assert len(found) > 150
    assert sorted(found) == sorted(set(found))


def test_docstrings_reach_sphinx_as_they_are_read(reference):
    """A bare * or | means nothing to who reads a docstring, and something to reStructuredText."""
    text = r"""
(..., *shape), |x|, `a * b`
.. math:: |g| *
    * b
drawn::

    x * *

*
>>> a * b
a * b

|x|"""
    lines = text.splitlines()
    assert [line for line in zip(lines, reference.escaped(lines), strict=True) if line[0] != line[1]] == [
        ("(..., *shape), |x|, `a * b`", r"(..., \*shape), \|x\|, `a * b`"),
        ("*", r"\*"),
        ("|x|", r"\|x\|"),
    ]
