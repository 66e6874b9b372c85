import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Not ours, or made by a build.
SKIPPED = {
    ".git",
    "build",
    "_build",
    "dist",
    "runs",
    ".venv",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
}


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def reference():
    """docs/reference.py: the text of the pages that are written as they are built."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def package():
    """The package that is imported: the installed one, or the checkout's."""
    import fastattn

    return Path(fastattn.__file__).parent


@pytest.fixture(scope="session")
def library():
    """libfastattn.so, which is installed beside the binding."""
    from fastattn import _C

    return Path(_C.__file__).with_name("libfastattn.so")


@pytest.fixture(scope="session")
def sources():
    """Every source file of the checkout."""
    return [
        path
        for path in sorted(ROOT.rglob("*"))
        if path.is_file() and not SKIPPED.intersection(path.relative_to(ROOT).parts[:-1])
    ]
