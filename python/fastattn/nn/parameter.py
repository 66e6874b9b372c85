"""Parameter and Buffer: tensors that a module trains, or keeps."""

from __future__ import annotations

from typing import Any

from fastattn.autograd.node import Base
from fastattn.autograd.tensor import Tensor


class Parameter(Tensor):
    """A tensor that becomes a parameter of the module it is assigned to.

    Args:
        data: a tensor or array, shared, not copied.
        requires_grad: whether it is trained.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Parameter(fa.zeros(2))
        Parameter containing:
        tensor([0., 0.], requires_grad=True)
    """

    __slots__ = ("__dict__",)

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data._data if isinstance(data, Base) else data, requires_grad)


class Buffer(Tensor):
    """A tensor that becomes a buffer of the module it is assigned to: part of its state, not trained.

    Args:
        data: a tensor or array, shared, not copied.
        persistent: whether state_dict has it.

    Example:
        >>> import fastattn as fa
        >>> module = fa.nn.Module()
        >>> module.count = fa.nn.Buffer(fa.zeros(1))
        >>> list(module.state_dict())
        ['count']
    """

    __slots__ = ("__dict__",)

    def __init__(self, data: Any, *, persistent: bool = True) -> None:
        super().__init__(data._data if isinstance(data, Base) else data)
        self.persistent = persistent
