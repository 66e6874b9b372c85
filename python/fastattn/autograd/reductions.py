"""Sums, means and extremes of tensors over axes. `dim` and `axis`, `keepdim` and `keepdims` are the same arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn.ops.sum import sum_over

from . import arithmetic
from .convert import is_float
from .node import Array, Base, Node, array_module, kind_of, record, wrap
from .shape import axis_of, either
from .sorting import pick

if TYPE_CHECKING:
    from .tensor import Tensor

Axes = int | Sequence[int] | None


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


def _cumsum_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    xp = array_module(dout)
    return (xp.flip(xp.flip(dout, node.saved).cumsum(node.saved, dtype=dout.dtype), node.saved),)


def _cumprod_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    # The sum over later products of dout * product / x; where x has a 0 the product of the others, one by one.
    x, axis = node.saved
    xp = array_module(dout)

    def later(y: Array) -> Array:
        return xp.flip(xp.flip(y, axis).cumsum(axis, dtype=dout.dtype), axis)

    if (x != 0).all():
        return (later(dout * x.cumprod(axis)) / x,)
    dx = xp.zeros_like(dout)
    for i in range(x.shape[axis]):
        at = (slice(None),) * axis + (slice(i, i + 1),)
        others = x.copy()
        others[at] = 1
        tail = (slice(None),) * axis + (slice(i, None),)
        dx[at] = (dout * others.cumprod(axis))[tail].sum(axis, keepdims=True)
    return (dx,)


def _norm_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    x, out, p = node.saved
    xp = array_module(dout)
    slope = xp.sign(x) if p == 1 else x / out if p == 2 else xp.sign(x) * (xp.abs(x) / out) ** (p - 1)
    return (xp.where(out == 0, 0, slope * dout.reshape(out.shape)).astype(dout.dtype),)


def _std_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    out = node.saved
    return (array_module(out).where(out == 0, 0, dout / (2 * out)).astype(dout.dtype),)


STD = arithmetic.Unary("std", np.sqrt, _std_backward, from_out=True)


def _cast(a: Any, dtype: Any) -> Any:
    return a if dtype is None else a.to(dtype)


def _running(name: str, a: Base, dim: int | None, axis: int | None, backward: Any) -> Tensor:
    found = either(name, dim, axis, "dim and axis", None)
    if found is None:
        msg = f"{name}: dim is missing; pass the axis to go along"
        raise TypeError(msg)
    x = a._data
    d = axis_of(name, found, x.ndim)
    out = getattr(x, name)(d, dtype=None if x.dtype.kind in "biu" else x.dtype)
    if name == "cumsum":
        return record(name, wrap(out), (a,), backward, d)
    return record(name, wrap(out), (a,), backward, (x, d), (a,))


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
    return pick(name, a, where, d, keep)


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
        self,
        dim: Axes = None,
        keepdim: bool | None = None,
        *,
        dtype: Any = None,
        axis: Axes = None,
        keepdims: bool | None = None,
    ) -> Tensor:
        """The sum over axes, all by default; of the elements as `dtype`."""
        return _cast(self, dtype)._total("sum", dim, axis, keepdim, keepdims)  # type: ignore[no-any-return]

    def mean(
        self,
        dim: Axes = None,
        keepdim: bool | None = None,
        *,
        dtype: Any = None,
        axis: Axes = None,
        keepdims: bool | None = None,
    ) -> Tensor:
        """The mean over axes, all by default; NaN of nothing."""
        return _cast(self, dtype)._total("mean", dim, axis, keepdim, keepdims)  # type: ignore[no-any-return]

    def nansum(self, dim: Axes = None, keepdim: bool | None = None) -> Tensor:
        """The sum of the elements that are not NaN."""
        nan = self.isnan()
        return self.masked_fill(nan, 0).sum(dim, keepdim)  # type: ignore[no-any-return]

    def nanmean(self, dim: Axes = None, keepdim: bool | None = None) -> Tensor:
        """The mean of the elements that are not NaN."""
        nan = self.isnan()
        return self.nansum(dim, keepdim) / (~nan).sum(dim, keepdim)  # type: ignore[no-any-return]

    def count_nonzero(self, dim: Axes = None) -> Tensor:
        """How many elements are not 0."""
        return self.ne(0).sum(dim)  # type: ignore[no-any-return]

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
        out = sum_over(x, axes, keep, mean)
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
        """Standard deviation over axes: the root of `var`; gradient 0 where that is 0."""
        return STD(self.var(dim, unbiased, keepdim, correction=correction, axis=axis, keepdims=keepdims))

    def var_mean(
        self, dim: Axes = None, unbiased: bool | None = None, keepdim: bool | None = None, *, correction: Any = None
    ) -> tuple[Tensor, Tensor]:
        """(var, mean) over axes."""
        return self.var(dim, unbiased, keepdim, correction=correction), self.mean(dim, keepdim)

    def std_mean(
        self, dim: Axes = None, unbiased: bool | None = None, keepdim: bool | None = None, *, correction: Any = None
    ) -> tuple[Tensor, Tensor]:
        """(std, mean) over axes."""
        return self.std(dim, unbiased, keepdim, correction=correction), self.mean(dim, keepdim)

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

    def aminmax(self, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
        """(amin, amax) over an axis, or all."""
        return self.amin(dim, keepdim), self.amax(dim, keepdim)

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

    def prod(self, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
        """The product of all elements, or along an axis."""
        a: Any = _cast(self, dtype)
        a = a.reshape(-1) if dim is None else a
        d = axis_of("prod", 0 if dim is None else dim, a._data.ndim)
        out = record("prod", wrap(a._data.prod(d)), (a,), _prod_backward, (a._data, d), (a,))
        return out.unsqueeze(d) if keepdim and dim is not None else out

    def cumsum(self, dim: int | None = None, *, dtype: Any = None, axis: int | None = None) -> Tensor:
        """Running sums along an axis."""
        return _running("cumsum", _cast(self, dtype), dim, axis, _cumsum_backward)

    def cumprod(self, dim: int | None = None, *, dtype: Any = None, axis: int | None = None) -> Tensor:
        """Running products along an axis."""
        return _running("cumprod", _cast(self, dtype), dim, axis, _cumprod_backward)

    def diff(self, n: int = 1, dim: int = -1) -> Tensor:
        """Differences of neighbours along an axis, n times."""
        out: Any = self
        d = axis_of("diff", dim, self._data.ndim)
        for _ in range(n):
            length = max(out.shape[d] - 1, 0)
            out = out.narrow(d, out.shape[d] - length, length) - out.narrow(d, 0, length)
        return out  # type: ignore[no-any-return]

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

    def norm(self, p: Any = 2.0, dim: Axes = None, keepdim: bool | None = None, *, axis: Axes = None) -> Tensor:
        """The p-norm over axes; "fro" is 2, inf the largest absolute element, 0 the number that is not 0."""
        axes = _axes("norm", dim, axis, self._data.ndim)
        if not isinstance(p, (int, float)) and p not in ("fro", None):
            msg = f'norm: p is {p!r}; expected a number or "fro"'
            raise ValueError(msg)
        p = 2.0 if p in ("fro", None) else p
        a: Any = self
        if p == 0:
            return (a != 0).to(self._data.dtype).sum(axes, keepdim)  # type: ignore[no-any-return]
        if math.isinf(p):
            return a.abs().amax(axes, keepdim) if p > 0 else a.abs().amin(axes, keepdim)  # type: ignore[no-any-return]
        size = array_module(self._data).abs(self._data)
        total = (size if p == 1 else size * size if p == 2 else size**p).sum(axes, keepdims=True)
        out = total if p == 1 else total ** (1 / p)
        shape = out.shape if keepdim else tuple(n for i, n in enumerate(out.shape) if i not in axes)
        return record("norm", wrap(out.reshape(shape)), (self,), _norm_backward, (self._data, out, p), (self,))

    def dist(self, other: Tensor, p: float = 2) -> Tensor:
        """The p-norm of the difference."""
        return (self - other).norm(p)

    def renorm(self, p: float, dim: int, maxnorm: float) -> Tensor:
        """With the slices along an axis scaled so that the p-norm of each is at most `maxnorm`."""
        ndim = self._data.ndim
        norms = self.norm(p, [d for d in range(ndim) if d != axis_of("renorm", dim, ndim)], True)
        return self * arithmetic.where(norms > maxnorm, maxnorm / (norms + 1e-7), 1.0)  # type: ignore[no-any-return]
