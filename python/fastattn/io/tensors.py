"""Models and plain tensors as safetensors files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn._device import place, write
from fastattn.autograd.convert import is_float
from fastattn.autograd.node import Base

from ._atomic import atomic_write

if TYPE_CHECKING:
    from fastattn.nn import Module

Path_ = str | os.PathLike[str]
# What torch and transformers look for before they open a file.
METADATA = {"format": "pt"}


def save_tensors(tensors: Mapping[str, Any], path: Path_, metadata: Mapping[str, str] | None = None) -> None:
    """Writes named arrays to a safetensors file, atomically.

    Args:
        tensors: arrays of any shape: ndarrays, or tensors on any device.
        path: the file; its folder must exist.
        metadata: strings kept in the file's header, beside {"format": "pt"}.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile, numpy as np, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_tensors({"a": np.arange(3.0)}, folder + "/a.safetensors")
        ...     fa.io.load_tensors(folder + "/a.safetensors")
        {'a': array([0., 1., 2.])}

    Source: the safetensors format, https://huggingface.co/docs/safetensors.
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(as_array(value)).reshape(np.shape(value)) for name, value in tensors.items()}
    atomic_write(path, save(arrays, metadata=METADATA | dict(metadata or {})))


def load_tensors(path: Path_) -> dict[str, np.ndarray[Any, Any]]:
    """Reads all arrays of a safetensors file.

    Args:
        path: the file.

    Returns:
        The arrays by name, each with memory of its own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not safetensors, or is damaged.

    Example:
        >>> import tempfile, numpy as np, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_tensors({"a": np.zeros((2, 3))}, folder + "/a.safetensors")
        ...     fa.io.load_tensors(folder + "/a.safetensors")["a"].shape
        (2, 3)

    Source: the safetensors format, https://huggingface.co/docs/safetensors.
    """
    return read(path)[0]


def save_model(model: Module, path: Path_, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a model's parameters and buffers to a safetensors file, atomically.

    A tensor that the model has under several names (tied weights) is stored once, under the first of them.

    Args:
        model: the module whose `state_dict()` is written.
        path: the file; its folder must exist.
        metadata: strings kept in the file's header, beside {"format": "pt"}.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_model(fa.nn.Linear(2, 3), folder + "/model.safetensors")
        ...     sorted(fa.io.load_tensors(folder + "/model.safetensors"))
        ['bias', 'weight']

    Source: the safetensors format, https://huggingface.co/docs/safetensors.
    """
    save_tensors(untied(model.state_dict()), path, metadata)


def load_model(model: Module, path: Path_) -> None:
    """Reads a model's parameters and buffers from a safetensors file into the model.

    Everything is checked first; on an error the model is unchanged.

    Args:
        model: the module that is filled, in place. Names that share one tensor need only one of them in the file.
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or its tensors are not the model's; the message lists every missing, unexpected
            and wrongly shaped key.

    Example:
        >>> import tempfile, fastattn as fa
        >>> model, copy = fa.nn.Linear(2, 3), fa.nn.Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_model(model, folder + "/model.safetensors")
        ...     fa.io.load_model(copy, folder + "/model.safetensors")
        >>> bool((copy.weight == model.weight).all())
        True

    Source: the safetensors format, https://huggingface.co/docs/safetensors.
    """
    tensors = load_tensors(path)
    state = model.state_dict()
    refuse("load_model", path, compare(state, tensors))
    assign(state, tensors)


# What the checkpoints and pretrained folders share.


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """The ndarray behind a Tensor, without a copy where it is on the CPU; ndarrays as they are."""
    return value if isinstance(value, np.ndarray) else np.asarray(value.detach().numpy())


def read(path: Path_) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """The tensors and the metadata of a file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        msg = f"no such file: {path}"
        raise FileNotFoundError(msg)
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        msg = f"{path} is not a safetensors file, or is damaged ({error})"
        raise ValueError(msg) from None


def _place(value: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]] | int:
    """Equal for names of one tensor. Empty tensors share an address without being tied."""
    array = value._data if isinstance(value, Base) else value
    return place(array) if array.size else id(value)


def aliases(state: Mapping[str, Any]) -> dict[str, str]:
    """Every name of a state dict, and the first name of the same tensor."""
    first: dict[Any, str] = {}
    return {name: first.setdefault(_place(value), name) for name, value in state.items()}


def untied(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict with each tensor once, under its first name."""
    return {name: state[name] for name, kept in aliases(state).items() if name == kept}


def compare(state: Mapping[str, Any], tensors: Mapping[str, np.ndarray[Any, Any]]) -> list[str]:
    """What stands between a file's tensors and a state dict, one entry a key."""
    tied = aliases(state)
    present = {tied[name] for name in tensors if name in tied}
    problems = [f"missing {name}" for name, kept in tied.items() if name == kept and name not in present]
    problems += [f"unexpected {name}" for name in tensors if name not in state]
    values: dict[str, str] = {}
    for name in (name for name in state if name in tensors):
        want, got = state[name], tensors[name]
        if want.shape != got.shape:
            problems.append(f"{name} has shape {_shape(got.shape)}, the model's is {_shape(want.shape)}")
        elif want.dtype != got.dtype and not (is_float(want.dtype) and is_float(got.dtype)):
            problems.append(f"{name} is {got.dtype}, the model's is {want.dtype}")
        elif (other := values.setdefault(tied[name], name)) != name and not _same(got, tensors[other]):
            problems.append(f"{name} differs from {other}, which is the same tensor in the model")
    return problems


def assign(state: Mapping[str, Any], tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Copies tensors that `compare` has passed into the arrays of a state dict, wherever those are."""
    for name, tensor in tensors.items():
        value = state[name]
        write(value._data if isinstance(value, Base) else value, tensor)


def refuse(what: str, path: Path_, problems: Sequence[str]) -> None:
    """Raises one error with all problems, if there are any."""
    if problems:
        msg = f"{what}: {path} does not fit; nothing was loaded: {'; '.join(problems)}"
        raise ValueError(msg)


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()
