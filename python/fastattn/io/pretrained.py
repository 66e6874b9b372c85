"""Folders of the Hugging Face shape: config.json beside model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from . import tensors as _tensors
from ._atomic import atomic_write

if TYPE_CHECKING:
    from fastattn.models.config import ModelConfig
    from fastattn.models.pretrained import PretrainedModel

Model = TypeVar("Model", bound="PretrainedModel")


def save_pretrained(model: PretrainedModel, folder: _tensors.Path_) -> None:
    """Writes model.safetensors and config.json, a folder that `transformers` opens as the same model.

    Args:
        model: the model, a GPT, BERT or ViT with or without a head; its `config` gives the sizes.
        folder: where to write; it is made if it is missing.

    Raises:
        OSError: the folder cannot be written.

    Example:
        >>> import pathlib, tempfile, fastattn as fa
        >>> config = fa.models.GPTConfig(vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_pretrained(fa.models.GPT(config), folder)
        ...     sorted(path.name for path in pathlib.Path(folder).iterdir())
        ['config.json', 'model.safetensors']

    Source: transformers, PreTrainedModel.save_pretrained.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _tensors.save_model(model, folder / "model.safetensors")
    atomic_write(folder / "config.json", json.dumps(config_dict(model), indent=2) + "\n")


def from_pretrained(folder: _tensors.Path_) -> Any:
    """Makes the model of a folder with config.json and model.safetensors: a GPT, BERT or ViT, with the head it has.

    Keys may lack the prefix of the bare model ("transformer.", "bert.", "vit."), and a tied head may be absent. The models'
    own `from_pretrained` also take folders with another head.

    Args:
        folder: what save_pretrained wrote, or a model that `transformers` has saved.

    Returns:
        The model, in training mode, with the file's weights as float32.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: the config is of a model that there is not here, or the tensors are not the model's; the message lists
            every missing, unexpected and wrongly shaped key.

    Example:
        >>> import tempfile, fastattn as fa
        >>> config = fa.models.GPTConfig(vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_pretrained(fa.models.GPT(config), folder)
        ...     fa.io.from_pretrained(folder).config.n_positions
        8

    Source: transformers, PreTrainedModel.from_pretrained.
    """
    from fastattn.models import PRETRAINED

    path = Path(folder) / "config.json"
    values = _read(path)
    kinds: dict[str, list[type[PretrainedModel]]] = {}
    for found in PRETRAINED:
        kinds.setdefault(found.config_class.model_type, []).append(found)
    kind = values.get("model_type", "gpt2")  # of the folders that fastattn wrote first, too
    if kind not in kinds:
        *most, last = [repr(name) for name in kinds]
        msg = f"from_pretrained: {path} is not a model that fastattn has: model_type is {kind!r}, expected "
        raise ValueError(msg + f"{', '.join(most)} or {last}")
    named = {model.architecture: model for model in kinds[kind]}
    return load_as(named.get(_architecture(values), kinds[kind][0]), folder, {})


def load_as(cls: type[Model], folder: _tensors.Path_, changes: Mapping[str, Any]) -> Model:
    """A model of one class from a folder; see `PretrainedModel.from_pretrained`."""
    folder = Path(folder)
    values = _read(folder / "config.json")
    make: Any = cls
    model: Model = make(_config(cls.config_class, folder / "config.json", values).changed(**changes))
    path = folder / "model.safetensors"
    tensors = model.own_names(_tensors.load_tensors(path))
    state = model.state_dict()
    found = _architecture(values)
    problems = []
    if found in ("", cls.architecture):
        problems = _tensors.compare(state, tensors)
    else:  # another head
        tensors = {name: tensor for name, tensor in tensors.items() if name in state and not _is_head(cls, name)}
        own = {name: tensor for name, tensor in state.items() if name in tensors or not _is_new(cls, name)}
        problems = _tensors.compare(own, tensors)
    _tensors.refuse("from_pretrained", path, problems)
    _tensors.assign(state, tensors)
    return model


def _is_head(cls: type[PretrainedModel], name: str) -> bool:
    """Whether a tensor belongs to what a class has on top of the bare model."""
    return not cls.is_bare and not name.startswith(f"{cls.base}.")


def _is_new(cls: type[PretrainedModel], name: str) -> bool:
    """Whether a tensor may be absent from a folder of another head: poolers come and go with heads."""
    return _is_head(cls, name) or "pooler." in name


def _architecture(values: Mapping[str, Any]) -> str:
    """transformers' class of what a folder holds, "" if it does not say."""
    names = values.get("architectures") or [""]
    return str(names[0])


def config_dict(model: PretrainedModel) -> dict[str, Any]:
    """config.json of a model: its own fields, and what transformers needs to know it."""
    dtype = np.dtype(next(iter(model.state_dict().values())).dtype).name
    return {
        "architectures": [model.architecture],
        "model_type": model.config_class.model_type,
        "torch_dtype": dtype,
        **model.config_json(),
    }


def _read(path: Path) -> dict[str, Any]:
    """A config.json."""
    try:
        values = json.loads(path.read_text())
    except ValueError:
        msg = f"from_pretrained: {path} is not JSON"
        raise ValueError(msg) from None
    return dict(values)


def _config(kind: type[ModelConfig], path: Path, values: Mapping[str, Any]) -> ModelConfig:
    """The config of a config.json. Fields of no consequence here are ignored; those that change the model raise."""
    fixed = {"model_type": kind.model_type, **kind.fixed}
    problems = [
        f"{key} is {values[key]!r}, expected {want!r}" for key, want in fixed.items() if values.get(key, want) != want
    ]
    if problems:
        msg = f"from_pretrained: {path} is not a model that fastattn has: {'; '.join(problems)}"
        raise ValueError(msg)
    return kind.from_dict(values)
