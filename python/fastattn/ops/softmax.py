"""softmax, log_softmax and logsumexp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec

if TYPE_CHECKING:
    from ._kinds import Kind


class Softmax(Op):
    """attrs: axis, scale, log."""

    arrays = ("x", "mask")
    differentiable = ("x", "mask")
    autocast = "float32"

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]  # softmax and log_softmax are one op with a flag

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        x = arrays[0]
        return ((x.shape, x.dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        x, mask = arrays
        axis, scale, log = attrs
        _C.softmax_fwd(x, mask, outs[0], axis, scale, log)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return outs[0], arrays[1]

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        out, mask = saved
        axis, scale, log = attrs
        assert out is not None
        dx = dmask = None
        if needs[0]:
            dx = kind.empty(out.shape, out.dtype, out)
            _C.softmax_bwd(out, grads[0], dx, axis, scale, log)
        if needs[1]:
            assert mask is not None
            dscores = kind.empty(out.shape, out.dtype, out)
            _C.softmax_bwd(out, grads[0], dscores, axis, 1.0, log)
            dmask = kind.sum_to(dscores, mask.shape)
        return dx, dmask


SOFTMAX = Softmax("softmax")
LOG_SOFTMAX = Softmax("log_softmax")


class LogSumExp(Op):
    """attrs: axis, keepdim. Its gradient is softmax."""

    name = "logsumexp"
    arrays = ("x",)
    differentiable = ("x",)
    autocast = "float32"

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        axis, keepdim = attrs
        shape = list(arrays[0].shape)
        if -len(shape) <= axis < len(shape):
            shape[axis : axis + 1 or None] = [1] if keepdim else []
        return ((tuple(shape), arrays[0].dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.softmax_fwd(arrays[0], None, outs[0], attrs[0], 1.0, _LOGSUMEXP)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return arrays

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        (x,), (dout,), (axis, keepdim) = saved, grads, attrs
        assert x is not None
        assert dout is not None
        dx = kind.empty(x.shape, x.dtype, x)
        _C.softmax_fwd(x, None, dx, axis, 1.0, False)
        shape = list(x.shape)
        shape[axis] = 1
        dx *= dout if keepdim else dout.reshape(tuple(shape))
        return (dx,)


LOGSUMEXP = LogSumExp()
_LOGSUMEXP = 2  # its form, beside softmax's and log_softmax's


def _axis(op: str, axis: int | None, dim: int | None) -> int:
    if dim is None:
        return -1 if axis is None else axis
    if axis is not None:
        msg = f"{op}: axis and dim are the same argument; pass one of them"
        raise TypeError(msg)
    return dim


def softmax(
    x: Array,
    axis: int | None = None,
    *,
    mask: Array | None = None,
    scale: float = 1.0,
    out: Array | None = None,
    dim: int | None = None,
) -> Array:
    r"""Softmax along one axis.

    .. math:: y_i = e^{s_i - \max s} / \sum_j e^{s_j - \max s}, \quad s = \mathrm{scale} \cdot x + \mathrm{mask}

    A row with nothing to keep (all masked, or all -inf) gives 0 and gradient 0.

    Args:
        x: any shape and strides, any floating dtype.
        axis: the axis to normalise, default the last; `dim` is the same.
        mask: broadcastable to `x`. bool: True = keep. `x.dtype`: added to the scores; it has a gradient.
        scale: multiplies `x`.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`.

    Raises:
        ValueError: `axis` out of range, `mask` not broadcastable, `out` of another shape.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.softmax(np.array([[0.0, 0.0], [0.0, np.log(3.0)]]))
        array([[0.5 , 0.5 ],
               [0.25, 0.75]])

    Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 2.
    """
    return SOFTMAX((x, mask), (_axis("softmax", axis, dim), scale, False), out)


def log_softmax(
    x: Array,
    axis: int | None = None,
    *,
    mask: Array | None = None,
    scale: float = 1.0,
    out: Array | None = None,
    dim: int | None = None,
) -> Array:
    r"""Logarithm of the softmax along one axis.

    .. math:: y_i = s_i - \max s - \log \sum_j e^{s_j - \max s}, \quad s = \mathrm{scale} \cdot x + \mathrm{mask}

    A row with nothing to keep gives -inf and gradient 0.

    Args:
        x: any shape and strides, any floating dtype.
        axis: the axis to normalise, default the last; `dim` is the same.
        mask: broadcastable to `x`. bool: True = keep. `x.dtype`: added to the scores; it has a gradient.
        scale: multiplies `x`.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`.

    Raises:
        ValueError: `axis` out of range, `mask` not broadcastable, `out` of another shape.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.log_softmax(np.zeros((1, 2)), axis=1)
        array([[-0.69314718, -0.69314718]])

    Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 2.
    """
    return LOG_SOFTMAX((x, mask), (_axis("log_softmax", axis, dim), scale, True), out)


def logsumexp(x: Array, axis: int | None = None, keepdim: bool = False, *, dim: int | None = None) -> Array:
    r"""Logarithm of the sum of exponentials along one axis, without overflow.

    .. math:: y = \max x + \log \sum_j e^{x_j - \max x}

    A row of -inf, or of no elements, gives -inf; one that has inf gives inf.

    Args:
        x: any shape and strides, any floating dtype.
        axis: the axis to sum over, default the last; `dim` is the same.
        keepdim: the axis stays, with length 1.

    Returns:
        An array of the kind and dtype of `x`, without the axis.

    Raises:
        ValueError: `axis` out of range.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.logsumexp(np.zeros((2, 4)), axis=1)
        array([1.38629436, 1.38629436])

    Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 2.
    """
    return LOGSUMEXP((x,), (_axis("logsumexp", axis, dim), keepdim))
