"""One way to name an object: a string in either spelling, a config, a class, or the object itself."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_custom: dict[str, Any] = {}


class Configured:
    """Something that its constructor's arguments describe; each is kept under its own name."""

    # Arguments that are of the machine or of the moment, not of the object.
    _not_in_config: tuple[str, ...] = ()

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal object."""
        parameters = inspect.signature(type(self).__init__).parameters.values()
        names = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)][1:]
        return {name: getattr(self, name) for name in names if name not in self._not_in_config}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Any:
        """The object that `get_config` describes."""
        return cls(**config)


def snake_case(name: str) -> str:
    """CamelCase as snake_case: "MeanSquaredError" is mean_squared_error, "AUC" auc."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _bare(name: str) -> str:
    return name.replace("_", "").lower()


class Names:
    """The objects of one kind by name.

    Args:
        kind: what messages call it, "loss".
        objects: classes and functions, each under its own name.
        aliases: other names.
    """

    def __init__(self, kind: str, objects: list[Any], aliases: Mapping[str, Any] | None = None) -> None:
        self.kind = kind
        self.exact: dict[str, Any] = {value.__name__: value for value in objects} | dict(aliases or {})
        # A function's own name comes before a class that is spelled so without its capitals.
        self.bare: dict[str, Any] = {}
        for name, value in sorted(self.exact.items(), key=lambda item: inspect.isclass(item[1])):
            self.bare.setdefault(_bare(name), value)

    def find(self, name: str, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """What a name stands for, a class or a function; ValueError with the nearest names for one that nothing has."""
        custom = {**_custom, **(custom_objects or {})}
        known = {**self.exact, **{key.rpartition(">")[2]: value for key, value in custom.items()}, **custom}
        if name in known:
            return known[name]
        if _bare(name) in self.bare:
            return self.bare[_bare(name)]
        nearest = difflib.get_close_matches(_bare(name), {_bare(key): key for key in known}, n=3, cutoff=0.6)
        spelled = [next(key for key in known if _bare(key) == near) for near in nearest]
        hint = f"did you mean {' or '.join(map(repr, spelled))}?" if spelled else f"known: {', '.join(sorted(known))}"
        msg = f"{self.kind}: there is none named {name!r}; {hint}"
        raise ValueError(msg)

    def get(self, identifier: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """The object: of a class its instance with default arguments, of a function itself."""
        if isinstance(identifier, str):
            found = self.find(identifier, custom_objects)
        elif isinstance(identifier, Mapping):
            return self.of_config(identifier, custom_objects)
        else:
            found = identifier
        if inspect.isclass(found):
            return found()
        if callable(found) or hasattr(found, "get_config"):
            return found
        msg = f"{self.kind}: got a {type(found).__name__}; expected a name, a config, a function or an object"
        raise TypeError(msg)

    def of_config(self, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """The object of {"class_name": ..., "config": {...}}."""
        if "class_name" not in config:
            msg = f"{self.kind}: the config has {', '.join(map(repr, config)) or 'nothing'}; expected 'class_name'"
            raise ValueError(msg)
        name, arguments = config["class_name"], config.get("config")
        if name == "function":
            return self.find(str(arguments), custom_objects)
        found = self.find(config.get("registered_name") or name, custom_objects)
        make: Any = getattr(found, "from_config", None)
        return make(dict(arguments or {})) if inspect.isclass(found) and make is not None else found

    def serialize(self, value: Any) -> Any:
        """The name of a function, the config of an object; what `get` takes."""
        return serialize(value)


def serialize(value: Any) -> Any:
    """What `get` makes the object from: a function's name, an object's {"class_name", "config"}, None of None."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if hasattr(value, "get_config") and not inspect.isclass(value):
        registered = registered_name(type(value))
        own = {"registered_name": registered} if registered in _custom else {}
        return {"class_name": type(value).__name__, "config": value.get_config(), **own}
    return registered_name(value)


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """Makes a class or function known by name, to configs and to what takes strings.

    Args:
        package: what the name begins with: package>name.
        name: its own by default.

    Returns:
        A decorator.

    Raises:
        ValueError: a class without get_config.

    Example:
        >>> from fastattn import keras
        >>> @keras.utils.register_keras_serializable()
        ... def twice(x):
        ...     return 2 * x
        >>> keras.activations.get("twice")(3)
        6

    Source: keras.saving.register_keras_serializable's form of it.
    """

    def register(value: T) -> T:
        own = name or getattr(value, "__name__", "")
        if inspect.isclass(value) and not hasattr(value, "get_config"):
            msg = f"register_keras_serializable: {own} has no get_config; what is saved needs one"
            raise ValueError(msg)
        _custom[f"{package}>{own}"] = value
        return value

    return register


def registered_name(value: Any) -> str:
    """The name under which a class or function is registered, its own where it is not."""
    return next((key for key, known in _custom.items() if known is value), value.__name__)


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any:
    """What is registered under a name, None for nothing."""
    for known in (_custom, custom_objects or {}, module_objects or {}):
        if name in known:
            return known[name]
    return None


def get_custom_objects() -> dict[str, Any]:
    """The registered objects by name; what is put there is known as well."""
    return _custom


@contextmanager
def custom_object_scope(custom_objects: Mapping[str, Any]) -> Iterator[None]:
    """Objects that are known by name within a `with`."""
    before = dict(_custom)
    _custom.update(custom_objects)
    try:
        yield
    finally:
        _custom.clear()
        _custom.update(before)
