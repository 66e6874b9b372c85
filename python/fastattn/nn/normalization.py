"""LayerNorm and RMSNorm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastattn.autograd.tensor import Tensor

from . import functional as F
from . import init
from .layers import new_parameter
from .module import Module
from .parameter import Parameter


class LayerNorm(Module):
    r"""Normalises the last axes to mean 0 and variance 1, then scales and shifts.

    .. math:: y = (x - \mathrm{mean}) / \sqrt{\mathrm{var} + \mathrm{eps}} \cdot \mathrm{weight} + \mathrm{bias}

    Args:
        normalized_shape: the last axes of the input; an int is one axis.
        eps: added to the variance.
        elementwise_affine: whether there are a weight and a bias.
        bias: whether there is a bias.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        (..., *normalized_shape) to the same; weight (ones at first) and bias (zeros) of normalized_shape.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.LayerNorm(2, eps=0.0)(fa.tensor([[1.0, 3.0]])).detach()
        tensor([[-1.,  1.]])

    Source: Ba, Kiros and Hinton, "Layer Normalization" (2016), section 3.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)
        if elementwise_affine:
            self.weight = new_parameter(*self.normalized_shape, dtype=dtype, device=device)
            if bias:
                self.bias = new_parameter(*self.normalized_shape, dtype=dtype, device=device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class RMSNorm(Module):
    r"""Divides the last axes by their root mean square, then scales.

    .. math:: y = x / \sqrt{\mathrm{mean}(x^2) + \mathrm{eps}} \cdot \mathrm{weight}

    Args:
        normalized_shape: the last axes of the input; an int is one axis.
        eps: added to the mean square; None is the epsilon of the dtype computed in.
        elementwise_affine: whether there is a weight.
        device: where the parameters are made, the CPU by default.
        dtype: of the weight, float32 by default.

    Shape:
        (..., *normalized_shape) to the same; weight (ones at first) of normalized_shape.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.RMSNorm(2, eps=0.0)(fa.tensor([[2.0, -2.0]])).detach()
        tensor([[ 1., -1.]])

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019), section 4.
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", None)
        if elementwise_affine:
            self.weight = new_parameter(*self.normalized_shape, dtype=dtype, device=device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
