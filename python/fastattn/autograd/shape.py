"""Views and rearrangements of tensors: what changes where elements are, not what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from . import arithmetic
from .indexing import getitem, setitem
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tensor import Tensor


def _ints(args: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) from f(2, 3), f((2, 3)) or f([2, 3])."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        return tuple(args[0])
    return args


def either(name: str, a: Any, b: Any, names: str, default: Any) -> Any:
    """The value of an argument that has two names."""
    if b is None:
        return default if a is None else a
    if a is not None:
        msg = f"{name}: {names} are the same argument; pass one of them"
        raise TypeError(msg)
    return b


def axis_of(name: str, axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim, name)
    return axis % ndim


def _shares(new: Array, old: Array) -> bool:
    base = new.base
    return new is old or base is old or (base is not None and base is old.base)


def _view(name: str, a: Base, data: Array, backward: Any, saved: Any) -> Tensor:
    return record(name, wrap_view(data, a), (a,), backward, saved)


def _reshape_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    return (dout.reshape(node.saved),)


def _permute_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    return (dout.transpose(node.saved),)


def _expand_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    return (arithmetic.sum_to(dout, node.saved),)


def _same_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    return (dout,)


def _flip_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    return (array_module(dout).flip(dout, node.saved),)


def _mask_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    xp = array_module(dout)
    keep, diagonal = node.saved
    return (getattr(xp, keep)(dout, diagonal),)


# Several inputs or outputs ------------------------------------------------------------------------------------------


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


class Shaping(Base):
    """Methods that make views, or rearrange."""

    __slots__ = ()

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape: a view where strides allow it, else a copy. -1 stands for the rest."""
        x, wanted = self._data, _ints(shape)
        try:
            data = x.reshape(wanted)
        except ValueError:
            msg = f"reshape: {x.size} elements of shape {x.shape} do not fit {wanted}"
            raise ValueError(msg) from None
        out = wrap_view(data, self) if _shares(data, x) else wrap(data)
        return record("reshape", out, (self,), _reshape_backward, x.shape)

    def view(self, *shape: Any) -> Tensor:
        """The same elements in another shape, never copied."""
        out = self.reshape(*shape)
        if out._data.size and out._version is not self._version:
            strides = f"strides {self._data.strides} of shape {self._data.shape}"
            msg = f"view: {strides} have no view as {out.shape}; use reshape"
            raise ValueError(msg)
        return out

    def view_as(self, other: Tensor) -> Tensor:
        """A view of the shape of `other`."""
        return self.view(other.shape)

    def reshape_as(self, other: Tensor) -> Tensor:
        """The same elements in the shape of `other`."""
        return self.reshape(other.shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Axes start_dim to end_dim as one."""
        shape = self._data.shape
        if not shape:
            return self.reshape(1)
        a, b = axis_of("flatten", start_dim, len(shape)), axis_of("flatten", end_dim, len(shape))
        return self.reshape(*shape[:a], math.prod(shape[a : b + 1]), *shape[b + 1 :])

    def unflatten(self, dim: int, sizes: Sequence[int]) -> Tensor:
        """One axis as several."""
        shape = self._data.shape
        d = axis_of("unflatten", dim, len(shape))
        return self.reshape(*shape[:d], *sizes, *shape[d + 1 :])

    def permute(self, *dims: Any) -> Tensor:
        """A view with the axes in another order."""
        x, order = self._data, _ints(dims)
        axes = tuple([axis_of("permute", d, x.ndim) for d in order])
        if sorted(axes) != list(range(x.ndim)):
            msg = f"permute: axes {order} for a tensor of {x.ndim}; expected each axis once"
            raise ValueError(msg)
        back = tuple(sorted(range(x.ndim), key=axes.__getitem__))
        return _view("permute", self, x.transpose(axes), _permute_backward, back)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """A view with two axes swapped."""
        x = self._data
        axes = list(range(x.ndim))
        a, b = axis_of("transpose", dim0, x.ndim), axis_of("transpose", dim1, x.ndim)
        axes[a], axes[b] = b, a
        return _view("transpose", self, x.transpose(axes), _permute_backward, axes)

    swapaxes = swapdims = transpose

    def movedim(self, source: int, destination: int) -> Tensor:
        """A view with one axis moved."""
        ndim = self._data.ndim
        axes = [d for d in range(ndim) if d != axis_of("movedim", source, ndim)]
        axes.insert(axis_of("movedim", destination, ndim), axis_of("movedim", source, ndim))
        return self.permute(axes)

    moveaxis = movedim

    @property
    def T(self) -> Tensor:
        """A view with the axes reversed."""
        return self.permute(*range(self._data.ndim - 1, -1, -1))

    @property
    def mT(self) -> Tensor:
        """A view with the last two axes swapped."""
        return self.transpose(-2, -1)

    def t(self) -> Tensor:
        """The transpose of a matrix; a vector as it is."""
        if self._data.ndim > 2:
            msg = f"t: shape {self._data.shape}; expected at most 2 axes. Use mT, or transpose(dim0, dim1)"
            raise ValueError(msg)
        return self.T

    def squeeze(self, dim: int | Sequence[int] | None = None) -> Tensor:
        """Without its axes of length 1, or without those of `dim` that have length 1."""
        shape = self._data.shape
        wanted = range(len(shape)) if dim is None else [dim] if isinstance(dim, int) else dim
        drop = {axis_of("squeeze", d, len(shape)) for d in wanted}
        return self.reshape([n for i, n in enumerate(shape) if n != 1 or i not in drop])

    def unsqueeze(self, dim: int) -> Tensor:
        """With a new axis of length 1."""
        shape = self._data.shape
        d = axis_of("unsqueeze", dim, len(shape) + 1)
        return self.reshape(*shape[:d], 1, *shape[d:])

    def expand(self, *sizes: Any) -> Tensor:
        """A read-only view that repeats axes of length 1; -1 keeps a length."""
        x, wanted = self._data, _ints(sizes)
        extra = len(wanted) - x.ndim
        shape = tuple(x.shape[i - extra] if n == -1 and i >= extra else n for i, n in enumerate(wanted))
        try:
            data = array_module(x).broadcast_to(x, shape)
        except ValueError:
            msg = f"expand: shape {x.shape} does not broadcast to {wanted}"
            raise ValueError(msg) from None
        return _view("expand", self, data, _expand_backward, x.shape)

    def expand_as(self, other: Tensor) -> Tensor:
        """Expanded to the shape of `other`."""
        return self.expand(other.shape)

    broadcast_to = expand

    def repeat(self, *repeats: Any) -> Tensor:
        """A copy, tiled `repeats` times along each axis."""
        counts = _ints(repeats)
        shape = (1,) * (len(counts) - self._data.ndim) + self._data.shape
        wide = self.reshape([m for n in shape for m in (1, n)])
        wide = wide.expand([m for c, n in zip(counts, shape, strict=True) for m in (c, n)])
        return wide.reshape([c * n for c, n in zip(counts, shape, strict=True)])

    def flip(self, *dims: Any) -> Tensor:
        """A view with the order along some axes reversed."""
        axes = tuple(axis_of("flip", d, self._data.ndim) for d in _ints(dims))
        return _view("flip", self, array_module(self._data).flip(self._data, axes), _flip_backward, axes)

    def tril(self, diagonal: int = 0) -> Tensor:
        """0 above a diagonal of the last two axes."""
        data = array_module(self._data).tril(self._data, diagonal)
        return record("tril", wrap(data), (self,), _mask_backward, ("tril", diagonal))

    def triu(self, diagonal: int = 0) -> Tensor:
        """0 below a diagonal of the last two axes."""
        data = array_module(self._data).triu(self._data, diagonal)
        return record("triu", wrap(data), (self,), _mask_backward, ("triu", diagonal))

    def contiguous(self) -> Tensor:
        """Itself if its elements lie in order, else a copy in which they do."""
        if self._data.flags.c_contiguous:
            return self  # type: ignore[return-value]
        return self.clone()

    def clone(self) -> Tensor:
        """A contiguous copy; the gradient flows through."""
        x = self._data
        data = kind_of(x).empty(x.shape, x.dtype, x)
        data[...] = x
        return record("clone", wrap(data), (self,), _same_backward, None)

    def is_contiguous(self) -> bool:
        """Whether the elements lie in order."""
        return bool(self._data.flags.c_contiguous)

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

    def gather(self, dim: int, index: Tensor) -> Tensor:
        """out[i][j] = self[index[i][j]][j] for dim 0, and so on; `index` has as many axes as self."""
        at = index._data
        d = axis_of("gather", dim, self._data.ndim)
        xp = array_module(at)
        grid: list[Any] = [
            xp.arange(n).reshape((1,) * i + (n,) + (1,) * (at.ndim - i - 1)) for i, n in enumerate(at.shape)
        ]
        grid[d] = at
        return getitem(self, tuple(grid))

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The slices `index` along an axis."""
        d = axis_of("index_select", dim, self._data.ndim)
        return getitem(self, (slice(None),) * d + (index,))

    def __getitem__(self, index: Any) -> Tensor:
        return getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        setitem(self, index, value)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Tensor]:
        if not self._data.ndim:
            msg = "iteration over a tensor without axes"
            raise TypeError(msg)
        return iter(unbind(self))
