"""Root mean square normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec

if TYPE_CHECKING:
    from ._kinds import Kind


class RMSNorm(Op):
    """attrs: normalized_shape, eps."""

    name = "rms_norm"
    arrays = ("x", "weight")
    differentiable = ("x", "weight")

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        x = arrays[0]
        out = (x.shape, x.dtype)
        if not saving:
            return out, None
        rows = math.prod(x.shape[: max(0, len(x.shape) - len(attrs[0]))])
        return out, ((rows,), kind.accumulator(x.dtype))

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.rms_norm_fwd(*arrays, *outs, *attrs)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return *arrays, outs[1]

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        x, weight, rstd = saved
        wanted = tuple(
            kind.empty(a.shape, a.dtype, a) if a is not None and need else None
            for a, need in zip((x, weight), needs, strict=True)
        )
        _C.rms_norm_bwd(x, weight, rstd, kind.contiguous(grads[0]), *wanted, attrs[0])
        return wanted

    def source(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...] | None:
        return arrays


RMS_NORM = RMSNorm()


def rms_norm(
    x: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    eps: float | None = None,
    *,
    out: Array | None = None,
) -> Array:
    r"""Divides the last axes by their root mean square, then scales.

    .. math:: y = x / \sqrt{\mathrm{mean}(x^2) + \mathrm{eps}} \cdot \mathrm{weight}

    Args:
        x: (..., *normalized_shape), any floating dtype.
        normalized_shape: the last axes of `x`; an int is one axis.
        weight: normalized_shape, or None for 1.
        eps: added to the mean square. None is the epsilon of the dtype that is computed in, as in torch: 1.2e-7, float32's,
            also for bfloat16 and float16; 2.2e-16 for float64. Models state their own, 1e-5 or 1e-6.
        out: an array like `x` to write to.

    Returns:
        An array of the kind, shape and dtype of `x`.

    Raises:
        ValueError: the last axes of `x`, or `weight`, are not `normalized_shape`.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.rms_norm(np.array([[3.0, -4.0, 0.0, 0.0]]), 4, eps=0.0)
        array([[ 1.2, -1.6,  0. ,  0. ]])

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019), section 4.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if eps is None:
        eps = 2.0**-52 if str(getattr(x, "dtype", None)).endswith("float64") else 2.0**-23
    return RMS_NORM((x, weight), (shape, eps), out)
