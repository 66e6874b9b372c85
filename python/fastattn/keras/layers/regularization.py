"""Layers that make training harder: dropout, noise, a price on activity."""

from __future__ import annotations

from typing import Any

import fastattn as fa
from fastattn import ops
from fastattn.autograd.tensor import Tensor
from fastattn.keras import regularizers
from fastattn.keras.engine.layer import Layer

from .core import stream


class Dropout(Layer):
    """In training, sets elements to 0 with probability `rate` and divides the others by 1 - rate.

    Args:
        rate: the probability.
        noise_shape: the shape of the mask, with 1 or None along axes: elements along a 1 share their fate.
        seed: of a random stream of its own; None: the global one.
        kwargs: see Layer.

    Raises:
        ValueError: `rate` outside 0 to 1.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Dropout(0.5)(np.ones(2))
        tensor([1., 1.])

    Source: Srivastava et al., "Dropout" (2014), section 4.
    """

    supports_masking = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate <= 1:
            msg = f"{self.title}: rate is {rate!r}; expected a probability, 0 to 1"
            raise ValueError(msg)
        self.rate = float(rate)
        self.noise_shape = noise_shape
        self.seed = seed
        self._stream = stream(seed)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or not self.rate:
            return inputs
        seed = None if self._stream is None else self._stream.next_seed()
        shape = self._noise_shape(inputs.shape)
        if shape is None:
            out: Tensor = ops.dropout(inputs, self.rate, seed=seed)
        else:
            ones = fa.ones(shape, dtype=inputs.dtype, device=inputs.device)
            out = inputs * ops.dropout(ones, self.rate, seed=seed)
        return out

    def _noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        if self.noise_shape is None:
            return None
        return tuple([n if wanted is None else wanted for n, wanted in zip(shape, self.noise_shape, strict=True)])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class SpatialDropout1D(Dropout):
    """Dropout of whole channels of (B, T, C).

    Args:
        rate: the probability.
        seed: of a random stream of its own; None: the global one.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.SpatialDropout1D(0.5)(np.ones((1, 2, 3))).shape
        (1, 2, 3)
    """

    expected_ndim = 3

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, None, seed, **kwargs)

    def _noise_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *[1] * (len(shape) - 2), shape[-1])


class SpatialDropout2D(SpatialDropout1D):
    """Dropout of whole channels of (B, H, W, C).

    Args:
        rate: the probability.
        seed: of a random stream of its own; None: the global one.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.SpatialDropout2D(0.5)(np.ones((1, 2, 2, 3))).shape
        (1, 2, 2, 3)
    """

    expected_ndim = 4


class GaussianNoise(Layer):
    """In training, adds normal numbers.

    Args:
        stddev: their standard deviation.
        seed: of a random stream of its own; None: the global one.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.GaussianNoise(0.1)(np.ones(2))
        tensor([1., 1.])
    """

    supports_masking = True

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not stddev >= 0:
            msg = f"{self.title}: stddev is {stddev!r}; expected at least 0"
            raise ValueError(msg)
        self.stddev = float(stddev)
        self.seed = seed
        self._stream = stream(seed)

    def _normal(self, like: Tensor) -> Tensor:
        return fa.randn(*like.shape, dtype=like.dtype, generator=self._stream)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        return inputs + self._normal(inputs) * self.stddev if training and self.stddev else inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class GaussianDropout(GaussianNoise):
    """In training, multiplies by normal numbers of mean 1 and the variance that dropout has.

    Args:
        rate: of that dropout.
        seed: of a random stream of its own; None: the global one.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.GaussianDropout(0.1)(np.ones(2))
        tensor([1., 1.])
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        if not 0 <= rate < 1:
            msg = f"GaussianDropout: rate is {rate!r}; expected 0 to less than 1"
            raise ValueError(msg)
        super().__init__((rate / (1.0 - rate)) ** 0.5, seed, **kwargs)
        self.rate = float(rate)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        return inputs * (1.0 + self._normal(inputs) * self.stddev) if training and self.rate else inputs


class ActivityRegularization(Layer):
    """Its input, and a term of the loss that keeps it small.

    Args:
        l1: factor of the sum of absolute values.
        l2: factor of the sum of squares.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> layer = keras.layers.ActivityRegularization(l1=0.1)
        >>> _ = layer(np.ones((1, 2)))
        >>> round(layer.losses[0].item(), 3)
        0.2
    """

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.l1, self.l2 = l1, l2

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {key: value for key, value in config.items() if key != "activity_regularizer"} | {
            "l1": self.l1,
            "l2": self.l2,
        }
