"""Convolution, in one and two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind


class Conv(Op):
    """attrs: stride (H, W), padding (top, left, bottom, right), dilation (H, W), groups, spatial axes (1 or 2), channels
    last. Of one axis, H's are those of one row."""

    name = "conv"
    arrays = ("x", "weight", "bias")
    required = 2
    differentiable = ("x", "weight", "bias")
    autocast = "lower"

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        x, weight = arrays[0], arrays[1]
        stride, padding, dilation, _, axes, channels_last = attrs
        shape, kernel = tuple(x.shape), tuple(weight.shape)[2:]
        end = len(shape) - 1 if channels_last else len(shape)
        if len(kernel) != axes or end < axes + (not channels_last):
            return ((shape, x.dtype),)  # `_C` says what is wrong with it
        lengths = []
        for i in range(axes):
            at = i + 2 - axes
            length = shape[end - axes + i] + padding[at] + padding[at + 2] - dilation[at] * (kernel[i] - 1) - 1
            lengths.append(max(length, 0) // max(stride[at], 1) + 1)
        if channels_last:
            return (((*shape[: end - axes], *lengths, weight.shape[0]), x.dtype),)
        return (((*shape[: end - axes - 1], weight.shape[0], *lengths), x.dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.conv_fwd(*arrays, outs[0], *attrs)

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
        wanted = tuple(
            kind.empty(a.shape, a.dtype, a) if a is not None and need else None
            for a, need in zip(saved, needs, strict=True)
        )
        _C.conv_bwd(saved[0], saved[1], grads[0], *wanted, *attrs)
        return wanted


CONV = Conv()


def _pair(op: str, name: str, value: int | Sequence[int], axes: int, fill: int) -> tuple[int, int]:
    """An attribute along H and W; of one axis, H has `fill`."""
    if isinstance(value, int):
        return (value, value) if axes == 2 else (fill, value)
    values = tuple(value)
    if len(values) not in (1, axes) or not all(isinstance(v, int) for v in values):
        raise attribute_error(op, name, value, "an int" if axes == 1 else "an int or two")
    if len(values) == 1:
        return _pair(op, name, values[0], axes, fill)
    return values[0], values[1]


def _attributes(
    op: str,
    weight: Array,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    groups: int,
    axes: int,
    channels_last: bool,
) -> tuple[Any, ...]:
    strides, dilations = _pair(op, "stride", stride, axes, 1), _pair(op, "dilation", dilation, axes, 1)
    if not isinstance(groups, int):
        raise attribute_error(op, "groups", groups, "an int")
    if not isinstance(padding, str):
        top, left = _pair(op, "padding", padding, axes, 0)
        return strides, (top, left, top, left), dilations, groups, axes, channels_last
    if padding not in ("same", "valid"):
        raise attribute_error(op, "padding", padding, '"same", "valid" or numbers')
    sides = (0, 0, 0, 0)
    if padding == "same":
        if strides != (1, 1):
            msg = f'{op}: padding is "same" and stride is {stride!r}; "same" needs a stride of 1'
            raise ValueError(msg)
        kernel = (1, *getattr(weight, "shape", ())[2:])[-2:]
        whole = [d * (k - 1) for d, k in zip(dilations, kernel, strict=False)] if len(kernel) == 2 else [0, 0]
        sides = (whole[0] // 2, whole[1] // 2, whole[0] - whole[0] // 2, whole[1] - whole[1] // 2)
    return strides, sides, dilations, groups, axes, channels_last


def conv1d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    layout: str = "ncl",
    out: Array | None = None,
) -> Array:
    r"""Convolution along one axis (cross-correlation, as in all networks).

    .. math:: y_{n,o,p} = b_o + \sum_{c,i} W_{o,c,i} \, x_{n,\,c,\,p s + i d - \mathrm{padding}}

    Args:
        x: (N, C, L), or (C, L); any floating dtype, any strides.
        weight: (O, C / groups, K), the dtype of `x`.
        bias: (O,), added to every position.
        stride: positions of `x` from one output to the next.
        padding: zeros at both ends, or "valid" for none, or "same" for as many outputs as inputs; of an odd number the
            larger part is at the end.
        dilation: positions of `x` from one tap to the next.
        groups: channels and outputs are cut into so many groups that do not see each other.
        layout: "ncl", or "nlc" where channels are the last axis of `x` and of the result.
        out: the array to write to.

    Returns:
        (N, O, P), P = (L + 2 padding - dilation (K - 1) - 1) // stride + 1, of the kind and dtype of `x`.

    Raises:
        ValueError: shapes that do not fit; a kernel that reaches over more than there is; an attribute out of range.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.conv1d(np.array([[1.0, 2.0, 4.0]]), np.array([[[-1.0, 1.0]]]))
        array([[1., 2.]])

    Source: torch.nn.functional.conv1d's form of it.
    """
    if layout not in ("ncl", "nlc"):
        raise attribute_error("conv1d", "layout", layout, '"ncl" or "nlc"')
    attrs = _attributes("conv1d", weight, stride, padding, dilation, groups, 1, layout == "nlc")
    return CONV((x, weight, bias), attrs, out)


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    layout: str = "nchw",
    out: Array | None = None,
) -> Array:
    r"""Convolution of images (cross-correlation, as in all networks).

    .. math:: y_{n,o,p,q} = b_o + \sum_{c,i,j} W_{o,c,i,j} \,
        x_{n,\,c,\,p s_h + i d_h - \mathrm{padding}_h,\,q s_w + j d_w - \mathrm{padding}_w}

    Args:
        x: (N, C, H, W), or (C, H, W); any floating dtype, any strides.
        weight: (O, C / groups, KH, KW), the dtype of `x`, for both layouts.
        bias: (O,), added to every pixel.
        stride: pixels of `x` from one output to the next; an int, or one for each of H and W.
        padding: zeros at every side, an int or one for each of H and W; or "valid" for none, or "same" for as many
            outputs as inputs; of an odd number the larger part is below and at the right.
        dilation: pixels of `x` from one tap to the next.
        groups: channels and outputs are cut into so many groups that do not see each other.
        layout: "nchw", or "nhwc" where channels are the last axis of `x` and of the result; that is faster.
        out: the array to write to.

    Returns:
        (N, O, P, Q), P = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1, of the kind and dtype of `x`.

    Raises:
        ValueError: shapes that do not fit; a kernel that reaches over more than there is; an attribute out of range.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)))
        array([[[[4., 4.],
                 [4., 4.]]]])

    Source: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning" (2014), section 2.
    """
    if layout not in ("nchw", "nhwc"):
        raise attribute_error("conv2d", "layout", layout, '"nchw" or "nhwc"')
    attrs = _attributes("conv2d", weight, stride, padding, dilation, groups, 2, layout == "nhwc")
    return CONV((x, weight, bias), attrs, out)
