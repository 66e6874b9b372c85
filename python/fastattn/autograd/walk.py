"""The walk back over the tape: from some tensors to the leaves that they were computed from."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from sys import getrefcount
from typing import Any

import numpy as np
from numpy import ndarray

from fastattn._runtime import mode as runtime
from fastattn.ops.binary import binary

from .hooks import Hooks
from .node import FREED, Array, Base, Edge, Node, Slot, array_module, check, edge_of, kind_of, no_grad, wrap

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


def add(table: dict[Any, Array], key: Any, values: Sequence[Array], i: int) -> None:
    """table[key] += values[i], changing no array that others hold. The sum is the same whichever of them is reused."""
    if _exclusive(table, key):
        _add_to(table[key], values[i])
        return
    old = table[key]
    if _exclusive(values, i) and values[i].flags.c_contiguous:
        _add_to(values[i], old)
        table[key] = values[i]
    else:
        total = binary(np.add, old, values[i])
        table[key] = np.asarray(total) if type(old) is ndarray else total


def _add_to(array: Array, values: Array) -> None:
    """array += values"""
    binary(np.add, array, values, array)


def _accumulate(leaf: Base, values: Sequence[Array], i: int) -> None:
    """leaf.grad += values[i]"""
    if leaf.grad is None:
        leaf.grad = wrap(_own(values, i))
    else:
        _add_to(leaf.grad._data, values[i])
        leaf.grad._version[0] += 1


def _replaced(result: Any, array: Array) -> Array:
    """What a hook of a gradient has returned, or the gradient as it was."""
    if result is None:
        return array
    new = result._data if isinstance(result, Base) else result
    if getattr(new, "shape", None) != array.shape or new.dtype != array.dtype:
        got = f"{new.dtype} of shape {new.shape}" if hasattr(new, "shape") else type(new).__name__
        msg = f"register_hook: the hook returned {got}; expected None, or {array.dtype} of shape {array.shape}"
        raise RuntimeError(msg)
    return new


def call_after(leaf: Base, hooks: Hooks) -> None:
    """The hooks that follow a leaf's gradient."""
    for hook in list(hooks.values()):
        with no_grad():
            hook(leaf)


# The walk -----------------------------------------------------------------------------------------------------------


class Walk:
    """One walk from some tensors back to the leaves, newest node first: when a node's turn comes, every gradient that
    flows into it has arrived. The order depends only on the order in which the ops ran."""

    def __init__(self, retain_graph: bool, wanted: dict[Any, Array | None] | None) -> None:
        self.retain_graph = retain_graph
        self.wanted = wanted  # fa.grad: from a leaf, node or (node, output) to its gradient; no leaf's .grad changes
        self.pending: dict[Any, Array] = {}
        self.heap: list[tuple[int, Node]] = []
        self.queued: set[Node] = set()  # nodes of several outputs
        self.held: dict[Base, None] = {}  # leaves with hooks: they get their gradient once, when all of it is there

    def deliver(self, edge: Edge, values: Sequence[Array], i: int) -> None:
        """Adds values[i] to what flows into `edge`."""
        kind = type(edge)
        if kind is Node:
            if edge in self.pending:
                add(self.pending, edge, values, i)
            else:
                self.pending[edge] = values[i]
                heapq.heappush(self.heap, (edge.sequence, edge))
        elif kind is Slot:
            key = (edge.node, edge.index)
            if key in self.pending:
                add(self.pending, key, values, i)
            else:
                self.pending[key] = values[i]
            if edge.node not in self.queued:
                self.queued.add(edge.node)
                heapq.heappush(self.heap, (edge.node.sequence, edge.node))
        elif hasattr(edge, "_hooks"):
            if edge in self.held:
                add(self.pending, edge, values, i)
            else:
                self.pending[edge] = values[i]
                self.held[edge] = None
        elif self.wanted is None:
            _accumulate(edge, values, i)
        elif edge in self.wanted:
            if self.wanted[edge] is None:
                self.wanted[edge] = _own(values, i)
            else:
                add(self.wanted, edge, values, i)

    def run(self) -> None:
        heap, pending, deliver = self.heap, self.pending, self.deliver
        while heap:
            node = heapq.heappop(heap)[1]
            check(node)
            if node.hooks is not None:
                for index, hooks in node.hooks.items():
                    self.call_hooks(node if node.outputs == 1 else (node, index), hooks)
            if node.retained is not None or self.wanted is not None:
                self.keep(node)
            edges = node.edges
            # The gradient is handed over, not held here: a backward that passes it on passes on the only reference.
            values = node.backward(
                node,
                pending.pop(node) if node.outputs == 1 else [pending.pop((node, k), None) for k in range(node.outputs)],
            )
            if not self.retain_graph:
                node.saved, node.edges, node.checks, node.again = FREED, (), (), None
            for i, edge in enumerate(edges):
                if edge is not None and values[i] is not None:
                    if isinstance(values[i], np.generic):  # NumPy's result of arithmetic on arrays without axes
                        values = tuple([np.asarray(v) if isinstance(v, np.generic) else v for v in values])
                    deliver(edge, values, i)
            del values
        for leaf in self.held:
            self.finish(leaf)

    def call_hooks(self, key: Any, hooks: Hooks) -> None:
        """Passes what flows into `key` through its hooks."""
        if key in self.pending:
            for hook in list(hooks.values()):
                with no_grad():
                    self.pending[key] = _replaced(hook(wrap(self.pending[key])), self.pending[key])

    def finish(self, leaf: Base) -> None:
        """The gradient of a leaf that has hooks."""
        before, after = leaf._hooks
        self.call_hooks(leaf, before)
        values = [self.pending.pop(leaf)]
        if self.wanted is None:
            _accumulate(leaf, values, 0)
            call_after(leaf, after)
        elif leaf in self.wanted:
            self.wanted[leaf] = _own(values, 0)

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
    """Sends gradients from some tensors back to the leaves, or to what is `wanted`. Within explain() the gradients are
    nothing's, and the graph stays to be walked."""
    if runtime.explaining:
        retain_graph, wanted = True, wanted or {}
    state = Walk(retain_graph, wanted)
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
