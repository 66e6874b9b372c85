"""Element-by-element arithmetic of tensors, with NumPy's broadcasting and torch's dtypes.

Python numbers are weak: they never change the dtype of a tensor, except that a float makes integers float32. Of two
tensors, floats beat integers, and a tensor with axes beats one without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from fastattn import ops
from fastattn.ops._kinds import NUMPY
from fastattn.ops.binary import FUNCTIONS, binary

from . import node as tape
from .convert import is_float
from .node import LARGE, Array, Base, Node, array_module, mode, record, wrap

if TYPE_CHECKING:
    from .tensor import Tensor

FLOAT32 = np.dtype(np.float32)
Operand = Any  # a Tensor, an array, or a Python number


def sum_to(array: Array, shape: tuple[int, ...]) -> Array:
    return array if array.shape == shape else NUMPY.sum_to(array, shape)


def compute(ufunc: Any, x: Array, y: Array) -> Array:
    """ufunc(x, y), of arrays of one dtype or an array and a number; a large result in memory that is kept warm."""
    if type(x) is ndarray:
        large = x.nbytes >= LARGE
        like = x
        if type(y) is ndarray and y.nbytes >= LARGE:
            large, like = True, y
    elif type(y) is ndarray:
        large, like = y.nbytes >= LARGE, y
    else:
        if ufunc in FUNCTIONS:
            return binary(ufunc, x, y)
        like = x if hasattr(x, "__array_namespace__") else y
        return getattr(array_module(like), ufunc.__name__)(x, y)
    if not large and like.itemsize != 2:
        return ufunc(x, y)
    if ufunc in FUNCTIONS:
        return binary(ufunc, x, y)
    if not large or like.dtype.kind != "f":
        return ufunc(x, y)
    shape = like.shape
    if type(x) is ndarray and type(y) is ndarray and x.shape != y.shape:
        shape = np.broadcast_shapes(x.shape, y.shape)
    return ufunc(x, y, out=NUMPY.empty(shape, like.dtype, like))


def compute1(ufunc: Any, x: Array) -> Array:
    """ufunc(x), likewise."""
    if type(x) is not ndarray:
        return getattr(array_module(x), ufunc.__name__)(x)
    if x.nbytes < LARGE or x.dtype.kind != "f":
        return ufunc(x)
    return ufunc(x, out=NUMPY.empty(x.shape, x.dtype, x))


def _promoted(x: np.dtype[Any], nx: int, y: np.dtype[Any], ny: int) -> Any:
    """torch's rule: the higher of bool, int, float decides; of the same, a tensor with axes; else the wider."""
    rank = {"b": 0, "u": 1, "i": 1}
    rx, ry = rank.get(x.kind, 2), rank.get(y.kind, 2)
    if rx != ry:
        return x if rx > ry else y
    if (nx == 0) != (ny == 0):
        return y if nx == 0 else x
    return np.promote_types(x, y)


def pair(name: str, a: Operand, b: Operand, *, as_float: bool = False) -> tuple[Operand, Operand, Array, Array] | None:
    """Both operands (a Tensor, or None for a constant) and their arrays or numbers, with dtypes settled; None if one of
    them is nothing that arithmetic knows. At least one is a Tensor."""
    ta, tb = isinstance(a, Base), isinstance(b, Base)
    x = a._data if ta else _constant(a)
    y = b._data if tb else _constant(b)
    if x is None or y is None:
        return None
    dx, dy = getattr(x, "dtype", None), getattr(y, "dtype", None)
    want: Any = None
    if dx is not None and dy is not None:
        if dx != dy:
            want = _promoted(dx, x.ndim, dy, y.ndim)
        if as_float and (want or dx).kind in "biu":
            want = FLOAT32
    else:
        array, number = (x, y) if dy is None else (y, x)
        if array.dtype.kind in "biu" and (as_float or type(number) is float):
            want = FLOAT32
    if want is not None:
        if dx is not None and dx != want:
            a = a.to(want) if ta else a
            x = a._data if ta else x.astype(want)
        if dy is not None and dy != want:
            b = b.to(want) if tb else b
            y = b._data if tb else y.astype(want)
    return a if ta else None, b if tb else None, x, y


def _constant(value: object) -> Any:
    if type(value) in (int, float, bool):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (int, float)):
        return value
    return value if hasattr(value, "__array_namespace__") else None


def _mismatch(name: str, x: Array, y: Array, error: Exception) -> ValueError:
    sx, sy = getattr(x, "shape", ()), getattr(y, "shape", ())
    try:
        np.broadcast_shapes(sx, sy)
    except ValueError:
        return ValueError(f"{name}: shapes {sx} and {sy} do not broadcast; axes from the last must be equal or 1")
    return ValueError(f"{name}: {error}")


