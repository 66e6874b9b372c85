"""The layers of one op each: Dense, Embedding, Dropout, Activation, and those that only reshape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastattn as fa
from fastattn import ops
from fastattn.autograd.convert import is_float
from fastattn.autograd.tensor import Tensor
from fastattn.keras import activations, constraints, initializers, regularizers
from fastattn.keras.engine.layer import Layer
from fastattn.keras.engine.symbol import elements
from fastattn.keras.engine.weight import TRANSPOSED
from fastattn.nn import functional as F

Shape = tuple[int | None, ...]


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
            return ops.dropout(inputs, self.rate, seed=seed)
        return inputs * ops.dropout(fa.ones(shape, dtype=inputs.dtype, device=inputs.device), self.rate, seed=seed)

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
        self.target_shape = tuple(int(n) for n in ((target_shape,) if hasattr(target_shape, "__index__") else target_shape))

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


def as_floats(x: Tensor, layer: Layer) -> Tensor:
    """A tensor of floats, in the layer's dtype where it was of integers."""
    return x if is_float(x.dtype) else x.to(layer._dtype)
