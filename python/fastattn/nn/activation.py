"""Activations as layers."""

from __future__ import annotations

from typing import Any

from fastattn.autograd import creation
from fastattn.autograd.tensor import Tensor

from . import functional as F
from .function_layer import FunctionLayer
from .module import Module
from .parameter import Parameter

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class Activation(FunctionLayer):
    """A function of nn.functional with its options as a layer; repr() shows the options."""

    def extra_repr(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in self.options]
        return ", ".join([*shown, "inplace=True"] if getattr(self, "inplace", False) else shown)


class _Inplace(Activation):
    """An activation with torch's option `inplace`, which changes nothing but repr(): the result is a new tensor."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class _AlongAxis(Activation):
    """An activation along an axis `dim`, the last by default."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__(dim=dim)


class GELU(Activation):
    """x * Phi(x), Phi the normal distribution function.

    Args:
        approximate: "none", or "tanh" for the form with tanh.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.GELU()(fa.zeros(2))
        tensor([0., 0.])

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
    """

    function = staticmethod(F.gelu)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__(approximate=approximate)


class ReLU(_Inplace):
    """max(x, 0).

    Example:
        >>> import fastattn as fa
        >>> fa.nn.ReLU()(fa.tensor([-1.0, 1.0]))
        tensor([0., 1.])

    Source: Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010).
    """

    function = staticmethod(F.relu)


class ReLU6(_Inplace):
    """x limited to 0..6."""

    function = staticmethod(F.relu6)


class LeakyReLU(Activation):
    """x above 0, negative_slope * x below.

    Args:
        negative_slope: the slope below 0.
        inplace: accepted for torch's sake; the result is always a new tensor.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.LeakyReLU(0.5)(fa.tensor([-1.0, 1.0]))
        tensor([-0.5,  1. ])

    Source: Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models" (2013).
    """

    function = staticmethod(F.leaky_relu)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(negative_slope=negative_slope)
        self.inplace = inplace


class ELU(Activation):
    """x above 0, alpha * (exp(x) - 1) below.

    Args:
        alpha: the limit below is -alpha.
        inplace: accepted for torch's sake; the result is always a new tensor.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.ELU()(fa.tensor([-100.0, 1.0]))
        tensor([-1.,  1.])

    Source: Clevert, Unterthiner and Hochreiter, "Exponential linear units" (2016), equation 15.
    """

    function = staticmethod(F.elu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha)
        self.inplace = inplace


class CELU(Activation):
    """x above 0, alpha * (exp(x / alpha) - 1) below.

    Args:
        alpha: the limit below is -alpha.
        inplace: accepted for torch's sake; the result is always a new tensor.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.CELU()(fa.tensor([-100.0, 1.0]))
        tensor([-1.,  1.])

    Source: Barron, "Continuously differentiable exponential linear units" (2017).
    """

    function = staticmethod(F.celu)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha)
        self.inplace = inplace


class SELU(_Inplace):
    """An ELU that keeps mean 0 and variance 1.

    Source: Klambauer et al., "Self-normalizing neural networks" (2017).
    """

    function = staticmethod(F.selu)


class SiLU(_Inplace):
    """x * sigmoid(x), also called swish.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.SiLU()(fa.zeros(1))
        tensor([0.])

    Source: Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units" (2018).
    """

    function = staticmethod(F.silu)


class Mish(_Inplace):
    """x * tanh(softplus(x)).

    Source: Misra, "Mish" (2019).
    """

    function = staticmethod(F.mish)


class Softplus(Activation):
    """log(1 + exp(beta * x)) / beta; x where beta * x is above the threshold.

    Args:
        beta: the sharpness of the bend.
        threshold: where it becomes x.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Softplus()(fa.tensor([100.0]))
        tensor([100.])
    """

    function = staticmethod(F.softplus)

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class Softsign(Activation):
    """x / (1 + |x|)."""

    function = staticmethod(F.softsign)


class Tanh(Activation):
    """Hyperbolic tangent."""

    function = staticmethod(F.tanh)


