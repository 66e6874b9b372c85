"""Views and rearrangements of tensors: what changes where elements are, not what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import arithmetic
from .node import (
    Array,
    Base,
    Node,
    array_module,
    kind_of,
    record,
    wrap,
    wrap_view,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .tensor import Tensor


def ints(args: tuple[Any, ...]) -> tuple[int, ...]:
    """(2, 3) from f(2, 3), f((2, 3)) or f([2, 3])."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        return tuple(args[0])
    return tuple(args)


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


def _roll_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    return (array_module(dout).roll(dout, *node.saved),)


def _diagonal_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    shape, offset, a, b = node.saved
    dx = kind_of(dout).zeros(shape, dout.dtype, dout)
    at = array_module(dout).arange(dout.shape[-1])
    view = array_module(dout).moveaxis(dx, (a, b), (-2, -1))
    view[..., at + max(-offset, 0), at + max(offset, 0)] = dout
    return (dx,)


def _diag_embed_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    return (dout[node.saved],)


def _unfold_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    shape, d, size, step = node.saved
    dx = kind_of(dout).zeros(shape, dout.dtype, dout)
    for i in range(size):  # each element of all windows at once: those never overlap
        dx[(slice(None),) * d + (slice(i, i + step * dout.shape[d], step),)] += dout[..., i]
    return (dx,)


def _mask_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    xp = array_module(dout)
    keep, diagonal = node.saved
    return (getattr(xp, keep)(dout, diagonal),)


