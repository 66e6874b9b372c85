"""Pooling, channels last."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastattn import ops
from fastattn.autograd.node import wrap
from fastattn.autograd.tensor import Tensor
from fastattn.keras.engine.layer import Layer
from fastattn.nn import functional as F

from .convolution import numbers, sides, steps
from .core import channels_last


class _Pooling(Layer):
    """What the windows share; along one axis they are windows of images one pixel high."""

    axes: ClassVar[int]
    maximum: ClassVar[bool]

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        channels_last(self, data_format)
        self.expected_ndim = self.axes + 2
        self.pool_size = numbers(self, "pool_size", pool_size, self.axes)
        self.strides = self.pool_size if strides is None else numbers(self, "strides", strides, self.axes)
        self.padding = str(padding).lower()
        if self.padding not in ("valid", "same"):
            msg = f"{self.title}: padding is {padding!r}; expected 'valid' or 'same'"
            raise ValueError(msg)

    def call(self, inputs: Tensor) -> Tensor:
        x = inputs if self.axes == 2 else inputs.unsqueeze(1)
        window, stride = self.pool_size, self.strides
        if self.axes == 1:
            window, stride = (1, *window), (1, *stride)
        added = [sides(self.padding, *each) for each in zip(x.shape[1:3], window, stride, strict=True)]
        out = self._pooled(x, window, stride, added)
        return out if self.axes == 2 else out.squeeze(1)

    def _pooled(self, x: Tensor, window: Any, stride: Any, added: list[tuple[int, int]]) -> Tensor:
        even = all(before == after for before, after in added)
        padding: Any = [before for before, _ in added] if even else 0
        if not even:
            (top, below), (left, right) = added
            x = F.pad(x, (0, 0, left, right, top, below), value=-math.inf if self.maximum else 0.0)
        if self.maximum:
            out: Tensor = ops.max_pool2d(x, window, stride, padding, layout="nhwc")
            return out
        out = ops.avg_pool2d(x, window, stride, padding, count_include_pad=False, layout="nhwc")
        return out if even else out * wrap(_shares(x.shape[1:3], window, stride, added).astype(x.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        plane = [
            steps(self.padding, *each) for each in zip(input_shape[1:-1], self.pool_size, self.strides, strict=True)
        ]
        if any(n is not None and n < 1 for n in plane):
            msg = f"{self.title}: input has shape {tuple(input_shape)}; a window of {self.pool_size} does not fit in it"
            raise ValueError(msg)
        return (input_shape[0], *plane, input_shape[-1])


def _shares(plane: Any, window: Any, stride: Any, added: Any) -> Any:
    """Elements of each window over those that are not padding, (P, Q, 1)."""
    parts = []
    for size, k, s, (before, after) in zip(plane, window, stride, added, strict=True):
        inside = np.zeros(size)
        inside[before : size - after] = 1
        counts = np.array([inside[i : i + k].sum() for i in range(0, size - k + 1, s)])
        parts.append(k / counts)
    return np.multiply.outer(*parts)[:, :, None]


class MaxPooling1D(_Pooling):
    """The maximum of windows along one axis.

    Args:
        pool_size: steps of a window.
        strides: from window to window, default `pool_size`.
        padding: "valid", or "same" for ceil(T / strides) windows.
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.MaxPooling1D(2)(np.ones((1, 5, 3))).shape
        (1, 2, 3)
    """

    axes, maximum = 1, True


class MaxPooling2D(_Pooling):
    """The maximum of windows of images.

    Args:
        pool_size: of a window, an integer or (height, width).
        strides: from window to window, default `pool_size`.
        padding: "valid", or "same" for ceil(size / strides) windows.
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.MaxPooling2D()(np.ones((1, 4, 5, 3))).shape
        (1, 2, 2, 3)
    """

    axes, maximum = 2, True


class AveragePooling1D(_Pooling):
    """The average of windows along one axis; what "same" pads does not count.

    Args:
        pool_size: steps of a window.
        strides: from window to window, default `pool_size`.
        padding: "valid", or "same" for ceil(T / strides) windows.
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.AveragePooling1D(2)(np.ones((1, 5, 3))).shape
        (1, 2, 3)
    """

    axes, maximum = 1, False


class AveragePooling2D(_Pooling):
    """The average of windows of images; what "same" pads does not count.

    Args:
        pool_size: of a window, an integer or (height, width).
        strides: from window to window, default `pool_size`.
        padding: "valid", or "same" for ceil(size / strides) windows.
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.AveragePooling2D()(np.ones((1, 4, 5, 3))).shape
        (1, 2, 2, 3)
    """

    axes, maximum = 2, False


class _Global(Layer):
    """What the global ones share."""

    axes: ClassVar[int]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        channels_last(self, data_format)
        self.expected_ndim = self.axes + 2
        self.keepdims = keepdims

    @property
    def _over(self) -> tuple[int, ...]:
        return tuple(range(1, self.axes + 1))

    def compute_output_shape(self, input_shape: Any) -> Any:
        ones = (1,) * self.axes if self.keepdims else ()
        return (input_shape[0], *ones, input_shape[-1])


class GlobalAveragePooling1D(_Global):
    """The average over all steps; those that a mask hides do not count.

    Args:
        data_format: None or "channels_last".
        keepdims: whether the axis stays, with length 1.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.GlobalAveragePooling1D()(np.ones((1, 5, 3))).shape
        (1, 3)
    """

    axes = 1
    supports_masking = True

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        if mask is None:
            return inputs.mean(1, keepdim=self.keepdims)
        counts = mask.unsqueeze(-1).to(inputs.dtype)
        kept = inputs.masked_fill(~mask.bool().unsqueeze(-1), 0.0)
        out: Tensor = kept.sum(1, keepdim=self.keepdims) / counts.sum(1, keepdim=self.keepdims)
        return out

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return None


class GlobalAveragePooling2D(_Global):
    """The average over all pixels.

    Args:
        data_format: None or "channels_last".
        keepdims: whether the axes stay, with length 1.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.GlobalAveragePooling2D()(np.ones((1, 4, 5, 3))).shape
        (1, 3)
    """

    axes = 2

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.mean(self._over, keepdim=self.keepdims)


class _GlobalMax(_Global):
    def call(self, inputs: Tensor) -> Tensor:
        for axis in reversed(self._over):
            inputs = inputs.amax(axis, keepdim=self.keepdims)
        return inputs


class GlobalMaxPooling1D(_GlobalMax):
    """The maximum over all steps.

    Args:
        data_format: None or "channels_last".
        keepdims: whether the axis stays, with length 1.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.GlobalMaxPooling1D()(np.ones((1, 5, 3))).shape
        (1, 3)
    """

    axes = 1


class GlobalMaxPooling2D(_GlobalMax):
    """The maximum over all pixels.

    Args:
        data_format: None or "channels_last".
        keepdims: whether the axes stay, with length 1.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.GlobalMaxPooling2D()(np.ones((1, 4, 5, 3))).shape
        (1, 3)
    """

    axes = 2


MaxPool1D, MaxPool2D, AvgPool1D, AvgPool2D = MaxPooling1D, MaxPooling2D, AveragePooling1D, AveragePooling2D
GlobalAvgPool1D, GlobalAvgPool2D = GlobalAveragePooling1D, GlobalAveragePooling2D
GlobalMaxPool1D, GlobalMaxPool2D = GlobalMaxPooling1D, GlobalMaxPooling2D
