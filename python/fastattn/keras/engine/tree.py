"""Structures of lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def nested(value: Any) -> bool:
    """Whether a value is a structure rather than a leaf."""
    return isinstance(value, (list, tuple, dict))


def leaves(structure: Any) -> Iterator[Any]:
    """The leaves, dicts in the order of their keys."""
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, (list, tuple)):
        for part in structure:
            yield from leaves(part)
    else:
        yield structure


def mapped(function: Callable[..., Any], structure: Any, *others: Any) -> Any:
    """The structure with `function` of each leaf, and of the leaves of `others` in its place."""
    if isinstance(structure, dict):
        return {key: mapped(function, structure[key], *[o[key] for o in others]) for key in structure}
    if isinstance(structure, (list, tuple)):
        parts = [mapped(function, *part) for part in zip(structure, *others, strict=True)]
        if isinstance(structure, list):
            return parts
        return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)
    return function(structure, *others)


def packed(structure: Any, values: list[Any]) -> Any:
    """The structure with these leaves, in the order of `leaves`."""
    rest = iter(values)

    def fill(part: Any) -> Any:
        if isinstance(part, dict):
            filled = {key: fill(part[key]) for key in sorted(part)}
            return {key: filled[key] for key in part}
        if isinstance(part, (list, tuple)):
            return type(part)([fill(p) for p in part])
        return next(rest)

    return fill(structure)


def is_shape(value: Any) -> bool:
    """Whether a value is one shape: a tuple or list of numbers and None."""
    return isinstance(value, (tuple, list)) and all(n is None or hasattr(n, "__index__") for n in value)


def shapes_mapped(function: Callable[[tuple[int | None, ...]], Any], structure: Any) -> Any:
    """`function` of each shape of a structure of shapes."""
    if is_shape(structure) and (structure or not isinstance(structure, list)):
        return function(tuple(structure))
    if isinstance(structure, dict):
        return {key: shapes_mapped(function, part) for key, part in structure.items()}
    return type(structure)([shapes_mapped(function, part) for part in structure])
