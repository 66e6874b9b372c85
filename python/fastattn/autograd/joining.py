"""Joining tensors, and cutting them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from . import arithmetic
from .node import (
    LARGE,
    Array,
    Base,
    Node,
    Slot,
    array_module,
    edge_of,
    kind_of,
    mode,
    record,
    wrap,
    wrap_view,
)
from .shape import axis_of

if TYPE_CHECKING:
    from .tensor import Tensor


def _many(name: str, a: Base, outs: list[Tensor], backward: Any, saved: Any) -> tuple[Tensor, ...]:
    """Makes `outs` the outputs of one node."""
    if mode.enabled and a._requires_grad:
        node = Node(name, (edge_of(a),), backward, saved, (), len(outs))
        for i, out in enumerate(outs):
            out._node = Slot(node, i) if len(outs) > 1 else node
            out._requires_grad = True
    return tuple(outs)


def _split_backward(node: Node, douts: Any) -> tuple[Array, ...]:
    shape, keys = node.saved
    parts = douts if node.outputs > 1 else [douts]
    like = next(d for d in parts if d is not None)
    kind = kind_of(like)
    dx = kind.empty(shape, like.dtype, like)
    for key, part in zip(keys, parts, strict=True):
        dx[key] = 0 if part is None else part
    return (dx,)


def split(tensor: Base, split_size_or_sections: int | Sequence[int], dim: int = 0, *, axis: int | None = None) -> Any:
    """Cuts a tensor along an axis into views.

    Args:
        tensor: what to cut.
        split_size_or_sections: the length of a part (the last may be shorter), or the length of each.
        dim: the axis.
        axis: the same.

    Returns:
        A tuple of tensors that share its memory.

    Raises:
        ValueError: lengths that do not add up.

    Example:
        >>> import fastattn as fa
        >>> [part.shape for part in fa.split(fa.ones(5, 2), 2)]
        [(2, 2), (2, 2), (1, 2)]
    """
    a, x = tensor, tensor._data
    d = axis_of("split", dim if axis is None else axis, x.ndim)
    n, sizes = x.shape[d], split_size_or_sections
    if isinstance(sizes, int):
        if sizes <= 0:
            msg = f"split: size is {sizes}; expected a positive integer"
            raise ValueError(msg)
        sizes = [min(sizes, n - i) for i in range(0, n, sizes)] or [0]
    if sum(sizes) != n:
        msg = f"split: sizes {tuple(sizes)} add up to {sum(sizes)}; expected {n}, the length of axis {d}"
        raise ValueError(msg)
    keys, start = [], 0
    for size in sizes:
        keys.append((slice(None),) * d + (slice(start, start + size),))
        start += size
    return _many("split", a, [wrap_view(x[key], a) for key in keys], _split_backward, (x.shape, keys))


def unbind(a: Base, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, as a tuple."""
    x = a._data
    d = axis_of("unbind", dim, x.ndim)
    keys = [(slice(None),) * d + (i, ...) for i in range(x.shape[d])]
    if not keys:
        return ()
    return _many("unbind", a, [wrap_view(x[key], a) for key in keys], _split_backward, (x.shape, keys))


def _cat_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    return tuple([None if edge is None else dout[key] for edge, key in zip(node.edges, node.saved, strict=True)])


