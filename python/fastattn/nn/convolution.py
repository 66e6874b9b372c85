"""Conv1d and Conv2d."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from fastattn.autograd.tensor import Tensor

from . import functional as F
from . import init
from .layers import new_parameter
from .module import Module
from .parameter import Parameter

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What the convolutions share; `axes` is how many axes they go along."""

    weight: Parameter
    bias: Parameter | None
    axes: ClassVar[int]
    padding: tuple[int, ...] | str

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            msg = f"{name}: groups {groups} does not divide {in_channels} input and {out_channels} output channels"
            raise ValueError(msg)
        if padding_mode not in _MODES:
            msg = f"{name}: padding_mode is {padding_mode!r}; expected one of {', '.join(_MODES)}"
            raise ValueError(msg)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = self._each("kernel_size", kernel_size)
        self.stride = self._each("stride", stride)
        self.dilation = self._each("dilation", dilation)
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                msg = f'{name}: padding is {padding!r}; expected "same", "valid" or numbers'
                raise ValueError(msg)
            if padding == "same" and any(s != 1 for s in self.stride):
                msg = f'{name}: padding is "same" and stride is {stride!r}; "same" needs a stride of 1'
                raise ValueError(msg)
            self.padding = padding
        else:
            self.padding = self._each("padding", padding)
        self.groups = groups
        self.padding_mode = padding_mode
        self.weight = new_parameter(out_channels, in_channels // groups, *self.kernel_size, dtype=dtype, device=device)
        if bias:
            self.bias = new_parameter(out_channels, dtype=dtype, device=device)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _each(self, name: str, value: int | Sequence[int]) -> tuple[int, ...]:
        values = (value,) * self.axes if isinstance(value, int) else tuple(value)
        if len(values) != self.axes:
            msg = f"{type(self).__name__}: {name} is {value!r}; expected {self.axes} numbers"
            raise ValueError(msg)
        return values

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        inputs = math.prod(self.weight.shape[1:])
        bound = 1 / math.sqrt(inputs) if inputs else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def _sides(self) -> list[int]:
        """The padding as `functional.pad` takes it: before and after, of the last axis first."""
        sides: list[int] = []
        for i in reversed(range(self.axes)):
            if self.padding == "same":
                whole = self.dilation[i] * (self.kernel_size[i] - 1)
                sides += [whole // 2, whole - whole // 2]
            else:
                sides += [0, 0] if isinstance(self.padding, str) else [self.padding[i]] * 2
        return sides

    def forward(self, input: Tensor) -> Tensor:
        padding: tuple[int, ...] | str = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._sides(), self.padding_mode), (0,) * self.axes
        convolve = F.conv1d if self.axes == 1 else F.conv2d
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.axes:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.axes:
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class Conv1d(_Conv):
    r"""Convolution along one axis.

    .. math:: y_{n,o,p} = b_o + \sum_{c,i} W_{o,c,i} \, x_{n,\,c,\,p s + i d - \mathrm{padding}}

    Args:
        in_channels: channels of the input.
        out_channels: of the output.
        kernel_size: taps.
        stride: positions of the input from one output to the next.
        padding: positions added at both ends, "valid" for none, "same" for as many outputs as inputs.
        dilation: positions from one tap to the next.
        groups: of channels that do not see each other.
        bias: whether there is a `b`.
        padding_mode: what is added: "zeros", "reflect", "replicate" or "circular".
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        (N, in_channels, L) to (N, out_channels, P), both also without N; weight (out_channels, in_channels / groups,
        kernel_size), bias (out_channels,), uniform of +- 1 / sqrt(inputs of one output) at first.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Conv1d(2, 4, 3, padding="same")(fa.ones(1, 2, 5)).shape
        (1, 4, 5)

    Source: torch.nn.Conv1d's form of it.
    """

    axes = 1


class Conv2d(_Conv):
    r"""Convolution of images.

    .. math:: y_{n,o,p,q} = b_o + \sum_{c,i,j} W_{o,c,i,j} \,
        x_{n,\,c,\,p s_h + i d_h - \mathrm{padding}_h,\,q s_w + j d_w - \mathrm{padding}_w}

    Args:
        in_channels: channels of the input.
        out_channels: of the output.
        kernel_size: taps, an int or one for each of height and width, as the next three.
        stride: pixels of the input from one output to the next.
        padding: pixels added at every side, "valid" for none, "same" for as many outputs as inputs.
        dilation: pixels from one tap to the next.
        groups: of channels that do not see each other.
        bias: whether there is a `b`.
        padding_mode: what is added: "zeros", "reflect", "replicate" or "circular".
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        (N, in_channels, H, W) to (N, out_channels, P, Q), both also without N; weight (out_channels, in_channels /
        groups, *kernel_size), bias (out_channels,), uniform of +- 1 / sqrt(inputs of one output) at first.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Conv2d(1, 8, 3, padding=1)(fa.ones(2, 1, 28, 28)).shape
        (2, 8, 28, 28)

    Source: torch.nn.Conv2d's form of it.
    """

    axes = 2