class Binary:
    """A function of two operands. backward(node, dout) with node.saved = (x, y) or, where `shapes`, their shapes."""

    __slots__ = ("as_float", "backward", "name", "quiet", "shapes", "ufunc")

    def __init__(
        self,
        name: str,
        ufunc: Any,
        backward: tape.Backward,
        *,
        shapes: bool = False,
        as_float: bool = False,
        quiet: bool = False,
    ) -> None:
        self.name = name
        self.ufunc = ufunc
        self.backward = backward
        self.shapes = shapes  # the backward needs only the shapes
        self.as_float = as_float  # integers become float32
        self.quiet = quiet or as_float  # inf and NaN are results, not warnings

    def __call__(self, a: Operand, b: Operand) -> Tensor:
        found = pair(self.name, a, b, as_float=self.as_float)
        if found is None:
            return NotImplemented  # type: ignore[no-any-return]  # an operator's answer, not a result
        ta, tb, x, y = found
        try:
            if self.quiet:
                with np.errstate(all="ignore"):
                    out = compute(self.ufunc, x, y)
            else:
                out = compute(self.ufunc, x, y)
        except ValueError as error:
            raise _mismatch(self.name, x, y, error) from None
        result = wrap(out)
        if (ta is not None and ta._requires_grad) or (tb is not None and tb._requires_grad):
            if self.shapes:
                return record(self.name, result, (ta, tb), self.backward, (_shape(x), _shape(y)))
            # Each factor is kept for the other's gradient only.
            need_y = ta is not None and ta._requires_grad
            need_x = tb is not None and tb._requires_grad
            both = self.ufunc is not np.multiply
            saved = (x if need_x or both else _shape(x), y if need_y or both else _shape(y))
            checked = [t for t, need in ((ta, need_x or both), (tb, need_y or both)) if t is not None and need]
            return record(self.name, result, (ta, tb), self.backward, saved, checked)
        return result


def _shape(x: Array) -> tuple[int, ...]:
    return x.shape if hasattr(x, "shape") else ()


def shape_of(x: Array | tuple[int, ...]) -> tuple[int, ...]:
    return x if type(x) is tuple else _shape(x)


def _add_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    (ea, eb), (sx, sy) = node.edges, node.saved
    return None if ea is None else sum_to(dout, sx), None if eb is None else sum_to(dout, sy)


def _sub_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    (ea, eb), (sx, sy) = node.edges, node.saved
    return None if ea is None else sum_to(dout, sx), None if eb is None else compute1(np.negative, sum_to(dout, sy))


def _mul_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    (ea, eb), (x, y) = node.edges, node.saved
    return (
        None if ea is None else sum_to(compute(np.multiply, dout, y), shape_of(x)),
        None if eb is None else sum_to(compute(np.multiply, dout, x), shape_of(y)),
    )


def _div_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    (ea, eb), (x, y) = node.edges, node.saved
    da = compute(np.true_divide, dout, y)
    db = None if eb is None else sum_to(compute(np.multiply, -da, compute(np.true_divide, x, y)), _shape(y))
    return None if ea is None else sum_to(da, _shape(x)), db


def _pow_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    (ea, eb), (x, y) = node.edges, node.saved
    da = db = None
    if ea is not None:
        # x^0 is 1 for every x, also at 0 and NaN: gradient 0.
        slope = y * compute(np.power, x, y - 1) if hasattr(y, "shape") or y != 0 else array_module(x).zeros_like(x)
        if hasattr(y, "shape"):
            slope = array_module(x).where(y == 0, 0, slope).astype(dout.dtype)
        da = sum_to(compute(np.multiply, dout, slope), _shape(x))
    if eb is not None:
        xp = array_module(y)
        out = xp.power(x, y)
        log = xp.log(xp.where(xp.asarray(x) == 0, 1, x)).astype(dout.dtype)  # 0^y does not change with y
        db = sum_to(dout * out * log, _shape(y))
    return da, db


def _choose_backward(larger: bool) -> tape.Backward:
    def backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
        (ea, eb), (x, y) = node.edges, node.saved
        half = (x == y) * dout * 0.5  # a tie shares its gradient
        to_x = (x > y if larger else x < y) * dout + half
        to_y = (y > x if larger else y < x) * dout + half
        return None if ea is None else sum_to(to_x, _shape(x)), None if eb is None else sum_to(to_y, _shape(y))

    return backward


