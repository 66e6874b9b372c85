"""docs/torch.md says what of torch is covered, and what is not covered says so by name."""

import importlib
import subprocess
import sys

import pytest

MODULES = [
    "fastattn",
    "fastattn.autograd",
    "fastattn.data",
    "fastattn.nn",
    "fastattn.nn.functional",
    "fastattn.nn.init",
    "fastattn.nn.utils",
    "fastattn.nn.utils.rnn",
    "fastattn.optim",
    "fastattn.optim.lr_scheduler",
]


def test_the_page_is_up_to_date(root):
    code = f"import sys; sys.path.insert(0, {str(root / 'docs')!r}); import torch_surface as s; print(s.page(), end='')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (root / "docs/torch.md").read_text(), "run python docs/torch_surface.py"


@pytest.mark.parity
def test_the_names_are_torchs(root):
    """Those that we cover are still there in the torch that is installed."""
    pytest.importorskip("torch")
    code = f"""
import sys; sys.path.insert(0, {str(root / "docs")!r})
import json, torch_surface as s
now, kept = s.names_of_torch(), json.loads((s.HERE / "torch_names.json").read_text())
for path, mine in s.NAMESPACES.items():
    print(*sorted((set(kept[path].split()) & s.ours(mine)) - set(now[path].split())))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_name_is_named(module):
    found = importlib.import_module(module)
    with pytest.raises(AttributeError, match=rf"^{module} has no 'Foo'; what of torch is covered: docs/torch.md$"):
        found.Foo  # noqa: B018
    assert not hasattr(found, "Foo")
    with pytest.raises(ImportError, match="cannot import name 'Foo'"):
        exec(f"from {module} import Foo")


def test_a_missing_method_is_named():
    import fastattn as fa

    with pytest.raises(AttributeError, match=r"^Tensor has no 'stft'; what of torch is covered: docs/torch.md$"):
        fa.ones(1).stft()


def test_public_names_are_there():
    for module in MODULES:
        found = importlib.import_module(module)
        names = list(found.__all__)
        assert len(set(names)) == len(names), f"{module}.__all__ has names twice"
        assert [name for name in names if not hasattr(found, name)] == []
