"""The tape: what a tensor is made of, and what an op leaves behind for its gradient; walk.py goes back over it.

A tensor that came out of an op holds the op's Node; a Node holds the nodes (or leaf tensors) of its inputs and the
arrays that its backward reads, never a tensor that came out of it. So there are no reference cycles: dropping the last
tensor of a graph frees the graph, and the walk frees each node as it leaves it.
"""

from __future__ import annotations

import functools
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import numpy as np
from numpy import ndarray

from fastattn._device import CPU, device
from fastattn.ops import _kinds

from .hooks import Hooks

if TYPE_CHECKING:
    from .tensor import Tensor

Array = Any  # the array under a tensor: a NumPy ndarray, or a CuPy one
Edge = Any  # where a gradient goes: a Node, a Slot, a leaf Tensor, or None for nowhere
Backward = Callable[["Node", Any], tuple[Any, ...]]

LARGE = (
    1 << 18
)  # bytes from which an output comes from the caching allocator: fresh pages cost more than the arithmetic

P = ParamSpec("P")
R = TypeVar("R")


class Base:
    """The fields of a tensor. Its methods are in arithmetic, shape and reductions; `Tensor` puts them together.

    _version: [how often the data were changed in place, 1 once they have had a view]; views share it.
    _hooks: a leaf's (before its gradient is added, after); unset until the first is registered.
    """

    __slots__ = ("__weakref__", "_data", "_hooks", "_node", "_requires_grad", "_version", "grad")
    _data: Array
    _node: Node | Slot | None
    _requires_grad: bool
    _version: list[int]
    _hooks: tuple[Hooks, Hooks]
    grad: Tensor | None

    if TYPE_CHECKING:  # its methods, which the parts of Tensor call on each other

        def __getattr__(self, name: str) -> Any: ...


# tensor.py sets it: nodes make tensors and tensors make nodes.
tensor_type: type[Tensor] = cast("type[Tensor]", Base)


def wrap(data: Array) -> Tensor:
    """A tensor of an array that is its own: no copy, no gradient."""
    tensor = object.__new__(tensor_type)
    tensor._data = data if type(data) is ndarray or not isinstance(data, np.generic) else np.asarray(data)
    tensor._node = tensor.grad = None
    tensor._requires_grad = False
    tensor._version = [0, 0]
    return tensor


def wrap_view(data: Array, of: Base) -> Tensor:
    """A tensor that shares the memory of another."""
    tensor = wrap(data)
    tensor._version = of._version
    of._version[1] = 1
    return tensor


def array_module(array: Array) -> Any:
    """The module whose functions work on `array`: NumPy, or CuPy."""
    return np if isinstance(array, (ndarray, np.generic)) else array.__array_namespace__()


def kind_of(array: Array) -> _kinds.Kind:
    """What allocates arrays like `array`."""
    if isinstance(array, (ndarray, np.generic)):
        return _kinds.NUMPY
    return _kinds.kind_of("Tensor", ("data",), (array,))


