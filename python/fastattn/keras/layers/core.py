"""The layers of one op each: Dense, Embedding, Activation, and those that take a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastattn as fa
from fastattn.autograd.tensor import Tensor
from fastattn.keras import activations, constraints, initializers, regularizers
from fastattn.keras.engine.layer import Layer
from fastattn.keras.engine.weight import TRANSPOSED
from fastattn.nn import functional as F


class Dense(Layer):
    r"""A dense layer.

    .. math:: y = f(x W + b)

    Args:
        units: the length of the output's last axis.
        activation: f, a name or a function.
        use_bias: whether there is a `b`.
        kernel_initializer: of W.
        bias_initializer: of b.
        kernel_regularizer: of W to a term of the loss.
        bias_regularizer: of b.
        activity_regularizer: of the output.
        kernel_constraint: of W after each step.
        bias_constraint: of b.
        kwargs: see Layer.

    Shape:
        (..., n) to (..., units); weights kernel (n, units) and bias (units,).

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Dense(3, activation="relu")(np.ones((4, 2))).shape
        (4, 3)

    Source: keras.layers.Dense's form of it.
    """

    supports_masking = True
    expected_min_ndim = 2

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = positive(self, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def build(self, input_shape: Any) -> None:
        length = known(self, input_shape, -1)
        self._new_weight(
            "kernel",
            (length, self.units),
            "weight",
            self.kernel_initializer,
            TRANSPOSED,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self._new_weight(
                "bias",
                (self.units,),
                "bias",
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self._expected_axes = {-1: length}
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return activated(self.activation, F.linear(inputs, self.weight, self.bias if self.use_bias else None))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.units)


class Embedding(Layer):
    """A table of vectors, looked up by index.

    Args:
        input_dim: rows of the table.
        output_dim: length of a row.
        embeddings_initializer: of the table.
        embeddings_regularizer: of the table to a term of the loss.
        embeddings_constraint: of the table after each step.
        mask_zero: whether 0 is padding: the output has a mask, which layers after it look at.
        kwargs: see Layer; `weights=[table]` starts from a given one.

    Shape:
        integers of any shape to (*shape, output_dim); weights embeddings (input_dim, output_dim).

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Embedding(10, 4)(np.array([[1, 2, 3]])).shape
        (1, 3, 4)

    Source: keras.layers.Embedding's form of it.
    """

    integers = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        **kwargs: Any,
    ) -> None:
        length = kwargs.pop("input_length", None)
        if length is not None and "input_shape" not in kwargs:
            kwargs["input_shape"] = (length,)
        super().__init__(**kwargs)
        self.input_dim = positive(self, "input_dim", input_dim)
        self.output_dim = positive(self, "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero

    def build(self, input_shape: Any = None) -> None:
        self._new_weight(
            "embeddings",
            (self.input_dim, self.output_dim),
            "weight",
            self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
        )
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        index = inputs if inputs.dtype in (np.int32, np.int64) else inputs.long()
        return F.embedding(index, self.weight)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return inputs != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.output_dim)


class Activation(Layer):
    """A function as a layer.

    Args:
        activation: a name or a function.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Activation("relu")(np.array([-1.0, 2.0]))
        tensor([0., 2.])
    """

    supports_masking = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: Tensor) -> Tensor:
        return activated(self.activation, inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class Masking(Layer):
    """Hides the steps in which all features are `mask_value`: layers after it skip them.

    Args:
        mask_value: the value.
        kwargs: see Layer.

    Shape:
        (B, T, C) to the same, with zeros in the steps that are hidden.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Masking()(np.ones((1, 2, 3))).shape
        (1, 2, 3)
    """

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return (inputs != self.mask_value).any(-1)

    def call(self, inputs: Tensor) -> Tensor:
        kept = (inputs != self.mask_value).any(-1, keepdim=True)
        return inputs * kept.to(inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class Identity(Layer):
    """Its input.

    Args:
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Identity()(np.ones(1))
        tensor([1.])
    """

    integers = True
    keeps_dtype = True
    supports_masking = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class Lambda(Layer):
    """A function of tensors as a layer. A saved model finds it by its name: register it.

    Args:
        function: of a tensor, and of `mask` or `training` if it takes those.
        output_shape: of the function; None: it is tried on zeros.
        mask: not supported.
        arguments: what else the function gets.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Lambda(lambda x: x * 2)(np.ones(1))
        tensor([2.])
    """

    integers = True
    supports_masking = True

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: None = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if mask is not None:
            msg = f"{self.title}: mask is not supported"
            raise NotImplementedError(msg)
        self.function = activations.get(function) if isinstance(function, str) else function
        self.arguments = dict(arguments or {})

    def call(self, inputs: Any) -> Any:
        return self.function(inputs, **self.arguments)


# What layers share --------------------------------------------------------------------------------------------------


def activated(activation: Any, x: Tensor) -> Tensor:
    """f(x); nothing is done for a linear one."""
    return x if activation is activations.linear or activation is None else activation(x)


def known(layer: Layer, shape: Any, axis: int) -> int:
    """The length of an axis that weights depend on."""
    length = shape[axis]
    if length is None:
        msg = f"{layer.title}: input has shape {tuple(shape)}; its axis {axis} has to be known, weights depend on it"
        raise ValueError(msg)
    return int(length)


def positive(layer: Layer, name: str, value: Any) -> int:
    """An argument that is a positive integer."""
    if not hasattr(value, "__index__") or isinstance(value, bool) or value < 1:
        msg = f"{layer.title}: {name} is {value!r}; expected a positive integer"
        raise ValueError(msg)
    return int(value)


def channels_last(layer: Layer, data_format: str | None) -> None:
    """Refuses channels_first."""
    if data_format not in (None, "channels_last"):
        msg = f"{layer.title}: data_format is {data_format!r}; only 'channels_last' is supported"
        raise ValueError(msg)


def stream(seed: int | None) -> Any:
    """A random stream of a layer's own, or None."""
    return None if seed is None else fa.Generator().manual_seed(seed)
