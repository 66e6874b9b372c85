"""Convolutions, channels last."""

from __future__ import annotations

from typing import Any, ClassVar

from fastattn.autograd.tensor import Tensor
from fastattn.keras import activations, constraints, initializers, regularizers
from fastattn.keras.engine.layer import Layer
from fastattn.keras.engine.weight import permuted
from fastattn.ops.conv import CONV

from .core import activated, channels_last, known, positive


def numbers(layer: Layer, name: str, value: Any, axes: int, least: int = 1) -> tuple[int, ...]:
    """One number for all axes, or one for each."""
    given = (value,) * axes if hasattr(value, "__index__") else tuple(value)
    if len(given) != axes or any(not hasattr(n, "__index__") or n < least for n in given):
        msg = f"{layer.title}: {name} is {value!r}; expected {axes} integers of at least {least}, or one"
        raise ValueError(msg)
    return tuple(int(n) for n in given)


def sides(padding: str, size: int, window: int, stride: int) -> tuple[int, int]:
    """What is added before and after an axis: of an odd number the larger part after."""
    if padding == "causal":
        return window - 1, 0
    if padding == "valid":
        return 0, 0
    whole = max((-(-size // stride) - 1) * stride + window - size, 0)
    return whole // 2, whole - whole // 2


def steps(padding: str, size: int | None, window: int, stride: int) -> int | None:
    """How many windows an axis has."""
    if size is None:
        return None
    return -(-size // stride) if padding in ("same", "causal") else max((size - window) // stride + 1, 0)


class BaseConv(Layer):
    """What the convolutions share; `axes` is how many axes they go along."""

    axes: ClassVar[int]
    paddings: ClassVar[tuple[str, ...]] = ("valid", "same")

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
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
        channels_last(self, data_format)
        self.expected_ndim = self.axes + 2
        self.filters = positive(self, "filters", filters)
        self.kernel_size = numbers(self, "kernel_size", kernel_size, self.axes)
        self.strides = numbers(self, "strides", strides, self.axes)
        self.dilation_rate = numbers(self, "dilation_rate", dilation_rate, self.axes)
        self.groups = positive(self, "groups", groups)
        self.padding = str(padding).lower()
        if self.padding not in self.paddings:
            msg = f"{self.title}: padding is {padding!r}; expected one of {', '.join(self.paddings)}"
            raise ValueError(msg)
        if self.filters % self.groups:
            msg = f"{self.title}: groups {groups} does not divide filters {filters}"
            raise ValueError(msg)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            msg = f"{self.title}: strides {self.strides} and dilation_rate {self.dilation_rate}; expected 1 for one of them"
            raise ValueError(msg)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    @property
    def _windows(self) -> tuple[int, ...]:
        """What a kernel reaches over."""
        return tuple([d * (k - 1) + 1 for d, k in zip(self.dilation_rate, self.kernel_size, strict=True)])

    def build(self, input_shape: Any) -> None:
        channels = known(self, input_shape, -1)
        if channels % self.groups:
            msg = f"{self.title}: input has shape {tuple(input_shape)}; its channels are no multiple of groups {self.groups}"
            raise ValueError(msg)
        self._new_weight(
            "kernel",
            (*self.kernel_size, channels // self.groups, self.filters),
            "weight",
            self.kernel_initializer,
            permuted(*range(2, self.axes + 2), 1, 0),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self._new_weight(
                "bias",
                (self.filters,),
                "bias",
                self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self._expected_axes = {-1: channels}
        self.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        shape = inputs.shape[1:-1]
        added = [sides(self.padding, *each) for each in zip(shape, self._windows, self.strides, strict=True)]
        strides, dilation = self.strides, self.dilation_rate
        if self.axes == 1:
            added, strides, dilation = [(0, 0), *added], (1, *strides), (1, *dilation)
        (top, below), (left, right) = added
        attrs = (strides, (top, left, below, right), dilation, self.groups, self.axes, True)
        bias = self.bias if self.use_bias else None
        return activated(self.activation, CONV((inputs, self.weight, bias), attrs, None))

    def compute_output_shape(self, input_shape: Any) -> Any:
        plane = [
            steps(self.padding, *each) for each in zip(input_shape[1:-1], self._windows, self.strides, strict=True)
        ]
        if any(n is not None and n < 1 for n in plane):
            msg = (
                f"{self.title}: input has shape {tuple(input_shape)}; a kernel of {self.kernel_size} does not fit in it"
            )
            raise ValueError(msg)
        return (input_shape[0], *plane, self.filters)


class Conv1D(BaseConv):
    r"""Convolution along one axis.

    .. math:: y_{n,p,o} = f(b_o + \sum_{i,c} W_{i,c,o} \, x_{n,\,p s + i d - \mathrm{padding},\,c})

    Args:
        filters: channels of the output.
        kernel_size: taps.
        strides: positions of the input from one output to the next.
        padding: "valid" for none; "same" for ceil(T / strides) outputs; "causal" for the same, which see no later input.
        data_format: None or "channels_last".
        dilation_rate: positions from one tap to the next.
        groups: of channels that do not see each other.
        activation: f.
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
        (B, T, C) to (B, P, filters); weights kernel (kernel_size, C / groups, filters) and bias (filters,).

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Conv1D(4, 3, padding="causal")(np.ones((1, 5, 2))).shape
        (1, 5, 4)

    Source: keras.layers.Conv1D's form of it.
    """

    axes = 1
    paddings = ("valid", "same", "causal")
    supports_masking = True


class Conv2D(BaseConv):
    r"""Convolution of images.

    .. math:: y_{n,p,q,o} = f(b_o + \sum_{i,j,c} W_{i,j,c,o} \,
        x_{n,\,p s_h + i d_h - \mathrm{padding}_h,\,q s_w + j d_w - \mathrm{padding}_w,\,c})

    Args:
        filters: channels of the output.
        kernel_size: taps, an integer or one for each of height and width, as the next.
        strides: pixels of the input from one output to the next.
        padding: "valid" for none; "same" for ceil(size / strides) outputs.
        data_format: None or "channels_last".
        dilation_rate: pixels from one tap to the next.
        groups: of channels that do not see each other.
        activation: f.
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
        (B, H, W, C) to (B, P, Q, filters); weights kernel (kh, kw, C / groups, filters) and bias (filters,).

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Conv2D(8, 3, padding="same")(np.ones((2, 28, 28, 1))).shape
        (2, 28, 28, 8)

    Source: keras.layers.Conv2D's form of it.
    """

    axes = 2


Convolution1D, Convolution2D = Conv1D, Conv2D
