"""What is installed: its parts, its dependencies, what an import costs."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

import fastattn


def modules_after(code):
    """Names of the modules that a fresh interpreter has loaded after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.smoke
def test_import_is_light():
    extra = modules_after("import fastattn") - modules_after("import numpy, ml_dtypes, importlib, inspect, weakref")
    heavy = {"typer", "rich", "tqdm", "matplotlib", "safetensors", "torch", "jax", "transformers", "pydoc_data"}
    assert not extra & heavy
    # Nothing from outside the standard library but ourselves.
    assert {name for name in extra if name not in sys.stdlib_module_names} == {"fastattn"}


def test_the_version_flag_is_light():
    assert not modules_after("import fastattn.cli") & {"typer", "tqdm", "matplotlib", "safetensors", "torch"}


def test_submodules_come_when_used():
    assert "safetensors" not in modules_after("import fastattn.io")
    assert not modules_after("import fastattn.train") & {"tqdm", "matplotlib", "typer"}


def installed():
    try:
        return importlib.metadata.distribution("fastattn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is imported from the checkout, not installed")


def test_metadata():
    metadata = installed().metadata
    assert metadata["Version"] == fastattn.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    base = {re.split(r"[^\w-]", r)[0] for r in installed().requires or [] if "extra ==" not in r}
    assert base == {"numpy", "ml_dtypes", "safetensors", "tqdm", "typer"}


def test_what_the_wheel_holds():
    files = {str(path) for path in installed().files or []}
    if not any(name.endswith("fastattn/__init__.py") for name in files):
        pytest.skip("an editable install")
    assert any(name.endswith("LICENSE") for name in files)
    assert "fastattn/py.typed" in files
    assert "fastattn/include/fastattn/fastattn.h" in files
    assert "fastattn/bench/run.py" in files
    assert "fastattn/libfastattn_ceilings.so" in files
    ours = {name for name in files if name.startswith("fastattn/")}
    kinds = {name.rpartition(".")[2] for name in ours if "__pycache__" not in name}
    assert kinds <= {"py", "pyi", "so", "typed", "h"}
