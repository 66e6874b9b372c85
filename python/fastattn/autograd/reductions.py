"""Sums, means and extremes of tensors over axes. `dim` and `axis`, `keepdim` and `keepdims` are the same arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy import ndarray

from fastattn.ops.sum import sum_over

from . import arithmetic
from .convert import is_float
from .node import Array, Base, Node, array_module, kind_of, record, wrap
from .shape import axis_of, either

if TYPE_CHECKING:
    from .tensor import Tensor

Axes = int | Sequence[int] | None


class MinMax(NamedTuple):
    """What max and min over an axis return."""

    values: Tensor
    indices: Tensor


def _axes(name: str, dim: Axes, axis: Axes, ndim: int) -> tuple[int, ...]:
    """The axes to reduce, as positive integers; all of them by default."""
    found = either(name, dim, axis, "dim and axis", None)
    if found is None:
        return tuple(range(ndim))
    return tuple([axis_of(name, d, ndim) for d in ([found] if isinstance(found, int) else found)])


def _keep(name: str, keepdim: bool | None, keepdims: bool | None) -> bool:
    return bool(either(name, keepdim, keepdims, "keepdim and keepdims", False))


def _kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def _sum_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    # A real array, not a broadcast view: kernels and optimizers want elements that lie in order.
    shape, axes, scale = node.saved
    dx = kind_of(dout).empty(shape, dout.dtype, dout)
    dx[...] = (dout if scale == 1 else dout * scale).reshape(_kept_shape(shape, axes))
    return (dx,)


def _prod_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    # The product of the others, without dividing by an element that may be 0: of those before and of those after.
    x, axis = node.saved
    xp = array_module(x)
    ones = xp.ones_like(xp.take(x, xp.asarray([0]), axis))
    n = x.shape[axis]
    head = (slice(None),) * axis
    before = xp.cumprod(xp.concatenate([ones, x[(*head, slice(0, n - 1))]], axis), axis)
    after = xp.flip(xp.cumprod(xp.concatenate([ones, xp.flip(x, axis)[(*head, slice(0, n - 1))]], axis), axis), axis)
    return (xp.expand_dims(dout, axis) * before * after,)


def _extreme_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    x, out, axes = node.saved
    hits = x == out
    share = dout.reshape(out.shape) / hits.sum(axes, keepdims=True)  # ties share the gradient
    return ((hits * share).astype(dout.dtype),)


def _pick_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    shape, where, axis = node.saved
    dx = kind_of(dout).zeros(shape, dout.dtype, dout)
    array_module(dout).put_along_axis(dx, where, dout.reshape(where.shape), axis)
    return (dx,)


def _cumsum_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    xp = array_module(dout)
    return (xp.flip(xp.flip(dout, node.saved).cumsum(node.saved, dtype=dout.dtype), node.saved),)


def _extreme(name: str, a: Base, dim: Any, axis: Any, keepdim: bool | None, keepdims: bool | None) -> Any:
    """max and min: of everything, of a tensor and another, or values and indices along an axis."""
    if isinstance(dim, Base):
        return arithmetic.maximum(a, dim) if name == "max" else arithmetic.minimum(a, dim)
    x = a._data
    keep = _keep(name, keepdim, keepdims)
    if dim is None and axis is None:
        return _extremes(name, a, tuple(range(x.ndim)), keep)
    (d,) = _axes(name, dim, axis, x.ndim)
    if x.shape[d] == 0:
        msg = f"{name}: axis {d} of shape {x.shape} has no elements"
        raise ValueError(msg)
    xp = array_module(x)
    where = xp.expand_dims(x.argmax(d) if name == "max" else x.argmin(d), d)
    values = xp.take_along_axis(x, where, d)
    shape = values.shape if keep else (*x.shape[:d], *x.shape[d + 1 :])
    out = record(name, wrap(values.reshape(shape)), (a,), _pick_backward, (x.shape, where, d))
    return MinMax(out, wrap(where.reshape(shape)))


def _extremes(name: str, a: Base, axes: tuple[int, ...], keep: bool) -> Tensor:
    x = a._data
    if not x.size:
        msg = f"{name}: a tensor of shape {x.shape} has no elements"
        raise ValueError(msg)
    out = x.max(axes, keepdims=True) if "max" in name else x.min(axes, keepdims=True)
    shape = tuple([n for i, n in enumerate(out.shape) if keep or i not in axes])
    return record(name, wrap(out.reshape(shape)), (a,), _extreme_backward, (x, out, axes), (a,))


class Reductions(Base):
    """Methods that reduce over axes."""

    __slots__ = ()

    def sum(
        self, dim: Axes = None, keepdim: bool | None = None, *, axis: Axes = None, keepdims: bool | None = None
    ) -> Tensor:
        """The sum over axes, all by default."""
        return self._total("sum", dim, axis, keepdim, keepdims)

    def mean(
        self, dim: Axes = None, keepdim: bool | None = None, *, axis: Axes = None, keepdims: bool | None = None
    ) -> Tensor:
        """The mean over axes, all by default; NaN of nothing."""
        return self._total("mean", dim, axis, keepdim, keepdims)

    def _total(self, name: str, dim: Axes, axis: Axes, keepdim: bool | None, keepdims: bool | None) -> Tensor:
        x = self._data
        axes = _axes(name, dim, axis, x.ndim)
        keep, scale, mean = _keep(name, keepdim, keepdims), 1.0, name == "mean"
        if mean:
            if not is_float(x.dtype):
                msg = f"mean: dtype is {x.dtype}; expected a float. Call float() first"
                raise TypeError(msg)
            count = math.prod([x.shape[d] for d in axes])
            scale = 1.0 / count if count else math.nan
        if type(x) is ndarray:
            out = sum_over(x, axes, keep, mean)
        else:
            out = x.sum(axes, keepdims=keep) * scale if mean else x.sum(axes, keepdims=keep)
        return record(name, wrap(out), (self,), _sum_backward, (x.shape, axes, scale))

    def var(
        self,
        dim: Axes = None,
        unbiased: bool | None = None,
        keepdim: bool | None = None,
        *,
        correction: float | None = None,
        axis: Axes = None,
        keepdims: bool | None = None,
    ) -> Tensor:
        """Variance over axes, by default of n - 1; `correction` (0 or 1) or `unbiased` says otherwise."""
        axes = _axes("var", dim, axis, self._data.ndim)
        minus = either("var", correction, unbiased, "correction and unbiased", 1)
        count = math.prod([self._data.shape[d] for d in axes]) - float(minus)
        centred = self - self.mean(axes, True)
        total: Tensor = centred.square().sum(axes, _keep("var", keepdim, keepdims))
        return total * (1.0 / count if count > 0 else math.nan)

    def std(
        self,
        dim: Axes = None,
        unbiased: bool | None = None,
        keepdim: bool | None = None,
        *,
        correction: float | None = None,
        axis: Axes = None,
        keepdims: bool | None = None,
    ) -> Tensor:
        """Standard deviation over axes: the root of `var`."""
        return self.var(dim, unbiased, keepdim, correction=correction, axis=axis, keepdims=keepdims).sqrt()

    def max(
        self, dim: Any = None, keepdim: bool | None = None, *, axis: int | None = None, keepdims: bool | None = None
    ) -> Any:
        """The largest element (ties share its gradient); with an axis (values, indices), the first of ties."""
        return _extreme("max", self, dim, axis, keepdim, keepdims)

    def min(
        self, dim: Any = None, keepdim: bool | None = None, *, axis: int | None = None, keepdims: bool | None = None
    ) -> Any:
        """The smallest element (ties share its gradient); with an axis (values, indices), the first of ties."""
        return _extreme("min", self, dim, axis, keepdim, keepdims)

    def amax(
        self, dim: Axes = None, keepdim: bool | None = None, *, axis: Axes = None, keepdims: bool | None = None
    ) -> Tensor:
        """The largest element over axes; ties share its gradient."""
        return _extremes("amax", self, _axes("amax", dim, axis, self._data.ndim), _keep("amax", keepdim, keepdims))

    def amin(
        self, dim: Axes = None, keepdim: bool | None = None, *, axis: Axes = None, keepdims: bool | None = None
    ) -> Tensor:
        """The smallest element over axes; ties share its gradient."""
        return _extremes("amin", self, _axes("amin", dim, axis, self._data.ndim), _keep("amin", keepdim, keepdims))

    def argmax(
        self,
        dim: int | None = None,
        keepdim: bool | None = None,
        *,
        axis: int | None = None,
        keepdims: bool | None = None,
    ) -> Tensor:
        """Where the largest element is, the first of ties; of all elements in order, or along an axis."""
        d = either("argmax", dim, axis, "dim and axis", None)
        return wrap(self._data.argmax(d, keepdims=_keep("argmax", keepdim, keepdims)))

    def argmin(
        self,
        dim: int | None = None,
        keepdim: bool | None = None,
        *,
        axis: int | None = None,
        keepdims: bool | None = None,
    ) -> Tensor:
        """Where the smallest element is, the first of ties; of all elements in order, or along an axis."""
        d = either("argmin", dim, axis, "dim and axis", None)
        return wrap(self._data.argmin(d, keepdims=_keep("argmin", keepdim, keepdims)))

    def all(
        self, dim: Axes = None, keepdim: bool | None = None, *, axis: Axes = None, keepdims: bool | None = None
    ) -> Tensor:
        """Whether all elements are true."""
        axes = _axes("all", dim, axis, self._data.ndim)
        return wrap(self._data.all(axes, keepdims=_keep("all", keepdim, keepdims)))

    def any(
        self, dim: Axes = None, keepdim: bool | None = None, *, axis: Axes = None, keepdims: bool | None = None
    ) -> Tensor:
        """Whether any element is true."""
        axes = _axes("any", dim, axis, self._data.ndim)
        return wrap(self._data.any(axes, keepdims=_keep("any", keepdim, keepdims)))

    def prod(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The product of all elements, or along an axis."""
        a: Any = self.reshape(-1) if dim is None else self  # type: ignore[attr-defined]
        d = axis_of("prod", 0 if dim is None else dim, a._data.ndim)
        out = record("prod", wrap(a._data.prod(d)), (a,), _prod_backward, (a._data, d), (a,))
        return out.unsqueeze(d) if keepdim and dim is not None else out

    def cumsum(self, dim: int | None = None, *, axis: int | None = None) -> Tensor:
        """Running sums along an axis."""
        found = either("cumsum", dim, axis, "dim and axis", None)
        if found is None:
            msg = "cumsum: dim is missing; pass the axis to sum along"
            raise TypeError(msg)
        d = axis_of("cumsum", found, self._data.ndim)
        dtype = None if self._data.dtype.kind in "biu" else self._data.dtype
        return record("cumsum", wrap(self._data.cumsum(d, dtype=dtype)), (self,), _cumsum_backward, d)

    def logsumexp(
        self, dim: Axes = None, keepdim: bool | None = None, *, axis: Axes = None, keepdims: bool | None = None
    ) -> Tensor:
        """log(sum(exp(self))) over axes, without overflow."""
        axes = _axes("logsumexp", dim, axis, self._data.ndim)
        top = self._data.max(axes, keepdims=True)
        top = wrap(array_module(top).where(array_module(top).isfinite(top), top, 0).astype(self._data.dtype))
        out: Tensor = (self - top).exp().sum(axes, True).log() + top
        if _keep("logsumexp", keepdim, keepdims):
            return out
        return out.reshape([n for i, n in enumerate(self._data.shape) if i not in axes])

    def norm(self, p: float = 2.0, dim: Axes = None, keepdim: bool | None = None, *, axis: Axes = None) -> Tensor:
        """The 2-norm over axes, or the p-norm for a positive p."""
        axes = _axes("norm", dim, axis, self._data.ndim)
        a: Any = self
        if p == 2:
            return a.square().sum(axes, keepdim).sqrt()  # type: ignore[no-any-return]
        if p == math.inf:
            return a.abs().amax(axes, keepdim)  # type: ignore[no-any-return]
        return (a.abs() ** p).sum(axes, keepdim) ** (1.0 / p)  # type: ignore[no-any-return]