class Tanhshrink(Activation):
    """x - tanh(x)."""

    function = staticmethod(F.tanhshrink)


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    function = staticmethod(F.sigmoid)


class LogSigmoid(Activation):
    """log(sigmoid(x)), without overflow."""

    function = staticmethod(F.logsigmoid)


class Hardtanh(Activation):
    """x limited to min_val..max_val.

    Args:
        min_val: the lower limit.
        max_val: the upper limit.
        inplace: accepted for torch's sake; the result is always a new tensor.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Hardtanh()(fa.tensor([-3.0, 0.5]))
        tensor([-1. ,  0.5])
    """

    function = staticmethod(F.hardtanh)

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(min_val=min_val, max_val=max_val)
        self.inplace = inplace


class Hardsigmoid(_Inplace):
    """(x + 3) / 6, limited to 0..1."""

    function = staticmethod(F.hardsigmoid)


class Hardswish(_Inplace):
    """x * hardsigmoid(x).

    Source: Howard et al., "Searching for MobileNetV3" (2019), section 5.2.
    """

    function = staticmethod(F.hardswish)


class Hardshrink(Activation):
    """0 within +- lambd, x outside.

    Args:
        lambd: the bound.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Hardshrink()(fa.tensor([0.4, 0.6]))
        tensor([0. , 0.6])
    """

    function = staticmethod(F.hardshrink)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)


class Softshrink(Activation):
    """x moved towards 0 by lambd; 0 within +- lambd.

    Args:
        lambd: the bound.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Softshrink()(fa.tensor([0.25, 0.75]))
        tensor([0.  , 0.25])
    """

    function = staticmethod(F.softshrink)

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__(lambd=lambd)


class Threshold(Activation):
    """x above the threshold, `value` elsewhere.

    Args:
        threshold: the bound.
        value: the number elsewhere.
        inplace: accepted for torch's sake; the result is always a new tensor.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Threshold(0.5, 9.0)(fa.tensor([0.0, 1.0]))
        tensor([9., 1.])
    """

    function = staticmethod(F.threshold)

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(threshold=threshold, value=value)
        self.inplace = inplace


class GLU(Activation):
    """The first half along an axis times the sigmoid of the second.

    Args:
        dim: the axis.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.GLU()(fa.tensor([2.0, 0.0]))
        tensor([1.])

    Source: Dauphin et al., "Language modeling with gated convolutional networks" (2017).
    """

    function = staticmethod(F.glu)

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim=dim)


class Softmax(_AlongAxis):
    """Softmax along an axis.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Softmax(dim=-1)(fa.zeros(2))
        tensor([0.5, 0.5])
    """

    function = staticmethod(F.softmax)


class LogSoftmax(_AlongAxis):
    """Logarithm of the softmax along an axis.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.LogSoftmax(dim=-1)(fa.zeros(1))
        tensor([0.])
    """

    function = staticmethod(F.log_softmax)


class Softmin(_AlongAxis):
    """softmax(-x) along an axis.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Softmin(dim=-1)(fa.zeros(2))
        tensor([0.5, 0.5])
    """

    function = staticmethod(F.softmin)


class PReLU(Module):
    """x above 0, weight * x below, the weight learned.

    Args:
        num_parameters: 1, or the length of the second axis of the input.
        init: the weight at first.
        device: where the parameters are made, the CPU by default.
        dtype: of the weight, float32 by default.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.PReLU()(fa.tensor([-1.0, 1.0])).detach()
        tensor([-0.25,  1.  ])

    Source: He et al., "Delving deep into rectifiers" (2015), equation 1.
    """

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(creation.full((num_parameters,), float(init), dtype=dtype, device=device))

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W).

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Softmax2d()(fa.zeros(1, 2, 1, 1)).flatten()
        tensor([0.5, 0.5])
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            msg = f"Softmax2d: input has shape {input.shape}; expected 3 or 4 axes"
            raise ValueError(msg)
        return F.softmax(input, -3)
