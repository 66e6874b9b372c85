"""Functions of tensors, as `torch.` has them: those that are methods too, and those of several tensors.

They take arrays of NumPy and CuPy as well: of those alone the result is one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from numpy import ndarray

from fastattn._device import is_cupy

from . import arithmetic, joining, products, sorting
from .creation import as_tensor
from .node import Base, wrap
from .tensor import Tensor

# fa.name(x, ...) is x.name(...).
# fmt: off
METHODS = (
    "abs", "absolute", "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "adjoint",
    "all", "allclose", "amax", "amin", "aminmax", "any", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "argmax", "argmin", "argsort", "argwhere", "asin", "asinh", "atan", "atan2", "atanh",
    "baddbmm", "bincount", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor", "bmm", "broadcast_to",
    "bucketize", "ceil", "chunk", "clamp", "clamp_max", "clamp_min", "clip", "clone", "cos", "cosh",
    "count_nonzero", "cross", "cumprod", "cumsum", "deg2rad", "detach", "diag", "diag_embed", "diagonal", "diff",
    "dist", "div", "divide", "dot", "eq", "equal", "exp2", "expm1", "fix", "flatten", "flip", "fliplr", "flipud",
    "floor", "floor_divide", "fmod", "frac", "gather", "ge", "ger", "get_device", "greater", "greater_equal", "gt",
    "hsplit", "hypot", "index_add", "index_copy", "index_fill", "index_put", "index_select", "inner", "is_complex",
    "is_floating_point", "is_signed", "isclose", "isfinite", "isin", "isinf", "isnan", "isneginf", "isposinf",
    "kron", "kthvalue", "le", "lerp", "less", "less_equal", "log10", "log1p", "log2", "logaddexp", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logit", "lt", "masked_fill", "masked_scatter",
    "masked_select", "max", "mean", "median", "min", "mm", "moveaxis", "movedim", "msort", "mul", "multiply", "mv",
    "nan_to_num", "nanmean", "nansum", "narrow", "ne", "neg", "negative", "nonzero", "norm", "not_equal", "numel",
    "outer", "permute", "positive", "pow", "prod", "quantile", "rad2deg", "ravel", "reciprocal",
    "remainder", "renorm", "repeat_interleave", "reshape", "roll", "rot90", "round", "rsqrt", "rsub", "scatter",
    "scatter_add", "select", "sgn", "sign", "signbit", "sin", "sinh", "sort", "split_with_sizes", "sqrt",
    "square", "squeeze", "std", "std_mean", "sub", "subtract", "sum", "swapaxes", "swapdims", "t", "take",
    "take_along_dim", "tan", "tensor_split", "tile", "topk", "trace", "transpose", "tril", "triu", "true_divide",
    "trunc", "unbind", "unflatten", "unique", "unique_consecutive", "unsqueeze", "var", "var_mean", "vdot",
    "vsplit", "xlogy",
)
# fmt: on
OTHERS = {
    arithmetic: ("maximum", "minimum", "where"),
    joining: (
        "atleast_1d",
        "atleast_2d",
        "atleast_3d",
        "block_diag",
        "broadcast_shapes",
        "broadcast_tensors",
        "cartesian_prod",
        "cat",
        "column_stack",
        "concat",
        "concatenate",
        "dstack",
        "hstack",
        "meshgrid",
        "row_stack",
        "split",
        "stack",
        "vstack",
    ),
    products: ("einsum", "tensordot"),
    sorting: ("searchsorted",),
}  # fmt: skip


def _arrays(values: Any) -> Iterator[Any]:
    """The arrays among some arguments, and in lists of them."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _arrays(value)
        elif isinstance(value, (Base, ndarray)) or is_cupy(value):
            yield value


def _as_tensors(value: Any) -> Any:
    """An argument with tensors in place of arrays."""
    if isinstance(value, ndarray) or is_cupy(value):
        return wrap(value)
    return type(value)([_as_tensors(part) for part in value]) if isinstance(value, (list, tuple)) else value


def _as_arrays(result: Any) -> Any:
    """A result with arrays in place of tensors."""
    if isinstance(result, Base):
        return result._data
    if isinstance(result, (list, tuple)):
        parts = [_as_arrays(part) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def _of_any_kind(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which returns tensors, such that it returns ndarrays where it gets ndarrays alone."""

    @functools.wraps(function)
    def public(*args: Any, **kwargs: Any) -> Any:
        kinds = {isinstance(a, Base) for a in _arrays((*args, *kwargs.values()))}
        if False not in kinds:
            return function(*args, **kwargs)
        result = function(*_as_tensors(args), **{key: _as_tensors(value) for key, value in kwargs.items()})
        return _as_arrays(result) if kinds == {False} else result

    return public


def _of_method(name: str) -> Callable[..., Any]:
    method = getattr(Tensor, name)

    @functools.wraps(method)
    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(input, Base):
            return method(input, *args, **kwargs)
        if not isinstance(input, (ndarray, int, float)) and not is_cupy(input):
            msg = f"{name}: input is a {type(input).__name__}; expected a Tensor, an ndarray or a number"
            raise TypeError(msg)
        return of_arrays(input, *args, **kwargs)

    def of_any(input: Any, *args: Any, **kwargs: Any) -> Any:
        # A number goes where the tensors are.
        where = next((a.device for a in (*args, *kwargs.values()) if isinstance(a, Base)), None)
        return method(as_tensor(input, device=where if isinstance(input, (int, float)) else None), *args, **kwargs)

    of_arrays = _of_any_kind(of_any)
    function.__name__ = function.__qualname__ = name
    function.__module__ = __name__
    return function


globals().update({name: _of_method(name) for name in METHODS})
globals().update({name: _of_any_kind(getattr(module, name)) for module, names in OTHERS.items() for name in names})

__all__ = [*METHODS, *(name for names in OTHERS.values() for name in names)]
