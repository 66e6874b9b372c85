"""What the methods of a layer take: read once a class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple


class CallSpec(NamedTuple):
    """The arguments of a `call`.

    Args:
        names: of the arguments, in order.
        training: whether it takes `training`.
        default: of `training`.
    """

    names: tuple[str, ...]
    training: bool
    default: Any


@functools.cache
def call_spec(function: Callable[..., Any]) -> CallSpec:
    """What `call`, as its class defines it, takes beside self."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    names = tuple(
        [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY, p.KEYWORD_ONLY)]
    )
    default = next((p.default for p in parameters if p.name == "training" and p.default is not p.empty), None)
    return CallSpec(names, "training" in names, default)


@functools.cache
def shape_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments of build or compute_output_shape beside self."""
    return tuple(list(inspect.signature(function).parameters)[1:])


def takes(cls: Any, name: str) -> bool:
    """Whether a class's constructor takes an argument of a name."""
    parameters = inspect.signature(cls.__init__).parameters
    return name in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())


def recording(cls: type, init: Callable[..., None]) -> Callable[..., None]:
    """`init` that notes its arguments, defaults included, in `_arguments`: what get_config gives."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        noted: dict[type, dict[str, Any]] = self.__dict__.setdefault("_arguments", {})
        if cls not in noted:
            try:
                bound = signature.bind(self, *args, **kwargs)
            except TypeError as error:
                msg = f"{cls.__name__}: {error}"
                raise TypeError(msg) from None
            bound.apply_defaults()
            noted[cls] = _by_name(signature, bound)
        init(self, *args, **kwargs)

    return __init__


# What a Layer takes besides, which its config has already or does not need.
_BASE = ("autocast", "batch_input_shape", "batch_shape", "batch_size", "input_dim", "input_shape", "weights")


def _by_name(signature: inspect.Signature, bound: inspect.BoundArguments) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind == inspect.Parameter.VAR_KEYWORD:
            named.update({key: given for key, given in value.items() if key not in _BASE})
        elif kind != inspect.Parameter.VAR_POSITIONAL:
            named[name] = value
    return named
