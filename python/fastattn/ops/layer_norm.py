"""Layer normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec

if TYPE_CHECKING:
    from ._kinds import Kind


class LayerNorm(Op):
    """attrs: normalized_shape, eps."""

    name = "layer_norm"
    arrays = ("x", "weight", "bias")
    differentiable = ("x", "weight", "bias")

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        x = arrays[0]
        out = (x.shape, x.dtype)
        if not saving:
            return out, None, None
        rows = math.prod(x.shape[: max(0, len(x.shape) - len(attrs[0]))])
        statistic = ((rows,), kind.accumulator(x.dtype))
        return out, statistic, statistic

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.layer_norm_fwd(*arrays, *outs, *attrs)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return *arrays, outs[1], outs[2]

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        x, weight, bias, mean, rstd = saved
        wanted = tuple(
            kind.empty(a.shape, a.dtype, a) if a is not None and need else None
            for a, need in zip((x, weight, bias), needs, strict=True)
        )
        _C.layer_norm_bwd(x, weight, mean, rstd, kind.contiguous(grads[0]), *wanted, attrs[0])
        return wanted

    def source(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...] | None:
        return arrays


LAYER_NORM = LayerNorm()


def layer_norm(
    x: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
    *,
    out: Array | None = None,
) -> Array:
    r"""Normalises the last axes to mean 0 and variance 1, then scales and shifts.

    .. math:: y = (x - \mathrm{mean}) / \sqrt{\mathrm{var} + \mathrm{eps}} \cdot \mathrm{weight} + \mathrm{bias}

    Args:
        x: (..., *normalized_shape), any floating dtype.
        normalized_shape: the last axes of `x`; an int is one axis.
        weight: normalized_shape, or None for 1.
        bias: normalized_shape, or None for 0.
        eps: added to the variance.
        out: an array like `x` to write to.

    Returns:
        An array of the kind, shape and dtype of `x`.

    Raises:
        ValueError: the last axes of `x`, or `weight` or `bias`, are not `normalized_shape`.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.layer_norm(np.array([[1.0, 3.0]]), 2, eps=0.0)
        array([[-1.,  1.]])

    Source: Ba, Kiros and Hinton, "Layer Normalization" (2016), section 3.
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    return LAYER_NORM((x, weight, bias), (shape, eps), out)
