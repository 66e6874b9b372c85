"""Activations as layers of their own."""

from __future__ import annotations

import math
from typing import Any

from fastattn.autograd.tensor import Tensor
from fastattn.keras import activations, constraints, initializers, regularizers
from fastattn.keras.engine.layer import Layer
from fastattn.nn import functional as F


class _Elementwise(Layer):
    """What they share: the shape stays."""

    supports_masking = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class ReLU(_Elementwise):
    """x above `threshold`, at most `max_value`; below, negative_slope (x - threshold).

    Args:
        max_value: None for no bound.
        negative_slope: of what is below the threshold.
        threshold: from where x counts.
        kwargs: see Layer.

    Raises:
        ValueError: a negative number.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.ReLU(max_value=1.0)(np.array([-1.0, 0.5, 2.0]))
        tensor([0. , 0.5, 1. ])
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if (value is None and name != "max_value") or (value is not None and value < 0):
                msg = f"{self.title}: {name} is {value!r}; expected a number of at least 0"
                raise ValueError(msg)
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def call(self, inputs: Tensor) -> Tensor:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(_Elementwise):
    """x above 0, negative_slope x below.

    Args:
        negative_slope: of what is below 0.
        kwargs: see Layer; `alpha` is the older name of the slope.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.LeakyReLU(0.5)(np.array([-1.0, 2.0]))
        tensor([-0.5,  2. ])
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        negative_slope = kwargs.pop("alpha", negative_slope)
        super().__init__(**kwargs)
        if negative_slope is None or negative_slope < 0:
            msg = f"{self.title}: negative_slope is {negative_slope!r}; expected a number of at least 0"
            raise ValueError(msg)
        self.negative_slope = float(negative_slope)
        self._arguments[LeakyReLU]["negative_slope"] = self.negative_slope

    def call(self, inputs: Tensor) -> Tensor:
        return F.leaky_relu(inputs, self.negative_slope)


class ELU(_Elementwise):
    """x above 0, alpha (exp(x) - 1) below.

    Args:
        alpha: of what is below 0.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.ELU()(np.array([0.0, 2.0]))
        tensor([0., 2.])
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = float(alpha)

    def call(self, inputs: Tensor) -> Tensor:
        return F.elu(inputs, self.alpha)


class PReLU(_Elementwise):
    """x above 0, alpha x below, with a learned alpha.

    Args:
        alpha_initializer: of alpha.
        alpha_regularizer: of alpha to a term of the loss.
        alpha_constraint: of alpha after each step.
        shared_axes: axes, from 1, along which there is one alpha.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.PReLU(alpha_initializer="ones")(np.array([[-1.0, 2.0]])).tolist()
        [[-1.0, 2.0]]
    """

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        axes = shared_axes or ()
        self.shared_axes = (int(axes),) if hasattr(axes, "__index__") else tuple(axes)

    def build(self, input_shape: Any) -> None:
        shape = [1 if i in self.shared_axes else n for i, n in enumerate(input_shape)][1:]
        if None in shape:
            msg = f"{self.title}: input has shape {tuple(input_shape)}; its axes have to be known, or shared_axes"
            raise ValueError(msg)
        self._new_weight(
            "alpha",
            tuple(int(n) for n in shape),
            "weight",
            self.alpha_initializer,
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
        )
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        out: Tensor = inputs.clamp(min=0.0) + self.weight * inputs.clamp(max=0.0)
        return out


class Softmax(_Elementwise):
    """The softmax along an axis, or along several together.

    Args:
        axis: the axis, or a list.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Softmax()(np.array([0.0, 0.0]))
        tensor([0.5, 0.5])
    """

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        """Args: inputs; mask: of their shape, True where an element counts."""
        if mask is not None:
            inputs = inputs.masked_fill(~mask.bool(), -math.inf)
        if hasattr(self.axis, "__index__"):
            return F.softmax(inputs, self.axis)
        if len(self.axis) == 1:
            return F.softmax(inputs, self.axis[0])
        top = inputs.detach()
        for axis in self.axis:
            top = top.amax(axis, keepdim=True)
        parts = (inputs - top).exp()
        return parts / parts.sum(tuple(self.axis), keepdim=True)
