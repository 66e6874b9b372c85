"""Writes docs/torch.md: which of torch's names fastattn has.

    python docs/torch_surface.py            # writes the page
    python docs/torch_surface.py --names    # reads torch's names anew from the torch that is installed

torch's names are kept in docs/torch_names.json, so that the page needs no torch.
"""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# torch's namespace, and ours.
NAMESPACES = {
    "torch": "fastattn",
    "torch.Tensor": "fastattn.Tensor",
    "torch.autograd": "fastattn.autograd",
    "torch.Generator": "fastattn.Generator",
    "torch.nn": "fastattn.nn",
    "torch.nn.Module": "fastattn.nn.Module",
    "torch.nn.functional": "fastattn.nn.functional",
    "torch.nn.init": "fastattn.nn.init",
    "torch.nn.utils": "fastattn.nn.utils",
    "torch.nn.utils.rnn": "fastattn.nn.utils.rnn",
    "torch.optim": "fastattn.optim",
    "torch.optim.Optimizer": "fastattn.optim.Optimizer",
    "torch.optim.lr_scheduler": "fastattn.optim.lr_scheduler",
    "torch.utils.checkpoint": "fastattn.utils.checkpoint",
    "torch.utils.data": "fastattn.data",
}
HEAD = """# What of torch is covered

A program written for torch runs with its imports changed as far as it keeps to the names below: they have torch's
arguments and meaning, and tests/ compares them with torch. A name that is missing fails by name, when it is first read.

```python
import fastattn as torch
from fastattn import nn
from fastattn.nn import functional as F
from fastattn.data import DataLoader, TensorDataset  # torch.utils.data
```

What differs:

- Tensors are on the CPU or, where the CUDA backend is built, on a GPU, as CuPy's arrays there.
- dtypes are NumPy's: `x.dtype == torch.float32` holds, `str(x.dtype)` is `float32`.
- `dim` and `keepdim` may also be spelled `axis` and `keepdims`.
- Views share memory as torch's do, but an op in place on a tensor that has views and needs a gradient is an error.
- `grad(..., create_graph=True)` is not there: backward passes are not recorded.
- `floor`, `round`, `sign` and their like give results that require no gradient, where torch's have one of 0.
- A leaf's hooks run when the walk of `backward()` ends; torch's run as soon as the gradient is there.
- `inplace=True` of activations and dropout changes nothing: the result is a new tensor.
- Losses have no `size_average` and `reduce`, which torch has deprecated.
- Random numbers are those of one Philox stream, not torch's.
- There is no `torch.save` and `torch.load`: `fastattn.io` writes safetensors. Objects can be pickled and deep-copied.

The lists are written by `python docs/torch_surface.py`.
"""


def resolve(path: str) -> Any:
    """The module or class of a dotted name."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        parent, _, name = path.rpartition(".")
        return getattr(resolve(parent), name)


def names_of_torch() -> dict[str, str]:
    """torch's public names by namespace: no modules, nothing of typing or the standard library."""
    found = {}
    for path in NAMESPACES:
        space = resolve(path)
        names = []
        for name in dir(space):
            value = getattr(space, name, None)
            home = str(getattr(value, "__module__", None) or "torch")
            foreign = not home.startswith(("torch", "builtins")) and isinstance(value, (type, types.FunctionType))
            if not name.startswith("_") and not isinstance(value, types.ModuleType) and not foreign:
                names.append(name)
        found[path] = " ".join(sorted(names))
    return found


def ours(path: str) -> set[str]:
    """The public names of one of our modules or classes."""
    space = resolve(path)
    names = dir(space) if isinstance(space, type) or path == "fastattn" else space.__all__
    return {name for name in names if not name.startswith("_")}


def page() -> str:
    """The text of docs/torch.md."""
    torch_names = json.loads((HERE / "torch_names.json").read_text())
    rows, sections = [], []
    for path, mine in NAMESPACES.items():
        names = set(torch_names[path].split())
        covered = sorted(names & ours(mine), key=lambda name: (name.lower(), name))
        rows.append(f"| `{path}` | `{mine}` | {len(covered)} of {len(names)} |")
        listed = textwrap.fill(" ".join(f"`{name}`" for name in covered), 120, break_on_hyphens=False)
        sections.append(f"## {path}: {len(covered)}\n\n{listed}\n")
    table = "\n".join(["| torch | here | names |", "|---|---|---|", *rows])
    return "\n".join([HEAD, table, "", *sections])


if __name__ == "__main__":
    if "--names" in sys.argv:
        lines = [f" {json.dumps(path)}: {json.dumps(names)}" for path, names in names_of_torch().items()]
        (HERE / "torch_names.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    (HERE / "torch.md").write_text(page())
