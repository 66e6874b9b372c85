"""The tape: what a tensor is made of, what an op leaves behind for its gradient, and the walk back over it.

A tensor that came out of an op holds the op's Node; a Node holds the nodes (or leaf tensors) of its inputs and the
arrays that its backward reads, never a tensor that came out of it. So there are no reference cycles: dropping the last
tensor of a graph frees the graph, and the walk frees each node as it leaves it.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import numpy as np
from numpy import ndarray

from fastattn.ops import _kinds

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
    """

    __slots__ = ("__weakref__", "_data", "_node", "_requires_grad", "_version", "grad")
    _data: Array
    _node: Node | Slot | None
    _requires_grad: bool
    _version: list[int]
    grad: Tensor | None


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
_FREED = ("freed",)


class Node:
    """One op of the tape.

    backward(node, dout) gives a gradient, or None, for each edge; it gets one array for a node of one output, and for a
    node of several a list with None for those that no gradient reached.
    """

    __slots__ = ("__weakref__", "backward", "checks", "edges", "name", "outputs", "retained", "saved", "sequence")

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
        self.retained: list[tuple[int, weakref.ref[Tensor]]] | None = None
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


# Who holds an array -------------------------------------------------------------------------------------------------


def _references(holder: Any, key: Any) -> int:
    return getrefcount(holder[key])


_HELD_ONCE = _references([np.empty(1)], 0)


def _exclusive(holder: Any, key: Any) -> bool:
    """Whether holder[key] is an array that nothing but `holder` can see, so that it may be changed or given away."""
    if getrefcount(holder[key]) != _HELD_ONCE:
        return False
    array = holder[key]
    if type(array) is ndarray:
        return array.flags.writeable and not isinstance(array.base, ndarray)
    return getattr(array, "base", None) is None


def _own(holder: Any, key: Any) -> Array:
    """holder[key] if nothing else sees it, else a copy; contiguous, as the fused optimizers want it."""
    if _exclusive(holder, key) and holder[key].flags.c_contiguous:
        return holder[key]
    array = holder[key]
    out = kind_of(array).empty(array.shape, array.dtype, array)
    out[...] = array
    return out


def _add(table: dict[Any, Array], key: Any, values: Sequence[Array], i: int) -> None:
    """table[key] += values[i], changing no array that others hold. The sum is the same whichever of them is reused."""
    if _exclusive(table, key):
        table[key] += values[i]
        return
    old = table[key]
    if _exclusive(values, i) and values[i].flags.c_contiguous:
        array_module(old).add(old, values[i], out=values[i])
        table[key] = values[i]
    elif type(old) is ndarray and old.nbytes >= LARGE:
        table[key] = np.add(old, values[i], out=_kinds.NUMPY.empty(old.shape, old.dtype, old))
    else:
        table[key] = array_module(old).asarray(old + values[i])


# The walk -----------------------------------------------------------------------------------------------------------


