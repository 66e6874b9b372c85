"""Checkpoints: everything that a run needs to go on as if it had never stopped, in one safetensors file.

Tensors are named "model.KEY", "optimizer.INDEX.KEY" and "extra.NAME"; the rest is JSON in the header, under "fastattn".
JSON writes a float as the shortest text that reads back as the same bits, so nothing is lost there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn import _random

from . import tensors as _tensors

if TYPE_CHECKING:
    from fastattn.nn import Module
    from fastattn.optim import Optimizer

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds beside the model's and the optimizer's tensors.

    Args:
        step: optimizer steps taken.
        data: where the data stand: what the batch sampler needs to give the next batch.
        history: rows recorded so far.
        settings: what the run was started with.
        tensors: named arrays besides model and optimizer, as a mean of the weights.

    Example:
        >>> import fastattn as fa
        >>> fa.io.Checkpoint(step=3).history
        []
    """

    step: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: _tensors.Path_, model: Module, optimizer: Optimizer | None = None, checkpoint: Checkpoint | None = None
) -> None:
    """Writes model, optimizer, the global random state and a run's position to one file, atomically.

    Args:
        path: the file, safetensors; its folder must exist.
        model: its parameters and buffers are stored, tied ones once.
        optimizer: its state and its parameter groups are stored.
        checkpoint: step, data position, history and settings, of JSON's types, and other tensors.

    Raises:
        OSError: the file cannot be written; an older one at `path` is then as it was.

    Example:
        >>> import tempfile, fastattn as fa
        >>> model = fa.nn.Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_checkpoint(folder + "/a", model, checkpoint=fa.io.Checkpoint(step=7))
        ...     fa.io.load_checkpoint(folder + "/a", model).step
        7

    Source: the safetensors format, https://huggingface.co/docs/safetensors.
    """
    checkpoint = checkpoint or Checkpoint()
    arrays = {f"model.{name}": value for name, value in _tensors.untied(model.state_dict()).items()}
    arrays |= {f"extra.{name}": value for name, value in checkpoint.tensors.items()}
    header: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "step": checkpoint.step,
        "data": checkpoint.data,
        "history": checkpoint.history,
        "settings": checkpoint.settings,
        "random": list(_random.get_rng_state()),
    }
    if optimizer is not None:
        state = optimizer.state_dict()
        scalars: dict[str, dict[str, Any]] = {}
        for index, values in state["state"].items():
            scalars[str(index)] = {}
            for name, value in values.items():
                if np.ndim(value) == 0:
                    scalars[str(index)][name] = value.item() if hasattr(value, "item") else value
                else:
                    arrays[f"optimizer.{index}.{name}"] = value
        header["optimizer"] = {"state": scalars, "param_groups": state["param_groups"]}
    _tensors.save_tensors(arrays, path, {"fastattn": json.dumps(header)})


def load_checkpoint(path: _tensors.Path_, model: Module, optimizer: Optimizer | None = None) -> Checkpoint:
    """Reads a checkpoint into a model, an optimizer and the global random state.

    Everything is checked first; on an error nothing is changed.

    Args:
        path: a file that save_checkpoint wrote.
        model: the module that is filled, in place.
        optimizer: the optimizer that is filled; it must have been saved too.

    Returns:
        Step, data position, history, settings and other tensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is no checkpoint or is of a newer format, or its tensors are not the model's or
            the optimizer's; the message lists every missing, unexpected and wrongly shaped key.

    Example:
        >>> import tempfile, fastattn as fa
        >>> model = fa.nn.Linear(2, 3)
        >>> optimizer = fa.optim.AdamW(model.parameters(), lr=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_checkpoint(folder + "/a", model, optimizer)
        ...     fa.io.load_checkpoint(folder + "/a", model, optimizer)
        Checkpoint(step=0, data={}, history=[], settings={}, tensors={})

    Source: the safetensors format, https://huggingface.co/docs/safetensors.
    """
    arrays, metadata = _tensors.read(path)
    header = _header(path, metadata)
    weights = {name.removeprefix("model."): x for name, x in arrays.items() if name.startswith("model.")}
    extra = {name.removeprefix("extra."): x for name, x in arrays.items() if name.startswith("extra.")}
    moments = {name: x for name, x in arrays.items() if name.startswith("optimizer.")}
    state = model.state_dict()
    problems = _tensors.compare(state, weights)
    optimizer_state = None
    if optimizer is not None:
        if "optimizer" not in header:
            problems.append("missing the optimizer")
        else:
            optimizer_state, found = _optimizer_state(header["optimizer"], moments, optimizer)
            problems += found
    _tensors.refuse("load_checkpoint", path, problems)
    result = Checkpoint(header["step"], header["data"], header["history"], header["settings"], extra)
    _tensors.assign(state, weights)
    if optimizer is not None and optimizer_state is not None:
        optimizer.load_state_dict(optimizer_state)
    _random.set_rng_state((header["random"][0], header["random"][1]))
    return result


def _header(path: _tensors.Path_, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The JSON part, checked."""
    try:
        header = json.loads(metadata["fastattn"])
        version = header["format_version"]
    except (KeyError, TypeError, ValueError):
        msg = f"load_checkpoint: {path} is not a checkpoint of fastattn"
        raise ValueError(msg) from None
    if version != FORMAT_VERSION:
        msg = f"load_checkpoint: {path} has format version {version}; this fastattn reads {FORMAT_VERSION}"
        raise ValueError(msg)
    keys = ("step", "data", "history", "settings", "random")
    _tensors.refuse("load_checkpoint", path, [f"missing {key}" for key in keys if key not in header])
    return dict(header)


def _optimizer_state(
    header: Mapping[str, Any], moments: Mapping[str, np.ndarray[Any, Any]], optimizer: Optimizer
) -> tuple[dict[str, Any], list[str]]:
    """The optimizer's state dict, and what in it is not this optimizer's."""
    problems = []
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    groups = header["param_groups"]
    sizes, wanted = [len(g["params"]) for g in groups], [len(g["params"]) for g in optimizer.param_groups]
    if sizes != wanted:
        problems.append(f"the file's parameter groups have {sizes} parameters, the optimizer's {wanted}")
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in header["state"].items()}
    for key, array in moments.items():
        _, index, name = key.split(".", 2)
        state.setdefault(int(index), {})[name] = array
        if int(index) >= len(parameters):
            problems.append(f"unexpected {key}")
        elif array.shape != tuple(parameters[int(index)].shape):
            want = tuple(parameters[int(index)].shape)
            problems.append(f"{key} has shape {array.shape}, the parameter's is {want}")
    complete = {name for values in state.values() for name in values}
    problems += [
        f"missing optimizer.{index}.{name}" for index in state for name in sorted(complete - state[index].keys())
    ]
    return {"state": state, "param_groups": groups}, problems
