"""Images and numbers made ready, and images changed at random while they are trained on.

The random layers do nothing when a model predicts or evaluates; called by themselves they change images. They compute on
arrays: no gradient flows back through them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastattn as fa
from fastattn.autograd.node import wrap
from fastattn.autograd.tensor import Tensor
from fastattn.keras.engine.layer import Layer

from .core import channels_last, positive, stream
from .warp import FILL_MODES, INTERPOLATIONS, filled, resized, warped


class Rescaling(Layer):
    """scale x + offset.

    Args:
        scale: a number, or one for each channel.
        offset: as well.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Rescaling(1 / 255)(np.array([0, 255]))
        tensor([0., 1.])
    """

    supports_masking = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset

    def call(self, inputs: Tensor) -> Tensor:
        scale, offset = [wrap(np.asarray(v, dtype=inputs.dtype)) for v in (self.scale, self.offset)]
        return inputs * scale + offset

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class CenterCrop(Layer):
    """The middle of images; of smaller ones, the middle of what they are enlarged to.

    Args:
        height: pixels of the result.
        width: as well.
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.CenterCrop(2, 2)(np.ones((1, 4, 4, 3))).shape
        (1, 2, 2, 3)
    """

    expected_ndim = 4

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        channels_last(self, data_format)
        self.height, self.width = positive(self, "height", height), positive(self, "width", width)

    def call(self, inputs: Tensor) -> Tensor:
        top, left = inputs.shape[1] - self.height, inputs.shape[2] - self.width
        if top < 0 or left < 0:
            return self._fitted(inputs)
        top, left = top // 2, left // 2
        return inputs[:, top : top + self.height, left : left + self.width]

    def _fitted(self, inputs: Tensor) -> Tensor:
        """The largest part in the middle that has the shape of the result, resized."""
        height, width = inputs.shape[1:3]
        part_height = min(height, int(width * self.height / self.width))
        part_width = min(width, int(height * self.width / self.height))
        top, left = (height - part_height) // 2, (width - part_width) // 2
        part = inputs.detach()._data[:, top : top + part_height, left : left + part_width]
        return wrap(resized(part, self.height, self.width))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.height, self.width, input_shape[3])


class RandomCrop(CenterCrop):
    """In training a part of the images at a random place, one for the batch; otherwise the middle, resized.

    Args:
        height: pixels of the result.
        width: as well.
        seed: of a random stream of its own; None: the global one.
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.RandomCrop(2, 2)(np.ones((1, 4, 4, 3))).shape
        (1, 2, 2, 3)
    """

    def __init__(
        self, height: int, width: int, seed: int | None = None, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(height, width, data_format, **kwargs)
        self.seed = seed
        self._stream = stream(seed)

    def call(self, inputs: Tensor, training: bool = True) -> Tensor:
        room = inputs.shape[1] - self.height, inputs.shape[2] - self.width
        if not training or min(room) < 0:
            return self._fitted(inputs)
        draws = fa.rand(2, dtype=np.float64, generator=self._stream).tolist()
        top, left = [min(int(u * (n + 1)), n) for u, n in zip(draws, room, strict=True)]
        return inputs[:, top : top + self.height, left : left + self.width]


class _Random(Layer):
    """What changes each image of a batch by numbers of its own."""

    expected_ndim = 4

    def __init__(self, seed: int | None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        channels_last(self, data_format)
        self.seed = seed
        self._stream = stream(seed)

    def _uniform(self, count: int, low: float, high: float) -> Any:
        """(count,) uniform numbers."""
        return low + (high - low) * fa.rand(count, dtype=np.float64, generator=self._stream).numpy()

    def call(self, inputs: Tensor, training: bool = True) -> Tensor:
        return wrap(self._changed(inputs.detach()._data)) if training else inputs

    def _changed(self, images: Any) -> Any:
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def _range(self, name: str, factor: Any, low: float, high: float, mirrored: bool = True) -> tuple[float, float]:
        """(lower, upper) of a factor: a pair, or a number for both sides."""
        pair = factor if isinstance(factor, (tuple, list)) else (-abs(factor) if mirrored else factor, abs(factor))
        if len(pair) != 2 or not all(low <= v <= high for v in pair):
            msg = f"{self.title}: {name} is {factor!r}; expected a number, or two, of {low} to {high}"
            raise ValueError(msg)
        return float(min(pair)), float(max(pair))


class RandomFlip(_Random):
    """In training, mirrors half of the images.

    Args:
        mode: "horizontal" (left to right), "vertical", or "horizontal_and_vertical", each for half of them.
        seed: of a random stream of its own; None: the global one.
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.RandomFlip("horizontal")(np.ones((1, 4, 4, 3))).shape
        (1, 4, 4, 3)
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        if mode not in ("horizontal", "vertical", "horizontal_and_vertical"):
            msg = f"{self.title}: mode is {mode!r}; expected 'horizontal', 'vertical' or 'horizontal_and_vertical'"
            raise ValueError(msg)
        self.mode = mode

    def _changed(self, images: Any) -> Any:
        for name, axis in (("horizontal", 2), ("vertical", 1)):
            if name in self.mode:
                flipped = self._uniform(len(images), 0, 1) < 0.5
                images = np.where(flipped[:, None, None, None], np.flip(images, axis), images)
        return images