class _Walk:
    """One walk from some tensors back to the leaves, newest node first: when a node's turn comes, every gradient that
    flows into it has arrived. The order depends only on the order in which the ops ran."""

    def __init__(self, retain_graph: bool, wanted: dict[Any, Array | None] | None) -> None:
        self.retain_graph = retain_graph
        self.wanted = wanted  # fa.grad: from a leaf, node or (node, output) to its gradient; no leaf's .grad changes
        self.pending: dict[Any, Array] = {}
        self.heap: list[tuple[int, Node]] = []
        self.queued: set[Node] = set()  # nodes of several outputs

    def deliver(self, edge: Edge, values: Sequence[Array], i: int) -> None:
        """Adds values[i] to what flows into `edge`."""
        kind = type(edge)
        if kind is Node:
            if edge in self.pending:
                _add(self.pending, edge, values, i)
            else:
                self.pending[edge] = values[i]
                heapq.heappush(self.heap, (edge.sequence, edge))
        elif kind is Slot:
            key = (edge.node, edge.index)
            if key in self.pending:
                _add(self.pending, key, values, i)
            else:
                self.pending[key] = values[i]
            if edge.node not in self.queued:
                self.queued.add(edge.node)
                heapq.heappush(self.heap, (edge.node.sequence, edge.node))
        elif self.wanted is None:
            if edge.grad is None:
                edge.grad = wrap(_own(values, i))
            else:
                edge.grad._data[...] += values[i]
                edge.grad._version[0] += 1
        elif edge in self.wanted:
            if self.wanted[edge] is None:
                self.wanted[edge] = _own(values, i)
            else:
                _add(self.wanted, edge, values, i)

    def run(self) -> None:
        heap, pending, deliver = self.heap, self.pending, self.deliver
        while heap:
            node = heapq.heappop(heap)[1]
            _check(node)
            if node.retained is not None or self.wanted is not None:
                self.keep(node)
            edges = node.edges
            # The gradient is handed over, not held here: a backward that passes it on passes on the only reference.
            values = node.backward(
                node,
                pending.pop(node) if node.outputs == 1 else [pending.pop((node, k), None) for k in range(node.outputs)],
            )
            if not self.retain_graph:
                node.saved, node.edges, node.checks = _FREED, (), ()
            for i, edge in enumerate(edges):
                if edge is not None and values[i] is not None:
                    if isinstance(values[i], np.generic):  # NumPy's result of arithmetic on arrays without axes
                        values = tuple([np.asarray(v) if isinstance(v, np.generic) else v for v in values])
                    deliver(edge, values, i)
            del values

    def keep(self, node: Node) -> None:
        """Copies what flows into a node that retain_grad() or fa.grad asks for."""
        if self.wanted is None:
            for index, reference in node.retained or ():
                tensor = reference()
                key = node if node.outputs == 1 else (node, index)
                if tensor is not None and key in self.pending:
                    before = 0 if tensor.grad is None else tensor.grad._data
                    tensor.grad = wrap(self.pending[key] + before)
            return
        for index in range(node.outputs):
            key = node if node.outputs == 1 else (node, index)
            if key in self.wanted and key in self.pending:
                self.wanted[key] = self.pending[key].copy()


def _check(node: Node) -> None:
    if node.saved is _FREED:
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


def seed_gradient(name: str, tensor: Base, gradient: Any) -> Array:
    """The gradient to start from: the caller's, or 1 for a scalar."""
    data = tensor._data
    if not tensor._requires_grad:
        msg = f"{name}: the tensor does not require a gradient, nor does anything it was computed from"
        raise RuntimeError(msg)
    if gradient is None:
        if data.size != 1:
            msg = f"{name}: the gradient of a tensor of shape {data.shape} has to be given; only a scalar's is 1"
            raise RuntimeError(msg)
        return array_module(data).ones_like(data)
    given = gradient._data if isinstance(gradient, Base) else gradient
    if getattr(given, "shape", None) != data.shape:
        msg = f"{name}: the gradient has shape {getattr(given, 'shape', ())}; expected {data.shape}, that of the tensor"
        raise RuntimeError(msg)
    if given.dtype != data.dtype:
        msg = f"{name}: the gradient has dtype {given.dtype}; expected {data.dtype}, that of the tensor"
        raise TypeError(msg)
    return given


def walk(
    starts: Sequence[tuple[Base, Array]], retain_graph: bool, wanted: dict[Any, Array | None] | None = None
) -> None:
    """Sends gradients from some tensors back to the leaves, or to what is `wanted`."""
    state = _Walk(retain_graph, wanted)
    # Gradients of inf and NaN are results like others, as they are in the kernels.
    with np.errstate(all="ignore"):
        for tensor, gradient in starts:
            state.deliver(edge_of(tensor), [gradient], 0)
        state.run()


def target_of(tensor: Base) -> Any:
    """The key of a tensor in `wanted`."""
    node = tensor._node
    if node is None:
        return tensor
    return (node.node, node.index) if isinstance(node, Slot) else node
