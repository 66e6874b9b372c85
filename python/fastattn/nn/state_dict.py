"""state_dict and load_state_dict: the parameters and buffers of a module by name, out of it and into it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastattn._device import CPU, move, write
from fastattn.autograd.convert import as_data
from fastattn.autograd.hooks import RemovableHandle
from fastattn.autograd.node import Base
from fastattn.autograd.tensor import Tensor

from .hooks import Hooked
from .parameter import Parameter

if TYPE_CHECKING:
    from .module import Module

_EXTRA = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What load_state_dict returns: the names on one side only."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Stateful(Hooked):
    """A module's state by name."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _not_saved: set[str]  # buffers that state_dict leaves out

    def state_dict(
        self, *, destination: OrderedDict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """Names to tensors: parameters and persistent buffers of this module and all below, in torch's order.

        Args:
            destination: a dict to add them to, instead of a new one.
            prefix: put before every name.
            keep_vars: give the parameters themselves; by default detached tensors that share their memory.

        Returns:
            An ordered dict; a shared parameter appears under each of its names.

        Example:
            >>> import fastattn as fa
            >>> list(fa.nn.Linear(2, 3).state_dict())
            ['weight', 'bias']
        """
        state: OrderedDict[str, Any] = OrderedDict() if destination is None else destination
        for hook in self._hooks_of("state_dict_pre"):
            hook(self, prefix, keep_vars)
        for name, tensor in self._own_state():
            state[prefix + name] = tensor.detach() if isinstance(tensor, Base) and not keep_vars else tensor
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._hooks_of("state_dict"):
            hook(self, state, prefix, {})
        return state

    def _own_state(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of what this module itself has to save."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                yield name, parameter
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._not_saved:
                yield name, buffer
        if type(self).get_extra_state is not Stateful.get_extra_state:
            yield _EXTRA, self.get_extra_state()

    def _whole_state(self, prefix: str = "") -> Iterator[tuple[str, Stateful, Any]]:
        """(dotted name, module, value) of this module and all below; no hooks are called."""
        for name, value in self._own_state():
            yield prefix + name, self, value
        for name, child in self._modules.items():
            if child is not None:
                yield from child._whole_state(f"{prefix}{name}.")

    def _with_prefixes(self, prefix: str = "") -> Iterator[tuple[str, Stateful]]:
        """(prefix of its names, module) of this module and all below, those below first."""
        for name, child in self._modules.items():
            if child is not None:
                yield from child._with_prefixes(f"{prefix}{name}.")
        yield prefix, self

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies a state into the parameters and buffers.

        A parameter that is shared by several modules may be given under any of its names.

        Args:
            state_dict: names to tensors or arrays; cast to the dtype of the parameter.
            strict: raise for names that are missing or unexpected.
            assign: instead of copying, take the arrays themselves, in the dtype they have.

        Returns:
            (missing_keys, unexpected_keys).

        Raises:
            RuntimeError: one message with every missing and unexpected name (if `strict`) and every shape that does not
                fit; nothing has been changed.

        Example:
            >>> import fastattn as fa
            >>> a, b = fa.nn.Linear(2, 2), fa.nn.Linear(2, 2)
            >>> a.load_state_dict(b.state_dict())
            IncompatibleKeys(missing_keys=[], unexpected_keys=[])
        """
        given, problems = self._before_loading(state_dict, strict)
        own = {name: (module, value) for name, module, value in self._whole_state()}
        unexpected = [name for name in given if name not in own]
        found = {id(own[name][1]) for name in given if name in own}
        missing = [name for name, (_, value) in own.items() if name not in given and id(value) not in found]
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(unexpected)}")
        copies: dict[int, tuple[str, Tensor, Any]] = {}
        extras: list[tuple[Stateful, Any]] = []
        for name in (n for n in own if n in given):
            module, tensor = own[name]
            if name.rpartition(".")[2] == _EXTRA:
                extras.append((module, given[name]))
                continue
            source = _as_array(given[name])
            if source.shape != tensor.shape:
                problems.append(f"shape of {name}: {source.shape}, expected {tensor.shape}")
            elif id(tensor) in copies:
                first, _, other = copies[id(tensor)]
                if source is not other and not _equal(source, other):
                    problems.append(f"{first} and {name} differ, but are one parameter here")
            else:
                copies[id(tensor)] = name, tensor, source
        if problems:
            msg = f"{type(self).__name__}.load_state_dict: nothing was loaded; " + "; ".join(problems)
            raise RuntimeError(msg)
        for _, tensor, source in copies.values():
            if assign:
                tensor.data = source
            else:
                write(tensor._data, source)
                tensor._version[0] += 1
        for module, value in extras:
            module.set_extra_state(value)
        result = IncompatibleKeys(missing, unexpected)
        for _, module in self._with_prefixes():
            for hook in module._hooks_of("load_state_dict_post"):
                hook(module, result)
        return result

    def _before_loading(self, state_dict: Mapping[str, Any], strict: bool) -> tuple[dict[str, Any], list[str]]:
        """The state as the modules' hooks change it (a copy), and what they object to."""
        given: OrderedDict[str, Any] = OrderedDict(state_dict)
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        for prefix, module in self._with_prefixes():
            for hook in module._hooks_of("load_state_dict_pre"):
                hook(module, given, prefix, {}, strict, missing, unexpected, errors)
        problems = list(errors)
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(unexpected)}")
        return given, problems

    def get_extra_state(self) -> Any:
        """What a module wants in its state_dict besides tensors; a subclass defines it with set_extra_state."""
        msg = f"{type(self).__name__} defines no get_extra_state()"
        raise RuntimeError(msg)

    def set_extra_state(self, state: Any) -> None:
        """Takes back what get_extra_state has returned."""
        msg = f"{type(self).__name__} defines no set_extra_state(), but get_extra_state()"
        raise RuntimeError(msg)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, prefix, keep_vars)` before state_dict() reads this module."""
        return self._add_hook("state_dict_pre", hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, {})` after state_dict() has read this module; it may change the dict."""
        return self._add_hook("state_dict", hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, {}, strict, missing_keys, unexpected_keys, error_msgs)` before loading.

        It may change the dict, which is a copy, and add to the lists.
        """
        return self._add_hook("load_state_dict_pre", hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, incompatible_keys)` after loading."""
        return self._add_hook("load_state_dict_post", hook)


def _equal(a: Any, b: Any) -> bool:
    a, b = move(a, CPU), move(b, CPU)
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _as_array(value: Any) -> Any:
    """The array of a tensor of any framework."""
    if isinstance(value, Base) or hasattr(value, "__array_namespace__"):
        return as_data(value)
    if hasattr(value, "detach"):
        value = value.detach()
    return np.from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(value)
