"""Order: sort, topk, median, quantiles, unique, and places in sorted sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastattn._device import CPU, move

from .node import Array, Base, Node, array_module, kind_of, record, wrap
from .shape import axis_of

if TYPE_CHECKING:
    from .tensor import Tensor


class Picked(NamedTuple):
    """Elements that were chosen along an axis, and where they were."""

    values: Tensor
    indices: Tensor


def pick_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    shape, where, axis = node.saved
    dx = kind_of(dout).zeros(shape, dout.dtype, dout)
    array_module(dout).put_along_axis(dx, where, dout.reshape(where.shape), axis)
    return (dx,)


def pick(name: str, a: Base, where: Array, axis: int, keepdim: bool = True) -> Picked:
    """The elements of `a` that `where` names along an axis (each place once)."""
    x = a._data
    values = array_module(x).take_along_axis(x, where, axis)
    shape = values.shape if keepdim else tuple(n for i, n in enumerate(values.shape) if i != axis)
    out = record(name, wrap(values.reshape(shape)), (a,), pick_backward, (x.shape, where, axis))
    return Picked(out, wrap(where.reshape(shape)))


def _order(x: Array, axis: int, descending: bool) -> Array:
    """Where the sorted elements are; of equal ones, the first comes first. NaN is larger than any number."""
    xp = array_module(x)
    if not descending:
        return xp.argsort(x, axis, kind="stable")
    return xp.flip(x.shape[axis] - 1 - xp.argsort(xp.flip(x, axis), axis, kind="stable"), axis)


def _flat(a: Any) -> Any:
    """A tensor without axes as one of one element."""
    return a.reshape(1) if not a._data.ndim else a


class Sorting(Base):
    """Methods about the order of elements."""

    __slots__ = ()

    def sort(self, dim: int = -1, descending: bool = False, stable: bool = True) -> Picked:
        """(values, indices) in order along an axis; equal elements stay in theirs, NaN counts as the largest."""
        a = _flat(self)
        d = axis_of("sort", dim, a._data.ndim)
        values, indices = pick("sort", a, _order(a._data, d, descending), d)
        return Picked(values.reshape(self._data.shape), indices.reshape(self._data.shape))

    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
        """Where the elements in order are, along an axis; see `sort`."""
        a = _flat(self)
        d = axis_of("argsort", dim, a._data.ndim)
        return wrap(_order(a._data, d, descending).reshape(self._data.shape))

    def msort(self) -> Tensor:
        """In order along the first axis."""
        return self.sort(0).values

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Picked:
        """(values, indices) of the k largest elements along an axis, or the smallest, the extreme first."""
        a = _flat(self)
        x = a._data
        d = axis_of("topk", dim, x.ndim)
        n = x.shape[d]
        if not 0 <= k <= n:
            msg = f"topk: k is {k}; expected 0 to {n}, the length of axis {d}"
            raise ValueError(msg)
        xp = array_module(x)
        if 8 * k < n:  # choose first: a full sort costs more
            parts = xp.argpartition(x, n - k if largest else k, d)
            found = xp.sort(xp.take(parts, xp.arange(n - k, n) if largest else xp.arange(k), d), d)
            order = _order(xp.take_along_axis(x, found, d), d, largest)
            return pick("topk", a, xp.take_along_axis(found, order, d), d)
        return pick("topk", a, xp.take(_order(x, d, largest), xp.arange(k), d), d)

    def kthvalue(self, k: int, dim: int = -1, keepdim: bool = False) -> Picked:
        """(values, indices) of the k-th smallest element along an axis, k from 1."""
        a = _flat(self)
        d = axis_of("kthvalue", dim, a._data.ndim)
        n = a._data.shape[d]
        if not 1 <= k <= n:
            msg = f"kthvalue: k is {k}; expected 1 to {n}, the length of axis {d}"
            raise ValueError(msg)
        where = np.take(_order(a._data, d, False), [k - 1], d)
        return pick("kthvalue", a, where, d, keepdim and bool(self._data.ndim))

    def median(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The median, of an even number the lower; along an axis (values, indices). NaN where there is one."""
        a: Any = self.reshape(-1) if dim is None else _flat(self)
        d = axis_of("median", dim or 0, a._data.ndim)
        n = a._data.shape[d]
        if not n:
            msg = f"median: axis {d} of shape {self._data.shape} has no elements"
            raise ValueError(msg)
        order = _order(a._data, d, False)
        last = np.take(order, [n - 1], d)
        nan = np.isnan(np.take_along_axis(a._data, last, d))
        found = pick("median", a, np.where(nan, last, np.take(order, [(n - 1) // 2], d)), d, keepdim)
        return found.values.reshape(()) if dim is None else found

    def quantile(
        self, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
    ) -> Tensor:
        """The values below which a part q (0 to 1; a number or a vector) of the elements lies."""
        if interpolation not in ("linear", "lower", "higher", "nearest", "midpoint"):
            msg = f"quantile: interpolation is {interpolation!r}; expected linear, lower, higher, nearest or midpoint"
            raise ValueError(msg)
        parts = np.asarray(move(q._data, CPU) if isinstance(q, Base) else q, dtype=np.float64)
        if ((parts < 0) | (parts > 1)).any():
            msg = f"quantile: q is {q}; expected 0 to 1"
            raise ValueError(msg)
        a: Any = self.reshape(-1) if dim is None else self
        d = axis_of("quantile", dim or 0, a._data.ndim)
        ordered = a.sort(d).values.movedim(d, 0)
        place = parts.reshape(-1) * (a._data.shape[d] - 1)
        rounded: dict[str, Any] = {"lower": np.floor, "higher": np.ceil, "nearest": np.round}
        place = rounded.get(interpolation, np.asarray)(place)
        low = np.floor(place).astype(np.int64)
        weight = np.where(place > low, 0.5, 0.0) if interpolation == "midpoint" else place - low
        weight = weight.astype(a._data.dtype).reshape(-1, *[1] * (a._data.ndim - 1))
        weight = wrap(move(weight, self.device))
        high = np.minimum(low + 1, a._data.shape[d] - 1)
        out = ordered[low].lerp(ordered[high], weight)
        if keepdim:
            out = out.reshape(-1, *[1] * self._data.ndim) if dim is None else out.unsqueeze(d + 1)
        return out if parts.ndim else out[0]  # type: ignore[no-any-return]

    def unique(
        self, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
    ) -> Any:
        """The different elements (or slices along an axis) in order; where each is among them, and how often."""
        options: Any = {"return_inverse": return_inverse, "return_counts": return_counts, "axis": dim}
        found: Any = np.unique(self._data, **options)
        if not isinstance(found, tuple):
            return wrap(found)
        values, *rest = found
        if return_inverse:
            rest[0] = rest[0].reshape(self._data.shape if dim is None else -1)
        return (wrap(values), *[wrap(r) for r in rest])

    def unique_consecutive(self, return_inverse: bool = False, return_counts: bool = False) -> Any:
        """The elements, flattened, each run of equal ones once; where each is among them, and how long the runs are."""
        x, xp = self._data.reshape(-1), array_module(self._data)
        first = xp.ones_like(x, np.bool_)
        first[1:] = x[1:] != x[:-1]
        starts = xp.flatnonzero(first)
        out = [wrap(x[starts])]
        if return_inverse:
            out.append(wrap((xp.cumsum(first) - 1).reshape(self._data.shape)))
        if return_counts:
            ends = xp.append(starts[1:], x.size) if x.size else starts
            out.append(wrap(ends - starts))
        return tuple(out) if len(out) > 1 else out[0]

    def bincount(self, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
        """How often each of the integers 0, 1, ... occurs in a vector, or the sum of its weights."""
        return wrap(np.bincount(self._data, None if weights is None else weights._data, minlength))

    def isin(self, test_elements: Any) -> Tensor:
        """Where elements are among others."""
        return wrap(np.isin(self._data, test_elements._data if isinstance(test_elements, Base) else test_elements))

    def bucketize(self, boundaries: Any, *, right: bool = False) -> Tensor:
        """In which of the intervals between sorted boundaries each element lies."""
        return searchsorted(boundaries, self, right=right)


def searchsorted(sorted_sequence: Any, values: Any, *, right: bool = False) -> Tensor:
    """Where in a sorted sequence values would go: before equal elements, after them with `right`.

    Args:
        sorted_sequence: a sorted vector, or one in each row of the shape of `values` but the last axis.
        values: a tensor or number.
        right: which end of equal elements.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import fastattn as fa
        >>> fa.searchsorted(fa.tensor([1, 3, 5]), fa.tensor([3, 4]))
        tensor([1, 2])
    """
    where = next((t.device for t in (sorted_sequence, values) if isinstance(t, Base)), CPU)
    edges, x = (t._data if isinstance(t, Base) else move(np.asarray(t), where) for t in (sorted_sequence, values))
    xp = array_module(edges)
    side: Any = "right" if right else "left"
    if edges.ndim == 1:
        return wrap(xp.searchsorted(edges, x, side))
    if edges.shape[:-1] != x.shape[:-1]:
        msg = (
            f"searchsorted: sequences of shape {edges.shape} and values of {x.shape}; expected equal axes but the last"
        )
        raise ValueError(msg)
    rows = zip(edges.reshape(-1, edges.shape[-1]), x.reshape(-1, x.shape[-1]), strict=True)
    return wrap(xp.stack([xp.searchsorted(e, v, side) for e, v in rows]).reshape(x.shape))
