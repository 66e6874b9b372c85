"""The kind of array that a Tensor is to the ops: runs an op on the arrays below, and records it for the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn.ops import _kinds

from .autocast import cast_arguments
from .node import LARGE, Array, Base, Edge, Node, Slot, check, kind_of, mode, wrap

if TYPE_CHECKING:
    from fastattn.ops._kinds import Kind
    from fastattn.ops._op import Op


class Again:
    """What it takes to compute the output of a node once more: a norm's or an activation's costs little, and often only
    the next product reads it. Then the Node stands among the arrays which that product saves."""

    __slots__ = ("output", "source")

    def __init__(self, source: tuple[Array | None, ...]) -> None:
        self.source = source
        self.output: Array | None = None  # for all who ask, until the node's own turn in the walk


def _op_backward(node: Node, dout: Any) -> tuple[Array | None, ...]:
    op, kind, saved, attrs, needs = node.saved
    if node.again is not None:
        node.again.output = None
    return op.backward(kind, saved, attrs, (dout,) if node.outputs == 1 else tuple(dout), needs)  # type: ignore[no-any-return]


def _op_backward_again(node: Node, dout: Any) -> tuple[Array | None, ...]:
    """Of a node that has Nodes among what it saved."""
    op, kind, saved, attrs, needs = node.saved
    arrays = tuple([_computed(kept) if type(kept) is Node else kept for kept in saved])
    if node.again is not None:
        node.again.output = None
    return op.backward(kind, arrays, attrs, (dout,) if node.outputs == 1 else tuple(dout), needs)  # type: ignore[no-any-return]


def _computed(node: Node) -> Array:
    check(node)
    again: Again = node.again
    if again.output is None:
        op, kind, _, attrs, _ = node.saved
        again.output = op.again(kind, again.source, attrs)
    return again.output


class TensorKind(_kinds.Kind):
    name = "tensor"

    def empty(self, shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
        return wrap(kind_of(like._data).empty(shape, dtype, like._data))

    def zeros(self, shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
        return wrap(kind_of(like._data).zeros(shape, dtype, like._data))

    def accumulator(self, dtype: Any) -> Any:
        return _kinds.NUMPY.accumulator(dtype)

    def contiguous(self, array: Array) -> Array:
        return array.contiguous()

    def classes_last(self, array: Array) -> Array:
        return array.movedim(1, -1).contiguous()

    def raw(self, array: Array) -> Array:
        return array._data

    def mutated(self, array: Array) -> None:
        array._version[0] += 1

    def run(self, op: Op, arrays: tuple[Array, ...], attrs: tuple[Any, ...], out: Array | None) -> Any:
        if mode.autocast is not None:
            arrays = cast_arguments(op, arrays)
        wanted = False
        below_arrays: list[Array] = []
        for a in arrays:
            if a is not None and isinstance(a, Base):
                below_arrays.append(a._data)
                wanted = wanted or a._requires_grad
            else:
                below_arrays.append(a)
        data = tuple(below_arrays)
        edges = _edges(op, arrays) if wanted and mode.enabled else None
        below = kind_of(data[0])
        if out is not None:
            if edges is not None:
                msg = f"{op.name}: out= cannot be recorded for gradients; leave it out, or call under fa.no_grad()"
                raise RuntimeError(msg)
            return self._run_into(op, data, attrs, out, below)
        outs = below.allocate(op, data, attrs, None, saving=edges is not None)
        op.forward(data, attrs, outs)
        public = op.public(attrs)
        results = [wrap(outs[0])] if public == 1 else [None if o is None else wrap(o) for o in outs[:public]]
        if edges is not None:
            _record(op, arrays, data, attrs, outs, results, edges, below)
        return results[0] if public == 1 else tuple(results)

    def _run_into(self, op: Op, data: tuple[Array, ...], attrs: tuple[Any, ...], out: Array, below: Kind) -> Any:
        target = out._data if isinstance(out, Base) else out
        outs = below.allocate(op, data, attrs, target, saving=False)
        op.forward(data, attrs, outs)
        if isinstance(out, Base):
            _kinds.mutated([out])
        public = op.public(attrs)
        return out if public == 1 else (out, *[None if o is None else wrap(o) for o in outs[1:public]])


def _edges(op: Op, arrays: tuple[Array, ...]) -> tuple[Edge, ...] | None:
    """Where the gradient of each array will go; None where none has one."""
    recording = False
    edges: list[Edge] = []
    for name, a in zip(op.arrays, arrays, strict=True):
        edge = None
        if isinstance(a, Base) and a._requires_grad and name in op.differentiable:
            edge = a if a._node is None else a._node
            recording = True
        edges.append(edge)
    return tuple(edges) if recording else None


def _record(
    op: Op,
    arrays: tuple[Array, ...],
    data: tuple[Array, ...],
    attrs: tuple[Any, ...],
    outs: tuple[Array | None, ...],
    results: list[Any],
    edges: tuple[Edge, ...],
    below: Kind,
) -> None:
    saved = op.saved(data, attrs, outs)
    # The tensors whose arrays are kept: changing them in place later would make the gradient wrong.
    checks = []
    backward = _op_backward
    for k, kept in enumerate(saved):
        if kept is not None:
            for tensor in (*arrays, *results):
                if isinstance(tensor, Base) and tensor._data is kept:
                    version = tensor._version
                    checks.append((version, version[0]))
                    if type(tensor._node) is Node and tensor._node.again is not None and version[0] == 0:
                        saved, backward = (*saved[:k], tensor._node, *saved[k + 1 :]), _op_backward_again
                    break
    needs = tuple([edge is not None for edge in edges])
    node = Node(op.name, edges, backward, (op, below, saved, attrs, needs), tuple(checks), len(results))
    if outs[0] is not None and outs[0].nbytes >= LARGE:
        source = op.source(data, attrs, outs)
        # Not from what is computed again itself: one op, however long the chain.
        if source is not None and all(a is None or any(a is kept for kept in saved) for a in source):
            node.again = Again(source)
    for i, result in enumerate(results):
        if len(results) == 1:
            result._node, result._requires_grad = node, True
        elif result is not None and result._data.dtype.kind != "i":  # indices have no gradient
            result._node, result._requires_grad = Slot(node, i), True
