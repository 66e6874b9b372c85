"""The kind of array that a Tensor is to the ops: runs an op on the arrays below, and records it for the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy import ndarray

from fastattn.ops import _kinds

from .node import Array, Base, Node, Slot, edge_of, mode, wrap

if TYPE_CHECKING:
    from fastattn.ops._kinds import Kind
    from fastattn.ops._op import Op


def _op_backward(node: Node, dout: Any) -> tuple[Array | None, ...]:
    op, kind, saved, attrs, needs = node.saved
    return op.backward(kind, saved, attrs, (dout,) if node.outputs == 1 else tuple(dout), needs)  # type: ignore[no-any-return]


class TensorKind(_kinds.Kind):
    name = "tensor"

    def empty(self, shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
        return wrap(_below(like._data).empty(shape, dtype, like._data))

    def zeros(self, shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
        return wrap(_below(like._data).zeros(shape, dtype, like._data))

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
        data = tuple([a._data if isinstance(a, Base) else a for a in arrays])
        below = _kinds.NUMPY if type(data[0]) is ndarray else _below(data[0])
        recording = False
        if mode.enabled:
            for name, a in zip(op.arrays, arrays, strict=True):
                if isinstance(a, Base) and a._requires_grad and name in op.differentiable:
                    recording = True
                    break
        if out is not None:
            if recording:
                msg = f"{op.name}: out= cannot be recorded for gradients; leave it out, or call under fa.no_grad()"
                raise RuntimeError(msg)
            return self._run_into(op, data, attrs, out, below)
        outs = below.allocate(op, data, attrs, None, saving=recording)
        op.forward(data, attrs, outs)
        public = op.public(attrs)
        results = [None if o is None else wrap(o) for o in outs[:public]]
        if recording:
            _record(op, arrays, data, attrs, outs, results, below)
        return results[0] if public == 1 else tuple(results)

    def _run_into(self, op: Op, data: tuple[Array, ...], attrs: tuple[Any, ...], out: Array, below: Kind) -> Any:
        target = out._data if isinstance(out, Base) else out
        outs = below.allocate(op, data, attrs, target, saving=False)
        op.forward(data, attrs, outs)
        if isinstance(out, Base):
            out._version[0] += 1
        public = op.public(attrs)
        return out if public == 1 else (out, *[None if o is None else wrap(o) for o in outs[1:public]])


def _below(array: Array) -> Kind:
    return _kinds.kind_of("Tensor", ("data",), (array,))


def _record(
    op: Op,
    arrays: tuple[Array, ...],
    data: tuple[Array, ...],
    attrs: tuple[Any, ...],
    outs: tuple[Array | None, ...],
    results: list[Any],
    below: Kind,
) -> None:
    edges = tuple(
        [
            edge_of(a) if isinstance(a, Base) and name in op.differentiable else None
            for name, a in zip(op.arrays, arrays, strict=True)
        ]
    )
    saved = op.saved(data, attrs, outs)
    # The tensors whose arrays are kept: changing them in place later would make the gradient wrong.
    checks = []
    for kept in saved:
        if kept is not None:
            for a in arrays:
                if isinstance(a, Base) and a._data is kept:
                    checks.append((a._version, a._version[0]))
                    break
            else:
                for result in results:
                    if result is not None and result._data is kept:
                        checks.append((result._version, 0))
    needs = tuple([e is not None for e in edges])
    node = Node(op.name, edges, _op_backward, (op, below, saved, attrs, needs), tuple(checks), len(results))
    for i, result in enumerate(results):
        if result is not None:
            result._node = node if len(results) == 1 else Slot(node, i)
            result._requires_grad = True