def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Joins tensors along an axis.

    Args:
        tensors: tensors of one shape except along that axis.
        dim: the axis.
        axis: the same.

    Returns:
        A new tensor.

    Raises:
        ValueError: no tensors, or other axes that differ.

    Example:
        >>> import fastattn as fa
        >>> fa.cat([fa.ones(1, 2), fa.zeros(2, 2)]).shape
        (3, 2)
    """
    if not tensors:
        msg = "cat: an empty list; expected at least one tensor"
        raise ValueError(msg)
    tensors = _one_dtype(tensors)
    arrays = [t._data for t in tensors]
    x = arrays[0]
    d = axis_of("cat", dim if axis is None else axis, x.ndim)
    for i, y in enumerate(arrays):
        if y.ndim != x.ndim or any(m != n for j, (m, n) in enumerate(zip(x.shape, y.shape, strict=True)) if j != d):
            msg = f"cat: tensor 0 is {x.shape} and tensor {i} is {y.shape}; expected equal axes except axis {d}"
            raise ValueError(msg)
    xp = array_module(x)
    if type(x) is ndarray and sum(y.nbytes for y in arrays) >= LARGE:
        shape = (*x.shape[:d], sum(y.shape[d] for y in arrays), *x.shape[d + 1 :])
        out = np.concatenate(arrays, d, out=kind_of(x).empty(shape, x.dtype, x))
    else:
        out = xp.concatenate(arrays, d)
    keys, start = [], 0
    for y in arrays:
        keys.append((slice(None),) * d + (slice(start, start + y.shape[d]),))
        start += y.shape[d]
    return record("cat", wrap(out), tensors, _cat_backward, keys)


def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Joins tensors of one shape along a new axis.

    Args:
        tensors: tensors of one shape.
        dim: where the new axis comes.
        axis: the same.

    Returns:
        A new tensor with one more axis.

    Raises:
        ValueError: no tensors, or shapes that differ.

    Example:
        >>> import fastattn as fa
        >>> fa.stack([fa.ones(2), fa.zeros(2)], dim=1).shape
        (2, 2)
    """
    if not tensors:
        msg = "stack: an empty list; expected at least one tensor"
        raise ValueError(msg)
    tensors = _one_dtype(tensors)
    for i, t in enumerate(tensors):
        if t.shape != tensors[0].shape:
            msg = f"stack: tensor 0 is {tensors[0].shape} and tensor {i} is {t.shape}; expected one shape"
            raise ValueError(msg)
    n = tensors[0].ndim + 1
    d = axis_of("stack", dim if axis is None else axis, n)
    out = array_module(tensors[0]._data).stack([t._data for t in tensors], d)
    keys = [(slice(None),) * d + (i, ...) for i in range(len(tensors))]
    return record("stack", wrap(out), tensors, _cat_backward, keys)


def _one_dtype(tensors: Sequence[Tensor]) -> list[Tensor]:
    found = [t if isinstance(t, Base) else wrap(np.asarray(t)) for t in tensors]
    dtype = found[0].dtype
    for t in found:
        if t.dtype != dtype:
            dtype = arithmetic._promoted(dtype, 1, t.dtype, 1)
    return [t.to(dtype) for t in found]


def _joined(axis: int, lift: int, doc: str, name: str) -> Any:
    """hstack and its like: cat along an axis, of tensors of at least some axes."""

    def function(tensors: Sequence[Tensor]) -> Tensor:
        raised = [t if t.ndim >= lift else atleast(t, lift) for t in tensors]
        return cat(raised, 0 if raised and raised[0].ndim == 1 else axis)

    function.__name__, function.__qualname__, function.__doc__ = name, name, doc
    return function


def atleast(tensor: Tensor, ndim: int) -> Tensor:
    """With axes of length 1 added as NumPy's atleast_1d, 2d and 3d add them."""
    while tensor.ndim < ndim:
        tensor = tensor.unsqueeze(-1 if tensor.ndim == 2 else 0)
    return tensor


def atleast_1d(tensor: Tensor) -> Tensor:
    """With at least one axis."""
    return atleast(tensor, 1)


def atleast_2d(tensor: Tensor) -> Tensor:
    """With at least two axes; new ones come first."""
    return atleast(tensor, 2)


def atleast_3d(tensor: Tensor) -> Tensor:
    """With at least three axes; the third comes last."""
    return atleast(tensor, 3)


