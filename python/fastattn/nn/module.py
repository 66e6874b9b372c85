"""Module: what owns parameters, buffers and other modules, as torch.nn.Module does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np

from fastattn._device import move, named
from fastattn._dtypes import bfloat16
from fastattn.autograd.convert import is_float
from fastattn.autograd.node import Base, kind_of
from fastattn.autograd.tensor import Tensor

from .parameter import Buffer, Parameter
from .state_dict import IncompatibleKeys, Stateful
from .table import Table

_TABLES = ("_parameters", "_buffers", "_modules")


class Module(Stateful):
    """Base of all layers and models; a subclass assigns parameters and modules to itself and defines `forward`.

    Names, order and state_dict keys are torch's, so checkpoints map one to one.

    Example:
        >>> import fastattn as fa
        >>> class Double(fa.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.weight = fa.nn.Parameter(fa.tensor(2.0))
        ...     def forward(self, x):
        ...         return x * self.weight
        >>> list(Double().state_dict())
        ['weight']

    Source: torch.nn.Module's form of it.
    """

    training: bool

    def __init__(self) -> None:
        for name in _TABLES:
            object.__setattr__(self, name, Table(self))
        object.__setattr__(self, "_not_saved", set())
        object.__setattr__(self, "training", True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in _TABLES:
            if name in state:
                object.__setattr__(self, name, Table(self, state[name]))

    # Attributes -----------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        tables = self.__dict__
        if "_modules" not in tables:
            if isinstance(value, (Parameter, Module)):
                msg = f"{type(self).__name__}: call super().__init__() before assigning {name!r}"
                raise AttributeError(msg)
            object.__setattr__(self, name, value)
            return
        if name in _TABLES:
            items = dict(value)
            tables[name].clear()
            object.__setattr__(self, name, Table(self, items))
            return
        kind = "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Module) else None
        if isinstance(value, Buffer) and name not in tables["_buffers"]:
            self.register_buffer(name, value, value.persistent)
            return
        if kind is not None:
            for table in _TABLES:
                if table != kind:
                    tables[table].pop(name, None)
            tables.pop(name, None)
            tables[kind][name] = value
            return
        for table in ("_parameters", "_modules", "_buffers"):
            if name in tables[table]:
                if value is not None and not (table == "_buffers" and isinstance(value, Base)):
                    what = {"_parameters": "a Parameter", "_modules": "a Module", "_buffers": "a Tensor"}[table]
                    msg = f"{type(self).__name__}.{name} is {type(value).__name__}; expected {what} or None"
                    raise TypeError(msg)
                tables[table][name] = value
                return
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        msg = f"{type(self).__name__} has no attribute {name!r}"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._modules, self._buffers):
            if name in table:
                del table[name]
                self._not_saved.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._modules, *self._buffers})

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter; None keeps the name for none."""
        self._check_name(name)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is part of the state but not trained; `persistent=False` leaves it out of state_dict."""
        self._check_name(name)
        self._buffers[name] = tensor
        (self._not_saved.discard if persistent else self._not_saved.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Adds a module."""
        self._check_name(name)
        self._modules[name] = module

    add_module = register_module

    def _check_name(self, name: str) -> None:
        if "." in name or not name:
            msg = f"{type(self).__name__}: {name!r} is not a name; expected one without dots"
            raise KeyError(msg)
        taken = name in self.__dict__ and not any(name in self.__dict__[table] for table in _TABLES)
        if taken or hasattr(type(self), name):
            msg = f"{type(self).__name__}: {name!r} is already an attribute"
            raise KeyError(msg)

    # Walks ----------------------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(name, module) of this module and all below, each once."""
        memo = set() if memo is None else memo
        if remove_duplicate and id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below, each once."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly below."""
        for name, child in self._modules.items():
            if child is not None:
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly below."""
        for _, child in self.named_children():
            yield child

    def _named(self, table: str, prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=once) if recurse else iter([(prefix, self)])
        for path, module in modules:
            for name, tensor in getattr(module, table).items():
                if tensor is not None and not (once and id(tensor) in seen):
                    seen.add(id(tensor))
                    yield f"{path}.{name}" if path else name, tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) of this module and, with `recurse`, all below; a shared one once, under its first name."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and, with `recurse`, all below, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(name, buffer) of this module and, with `recurse`, all below."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and, with `recurse`, all below."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name."""
        module: Module = self
        for name in target.split(".") if target else ():
            found = module._modules.get(name)
            if found is None:
                msg = f"{type(self).__name__} has no module {target!r}: {type(module).__name__} has no {name!r}"
                raise AttributeError(msg)
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            msg = f"{type(self).__name__} has no parameter {target!r}"
            raise AttributeError(msg)
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._buffers.get(name)
        if found is None:
            msg = f"{type(self).__name__} has no buffer {target!r}"
            raise AttributeError(msg)
        return found

    def set_submodule(self, target: str, module: Module) -> None:
        """Puts a module in the place of a dotted name."""
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if name in parent._modules:
            parent._modules[name] = module
        else:
            parent.register_module(name, module)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Calls `fn` on every module below, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # Modes ----------------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Sets training mode, here and below: dropout is active."""
        for module in self.modules():
            object.__setattr__(module, "training", bool(mode))
        return self

    def eval(self) -> Self:
        """Sets evaluation mode, here and below: nothing random."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether the parameters are trained, here and below."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of the parameters, or sets them to 0."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = parameter.grad.detach().zero_()

    def to(self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False) -> Self:
        """Casts the parameters and buffers of floats to a dtype, and moves all of them to a device, in place."""
        where = None
        for arg in args if device is None else (*args, device):
            if isinstance(arg, Base):
                where, dtype = arg.device, arg._data.dtype
            elif isinstance(arg, bool) or arg is None:
                continue  # to(device, dtype, non_blocking)
            elif (there := named("to", arg)) is not None:
                where = there
            else:
                dtype = arg
        wanted = None if dtype is None else np.dtype(dtype)
        if wanted is not None and not is_float(wanted):
            msg = f"to: dtype is {wanted}; expected floats, parameters cannot be {wanted}"
            raise TypeError(msg)
        if where is not None:
            for tensor in (*self.parameters(), *self.buffers()):
                if tensor.device != where:
                    tensor._data = move(tensor._data, where)
                    tensor._version = [0, 0]
                    if tensor.grad is not None:
                        tensor.grad = tensor.grad.to(where)
        return self if wanted is None else self.type(wanted)

    def type(self, dst_type: Any) -> Self:
        """Casts the parameters and buffers of floats to a dtype, in place."""
        wanted = np.dtype(dst_type)
        for tensor in (*self.parameters(), *self.buffers()):
            if is_float(tensor.dtype) and tensor.dtype != wanted:
                tensor._data = _cast(tensor._data, wanted)
                tensor._version = [0, 0]
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.to(wanted)
        return self

    def float(self) -> Self:
        """Casts to float32."""
        return self.to(np.dtype(np.float32))

    def double(self) -> Self:
        """Casts to float64."""
        return self.to(np.dtype(np.float64))

    def half(self) -> Self:
        """Casts to float16."""
        return self.to(np.dtype(np.float16))

    def bfloat16(self) -> Self:
        """Casts to bfloat16."""
        return self.to(bfloat16)

    def cpu(self) -> Self:
        """Moves the module to host memory."""
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> Self:
        """Moves the module to a GPU."""
        return self.to(device)

    # Looks ----------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What repr() says between the parentheses."""
        return ""

    def __repr__(self) -> str:
        lines = []
        for name, child in self._modules.items():
            first, *rest = repr(child).split("\n")
            lines += [f"  ({name}): {first}", *[f"  {line}" for line in rest]]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return "\n".join([f"{type(self).__name__}({extra}", *lines, ")"])


__all__ = ["IncompatibleKeys", "Module"]


def _cast(array: Any, dtype: np.dtype[Any]) -> Any:
    out = kind_of(array).empty(array.shape, dtype, array)
    out[...] = array
    return out
