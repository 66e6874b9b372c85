"""Reading and writing parts of a tensor: by brackets as NumPy has them, and by torch's gather, scatter and index_*."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from fastattn._device import move, where_is
from fastattn.ops._native import is_array

from . import arithmetic
from .node import Array, Base, Node, array_module, kind_of, mode, record, wrap, wrap_view
from .scatter import add_at, sum_at
from .shape import axis_of

if TYPE_CHECKING:
    from .tensor import Tensor


def _index(index: Any, x: Array) -> tuple[Any, bool]:
    """An index as the array `x` takes it, lists and arrays of the host moved to where that is; and whether it selects a
    view (integers and slices only)."""
    parts = index if isinstance(index, tuple) else (index,)
    basic = True
    found = []
    for part in parts:
        if isinstance(part, Base):
            part = part._data
        if isinstance(part, (ndarray, list)) or hasattr(part, "__array_namespace__"):
            if isinstance(part, list):
                part = np.asarray([p._data if isinstance(p, Base) else p for p in part])
                part = part.astype(np.intp) if part.size == 0 else part
            if part.ndim == 0 and part.dtype.kind in "iu":
                part = int(part)
            else:
                basic = False
        elif isinstance(part, bool):
            basic = False
        found.append(part)
    if not basic and type(x) is not ndarray:
        found = [move(part, where_is(x)) if type(part) is ndarray else part for part in found]
    return tuple(found), basic


def _repeats(index: tuple[Any, ...]) -> bool:
    """Whether an index may name an element twice: then its gradient has to be added up."""
    arrays = [part for part in index if hasattr(part, "dtype") and part.dtype.kind != "b"]
    if not arrays:
        return False  # masks
    if len(arrays) == 1 and type(arrays[0]) is ndarray:  # on a device it is not worth the wait
        values = np.unique(arrays[0])
        # -1 and the last row are the same row
        return bool(values.size != arrays[0].size or (values.size and values.min() < 0 <= values.max()))
    return True


def _getitem_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    shape, index, basic = node.saved
    if not basic and _repeats(index):
        return (sum_at(shape, index, dout),)
    dx = kind_of(dout).zeros(shape, dout.dtype, dout)
    dx[index] = dout
    return (dx,)


def getitem(a: Base, index: Any) -> Tensor:
    x = a._data
    key, basic = _index(index, x)
    out = x[key]
    result = wrap_view(x[(..., *key)] if out.ndim == 0 and Ellipsis not in key else out, a) if basic else wrap(out)
    return record("getitem", result, (a,), _getitem_backward, (x.shape, key, basic))


def _setitem_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    index, shape = node.saved
    to_old, to_value = node.edges
    dvalue = None
    if to_value is not None:
        part = np.asarray(dout[index]) if type(dout) is ndarray else dout[index]
        dvalue = arithmetic.sum_to(part, shape) if part.ndim >= len(shape) else part.reshape(shape)
    if to_old is None:
        return None, dvalue
    dold = dout.copy()
    dold[index] = 0
    return dold, dvalue


def setitem(a: Tensor, index: Any, value: Any) -> None:
    a._allow_inplace("setitem")
    key, _ = _index(index, a._data)
    source = value._data if isinstance(value, Base) else value
    if is_array(source) and (type(source) is ndarray) != (type(a._data) is ndarray):
        if source.ndim:
            msg = f"setitem: the tensor is on {a.device} and the value on {where_is(source)}; move one of them"
            raise TypeError(msg)
        source = source.item()
    tracked = a._requires_grad or (isinstance(value, Base) and value._requires_grad)
    if not (mode.enabled and tracked):
        a._data[key] = source
        a._version[0] += 1
        return
    data = a._data.copy()
    data[key] = source
    inputs = (a, value if isinstance(value, Base) else None)
    out = record("setitem", wrap(data), inputs, _setitem_backward, (key, getattr(source, "shape", ())))
    a._become("setitem", out)


# Along one axis -----------------------------------------------------------------------------------------------------


def _grid(name: str, dim: int, index: Any, ndim: int) -> tuple[Array, ...]:
    """The places that gather and scatter name: those of `index` along `dim`, its own position on the other axes."""
    at = index._data if isinstance(index, Base) else np.asarray(index)
    if at.dtype.kind not in "iu":
        msg = f"{name}: index is {at.dtype}; expected integers"
        raise TypeError(msg)
    if at.ndim != ndim:
        msg = f"{name}: index has {at.ndim} axes; expected {ndim}, those of the tensor"
        raise ValueError(msg)
    xp = array_module(at)
    grid: list[Any] = [xp.arange(n).reshape((1,) * i + (n,) + (1,) * (at.ndim - i - 1)) for i, n in enumerate(at.shape)]
    grid[axis_of(name, dim, ndim)] = at
    return tuple(grid)


def _read(name: str, x: Array, key: tuple[Any, ...]) -> Array:
    try:
        return x[key]
    except IndexError as error:
        msg = f"{name}: {error}"
        raise IndexError(msg) from None


def _along(name: str, dim: int, index: Any, ndim: int) -> tuple[Any, ...]:
    """The slices `index` (a vector of integers) of an axis."""
    at = index._data if isinstance(index, Base) else np.asarray(index)
    if at.ndim > 1 or at.dtype.kind not in "iu":
        msg = f"{name}: index is {at.dtype} of shape {at.shape}; expected a vector of integers"
        raise (TypeError if at.ndim <= 1 else ValueError)(msg)
    return (*(slice(None),) * axis_of(name, dim, ndim), at.reshape(-1))


def _written(name: str, a: Base, key: tuple[Any, ...], value: Any, part: tuple[slice, ...] | None = None) -> Tensor:
    """A copy of `a` with `value` (part of it, where that is larger) written to a place."""
    source = value._data if isinstance(value, Base) else value
    data = a._data.copy()
    try:
        data[key] = source if part is None else source[part]
    except (IndexError, ValueError) as error:
        msg = f"{name}: {error}"
        raise type(error)(msg) from None
    inputs = (a, value if isinstance(value, Base) else None)
    return record(name, wrap(data), inputs, _write_backward, (key, getattr(source, "shape", ()), part))


def _write_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    key, shape, part = node.saved
    to_old, to_value = node.edges
    dold = dvalue = None
    if to_old is not None:
        dold = dout.copy()
        dold[key] = 0
    if to_value is not None:
        dvalue = _part_of(dout[key], shape, part)
    return dold, dvalue


def _part_of(found: Array, shape: tuple[int, ...], part: tuple[slice, ...] | None) -> Array:
    """The gradient of a source of which `part` was used."""
    if part is None:
        return arithmetic.sum_to(found, shape)
    whole = kind_of(found).zeros(shape, found.dtype, found)
    whole[part] = found
    return whole


def _added(name: str, a: Base, key: tuple[Any, ...], value: Any, scale: float, part: Any = None) -> Tensor:
    """A copy of `a` with `value` added to a place, as often as the place names it."""
    source = value._data if isinstance(value, Base) else move(np.asarray(value, a._data.dtype), a.device)
    if source.dtype != a._data.dtype:
        msg = f"{name}: the source is {source.dtype}; expected {a._data.dtype}, the dtype of the tensor"
        raise TypeError(msg)
    data = a._data.copy()
    used = source if part is None else source[part]
    try:
        add_at(data, key, used if scale == 1 else used * scale)
    except (IndexError, ValueError) as error:
        msg = f"{name}: {error}"
        raise type(error)(msg) from None
    inputs = (a, value if isinstance(value, Base) else None)
    return record(name, wrap(data), inputs, _add_backward, (key, source.shape, scale, part))


def _add_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    key, shape, scale, part = node.saved
    if node.edges[1] is None:
        return dout, None
    return dout, _part_of(dout[key] if scale == 1 else dout[key] * scale, shape, part)


def _take_backward(node: Node, dout: Array) -> tuple[Array, ...]:
    shape, key = node.saved
    return (sum_at(shape, key, dout),)


def _bool(name: str, mask: Any) -> Array:
    keep = mask._data if isinstance(mask, Base) else np.asarray(mask)
    if keep.dtype != np.bool_:
        msg = f"{name}: mask is {keep.dtype}; expected bool. Compare first"
        raise TypeError(msg)
    return keep


class Indexing(Base):
    """Methods that read and write parts of a tensor."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Tensor:
        return getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        setitem(self, index, value)  # type: ignore[arg-type]

    def gather(self, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
        """out[i][j] = self[index[i][j]][j] for dim 0, and so on; `index` has as many axes as self."""
        key = _grid("gather", dim, index, self._data.ndim)
        out = wrap(_read("gather", self._data, key))
        return record("gather", out, (self,), _take_backward, (self._data.shape, key))

    def take_along_dim(self, indices: Tensor, dim: int | None = None) -> Tensor:
        """`gather` with broadcasting of the other axes; of the flattened tensor without an axis."""
        a: Any = self if dim is not None else self.reshape(-1)
        at: Any = indices if dim is not None else indices.reshape(-1)
        d = axis_of("take_along_dim", dim or 0, a.ndim)
        if at.ndim != a.ndim:
            msg = f"take_along_dim: indices has {at.ndim} axes; expected {a.ndim}, those of the tensor"
            raise ValueError(msg)
        others = np.broadcast_shapes(*[(*s[:d], 1, *s[d + 1 :]) for s in (a.shape, at.shape)])
        wide = a.expand((*others[:d], a.shape[d], *others[d + 1 :]))
        return wide.gather(d, at.expand((*others[:d], at.shape[d], *others[d + 1 :])))  # type: ignore[no-any-return]

    def take(self, index: Tensor) -> Tensor:
        """Elements by their number in the flattened tensor; the shape of `index`."""
        return getitem(self.reshape(-1), index)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The slices `index` along an axis."""
        key = _along("index_select", dim, index, self._data.ndim)
        out = wrap(_read("index_select", self._data, key))
        return record("index_select", out, (self,), _getitem_backward, (self._data.shape, key, False))

    def masked_select(self, mask: Tensor) -> Tensor:
        """The elements where the bool `mask` is true, as a vector."""
        keep = _bool("masked_select", mask)
        shape = np.broadcast_shapes(self._data.shape, keep.shape)
        wide: Any = self.expand(shape)
        return getitem(wide, array_module(keep).broadcast_to(keep, shape))

    def masked_scatter(self, mask: Tensor, source: Tensor) -> Tensor:
        """The elements of `source`, in order, where the bool `mask` is true; self elsewhere."""
        keep = array_module(self._data).broadcast_to(_bool("masked_scatter", mask), self._data.shape)
        n = int(keep.sum())
        if source.numel() < n:
            msg = f"masked_scatter: source has {source.numel()} elements; expected at least {n}, those of the mask"
            raise ValueError(msg)
        return _written("masked_scatter", self, (keep,), source.reshape(-1)[:n])

    def scatter(
        self, dim: int, index: Tensor, src: Any = None, *, value: float | None = None, reduce: str | None = None
    ) -> Tensor:
        """A copy with out[index[i][j]][j] = src[i][j] for dim 0, and so on; `src` is a tensor or a number."""
        if reduce == "add":
            return self.scatter_add(dim, index, src)
        if reduce is not None:
            msg = f'scatter: reduce is {reduce!r}; expected None or "add"'
            raise ValueError(msg)
        key = _grid("scatter", dim, index, self._data.ndim)
        source = value if src is None else src
        return _written("scatter", self, key, source, _used(index) if isinstance(source, Base) else None)

    def scatter_add(self, dim: int, index: Tensor, src: Tensor) -> Tensor:
        """A copy with src[i][j] added to out[index[i][j]][j] for dim 0, and so on."""
        key = _grid("scatter_add", dim, index, self._data.ndim)
        return _added("scatter_add", self, key, src, 1, _used(index) if isinstance(src, Base) else None)

    def index_add(self, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
        """A copy with alpha * source added to the slices `index` along an axis."""
        return _added("index_add", self, _along("index_add", dim, index, self._data.ndim), source, alpha)

    def index_copy(self, dim: int, index: Tensor, source: Tensor) -> Tensor:
        """A copy with `source` written to the slices `index` along an axis."""
        return _written("index_copy", self, _along("index_copy", dim, index, self._data.ndim), source)

    def index_fill(self, dim: int, index: Tensor, value: Any) -> Tensor:
        """A copy with one number in the slices `index` along an axis."""
        return _written("index_fill", self, _along("index_fill", dim, index, self._data.ndim), value)

    def index_put(self, indices: tuple[Any, ...], values: Any, accumulate: bool = False) -> Tensor:
        """A copy with `values` written, or added, to self[indices]."""
        key, _ = _index(tuple(indices), self._data)
        return _added("index_put", self, key, values, 1) if accumulate else _written("index_put", self, key, values)

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        """Where elements are not 0: (n, ndim), or a vector for each axis."""
        places = array_module(self._data).argwhere(self._data)
        return tuple([wrap(column) for column in places.T]) if as_tuple else wrap(places)

    def argwhere(self) -> Tensor:
        """Where elements are not 0, (n, ndim)."""
        return self.nonzero()  # type: ignore[no-any-return]


def _used(index: Any) -> tuple[slice, ...]:
    """The part of a source that `index` names."""
    return tuple([slice(0, n) for n in index.shape])
