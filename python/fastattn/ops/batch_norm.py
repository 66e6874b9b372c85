"""Batch normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from . import _kinds
from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind


class BatchNorm(Op):
    """attrs: training, momentum, eps, channels last. Training changes the running statistics."""

    name = "batch_norm"
    arrays = ("input", "weight", "bias", "running_mean", "running_var")
    differentiable = ("input", "weight", "bias")
    autocast = "keep"

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        x = arrays[0]
        out = (x.shape, x.dtype)
        if not saving or len(x.shape) < 2:
            return out, None, None
        statistic = ((x.shape[-1 if attrs[3] else 1],), kind.accumulator(x.dtype))
        return out, statistic, statistic

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.batch_norm_fwd(*arrays, *outs, *attrs)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return *arrays[:3], outs[1], outs[2]

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
            for a, need in zip((x, weight, bias), needs[:3], strict=True)
        )
        _C.batch_norm_bwd(x, weight, mean, rstd, kind.contiguous(grads[0]), *wanted, attrs[0], attrs[3])
        return *wanted, None, None


BATCH_NORM = BatchNorm()


def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    layout: str = "nchw",
    out: Array | None = None,
) -> Array:
    r"""Normalises each channel over the batch and the positions, then scales and shifts.

    .. math:: y = (x - \mathrm{mean}_c) / \sqrt{\mathrm{var}_c + \mathrm{eps}} \cdot \mathrm{weight}_c + \mathrm{bias}_c

    Args:
        input: (N, C, ...), any floating dtype; (N, ..., C) with `layout="nhwc"`.
        running_mean: (C,), in the dtype of `input` or float32, as the next three; what is subtracted where not training.
            Training changes it and `running_var` in place, to (1 - momentum) times it plus momentum times the batch's;
            None keeps no such statistics.
        running_var: (C,); the batch's is here divided by the number of elements less one.
        weight: (C,), or None for 1.
        bias: (C,), or None for 0.
        training: whether mean and variance are those of the batch.
        momentum: share of the batch in the running statistics.
        eps: added to the variance.
        layout: "nchw", or "nhwc" where the channels are the last axis.
        out: an array like `input` to write to; may be `input` itself where no gradient is wanted.

    Returns:
        An array of the kind, shape and dtype of `input`.

    Raises:
        ValueError: shapes that do not fit, one value per channel when training, or no statistics when not.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.batch_norm(np.array([[1.0, 5.0], [3.0, 5.0]]), None, None, training=True, eps=0.01).round(2)
        array([[-1.,  0.],
               [ 1.,  0.]])

    Source: Ioffe and Szegedy, "Batch Normalization" (2015), algorithms 1 and 2.
    """
    if layout not in ("nchw", "nhwc"):
        raise attribute_error("batch_norm", "layout", layout, "'nchw' or 'nhwc'")
    result = BATCH_NORM(
        (input, weight, bias, running_mean, running_var),
        (bool(training), momentum, eps, layout == "nhwc"),
        out,
    )
    if training and running_mean is not None:
        _kinds.mutated([running_mean, running_var])
    return result