def _remainder_backward(round_: Any) -> tape.Backward:
    def backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
        (ea, eb), (x, y) = node.edges, node.saved
        return (
            None if ea is None else sum_to(dout, _shape(x)),
            None if eb is None else sum_to(-dout * round_(x / y), _shape(y)),
        )

    return backward


ADD = Binary("add", np.add, _add_backward, shapes=True)
SUB = Binary("sub", np.subtract, _sub_backward, shapes=True)
MUL = Binary("mul", np.multiply, _mul_backward)
DIV = Binary("div", np.true_divide, _div_backward, as_float=True)
POW = Binary("pow", np.power, _pow_backward)
MAXIMUM = Binary("maximum", np.maximum, _choose_backward(True))
MINIMUM = Binary("minimum", np.minimum, _choose_backward(False))


REMAINDER = Binary("remainder", np.remainder, _remainder_backward(np.floor), quiet=True)
FMOD = Binary("fmod", np.fmod, _remainder_backward(np.trunc), quiet=True)


def both(name: str, a: Operand, b: Operand) -> tuple[Operand, Operand, Array, Array]:
    """`pair`, which must find that both are something to compute with."""
    found = pair(name, a, b)
    if found is None:
        msg = f"{name}: {type(a).__name__} and {type(b).__name__}; expected tensors, arrays or numbers"
        raise TypeError(msg)
    return found


def constant(name: str, ufunc: Any, a: Operand, b: Operand) -> Tensor:
    """A function of two operands that has no gradient: comparisons, logic, floor division."""
    found = pair(name, a, b)
    if found is None:
        return NotImplemented  # type: ignore[no-any-return]
    _, _, x, y = found
    try:
        return wrap(getattr(array_module(x if hasattr(x, "dtype") else y), ufunc.__name__)(x, y))
    except ValueError as error:
        raise _mismatch(name, x, y, error) from None


def inplace(function: Any, a: Tensor, b: Operand) -> Tensor:
    """a = function(a, b), written to a's memory."""
    name = f"{function.name}_"
    a._allow_inplace(name)
    if not mode.enabled or not (a._requires_grad or (isinstance(b, Base) and b._requires_grad)):
        found = pair(function.name, a, b, as_float=function.as_float) if function.ufunc in FUNCTIONS else None
        # Where nothing is recorded, cast or broadcast, the result is written as it is computed.
        if found is not None and found[2] is a._data and _shape(found[3]) in ((), a._data.shape):
            with np.errstate(all="ignore"):
                binary(function.ufunc, a._data, found[3], a._data)
            a._version[0] += 1
            return a
    before = a._before(b)
    out = function(before, before if b is a else b)
    if out is NotImplemented:
        msg = f"{name}: unsupported operand {type(b).__name__}; pass a Tensor, an array or a number"
        raise TypeError(msg)
    return a._become(name, out)


class Unary:
    """A function of one tensor; the backward gets node.saved = x, or out where `from_out`."""

    __slots__ = ("backward", "from_out", "name", "ufunc")

    def __init__(self, name: str, ufunc: Any, backward: tape.Backward, *, from_out: bool = False) -> None:
        self.name = name
        self.ufunc = ufunc
        self.backward = backward
        self.from_out = from_out

    def __call__(self, a: Tensor) -> Tensor:
        if a._data.dtype.kind in "biu" and self.name not in ("abs", "neg"):
            a = a.to(FLOAT32)
        with np.errstate(all="ignore"):
            out = wrap(compute1(self.ufunc, a._data))
        if self.from_out:
            return record(self.name, out, (a,), self.backward, out._data, (out,))
        return record(self.name, out, (a,), self.backward, a._data, (a,))


NEG = Unary("neg", np.negative, lambda node, dout: (compute1(np.negative, dout),))
ABS = Unary("abs", np.absolute, lambda node, dout: (dout * array_module(dout).sign(node.saved),))
SQRT = Unary("sqrt", np.sqrt, lambda node, dout: (dout / (2 * node.saved),), from_out=True)
SQUARE = Unary("square", np.square, lambda node, dout: (compute(np.multiply, dout, node.saved) * 2,))
RECIPROCAL = Unary("reciprocal", np.reciprocal, lambda node, dout: (-dout * node.saved * node.saved,), from_out=True)
SIN = Unary("sin", np.sin, lambda node, dout: (dout * array_module(dout).cos(node.saved),))
COS = Unary("cos", np.cos, lambda node, dout: (-dout * array_module(dout).sin(node.saved),))