class Shaping(Base):
    """Methods that make views, or rearrange."""

    __slots__ = ()

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape: a view where strides allow it, else a copy. -1 stands for the rest."""
        x, wanted = self._data, ints(shape)
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
        x, order = self._data, ints(dims)
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

    def movedim(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        """A view with an axis, or several, moved."""
        ndim = self._data.ndim
        froms, tos = ([n] if isinstance(n, int) else n for n in (source, destination))
        moves = {axis_of("movedim", t, ndim): axis_of("movedim", f, ndim) for f, t in zip(froms, tos, strict=True)}
        others = iter([d for d in range(ndim) if d not in moves.values()])
        return self.permute([moves[d] if d in moves else next(others) for d in range(ndim)])

    moveaxis = movedim

    @property
    def T(self) -> Tensor:
        """A view with the axes reversed."""
        return self.permute(*range(self._data.ndim - 1, -1, -1))

    @property
    def H(self) -> Tensor:
        """The transpose of a matrix."""
        return self.t()

    @property
    def mT(self) -> Tensor:
        """A view with the last two axes swapped."""
        return self.transpose(-2, -1)

    mH = mT

    def adjoint(self) -> Tensor:
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

    def ravel(self) -> Tensor:
        """All elements in a row."""
        return self.reshape(-1)

    def unsqueeze(self, dim: int) -> Tensor:
        """With a new axis of length 1."""
        shape = self._data.shape
        d = axis_of("unsqueeze", dim, len(shape) + 1)
        return self.reshape(*shape[:d], 1, *shape[d:])

    def expand(self, *sizes: Any) -> Tensor:
        """A read-only view that repeats axes of length 1; -1 keeps a length."""
        x, wanted = self._data, ints(sizes)
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
        counts = ints(repeats)
        shape = (1,) * (len(counts) - self._data.ndim) + self._data.shape
        wide = self.reshape([m for n in shape for m in (1, n)])
        wide = wide.expand([m for c, n in zip(counts, shape, strict=True) for m in (c, n)])
        return wide.reshape([c * n for c, n in zip(counts, shape, strict=True)])

    def tile(self, *dims: Any) -> Tensor:
        """`repeat`, for fewer numbers than axes too: those missing in front are 1."""
        counts = ints(dims)
        return self.repeat((1,) * (self._data.ndim - len(counts)) + tuple(counts))

    def repeat_interleave(self, repeats: Any, dim: int | None = None, *, output_size: int | None = None) -> Tensor:
        """Each element, or each slice along an axis, `repeats` times in a row; the flattened tensor without an axis."""
        a: Any = self if dim is not None else self.reshape(-1)
        d = axis_of("repeat_interleave", dim or 0, a.ndim)
        counts = repeats._data if isinstance(repeats, Base) else repeats
        xp = array_module(a._data)
        return a.index_select(d, wrap(xp.repeat(xp.arange(a.shape[d]), counts)))  # type: ignore[no-any-return]

    def roll(self, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
        """Moved along axes, what leaves at an end enters at the other; the flattened tensor without axes."""
        axes = dims if dims is None or isinstance(dims, int) else tuple(dims)
        by = shifts if isinstance(shifts, int) else tuple(shifts)
        out = wrap(array_module(self._data).roll(self._data, by, axes))
        back = -by if isinstance(by, int) else tuple([-n for n in by])
        return record("roll", out, (self,), _roll_backward, (back, axes))

    def rot90(self, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
        """Turned by k times 90 degrees, from the first of two axes towards the second."""
        a, b = dims
        turned = (self, self.flip(b).transpose(a, b), self.flip(a, b), self.transpose(a, b).flip(b))
        return turned[k % 4]  # type: ignore[return-value]

    def flip(self, *dims: Any) -> Tensor:
        """A view with the order along some axes reversed."""
        axes = tuple(axis_of("flip", d, self._data.ndim) for d in ints(dims))
        return _view("flip", self, array_module(self._data).flip(self._data, axes), _flip_backward, axes)

    def fliplr(self) -> Tensor:
        """A view with the columns reversed."""
        return self.flip(1)

    def flipud(self) -> Tensor:
        """A view with the rows reversed."""
        return self.flip(0)

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        """A read-only view of the diagonal of two axes, as the last axis."""
        a, b = axis_of("diagonal", dim1, self._data.ndim), axis_of("diagonal", dim2, self._data.ndim)
        return _view(
            "diagonal", self, self._data.diagonal(offset, a, b), _diagonal_backward, (self.shape, offset, a, b)
        )

    def diag(self, diagonal: int = 0) -> Tensor:
        """The diagonal of a matrix; a matrix with a vector on its diagonal."""
        if self._data.ndim > 2 or not self._data.ndim:
            msg = f"diag: shape is {self._data.shape}; expected 1 axis or 2"
            raise ValueError(msg)
        return self.diagonal(diagonal) if self._data.ndim == 2 else self.diag_embed(diagonal)

    def diag_embed(self, offset: int = 0) -> Tensor:
        """Matrices with the last axis on their diagonal."""
        x = self._data
        n = x.shape[-1] + abs(offset)
        at = array_module(x).arange(x.shape[-1])
        index = (..., at + max(-offset, 0), at + max(offset, 0))
        data = kind_of(x).zeros((*x.shape[:-1], n, n), x.dtype, x)
        data[index] = x
        return record("diag_embed", wrap(data), (self,), _diag_embed_backward, index)

    def unfold(self, dimension: int, size: int, step: int) -> Tensor:
        """A read-only view of windows of an axis, `step` apart; their elements are the last axis."""
        x = self._data
        d = axis_of("unfold", dimension, x.ndim)
        if not 0 <= size <= x.shape[d] or step < 1:
            msg = f"unfold: size {size} and step {step} do not fit axis {d} of length {x.shape[d]}"
            raise ValueError(msg)
        windows = array_module(x).lib.stride_tricks.sliding_window_view(x, size, d)
        key = (slice(None),) * d + (slice(None, None, step),)
        return _view("unfold", self, windows[key], _unfold_backward, (x.shape, d, size, step))

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

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie in order."""
        return bool(self._data.flags.c_contiguous)

    def __iter__(self) -> Iterator[Tensor]:
        if not self._data.ndim:
            msg = "iteration over a tensor without axes"
            raise TypeError(msg)
        return iter(self.unbind())
