"""Casts between floating dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec

if TYPE_CHECKING:
    from ._kinds import Kind


class Cast(Op):
    """attrs: dtype, and the dtype of x."""

    name = "cast"
    arrays = ("x",)
    differentiable = ("x",)

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        return ((arrays[0].shape, attrs[0]),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.cast(arrays[0], outs[0])

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return ()

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        (dout,) = grads
        assert dout is not None
        dx = kind.empty(dout.shape, attrs[1], dout)
        _C.cast(dout, dx)
        return (dx,)


CAST = Cast()


def cast(x: Array, dtype: Any) -> Array:
    """A copy in another floating dtype, each element rounded once to the nearest number, ties to even.

    Args:
        x: any shape and strides, any floating dtype.
        dtype: the other one, in the terms of `x`'s kind: `fa.bfloat16` for NumPy and Tensors, `torch.bfloat16` for torch.
            That of `x` gives a copy.

    Returns:
        An array of the kind and shape of `x`. What is too large for the dtype is inf.

    Raises:
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.cast(np.array([1.0, 1.003, 1e39]), fa.bfloat16)
        array([1, 1, inf], dtype=bfloat16)

    Source: IEEE 754-2019, section 5.4.2, for the rounding.
    """
    return CAST((x,), (dtype, getattr(x, "dtype", None)))
