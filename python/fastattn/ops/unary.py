"""exp, log, tanh and erf: the SIMD math functions, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec

if TYPE_CHECKING:
    from ._kinds import Kind

TWO_OVER_SQRT_PI = 1.1283791670955126


class Unary(Op):
    """One function; `code` is its number in csrc/ops/unary.h."""

    arrays = ("x",)
    differentiable = ("x",)

    def __init__(self, name: str, code: int) -> None:
        self.name = name  # type: ignore[misc]
        self.code = code

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        return ((arrays[0].shape, arrays[0].dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.unary(arrays[0], outs[0], self.code)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return (outs[0] if self.name in ("exp", "tanh") else arrays[0],)

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        (kept,) = saved
        (dout,) = grads
        assert kept is not None
        assert dout is not None
        if self.name == "exp":
            return (dout * kept,)
        if self.name == "log":
            return (dout / kept,)
        if self.name == "tanh":
            return (dout * (1 - kept * kept),)
        slope = kind.empty(kept.shape, kept.dtype, kept)
        _C.unary(-(kept * kept), slope, EXP.code)
        slope *= TWO_OVER_SQRT_PI  # in place: a bfloat16 array times a number is float32 to NumPy
        return (dout * slope,)


EXP = Unary("exp", 0)
LOG = Unary("log", 1)
TANH = Unary("tanh", 2)
ERF = Unary("erf", 3)


def exp(x: Array, *, out: Array | None = None) -> Array:
    """Exponential, element by element.

    Args:
        x: any shape and strides, any floating dtype.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`. docs/numerics.md has the largest error.

    Raises:
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.exp(np.zeros(2))
        array([1., 1.])

    Source: Cody and Waite, "Software Manual for the Elementary Functions" (1980), chapter 6.
    """
    return EXP((x,), (), out)


def log(x: Array, *, out: Array | None = None) -> Array:
    """Natural logarithm, element by element; -inf at 0 and NaN below.

    Args:
        x: any shape and strides, any floating dtype.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`. docs/numerics.md has the largest error.

    Raises:
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.log(np.ones(2))
        array([0., 0.])

    Source: Cody and Waite, "Software Manual for the Elementary Functions" (1980), chapter 5.
    """
    return LOG((x,), (), out)


def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Hyperbolic tangent, element by element.

    Args:
        x: any shape and strides, any floating dtype.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`. docs/numerics.md has the largest error.

    Raises:
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.tanh(np.array([0.0, 100.0]))
        array([0., 1.])

    Source: Cody and Waite, "Software Manual for the Elementary Functions" (1980), chapter 13.
    """
    return TANH((x,), (), out)


def erf(x: Array, *, out: Array | None = None) -> Array:
    r"""Error function, element by element.

    .. math:: \mathrm{erf}(x) = \frac{2}{\sqrt{\pi}} \int_0^x e^{-t^2} dt

    Args:
        x: any shape and strides, any floating dtype.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`. docs/numerics.md has the largest error.

    Raises:
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.erf(np.array([0.0, 10.0]))
        array([0., 1.])

    Source: Cody, "Rational Chebyshev approximations for the error function" (1969).
    """
    return ERF((x,), (), out)
