"""Pooling as layers."""

from __future__ import annotations

from typing import Any

from fastattn.ops.pool import Size

from . import functional as F
from .function_layer import FunctionLayer

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "MaxPool1d",
    "MaxPool2d",
]


class _Pool(FunctionLayer):
    """A pooling; repr() shows the options that torch's shows."""

    shown: tuple[str, ...] = ("output_size",)

    def extra_repr(self) -> str:
        if len(self.shown) == 1:
            return f"{self.shown[0]}={getattr(self, self.shown[0])}"
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)


class _MaxPool(_Pool):
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            stride=kernel_size if stride is None else stride,
            padding=padding,
            dilation=dilation,
            return_indices=return_indices,
            ceil_mode=ceil_mode,
        )


class _AdaptivePool(_Pool):
    def __init__(self, output_size: Any) -> None:
        super().__init__(output_size=output_size)


class _AdaptiveMaxPool(_Pool):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size=output_size, return_indices=return_indices)


class MaxPool1d(_MaxPool):
    """The maximum of windows along the last axis; see `fa.max_pool1d`.

    Args:
        kernel_size: elements of a window.
        stride: from window to window, default `kernel_size`.
        padding: of -inf at both ends, at most half of a window.
        dilation: between the elements of a window.
        return_indices: whether to return where the maxima are, too.
        ceil_mode: whether a last window that is partly behind the end counts.

    Shape:
        (N, C, L) or (C, L) to the same with fewer positions.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.MaxPool1d(2)(fa.tensor([[1.0, 3.0, 2.0, 0.0]]))
        tensor([[3., 2.]])

    Source: torch.nn.MaxPool1d.
    """

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The maximum of windows over the positions of an image; see `fa.max_pool2d`.

    Args:
        kernel_size: elements of a window, one number or (height, width), as the next three.
        stride: from window to window, default `kernel_size`.
        padding: of -inf on every side, at most half of a window.
        dilation: between the elements of a window.
        return_indices: whether to return where the maxima are, too.
        ceil_mode: whether last windows that are partly behind the end count.

    Shape:
        (N, C, H, W) or (C, H, W) to the same with fewer positions.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.MaxPool2d(2)(fa.tensor([[[1.0, 3.0], [2.0, 0.0]]]))
        tensor([[[3.]]])

    Source: torch.nn.MaxPool2d.
    """

    function = staticmethod(F.max_pool2d)


def _single(size: Size) -> tuple[int, ...]:
    """torch's AvgPool1d keeps its numbers so."""
    return (size,) if isinstance(size, int) else tuple(size)


class AvgPool1d(_Pool):
    """The average of windows along the last axis; see `fa.avg_pool1d`.

    Args:
        kernel_size: elements of a window.
        stride: from window to window, default `kernel_size`.
        padding: of zeros at both ends, at most half of a window.
        ceil_mode: whether a last window that is partly behind the end counts.
        count_include_pad: whether the zeros of the padding count in the average.

    Shape:
        (N, C, L) or (C, L) to the same with fewer positions.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.AvgPool1d(2)(fa.tensor([[1.0, 3.0, 2.0, 0.0]]))
        tensor([[2., 1.]])

    Source: torch.nn.AvgPool1d.
    """

    function = staticmethod(F.avg_pool1d)
    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(
            kernel_size=_single(kernel_size),
            stride=_single(kernel_size if stride is None else stride),
            padding=_single(padding),
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )


class AvgPool2d(_Pool):
    """The average of windows over the positions of an image; see `fa.avg_pool2d`.

    Args:
        kernel_size: elements of a window, one number or (height, width), as the next two.
        stride: from window to window, default `kernel_size`.
        padding: of zeros on every side, at most half of a window.
        ceil_mode: whether last windows that are partly behind the end count.
        count_include_pad: whether the zeros of the padding count in the average.
        divisor_override: what to divide the sum by.

    Shape:
        (N, C, H, W) or (C, H, W) to the same with fewer positions.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.AvgPool2d(2)(fa.tensor([[[1.0, 3.0], [2.0, 0.0]]]))
        tensor([[[1.5]]])

    Source: torch.nn.AvgPool2d.
    """

    function = staticmethod(F.avg_pool2d)
    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            stride=kernel_size if stride is None else stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor_override=divisor_override,
        )


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maximum of so many windows that cover the last axis; see `fa.adaptive_max_pool1d`.

    Args:
        output_size: the number of windows.
        return_indices: whether to return where the maxima are, too.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.AdaptiveMaxPool1d(1)(fa.tensor([[1.0, 3.0, 2.0]]))
        tensor([[3.]])

    Source: torch.nn.AdaptiveMaxPool1d.
    """

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maximum of so many windows that cover an image; see `fa.adaptive_max_pool2d`.

    Args:
        output_size: the number of windows, for both axes or (height, width), of which None keeps the axis as it is.
        return_indices: whether to return where the maxima are, too.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.AdaptiveMaxPool2d(1)(fa.tensor([[[1.0, 3.0], [2.0, 0.0]]]))
        tensor([[[3.]]])

    Source: torch.nn.AdaptiveMaxPool2d.
    """

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveAvgPool1d(_AdaptivePool):
    """The average of so many windows that cover the last axis; see `fa.adaptive_avg_pool1d`.

    Args:
        output_size: the number of windows.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.AdaptiveAvgPool1d(1)(fa.tensor([[1.0, 3.0, 2.0]]))
        tensor([[2.]])

    Source: torch.nn.AdaptiveAvgPool1d.
    """

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    """The average of so many windows that cover an image; of one, global average pooling. See `fa.adaptive_avg_pool2d`.

    Args:
        output_size: the number of windows, for both axes or (height, width), of which None keeps the axis as it is.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.AdaptiveAvgPool2d(1)(fa.tensor([[[1.0, 3.0], [2.0, 0.0]]]))
        tensor([[[1.5]]])

    Source: Lin, Chen and Yan, "Network in network" (2014), section 3.2.
    """

    function = staticmethod(F.adaptive_avg_pool2d)
