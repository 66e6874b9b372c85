"""Pooling: the maximum or the average of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind

MAX, AVG = 0, 1
BYTE_TAPS = 256  # windows of at most so many taps are numbered in a byte

Size = int | Sequence[int]


def pooled_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """How many windows an axis has; of nonsense anything, which `_C` looks at."""
    stride = max(stride, 1)
    steps = size + 2 * padding - dilation * (kernel - 1) - 1 + (stride - 1 if ceil_mode else 0)
    out = steps // stride + 1
    if ceil_mode and (out - 1) * stride >= size + padding:
        out -= 1
    return max(out, 0)


class Pool(Op):
    """attrs: mode, adaptive, size (of a window, or adaptive of the result), stride, padding, dilation, ceil_mode,
    count_include_pad, divisor, channels last, as `_C` reads them; return_indices; the shape of the input, which is not
    kept."""

    arrays = ("input",)
    differentiable = ("input",)

    def __init__(self, name: str, mode: int, axes: int) -> None:
        self.name = name  # type: ignore[misc]
        self.mode = mode
        self.axes = axes

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        (x,) = arrays
        _, adaptive, size, stride, padding, dilation, ceil_mode, _, _, channels_last, return_indices, _ = attrs
        shape, axes = list(x.shape), len(size)
        first = len(shape) - axes - (1 if channels_last else 0)
        if first < 0:  # too few axes
            return ((x.shape, x.dtype), None)
        plane, widest = shape[first : first + axes], 1
        for i, (n, k) in enumerate(zip(plane, size, strict=True)):
            if adaptive:
                shape[first + i] = max(k, 0)
                widest *= n // max(k, 1) + (2 if n % max(k, 1) else 0)
            else:
                shape[first + i] = pooled_size(n, k, stride[i], padding[i], dilation[i], ceil_mode)
                widest *= k
        out = tuple(shape)
        if self.mode == AVG or not (saving or return_indices):
            return (out, x.dtype), None
        if return_indices:
            return (out, x.dtype), (out, kind.index)
        return (out, x.dtype), (out, kind.byte if widest <= BYTE_TAPS else kind.index)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.pool_fwd(arrays[0], *outs, attrs)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return (outs[1],)

    def public(self, attrs: tuple[Any, ...]) -> int:
        return 2 if attrs[-2] else 1

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        dout = kind.contiguous(grads[0])
        dx = kind.empty(attrs[-1], dout.dtype, dout)
        _C.pool_bwd(dout, saved[0], dx, attrs)
        return (dx,)


MAX_POOL = {axes: Pool(f"max_pool{axes}d", MAX, axes) for axes in (1, 2)}
AVG_POOL = {axes: Pool(f"avg_pool{axes}d", AVG, axes) for axes in (1, 2)}
ADAPTIVE_MAX_POOL = {axes: Pool(f"adaptive_max_pool{axes}d", MAX, axes) for axes in (1, 2)}
ADAPTIVE_AVG_POOL = {axes: Pool(f"adaptive_avg_pool{axes}d", AVG, axes) for axes in (1, 2)}


def _numbers(op: Pool, name: str, value: Any) -> tuple[int, ...]:
    """One number for all axes, or one for each."""
    if hasattr(value, "__index__"):
        return (int(value),) * op.axes
    numbers = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(numbers) == 1:
        numbers *= op.axes
    if len(numbers) != op.axes or not all(hasattr(n, "__index__") for n in numbers):
        raise attribute_error(op.name, name, value, "an int" if op.axes == 1 else "an int or two of them")
    return tuple(int(n) for n in numbers)


def _channels_last(op: Pool, layout: str) -> bool:
    if layout not in ("nchw", "nhwc"):
        raise attribute_error(op.name, "layout", layout, "'nchw' or 'nhwc'")
    return layout == "nhwc"


def _pool(
    op: Pool,
    input: Array,
    windows: tuple[Size, Size | None, Size, Size],
    ceil_mode: bool,
    out: Array | None,
    *,
    count_include_pad: bool = False,
    divisor: int | None = None,
    return_indices: bool = False,
    layout: str = "nchw",
) -> Any:
    size, stride, padding, dilation = windows
    kernel = _numbers(op, "kernel_size", size)
    no_stride = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    steps = kernel if no_stride else _numbers(op, "stride", stride)
    if divisor == 0:
        raise attribute_error(op.name, "divisor_override", divisor, "a divisor other than 0, or None")
    where = steps, _numbers(op, "padding", padding), _numbers(op, "dilation", dilation)
    how = bool(ceil_mode), bool(count_include_pad), divisor or 0, _channels_last(op, layout), bool(return_indices)
    return op((input,), (op.mode, False, kernel, *where, *how, tuple(getattr(input, "shape", ()))), out)


def _adaptive(
    op: Pool, input: Array, output_size: Any, out: Array | None, *, return_indices: bool = False, layout: str = "nchw"
) -> Any:
    axes, last = op.axes, _channels_last(op, layout)
    shape = tuple(getattr(input, "shape", ()))
    if isinstance(output_size, (tuple, list)) and None in output_size and len(output_size) == axes < len(shape):
        plane = shape[len(shape) - axes - last : len(shape) - last]
        output_size = tuple(n if size is None else size for n, size in zip(plane, output_size, strict=True))
    ones = (1,) * axes
    where = _numbers(op, "output_size", output_size), ones, (0,) * axes, ones
    return op((input,), (op.mode, True, *where, False, False, 0, last, bool(return_indices), shape), out)


def max_pool1d(
    input: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Array | None = None,
) -> Any:
    r"""The maximum of windows along the last axis.

    .. math:: y_{ncl} = \max_k x_{nc, \, l \cdot \mathrm{stride} - \mathrm{padding} + k \cdot \mathrm{dilation}}

    Args:
        input: (N, C, L) or (C, L), any floating dtype.
        kernel_size: elements of a window.
        stride: from window to window, default `kernel_size`.
        padding: of -inf at both ends, at most half of a window.
        dilation: between the elements of a window.
        ceil_mode: whether a last window that is partly behind the end counts.
        return_indices: whether to return where the maxima are, too.
        out: an array like the result to write to.

    Returns:
        An array of the kind and dtype of `input`; with `return_indices` also the positions along L, int64. A NaN in a
        window is its maximum, as in torch.

    Raises:
        ValueError: a window that does not fit, or numbers out of range.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.max_pool1d(np.array([[[1.0, 3.0, 2.0, 0.0]]]), 2)
        array([[[3., 2.]]])

    Source: torch.nn.functional.max_pool1d.
    """
    windows = kernel_size, stride, padding, dilation
    return _pool(MAX_POOL[1], input, windows, ceil_mode, out, return_indices=return_indices)


def max_pool2d(
    input: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    layout: str = "nchw",
    out: Array | None = None,
) -> Any:
    r"""The maximum of windows over the two axes of positions.

    .. math:: y_{nchw} = \max_{i,j} x_{nc, \, h s - p + i d, \, w s - p + j d}

    Args:
        input: (N, C, H, W) or (C, H, W), any floating dtype; channels last with `layout="nhwc"`.
        kernel_size: elements of a window, one number or (height, width), as the next three.
        stride: s, from window to window, default `kernel_size`.
        padding: p, of -inf on every side, at most half of a window.
        dilation: d, between the elements of a window.
        ceil_mode: whether last windows that are partly behind the end count.
        return_indices: whether to return where the maxima are, too.
        layout: "nchw", or "nhwc" for (N, H, W, C) in and out.
        out: an array like the result to write to.

    Returns:
        An array of the kind and dtype of `input`; with `return_indices` also the positions h W + w, int64. A NaN in a
        window is its maximum, as in torch.

    Raises:
        ValueError: a window that does not fit, or numbers out of range.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
        array([[[ 5.,  7.],
                [13., 15.]]])

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998), section II; Riesenhuber and
    Poggio, "Hierarchical models of object recognition in cortex" (1999), for the maximum.
    """
    windows = kernel_size, stride, padding, dilation
    return _pool(MAX_POOL[2], input, windows, ceil_mode, out, return_indices=return_indices, layout=layout)


def avg_pool1d(
    input: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    out: Array | None = None,
) -> Array:
    r"""The average of windows along the last axis.

    .. math:: y_{ncl} = \frac{1}{K} \sum_k x_{nc, \, l \cdot \mathrm{stride} - \mathrm{padding} + k}

    Args:
        input: (N, C, L) or (C, L), any floating dtype.
        kernel_size: K, elements of a window.
        stride: from window to window, default `kernel_size`.
        padding: of zeros at both ends, at most half of a window.
        ceil_mode: whether a last window that is partly behind the end counts.
        count_include_pad: whether the zeros of the padding count in K.
        out: an array like the result to write to.

    Returns:
        An array of the kind and dtype of `input`.

    Raises:
        ValueError: a window that does not fit, or numbers out of range.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.avg_pool1d(np.array([[[1.0, 3.0, 2.0, 0.0]]]), 2)
        array([[[2., 1.]]])

    Source: torch.nn.functional.avg_pool1d.
    """
    windows = kernel_size, stride, padding, 1
    return _pool(AVG_POOL[1], input, windows, ceil_mode, out, count_include_pad=count_include_pad)


def avg_pool2d(
    input: Array,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    layout: str = "nchw",
    out: Array | None = None,
) -> Array:
    r"""The average of windows over the two axes of positions.

    .. math:: y_{nchw} = \frac{1}{K} \sum_{i,j} x_{nc, \, h s - p + i, \, w s - p + j}

    Args:
        input: (N, C, H, W) or (C, H, W), any floating dtype; channels last with `layout="nhwc"`.
        kernel_size: elements of a window, one number or (height, width), as the next two; K is how many there are.
        stride: s, from window to window, default `kernel_size`.
        padding: p, of zeros on every side, at most half of a window.
        ceil_mode: whether last windows that are partly behind the end count.
        count_include_pad: whether the zeros of the padding count in K.
        divisor_override: what to divide by in place of K.
        layout: "nchw", or "nhwc" for (N, H, W, C) in and out.
        out: an array like the result to write to.

    Returns:
        An array of the kind and dtype of `input`.

    Raises:
        ValueError: a window that does not fit, or numbers out of range.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
        array([[[ 2.5,  4.5],
                [10.5, 12.5]]])

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998), section II.
    """
    windows, pad = (kernel_size, stride, padding, 1), count_include_pad
    return _pool(
        AVG_POOL[2], input, windows, ceil_mode, out, count_include_pad=pad, divisor=divisor_override, layout=layout
    )


def adaptive_max_pool1d(
    input: Array, output_size: Size, return_indices: bool = False, *, out: Array | None = None
) -> Any:
    r"""The maximum of so many windows that cover the last axis.

    .. math:: y_{ncl} = \max_{\lfloor l L / M \rfloor \le i < \lceil (l + 1) L / M \rceil} x_{nci}

    Args:
        input: (N, C, L) or (C, L), any floating dtype.
        output_size: M, the number of windows.
        return_indices: whether to return where the maxima are, too.
        out: an array like the result to write to.

    Returns:
        (N, C, M) or (C, M), of the kind and dtype of `input`; with `return_indices` also the positions along L, int64.

    Raises:
        ValueError: a size that is not positive.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.adaptive_max_pool1d(np.array([[[1.0, 3.0, 2.0, 0.0]]]), 2)
        array([[[3., 2.]]])

    Source: torch.nn.functional.adaptive_max_pool1d.
    """
    return _adaptive(ADAPTIVE_MAX_POOL[1], input, output_size, out, return_indices=return_indices)


def adaptive_max_pool2d(
    input: Array, output_size: Any, return_indices: bool = False, *, layout: str = "nchw", out: Array | None = None
) -> Any:
    r"""The maximum of so many windows that cover the two axes of positions.

    .. math:: y_{nchw} = \max x_{nc, \, i, \, j}, \quad \lfloor h H / H' \rfloor \le i < \lceil (h + 1) H / H' \rceil

    Args:
        input: (N, C, H, W) or (C, H, W), any floating dtype; channels last with `layout="nhwc"`.
        output_size: H' for both axes, or (H', W'), of which None keeps the axis as it is.
        return_indices: whether to return where the maxima are, too.
        layout: "nchw", or "nhwc" for (N, H, W, C) in and out.
        out: an array like the result to write to.

    Returns:
        (N, C, H', W') or (C, H', W'), of the kind and dtype of `input`; with `return_indices` also the positions
        h W + w, int64.

    Raises:
        ValueError: a size that is not positive.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.adaptive_max_pool2d(np.arange(16.0).reshape(1, 4, 4), 1)
        array([[[15.]]])

    Source: torch.nn.functional.adaptive_max_pool2d.
    """
    return _adaptive(ADAPTIVE_MAX_POOL[2], input, output_size, out, return_indices=return_indices, layout=layout)


def adaptive_avg_pool1d(input: Array, output_size: Size, *, out: Array | None = None) -> Array:
    r"""The average of so many windows that cover the last axis.

    .. math:: y_{ncl} = \mathrm{mean}_{\lfloor l L / M \rfloor \le i < \lceil (l + 1) L / M \rceil} x_{nci}

    Args:
        input: (N, C, L) or (C, L), any floating dtype.
        output_size: M, the number of windows.
        out: an array like the result to write to.

    Returns:
        (N, C, M) or (C, M), of the kind and dtype of `input`.

    Raises:
        ValueError: a size that is not positive.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.adaptive_avg_pool1d(np.array([[[1.0, 3.0, 2.0, 0.0]]]), 2)
        array([[[2., 1.]]])

    Source: torch.nn.functional.adaptive_avg_pool1d.
    """
    return _adaptive(ADAPTIVE_AVG_POOL[1], input, output_size, out)


def adaptive_avg_pool2d(input: Array, output_size: Any, *, layout: str = "nchw", out: Array | None = None) -> Array:
    r"""The average of so many windows that cover the two axes of positions; of one, global average pooling.

    .. math:: y_{nchw} = \mathrm{mean} \, x_{nc, \, i, \, j}, \quad
        \lfloor h H / H' \rfloor \le i < \lceil (h + 1) H / H' \rceil

    Args:
        input: (N, C, H, W) or (C, H, W), any floating dtype; channels last with `layout="nhwc"`.
        output_size: H' for both axes, or (H', W'), of which None keeps the axis as it is.
        layout: "nchw", or "nhwc" for (N, H, W, C) in and out.
        out: an array like the result to write to.

    Returns:
        (N, C, H', W') or (C, H', W'), of the kind and dtype of `input`.

    Raises:
        ValueError: a size that is not positive.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.adaptive_avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 1)
        array([[[7.5]]])

    Source: Lin, Chen and Yan, "Network in network" (2014), section 3.2.
    """
    return _adaptive(ADAPTIVE_AVG_POOL[2], input, output_size, out, layout=layout)