concat = concatenate = cat
hstack = _joined(1, 1, "Joins tensors along their columns; vectors end to end.", "hstack")
vstack = row_stack = _joined(0, 2, "Joins tensors along their rows; a vector is a row.", "vstack")
dstack = _joined(2, 3, "Joins tensors along their third axis.", "dstack")


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Joins tensors along their columns; a vector is a column."""
    return cat([t if t.ndim > 1 else t.reshape(-1, 1) for t in tensors], 1)


def broadcast_tensors(*tensors: Tensor) -> list[Tensor]:
    """Views of the tensors, expanded to one shape."""
    shape = broadcast_shapes(*[t.shape for t in tensors])
    return [t.expand(shape) for t in tensors]


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that shapes broadcast to.

    Args:
        shapes: tuples of lengths.

    Raises:
        ValueError: they do not broadcast.

    Example:
        >>> import fastattn as fa
        >>> fa.broadcast_shapes((2, 1), (3,))
        (2, 3)
    """
    try:
        return np.broadcast_shapes(*[tuple(s) for s in shapes])
    except ValueError:
        msg = f"broadcast_shapes: {', '.join(str(tuple(s)) for s in shapes)} do not broadcast"
        raise ValueError(msg) from None


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid: of vectors of n_1, ..., n_k elements, k tensors of shape (n_1, ..., n_k).

    Args:
        tensors: vectors, or one list of them.
        indexing: "ij", or "xy": the first two axes swapped.

    Raises:
        ValueError: another `indexing`.

    Example:
        >>> import fastattn as fa
        >>> x, y = fa.meshgrid(fa.arange(2), fa.arange(3), indexing="ij")
        >>> y.tolist()
        [[0, 1, 2], [0, 1, 2]]
    """
    if indexing not in ("ij", "xy"):
        msg = f'meshgrid: indexing is {indexing!r}; expected "ij" or "xy"'
        raise ValueError(msg)
    vectors = list(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else list(tensors)
    k = len(vectors)
    grids = broadcast_tensors(*[v.reshape((1,) * i + (-1,) + (1,) * (k - i - 1)) for i, v in enumerate(vectors)])
    return tuple(grids) if indexing == "ij" or k < 2 else tuple([g.transpose(0, 1) for g in grids])


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of the elements of vectors, a row each."""
    grids = [g.reshape(-1) for g in meshgrid(*tensors, indexing="ij")]
    return grids[0] if len(grids) == 1 else stack(grids, 1)


def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with matrices along its diagonal, 0 elsewhere."""
    parts = [atleast(t, 2) for t in tensors]
    width = sum(t.shape[1] for t in parts)
    rows, start = [], 0
    for t in parts:
        n, m = t.shape
        rows.append(cat([t.new_zeros(n, start), t, t.new_zeros(n, width - start - m)], 1))
        start += m
    return cat(rows, 0)


class Cutting(Base):
    """Methods that cut a tensor into views."""

    __slots__ = ()

    def split(self, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Views of a size along an axis, or of the sizes listed."""
        return split(self, split_size, dim)  # type: ignore[no-any-return]

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` views of one size along an axis; the last may be smaller."""
        if chunks <= 0:
            msg = f"chunk: chunks is {chunks}; expected a positive integer"
            raise ValueError(msg)
        n = self._data.shape[axis_of("chunk", dim, self._data.ndim)]
        return split(self, max(1, -(-n // chunks)), dim)  # type: ignore[no-any-return]

    def unbind(self, dim: int = 0) -> tuple[Tensor, ...]:
        """The slices along an axis."""
        return unbind(self, dim)

    def tensor_split(self, indices_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Views of almost one size along an axis; or cut before the places listed."""
        n = self._data.shape[axis_of("tensor_split", dim, self._data.ndim)]
        if isinstance(indices_or_sections, int):
            k = indices_or_sections
            if k <= 0:
                msg = f"tensor_split: sections is {k}; expected a positive integer"
                raise ValueError(msg)
            return split(self, [n // k + (i < n % k) for i in range(k)], dim)  # type: ignore[no-any-return]
        keys, d = [], axis_of("tensor_split", dim, self._data.ndim)
        for start, stop in zip([0, *indices_or_sections], [*indices_or_sections, n], strict=True):
            keys.append((slice(None),) * d + (slice(start, stop),))
        return tuple([self[key] for key in keys])  # type: ignore[index]

    def split_with_sizes(self, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
        """Views of the sizes listed along an axis."""
        return split(self, split_sizes, dim)  # type: ignore[no-any-return]

    def hsplit(self, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
        """Cut along the columns; a vector along its one axis."""
        return self.tensor_split(indices_or_sections, 0 if self._data.ndim == 1 else 1)

    def vsplit(self, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
        """Cut along the rows."""
        return self.tensor_split(indices_or_sections, 0)

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """A view of `length` slices along an axis from `start` on."""
        n = self._data.shape[axis_of("narrow", dim, self._data.ndim)]
        first = start + n if start < 0 else start
        if not 0 <= first <= first + length <= n:
            msg = f"narrow: {length} slices from {start} on are outside axis {dim} of length {n}"
            raise ValueError(msg)
        return self[(slice(None),) * (dim % self._data.ndim) + (slice(first, first + length),)]  # type: ignore[index, no-any-return]

    def select(self, dim: int, index: int) -> Tensor:
        """A view of one slice along an axis."""
        d = axis_of("select", dim, self._data.ndim)
        return self[(slice(None),) * d + (index,)]  # type: ignore[index, no-any-return]
