"""Parameter: a tensor that a module trains."""

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
