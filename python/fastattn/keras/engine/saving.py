"""Models as files: a folder with config.json and safetensors. Classes are found by name, nothing is executed."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn.autograd.node import Base
from fastattn.io import atomic_write
from fastattn.io.tensors import load_tensors, save_tensors
from fastattn.keras import _lookup

from .layer import Layer

if TYPE_CHECKING:
    from .model import Model

CONFIG, WEIGHTS, OPTIMIZER = "config.json", "model.safetensors", "optimizer.safetensors"
_FORMAT = 1


# Objects ------------------------------------------------------------------------------------------------------------


def serialize_object(value: Any) -> Any:
    """An object as numbers, strings, lists and dicts.

    Args:
        value: a layer, an initializer, an optimizer, a function, or a structure of such.

    Returns:
        {"class_name", "config"} for an object, the name of a function.

    Raises:
        NotImplementedError: something that has no get_config().

    Example:
        >>> from fastattn import keras
        >>> keras.saving.serialize_keras_object(keras.layers.Dense(2, name="out"))["config"]["units"]
        2
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (np.ndarray, Base)):
        return value.tolist()
    if isinstance(value, slice):
        return {"class_name": "slice", "config": {"parts": [value.start, value.stop, value.step]}}
    if value is Ellipsis:
        return {"class_name": "Ellipsis", "config": {}}
    if isinstance(value, Mapping):
        return {str(key): serialize_object(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [serialize_object(part) for part in value]
    if hasattr(value, "get_config") and not inspect.isclass(value):
        registered = _lookup.registered_name(type(value))
        told = {"class_name": type(value).__name__, "config": serialize_object(value.get_config())}
        return told if registered == told["class_name"] else {**told, "registered_name": registered}
    if inspect.isfunction(value) and value.__name__ != "<lambda>":
        return _lookup.registered_name(value)
    msg = f"{value!r} cannot be written to a config; give it a get_config(), or register the function"
    raise NotImplementedError(msg)


def serialize_arguments(layer: Layer, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a layer, as serialize_object gives them."""
    told = {}
    for name, value in arguments.items():
        if name in ("name", "trainable", "dtype", "activity_regularizer"):
            continue
        try:
            told[name] = serialize_object(value)
        except NotImplementedError as error:
            msg = f"{layer.title}: argument {name}: {error}; or define get_config() in {type(layer).__name__}"
            raise NotImplementedError(msg) from None
    return told


def deserialize_object(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The object that serialize_keras_object described.

    Args:
        config: {"class_name", "config"}.
        custom_objects: classes and functions by name.

    Raises:
        ValueError: a class that nobody knows.

    Example:
        >>> from fastattn import keras
        >>> layer = keras.layers.Dense(2, name="out")
        >>> keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)).name
        'out'
    """
    if not (isinstance(config, Mapping) and "class_name" in config):
        return config
    name = config["class_name"]
    if name == "slice":
        return slice(*config["config"]["parts"])
    if name == "Ellipsis":
        return Ellipsis
    arguments = dict(config.get("config") or {})
    found = _find(config.get("registered_name") or name, custom_objects)
    with _lookup.custom_object_scope(custom_objects or {}):
        if "custom_objects" in inspect.signature(found.from_config).parameters:
            return found.from_config(arguments, custom_objects=custom_objects)
        return found.from_config(arguments)


def _find(name: str, custom_objects: Mapping[str, Any] | None) -> Any:
    """A class by its name: given, registered, or one of the layers, models and the other kinds."""
    from fastattn import keras

    for known in (custom_objects or {}, _lookup._custom):
        for key, value in known.items():
            if name in (key, key.rpartition(">")[2]):
                return value
    for module in (keras.layers, keras.models, keras.initializers, keras.regularizers, keras.constraints):
        found = getattr(module, name, None)
        if inspect.isclass(found):
            return found
    for module in (keras.losses, keras.metrics, keras.optimizers, keras.optimizers.schedules):
        found = getattr(module, name, None)
        if inspect.isclass(found):
            return found
    msg = f"there is no class {name!r}; pass it in custom_objects, or use register_keras_serializable"
    raise ValueError(msg)


def deserialize_compile(config: Mapping[str, Any], custom_objects: Any = None) -> dict[str, Any]:
    """The arguments of compile of a config."""
    from fastattn.keras import losses, metrics, optimizers

    def each(kind: Callable[..., Any], value: Any) -> Any:
        if isinstance(value, Mapping) and "class_name" not in value:
            return {name: each(kind, part) for name, part in value.items()}
        if isinstance(value, list):
            return [each(kind, part) for part in value]
        return kind(value, custom_objects) if isinstance(value, Mapping) else _known(value, custom_objects)

    arguments = dict(config)
    arguments["optimizer"] = optimizers.deserialize(config["optimizer"], custom_objects)
    arguments["loss"] = each(losses.deserialize, config.get("loss"))
    for name in ("metrics", "weighted_metrics"):
        arguments[name] = each(metrics.deserialize, config.get(name))
    return arguments


def _known(value: Any, custom_objects: Mapping[str, Any] | None) -> Any:
    """The function that a name stands for, where it is one of the user's."""
    for known in (custom_objects or {}, _lookup._custom):
        if isinstance(value, str) and value in known:
            return known[value]
    return value


# Weights ------------------------------------------------------------------------------------------------------------


def _keys(model: Any) -> dict[str, Any]:
    """Weights by the keys of a file: their numbers and paths, in Keras's order."""
    return {f"{i:04d}/{w.path}": w for i, w in enumerate(model.weights)}


def _weights_of(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {key: w.numpy() for key, w in _keys(model).items()}


def _fill(model: Any, path: Path, tensors: Mapping[str, Any]) -> None:
    """Sets the weights by their order, once names and shapes are known to fit."""
    own = _keys(model)
    given = sorted(tensors)
    problems = []
    if len(own) != len(given):
        problems.append(f"{len(given)} weights, the model has {len(own)}")
    for (key, weight), name in zip(own.items(), given, strict=False):
        if key.rpartition("/")[2] != name.rpartition("/")[2] or weight.shape != tensors[name].shape:
            problems.append(
                f"{name} of shape {tensors[name].shape} where the model has {weight.path} of {weight.shape}"
            )
    if problems:
        msg = f"{model.title}: {path} does not fit; nothing was loaded: {'; '.join(problems)}"
        raise ValueError(msg)
    for weight, name in zip(own.values(), given, strict=True):
        weight.assign(tensors[name])


def save_weights(model: Model, filepath: Any, overwrite: bool = True) -> None:
    """Writes a model's weights to one safetensors file, in Keras's layout."""
    path = Path(filepath)
    if path.exists() and not overwrite:
        msg = f"save_weights: {path} is there already, and overwrite is False"
        raise ValueError(msg)
    if not all(layer.built for layer in model._flatten_layers()):
        msg = f"{model.title}: save_weights: there are no weights yet; call the model, or build(input_shape)"
        raise ValueError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(_weights_of(model), path)


def load_weights(model: Model, filepath: Any) -> None:
    """Reads what save_weights wrote, or the weights of a saved model."""
    path = Path(filepath)
    path = path / WEIGHTS if path.is_dir() else path
    _fill(model, path, load_tensors(path))


# Models -------------------------------------------------------------------------------------------------------------


def save_model(model: Any, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
    """Writes a model to a folder: its config, weights, and what compile got.

    Args:
        model: the model.
        filepath: the folder; it is made.
        overwrite: whether it may be there already.
        include_optimizer: whether to write the optimizer's state.

    Raises:
        ValueError: the folder is there, and `overwrite` is False; or `filepath` is a file.

    Example:
        >>> import tempfile
        >>> from fastattn import keras
        >>> model = keras.Sequential([keras.Input(shape=(2,)), keras.layers.Dense(1)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     keras.models.save_model(model, folder + "/model.keras")
        ...     keras.models.load_model(folder + "/model.keras").count_params()
        3
    """
    folder = Path(filepath)
    if folder.is_file():
        msg = f"save: {folder} is a file; a model is saved to a folder"
        raise ValueError(msg)
    if folder.exists() and not overwrite:
        msg = f"save: {folder} is there already, and overwrite is False"
        raise ValueError(msg)
    config = {
        "format": _FORMAT,
        "model": serialize_object(model),
        "compile": _compile_config(model),
        "input": serialize_object(model._seen),
    }
    text = json.dumps(config, indent=2)
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(_weights_of(model), folder / WEIGHTS)
    state = folder / OPTIMIZER
    state.unlink(missing_ok=True)
    if include_optimizer and model.optimizer is not None and model.optimizer.built:
        tensors, numbers = _flat(model.optimizer.state_dict())
        save_tensors(tensors, state, {"state": json.dumps(numbers)})
    atomic_write(folder / CONFIG, text)


def _compile_config(model: Any) -> Any:
    """What compile got; None where that cannot be written, which is no reason to lose the weights."""
    try:
        return model.get_compile_config()
    except NotImplementedError as error:
        text = f"{model.title}: what compile() got is not saved, compile the loaded model again: {error}"
        warnings.warn(text, UserWarning, stacklevel=4)
        return None


def load_model(filepath: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True) -> Any:
    """Reads a model that save() wrote.

    Args:
        filepath: the folder.
        custom_objects: classes and functions by name, of those that are not Keras's and not registered.
        compile: whether to compile it as it was, with the optimizer's state.

    Returns:
        The model.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a class that nobody knows, or weights that do not fit.

    Example:
        >>> from fastattn import keras
        >>> keras.models.load_model("nowhere")
        Traceback (most recent call last):
        FileNotFoundError: load_model: nowhere is no saved model: it has no config.json
    """
    folder = Path(filepath)
    if not (folder / CONFIG).is_file():
        msg = f"load_model: {folder} is no saved model: it has no {CONFIG}"
        raise FileNotFoundError(msg)
    config = json.loads((folder / CONFIG).read_text())
    if config.get("format") != _FORMAT:
        msg = f"load_model: {folder / CONFIG} has format {config.get('format')!r}; expected {_FORMAT}"
        raise ValueError(msg)
    model = deserialize_object(config["model"], custom_objects)
    if not all(layer.built for layer in model._flatten_layers()) and config["input"] is not None:
        model.build(_as_shapes(config["input"]))
    load_weights(model, folder)
    if compile and config["compile"] is not None:
        model.compile_from_config(config["compile"], custom_objects)
        if (folder / OPTIMIZER).is_file():
            _load_optimizer(model, folder / OPTIMIZER)
    return model


def _as_shapes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_shapes(part) for key, part in value.items()}
    if all(n is None or isinstance(n, int) for n in value):
        return tuple(value)
    return [_as_shapes(part) for part in value]


def _load_optimizer(model: Any, path: Path) -> None:
    from fastattn.io.tensors import read

    tensors, metadata = read(path)
    model.optimizer.build(model.trainable_parameters)
    model._optimized = tuple([id(p) for p in model.trainable_parameters])
    model.optimizer.load_state_dict(_unflat(json.loads(metadata["state"]), tensors))


def _flat(state: Any) -> tuple[dict[str, Any], Any]:
    """A state dict's tensors by path, and the rest with the paths in their places."""
    tensors: dict[str, Any] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, (Base, np.ndarray)):
            tensors[path] = value
            return {"tensor": path}
        if isinstance(value, Mapping):
            return {"items": [[key, walk(part, f"{path}.{key}")] for key, part in value.items()]}
        if isinstance(value, (list, tuple)):
            return [walk(part, f"{path}.{i}") for i, part in enumerate(value)]
        return value.item() if isinstance(value, np.generic) else value

    return tensors, walk(state, "state")


def _unflat(value: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unflat(part, tensors) for key, part in value["items"]}
    return [_unflat(part, tensors) for part in value] if isinstance(value, list) else value


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """A model of what its to_json() gave, with new weights.

    Args:
        json_string: the config.
        custom_objects: classes by name.

    Example:
        >>> from fastattn import keras
        >>> model = keras.Sequential([keras.Input(shape=(2,)), keras.layers.Dense(1)])
        >>> keras.models.model_from_json(model.to_json()).count_params()
        3
    """
    return deserialize_object(json.loads(json_string), custom_objects)


def clone_model(model: Any, input_tensors: Any = None, clone_function: Callable[[Any], Any] | None = None) -> Any:
    """A model of the same layers, with new weights.

    Args:
        model: a Sequential or a graph.
        input_tensors: not supported; None.
        clone_function: not supported; None.

    Raises:
        NotImplementedError: one of the last two.

    Example:
        >>> from fastattn import keras
        >>> model = keras.Sequential([keras.Input(shape=(2,)), keras.layers.Dense(1)])
        >>> keras.models.clone_model(model).count_params()
        3
    """
    if input_tensors is not None or clone_function is not None:
        msg = "clone_model: input_tensors and clone_function are not supported"
        raise NotImplementedError(msg)
    return deserialize_object(serialize_object(model))