def empty_on(where: device, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array on a device."""
    if where == CPU:
        return _kinds.NUMPY.empty(shape, dtype, None)
    from fastattn.interop import cupy

    return cupy.empty(shape, dtype, where.index or 0)


# Grad mode ----------------------------------------------------------------------------------------------------------


class _Mode(threading.local):
    enabled = True
    autocast: Any = None  # the dtype of products, within autocast


mode = _Mode()


class set_grad_enabled:
    """Turns the recording of gradients on or off in this thread: a context manager and a decorator.

    Args:
        enabled: whether ops on tensors that require a gradient are recorded.

    Example:
        >>> import fastattn as fa
        >>> x = fa.ones(2, requires_grad=True)
        >>> with fa.set_grad_enabled(False):
        ...     (x * 2).requires_grad
        False
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = bool(enabled)
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(mode.enabled)
        mode.enabled = self.enabled

    def __exit__(self, *exc: object) -> None:
        mode.enabled = self.before.pop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        enabled = self.enabled

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with set_grad_enabled(enabled):
                return function(*args, **kwargs)

        return wrapper


class no_grad(set_grad_enabled):
    """Records nothing for gradients within: a context manager and a decorator.

    Example:
        >>> import fastattn as fa
        >>> x = fa.ones(2, requires_grad=True)
        >>> with fa.no_grad():
        ...     (x * 2).requires_grad
        False
    """

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Records gradients within, also inside no_grad: a context manager and a decorator.

    Example:
        >>> import fastattn as fa
        >>> x = fa.ones(2, requires_grad=True)
        >>> with fa.no_grad(), fa.enable_grad():
        ...     (x * 2).requires_grad
        True
    """

    def __init__(self) -> None:
        super().__init__(True)


def is_grad_enabled() -> bool:
    """Whether ops are recorded for gradients in this thread.

    Returns:
        A bool.

    Example:
        >>> import fastattn as fa
        >>> with fa.no_grad():
        ...     fa.is_grad_enabled()
        False
    """
    return mode.enabled


# Recording ----------------------------------------------------------------------------------------------------------

_sequence = itertools.count()
FREED = ("freed",)  # `saved` of a node that was walked


class Node:
    """One op of the tape.

    backward(node, dout) gives a gradient, or None, for each edge; it gets one array for a node of one output, and for a
    node of several a list with None for those that no gradient reached.
    """

    __slots__ = (
        "__weakref__",
        "again",
        "backward",
        "checks",
        "edges",
        "hooks",
        "name",
        "outputs",
        "retained",
        "saved",
        "sequence",
    )

    def __init__(
        self,
        name: str,
        edges: tuple[Edge, ...],
        backward: Backward,
        saved: Any,
        checks: tuple[tuple[list[int], int], ...],
        outputs: int = 1,
    ) -> None:
        self.name = name
        self.edges = edges
        self.backward = backward
        self.saved = saved
        self.checks = checks  # (version, its value when the data were saved)
        self.outputs = outputs
        self.again: Any = None  # how to compute the output once more, where that is cheap
        self.retained: list[tuple[int, weakref.ref[Tensor]]] | None = None
        self.hooks: dict[int, Hooks] | None = None  # of each output
        self.sequence = -next(_sequence)  # newest first in a heap

    def __repr__(self) -> str:
        return f"<{self.name} backward>"


class Slot:
    """One output of a node that has several."""

    __slots__ = ("index", "node")

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index

    def __repr__(self) -> str:
        return f"<{self.node.name} backward, output {self.index}>"


def check(node: Node) -> None:
    """Raises unless what the node's backward reads is there, as it was."""
    if node.saved is FREED:
        msg = (
            f"{node.name}: the graph was already walked and freed; pass retain_graph=True to the first backward() to "
            "walk it again"
        )
        raise RuntimeError(msg)
    for version, value in node.checks:
        if version[0] != value:
            msg = (
                f"{node.name}: a tensor that its gradient needs was changed in place after the op (version "
                f"{version[0]}, expected {value}); change a clone() of it, or use the op that makes a new tensor"
            )
            raise RuntimeError(msg)


def edge_of(tensor: Base) -> Edge:
    return tensor._node if tensor._node is not None else tensor if tensor._requires_grad else None


def record(
    name: str, out: Tensor, inputs: Sequence[Base | None], backward: Backward, saved: Any, checked: Sequence[Base] = ()
) -> Tensor:
    """Makes `out` the result of an op on `inputs`, where a gradient will be wanted. `checked`: the tensors whose data
    are in `saved`."""
    if mode.enabled:
        for tensor in inputs:
            if tensor is not None and tensor._requires_grad:
                edges = tuple([None if t is None else edge_of(t) for t in inputs])
                out._node = Node(name, edges, backward, saved, tuple([(t._version, t._version[0]) for t in checked]))
                out._requires_grad = True
                break
    return out
