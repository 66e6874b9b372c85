"""Weight: a variable as Keras shows it, over the parameters of a layer, which are laid out as torch's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastattn._device import write
from fastattn.autograd.node import no_grad

if TYPE_CHECKING:
    from fastattn.autograd.tensor import Tensor

Array = Any


class Layout(NamedTuple):
    """How one Keras array lies in the parameters of a layer.

    Args:
        to_keras: from the parameters' arrays to Keras's.
        from_keras: from Keras's array to the parameters'.
    """

    to_keras: Callable[..., Array]
    from_keras: Callable[[Array], Sequence[Array]]


SAME = Layout(lambda a: a, lambda a: (a,))


def permuted(*axes: int) -> Layout:
    """Keras's axes are these of the parameter."""
    back = tuple(int(i) for i in np.argsort(axes))
    return Layout(lambda a: np.transpose(a, axes), lambda a: (np.transpose(a, back),))


TRANSPOSED = permuted(1, 0)


class Weight:
    """One variable of a layer, in Keras's layout.

    Args:
        layer: whose it is.
        name: Keras's name, such as "kernel".
        shape: in Keras's layout.
        where: (module, attribute) of each parameter or buffer behind it.
        layout: between the two.
        trainable: whether it is trained while its layer is.
        regularizer: of Keras's array to a term of the loss, or None.
        constraint: of Keras's array to the array that replaces it after a step, or None.
    """

    def __init__(
        self,
        layer: Any,
        name: str,
        shape: tuple[int, ...],
        where: Sequence[tuple[Any, str]],
        layout: Layout = SAME,
        *,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
    ) -> None:
        self.layer = layer
        self.name = name
        self.shape = shape
        self.where = tuple(where)
        self.layout = layout
        self.wants_training = trainable
        self.regularizer = regularizer
        self.constraint = constraint

    @property
    def path(self) -> str:
        """The layer's name and its own."""
        return f"{self.layer.name}/{self.name}"

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The parameters or buffers behind it."""
        return tuple([getattr(module, attribute) for module, attribute in self.where])

    @property
    def dtype(self) -> str:
        """The dtype's name."""
        return str(self.tensors[0].dtype)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def trainable(self) -> bool:
        """Whether it is trained."""
        return self.wants_training and self.layer.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        from .weighted import changed

        self.wants_training = bool(value)
        changed()
        self.follow()

    def follow(self) -> None:
        """Lets the parameters want gradients while the weight is trained."""
        for tensor in self.tensors:
            if tensor.requires_grad != self.trainable:
                tensor.requires_grad = self.trainable

    @property
    def value(self) -> Tensor:
        """The parameter itself, for a loss; of a weight of several parameters the first."""
        return self.tensors[0]

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy in Keras's layout."""
        arrays = [t.detach().numpy() for t in self.tensors]
        return np.array(self.layout.to_keras(*arrays), order="C")

    def assign(self, value: Any) -> None:
        """Copies an array of Keras's layout into the parameters."""
        array = np.asarray(value.detach().numpy() if hasattr(value, "detach") else value)
        if array.shape != self.shape:
            msg = (
                f"{self.layer.title}: {self.name} has shape {self.shape}; it cannot be set to an array of {array.shape}"
            )
            raise ValueError(msg)
        with no_grad():
            for tensor, part in zip(self.tensors, self.layout.from_keras(array), strict=True):
                write(tensor._data, np.asarray(part))
                tensor._version[0] += 1

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self.numpy().astype(dtype) if dtype is not None else self.numpy()

    def __repr__(self) -> str:
        return f"<Weight path={self.path}, shape={self.shape}, dtype={self.dtype}>"
