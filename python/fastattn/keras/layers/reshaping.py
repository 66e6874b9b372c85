"""Layers that only move elements: other shapes, edges, repetition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastattn.autograd.tensor import Tensor
from fastattn.keras.engine.layer import Layer
from fastattn.keras.engine.symbol import elements
from fastattn.nn import functional as F

from .core import channels_last, positive


class Flatten(Layer):
    """All axes but the batch as one.

    Args:
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Flatten()(np.ones((2, 3, 4))).shape
        (2, 12)
    """

    integers = True
    keeps_dtype = True
    expected_min_ndim = 1

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        channels_last(self, data_format)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(inputs.shape[0], math.prod(inputs.shape[1:]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], elements(tuple(input_shape[1:])))


class Reshape(Layer):
    """Another shape of the axes behind the batch.

    Args:
        target_shape: without the batch; -1 for what is left.
        kwargs: see Layer.

    Raises:
        ValueError: another number of elements.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Reshape((2, -1))(np.ones((1, 6))).shape
        (1, 2, 3)
    """

    integers = True
    keeps_dtype = True

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = tuple(
            int(n) for n in ((target_shape,) if hasattr(target_shape, "__index__") else target_shape)
        )

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.reshape(inputs.shape[0], *self.compute_output_shape(inputs.shape)[1:])

    def compute_output_shape(self, input_shape: Any) -> Any:
        rest, target = tuple(input_shape[1:]), self.target_shape
        size = elements(rest)
        given = math.prod(n for n in target if n != -1)
        free = target.count(-1)
        if free > 1 or (size is not None and (size % given if free and given else size != given)):
            msg = f"{self.title}: input has shape {tuple(input_shape)}; it does not fit target_shape {target}"
            raise ValueError(msg)
        filled = [n if n != -1 else None if size is None else size // max(given, 1) for n in target]
        return (input_shape[0], *filled)


class Permute(Layer):
    """The axes behind the batch in another order.

    Args:
        dims: their numbers, from 1.
        kwargs: see Layer.

    Raises:
        ValueError: numbers that are not each of 1, 2, ... once.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Permute((2, 1))(np.ones((1, 2, 3))).shape
        (1, 3, 2)
    """

    integers = True
    keeps_dtype = True

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            msg = f"{self.title}: dims is {self.dims}; expected each of 1 to {len(self.dims)} once"
            raise ValueError(msg)
        self.expected_ndim = len(self.dims) + 1

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.permute(0, *self.dims)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], *[input_shape[d] for d in self.dims])


class RepeatVector(Layer):
    """A vector for each of n steps.

    Args:
        n: how often.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.RepeatVector(3)(np.ones((2, 4))).shape
        (2, 3, 4)
    """

    integers = True
    keeps_dtype = True
    expected_ndim = 2

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = positive(self, "n", n)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.unsqueeze(1).expand(inputs.shape[0], self.n, inputs.shape[1])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.n, input_shape[1])


class _Edges(Layer):
    """What padding and cropping share: two numbers for each axis between the batch and the channels."""

    integers = True
    keeps_dtype = True
    axes = 2
    sign = 1

    def __init__(self, sides: Any, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        channels_last(self, data_format)
        self.expected_ndim = self.axes + 2
        given = (sides,) * self.axes if hasattr(sides, "__index__") else tuple(sides)
        if self.axes == 1 and len(given) == 2:
            given = (given,)
        pairs = [(n, n) if hasattr(n, "__index__") else tuple(n) for n in given]
        if len(pairs) != self.axes or any(len(p) != 2 or min(p) < 0 for p in pairs):
            msg = f"{self.title}: got {sides!r}; expected a number of at least 0, one for each axis, or two for each"
            raise ValueError(msg)
        self._sides = [(int(before), int(after)) for before, after in pairs]

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        added = [self.sign * n for pair in reversed(self._sides) for n in pair]
        return F.pad(inputs, (0, 0, *added))

    def compute_output_shape(self, input_shape: Any) -> Any:
        plane: list[Any] = []
        for n, pair in zip(input_shape[1:-1], self._sides, strict=True):
            plane.append(None if n is None else n + self.sign * sum(pair))
            if n is not None and plane[-1] < 1:
                msg = f"{self.title}: input has shape {tuple(input_shape)}; nothing of it is left"
                raise ValueError(msg)
        return (input_shape[0], *plane, input_shape[-1])


class ZeroPadding1D(_Edges):
    """Zeros at both ends of sequences.

    Args:
        padding: how many, or (before, after).
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.ZeroPadding1D((1, 2))(np.ones((1, 4, 3))).shape
        (1, 7, 3)
    """

    axes = 1

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)


class ZeroPadding2D(_Edges):
    """Zeros around images.

    Args:
        padding: how many, (of height, of width), or ((top, below), (left, right)).
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.ZeroPadding2D(((1, 0), (2, 2)))(np.ones((1, 4, 4, 3))).shape
        (1, 5, 8, 3)
    """

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)


class Cropping1D(_Edges):
    """Sequences without their ends.

    Args:
        cropping: how many steps, or (before, after).
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Cropping1D((1, 2))(np.ones((1, 4, 3))).shape
        (1, 1, 3)
    """

    axes = 1
    sign = -1

    def __init__(self, cropping: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


class Cropping2D(_Edges):
    """Images without their edges.

    Args:
        cropping: how many pixels, (of height, of width), or ((top, below), (left, right)).
        data_format: None or "channels_last".
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Cropping2D(1)(np.ones((1, 4, 4, 3))).shape
        (1, 2, 2, 3)
    """

    sign = -1

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


class UpSampling1D(Layer):
    """Each step several times.

    Args:
        size: how often.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.UpSampling1D(2)(np.ones((1, 4, 3))).shape
        (1, 8, 3)
    """

    integers = True
    keeps_dtype = True
    expected_ndim = 3

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = positive(self, "size", size)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.repeat_interleave(self.size, 1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, time, channels = input_shape
        return (batch, None if time is None else time * self.size, channels)


class UpSampling2D(Layer):
    """Each pixel several times.

    Args:
        size: how often, or (down, sideways).
        data_format: None or "channels_last".
        interpolation: "nearest".
        kwargs: see Layer.

    Raises:
        NotImplementedError: another interpolation.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.UpSampling2D((2, 3))(np.ones((1, 2, 2, 1))).shape
        (1, 4, 6, 1)
    """

    integers = True
    keeps_dtype = True
    expected_ndim = 4

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        channels_last(self, data_format)
        if interpolation != "nearest":
            msg = f"{self.title}: interpolation is {interpolation!r}; only 'nearest' is supported"
            raise NotImplementedError(msg)
        both = (size, size) if hasattr(size, "__index__") else tuple(size)
        self.size = positive(self, "size", both[0]), positive(self, "size", both[1])

    def call(self, inputs: Tensor) -> Tensor:
        return inputs.repeat_interleave(self.size[0], 1).repeat_interleave(self.size[1], 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        plane = [None if n is None else n * s for n, s in zip(input_shape[1:3], self.size, strict=True)]
        return (input_shape[0], *plane, input_shape[3])
