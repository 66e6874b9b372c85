"""Modules that hold modules or parameters: Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from fastattn.autograd.node import Base

from .module import Module
from .parameter import Parameter


class _Ordered(Module):
    """Modules by number."""

    def _index(self, index: int) -> str:
        n = len(self._modules)
        if not -n <= index < n:
            msg = f"{type(self).__name__}: index {index} is outside its {n} modules"
            raise IndexError(msg)
        return list(self._modules)[index]

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            kept = list(self._modules.values())[index]
            return type(self)(*kept) if isinstance(self, Sequential) else type(self)(kept)  # type: ignore[call-arg]
        return self._modules[self._index(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self._modules[self._index(index)] = module

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        for name in names[index] if isinstance(index, slice) else [self._index(index)]:
            del self._modules[name]
        self._replace(self._modules.values())

    def _replace(self, modules: Iterable[Module | None]) -> None:
        kept = list(modules)
        self._modules.clear()
        self._modules.update({str(i): module for i, module in enumerate(kept)})

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def append(self, module: Module) -> Self:
        """Adds a module at the end."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Adds modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __add__(self, other: Iterable[Module]) -> Self:
        return type(self)()._filled([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(other)

    def _filled(self, modules: Iterable[Module]) -> Self:
        self._replace(modules)
        return self

    def pop(self, index: int = -1) -> Any:
        """Takes a module out, the last by default, and returns it."""
        module = self[index]
        del self[index]
        return module

    def insert(self, index: int, module: Module) -> Self:
        """Adds a module before another."""
        modules = list(self._modules.values())
        modules.insert(index, module)
        self._replace(modules)
        return self


class Sequential(_Ordered):
    """Modules one after the other.

    Args:
        modules: modules, or one dict of names to modules.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Sequential(fa.nn.Linear(2, 3), fa.nn.GELU())(fa.ones(4, 2)).shape
        (4, 3)

    Source: torch.nn.Sequential's form of it.
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.register_module(name, module)
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)  # type: ignore[misc]
        return input


class ModuleList(_Ordered):
    """A list of modules.

    Args:
        modules: the modules.

    Example:
        >>> import fastattn as fa
        >>> len(fa.nn.ModuleList([fa.nn.Linear(2, 2) for _ in range(3)]))
        3

    Source: torch.nn.ModuleList's form of it.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def __repr__(self) -> str:
        # As torch: equal modules in a row are one entry with their number.
        rows: list[tuple[int, int, str]] = []
        for i, module in enumerate(self._modules.values()):
            text = repr(module)
            if rows and rows[-1][2] == text:
                rows[-1] = (rows[-1][0], i, text)
            else:
                rows.append((i, i, text))
        if not rows:
            return f"{type(self).__name__}()"
        lines = []
        for first, last, text in rows:
            name = f"({first})" if first == last else f"({first}-{last})"
            times = "" if first == last else f"{last - first + 1} x "
            head, *rest = f"{name}: {times}{text}".split("\n")
            lines += [f"  {head}", *[f"  {line}" for line in rest]]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


class ModuleDict(Module):
    """A dict of modules.

    Args:
        modules: names to modules.

    Example:
        >>> import fastattn as fa
        >>> list(fa.nn.ModuleDict({"a": fa.nn.Linear(2, 2)}).keys())
        ['a']

    Source: torch.nn.ModuleDict's form of it.
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if name in self._modules:
            self._modules[name] = module
        else:
            self.register_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Adds modules, or puts them in the place of those of the same name."""
        for name, module in dict(modules).items():
            self[name] = module

    def pop(self, key: str) -> Any:
        """Takes a module out and returns it."""
        return self._modules.pop(key)

    def clear(self) -> None:
        """Takes all modules out."""
        self._modules.clear()

    def keys(self) -> Any:
        """The names."""
        return self._modules.keys()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()

    def items(self) -> Any:
        """(name, module)."""
        return self._modules.items()


class _Parameters(Module):
    """Parameters under names that need not be attributes'; a tensor that is none becomes one."""

    def _put(self, name: str, value: Any) -> None:
        if not isinstance(value, Base):
            msg = f"{type(self).__name__}: {name!r} is a {type(value).__name__}; expected a Parameter or a tensor"
            raise TypeError(msg)
        self._parameters[name] = value if isinstance(value, Parameter) else Parameter(value)

    def __len__(self) -> int:
        return len(self._parameters)

    def extra_repr(self) -> str:
        rows = [
            f"  ({name}): Parameter containing: [{p.dtype} of size {p.shape}]" for name, p in self.named_parameters()
        ]
        return "\n" + "\n".join(rows) + "\n" if rows else ""


class ParameterList(_Parameters):
    """A list of parameters.

    Args:
        values: tensors; those that are no parameters become some.

    Example:
        >>> import fastattn as fa
        >>> list(fa.nn.ParameterList([fa.zeros(2), fa.ones(3)]).state_dict())
        ['0', '1']

    Source: torch.nn.ParameterList's form of it.
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(values or ())

    def _name(self, index: int) -> str:
        n = len(self)
        if not -n <= index < n:
            msg = f"ParameterList: index {index} is outside its {n} parameters"
            raise IndexError(msg)
        return str(index % n)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ParameterList([*self][index])
        return self._parameters[self._name(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self._put(self._name(index), value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parameters.values())

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def append(self, value: Any) -> Self:
        """Adds a parameter at the end."""
        self._put(str(len(self)), value)
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Adds parameters at the end."""
        for value in values:
            self.append(value)
        return self


class ParameterDict(_Parameters):
    """A dict of parameters.

    Args:
        parameters: names to tensors; those that are no parameters become some.

    Example:
        >>> import fastattn as fa
        >>> list(fa.nn.ParameterDict({"scale": fa.ones(2)}).state_dict())
        ['scale']

    Source: torch.nn.ParameterDict's form of it.
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self.update(parameters or {})

    def __getitem__(self, key: str) -> Any:
        return self._parameters[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._put(key, value)

    def __delitem__(self, key: str) -> None:
        del self._parameters[key]

    def __contains__(self, key: object) -> bool:
        return key in self._parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def update(self, parameters: Any) -> None:
        """Adds parameters, or puts them in the place of those of the same name."""
        for name, value in dict(parameters).items():
            self[name] = value

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of a name, or the default."""
        return self._parameters.get(key, default)

    def pop(self, key: str) -> Any:
        """Takes a parameter out and returns it."""
        return self._parameters.pop(key)

    def clear(self) -> None:
        """Takes all parameters out."""
        self._parameters.clear()

    def keys(self) -> Any:
        """The names."""
        return self._parameters.keys()

    def values(self) -> Any:
        """The parameters."""
        return self._parameters.values()

    def items(self) -> Any:
        """(name, parameter)."""
        return self._parameters.items()