def sigmoid(a: Tensor) -> Tensor:
    return ops.sigmoid(a if is_float(a._data.dtype) else a.to(FLOAT32))  # type: ignore[no-any-return]


def relu(a: Tensor) -> Tensor:
    return ops.relu(a) if is_float(a._data.dtype) else wrap(compute(np.maximum, a._data, 0))


def clamp(a: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    xp = array_module(a._data)
    out = wrap(xp.clip(a._data, min, max).astype(a._data.dtype, copy=False))
    return record("clamp", out, (a,), _clamp_backward, (a._data, min, max), (a,))


def _clamp_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    x, low, high = node.saved
    inside = True
    if low is not None:
        inside = inside & (x >= low)
    if high is not None:
        inside = inside & (x <= high)
    return (dout * inside,)


def where(condition: Operand, input: Operand = None, other: Operand = None) -> Any:
    """Elements of `input` where `condition` is true, of `other` elsewhere; gradients go where the elements came from.

    Of a condition alone it says where that is not 0, as `nonzero(as_tuple=True)`.

    Args:
        condition: a bool tensor or array.
        input: a tensor, array or number that broadcasts with it.
        other: likewise.

    Returns:
        A tensor of the broadcast shape.

    Raises:
        TypeError: `condition` is not bool.
        ValueError: shapes that do not broadcast.

    Example:
        >>> import fastattn as fa
        >>> fa.where(fa.tensor([True, False]), fa.tensor([1.0, 2.0]), 0.0)
        tensor([1., 0.])
    """
    keep = condition._data if isinstance(condition, Base) else condition
    if input is None and other is None:
        return tuple([wrap(axis) for axis in array_module(keep).nonzero(keep)])
    if getattr(keep, "dtype", None) != np.bool_:
        msg = f"where: condition has dtype {getattr(keep, 'dtype', type(keep).__name__)}; expected bool. Compare first"
        raise TypeError(msg)
    if not isinstance(input, Base) and not isinstance(other, Base):
        input = wrap(array_module(keep).asarray(input, dtype=FLOAT32 if isinstance(input, float) else None))
    ta, tb, x, y = both("where", input, other)
    xp = array_module(keep)
    # A number has the other's dtype, where that is of floats: NumPy knows so of its own dtypes alone.
    x, y = (xp.asarray(v, o.dtype) if not hasattr(v, "dtype") and is_float(o.dtype) else v for v, o in ((x, y), (y, x)))
    try:
        out = wrap(xp.where(keep, x, y))
    except ValueError:
        shapes = f"{keep.shape}, {_shape(x)} and {_shape(y)}"
        msg = f"where: shapes {shapes} do not broadcast; axes from the last must be equal or 1"
        raise ValueError(msg) from None
    return record("where", out, (ta, tb), _where_backward, (keep, _shape(x), _shape(y)))


def _where_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    (ea, eb), (keep, sx, sy) = node.edges, node.saved
    where_ = array_module(dout).where
    return (
        None if ea is None else sum_to(where_(keep, dout, 0), sx),
        None if eb is None else sum_to(where_(keep, 0, dout), sy),
    )


def maximum(a: Operand, b: Operand) -> Tensor:
    """The larger of two tensors, element by element; a tie shares its gradient.

    Args:
        a: a tensor, array or number.
        b: likewise.

    Returns:
        A tensor of the broadcast shape.

    Raises:
        ValueError: shapes that do not broadcast.

    Example:
        >>> import fastattn as fa
        >>> fa.maximum(fa.tensor([1.0, 5.0]), 2.0)
        tensor([2., 5.])
    """
    return _function(MAXIMUM, a, b)


def minimum(a: Operand, b: Operand) -> Tensor:
    """The smaller of two tensors, element by element; a tie shares its gradient.

    Args:
        a: a tensor, array or number.
        b: likewise.

    Returns:
        A tensor of the broadcast shape.

    Raises:
        ValueError: shapes that do not broadcast.

    Example:
        >>> import fastattn as fa
        >>> fa.minimum(fa.tensor([1.0, 5.0]), 2.0)
        tensor([1., 2.])
    """
    return _function(MINIMUM, a, b)


def _function(function: Binary, a: Operand, b: Operand) -> Tensor:
    if not isinstance(a, Base) and not isinstance(b, Base):
        a = wrap(np.asarray(a)) if not hasattr(a, "__array_namespace__") else wrap(a)
    out = function(a, b)
    if out is NotImplemented:
        msg = f"{function.name}: {type(a).__name__} and {type(b).__name__}; expected tensors, arrays or numbers"
        raise TypeError(msg)
    return out