class _Warped(_Random):
    """What moves pixels: each image's matrix says where a pixel comes from."""

    def __init__(
        self,
        fill_mode: str,
        interpolation: str,
        seed: int | None,
        fill_value: float,
        data_format: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        for name, value, known in (
            ("fill_mode", fill_mode, FILL_MODES),
            ("interpolation", interpolation, INTERPOLATIONS),
        ):
            if value not in known:
                msg = f"{self.title}: {name} is {value!r}; expected one of {', '.join(known)}"
                raise ValueError(msg)
        self.fill_mode, self.interpolation, self.fill_value = fill_mode, interpolation, float(fill_value)

    def _matrices(self, batch: int, height: int, width: int) -> Any:
        raise NotImplementedError

    def _changed(self, images: Any) -> Any:
        matrices = self._matrices(*images.shape[:3])
        return warped(images, matrices, self.fill_mode, self.fill_value, self.interpolation)


class RandomRotation(_Warped):
    """In training, turns images about their middle.

    Args:
        factor: the largest angle to either side, in turns of 360 degrees, or (lower, upper); positive is counterclockwise.
        fill_mode: what is outside of an image: "reflect", "constant", "nearest" or "wrap".
        interpolation: "bilinear" or "nearest".
        seed: of a random stream of its own; None: the global one.
        fill_value: for "constant".
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.RandomRotation(0.1)(np.ones((1, 4, 4, 3))).shape
        (1, 4, 4, 3)
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = self._range("factor", factor, -1.0, 1.0)

    def _matrices(self, batch: int, height: int, width: int) -> Any:
        angle = self._uniform(batch, *self.factor) * (2 * math.pi)
        cos, sin = np.cos(angle), np.sin(angle)
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        out = filled(batch)
        out[:, 0, 0], out[:, 0, 1] = cos, sin
        out[:, 1, 0], out[:, 1, 1] = -sin, cos
        out[:, 0, 2] = middle_y - cos * middle_y - sin * middle_x
        out[:, 1, 2] = middle_x + sin * middle_y - cos * middle_x
        return out


class RandomZoom(_Warped):
    """In training, makes what images show smaller or larger.

    Args:
        height_factor: the largest part to either side, or (lower, upper); 0.2 shows 20% more, smaller.
        width_factor: as well; None: as the height, with the same numbers.
        fill_mode: what is outside of an image: "reflect", "constant", "nearest" or "wrap".
        interpolation: "bilinear" or "nearest".
        seed: of a random stream of its own; None: the global one.
        fill_value: for "constant".
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.RandomZoom(0.1)(np.ones((1, 4, 4, 3))).shape
        (1, 4, 4, 3)
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor = self._range("height_factor", height_factor, -1.0, 1.0)
        self.width_factor = None if width_factor is None else self._range("width_factor", width_factor, -1.0, 1.0)

    def _matrices(self, batch: int, height: int, width: int) -> Any:
        down = 1 + self._uniform(batch, *self.height_factor)
        across = down if self.width_factor is None else 1 + self._uniform(batch, *self.width_factor)
        out = filled(batch)
        out[:, 0, 0], out[:, 1, 1] = down, across
        out[:, 0, 2], out[:, 1, 2] = (height - 1) / 2 * (1 - down), (width - 1) / 2 * (1 - across)
        return out


class RandomTranslation(_Warped):
    """In training, moves images.

    Args:
        height_factor: the largest part of the height, up or down, or (lower, upper); positive is down.
        width_factor: the largest part of the width; positive is to the right.
        fill_mode: what is outside of an image: "reflect", "constant", "nearest" or "wrap".
        interpolation: "bilinear" or "nearest".
        seed: of a random stream of its own; None: the global one.
        fill_value: for "constant".
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.RandomTranslation(0.1, 0.1)(np.ones((1, 4, 4, 3))).shape
        (1, 4, 4, 3)
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor = self._range("height_factor", height_factor, -1.0, 1.0)
        self.width_factor = self._range("width_factor", width_factor, -1.0, 1.0)

    def _matrices(self, batch: int, height: int, width: int) -> Any:
        out = filled(batch)
        out[:, 0, 2] = -height * self._uniform(batch, *self.height_factor)
        out[:, 1, 2] = -width * self._uniform(batch, *self.width_factor)
        return out


class RandomContrast(_Random):
    """In training, moves the pixels of each image away from the mean of their channel, or towards it.

    Args:
        factor: the largest part, or (less, more).
        value_range: what results are kept within.
        seed: of a random stream of its own; None: the global one.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.RandomContrast(0.5)(np.ones((1, 4, 4, 3))).shape
        (1, 4, 4, 3)
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        less, more = factor if isinstance(factor, (tuple, list)) else (factor, factor)
        if not (0 <= less <= 1 and more >= 0):
            msg = f"{self.title}: factor is {factor!r}; expected a number, or two, of at least 0"
            raise ValueError(msg)
        self.factor = (float(less), float(more))
        self.value_range = tuple(value_range)

    def _changed(self, images: Any) -> Any:
        factor = self._uniform(len(images), 1 - self.factor[0], 1 + self.factor[1])[:, None, None, None]
        mean = images.mean((1, 2), keepdims=True)
        return np.clip((images - mean) * factor + mean, *self.value_range).astype(images.dtype)


class RandomBrightness(_Random):
    """In training, makes each image brighter or darker.

    Args:
        factor: the largest part of the range of values, or (lower, upper).
        value_range: of the images; results are kept within.
        seed: of a random stream of its own; None: the global one.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.RandomBrightness(0.1)(np.ones((1, 4, 4, 3))).shape
        (1, 4, 4, 3)
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.factor = self._range("factor", factor, -1.0, 1.0)
        self.value_range = tuple(value_range)

    def _changed(self, images: Any) -> Any:
        low, high = self.value_range
        added = self._uniform(len(images), *self.factor)[:, None, None, None] * (high - low)
        return np.clip(images + added, low, high).astype(images.dtype)
