"""The activation functions: gelu, silu, relu and sigmoid, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind

# fa_activation's codes (csrc/ops/activation.h), by the names that matmul's `activation` takes.
CODES: dict[str | None, int] = {"gelu": 1, "gelu_tanh": 2, "silu": 3, "relu": 4, "sigmoid": 5}


class Activation(Op):
    """One function; `code` is its number."""

    arrays = ("x",)
    differentiable = ("x",)

    def __init__(self, activation: str) -> None:
        self.name = activation.partition("_")[0]  # type: ignore[misc]
        self.code = CODES[activation]

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        return ((arrays[0].shape, arrays[0].dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.activation_fwd(arrays[0], outs[0], self.code)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        # Of ReLU the output tells as much, and what comes next often saves it too.
        return outs if self.code == CODES["relu"] else arrays

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        (x,) = saved
        assert x is not None
        dx = kind.empty(x.shape, x.dtype, x)
        _C.activation_bwd(x, grads[0], dx, self.code)
        return (dx,)

    def source(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...] | None:
        return None if self.code == CODES["relu"] else arrays  # it saves the output


GELU = {"none": Activation("gelu"), "tanh": Activation("gelu_tanh")}
SILU = Activation("silu")
RELU = Activation("relu")
SIGMOID = Activation("sigmoid")


def gelu(x: Array, approximate: str = "none", *, out: Array | None = None) -> Array:
    r"""Gaussian error linear unit.

    .. math:: y = x \Phi(x), \quad \text{tanh form:} \; y = x (1 + \tanh(\sqrt{2 / \pi} (x + 0.044715 x^3))) / 2

    Args:
        x: any shape and strides, any floating dtype.
        approximate: "none" (erf) or "tanh".
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`.

    Raises:
        ValueError: an unknown `approximate`, or `out` of another shape.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.gelu(np.array([-10.0, 0.0, 10.0]), approximate="tanh").round(6) + 0.0
        array([ 0.,  0., 10.])

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
    """
    if approximate not in GELU:
        raise attribute_error("gelu", "approximate", approximate, '"none" or "tanh"')
    return GELU[approximate]((x,), (), out)


def silu(x: Array, *, out: Array | None = None) -> Array:
    r"""Sigmoid linear unit (swish): an element times its sigmoid.

    .. math:: y = x / (1 + e^{-x})

    Args:
        x: any shape and strides, any floating dtype.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`.

    Raises:
        ValueError: `out` of another shape.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.silu(np.array([0.0, 1.0])).round(4)
        array([0.    , 0.7311])

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
    """
    return SILU((x,), (), out)


def relu(x: Array, *, out: Array | None = None) -> Array:
    r"""Rectified linear unit; NaN stays NaN, and the gradient at 0 is 0.

    .. math:: y = \max(x, 0)

    Args:
        x: any shape and strides, any floating dtype.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`.

    Raises:
        ValueError: `out` of another shape.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.relu(np.array([-1.0, 2.0]))
        array([0., 2.])

    Source: Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010), section 2.
    """
    return RELU((x,), (), out)


def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    r"""Logistic function, without overflow on either side.

    .. math:: y = 1 / (1 + e^{-x})

    Args:
        x: any shape and strides, any floating dtype.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`.

    Raises:
        ValueError: `out` of another shape.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.sigmoid(np.array([-1000.0, 0.0]))
        array([0. , 0.5])

    Source: Cox, "The regression analysis of binary sequences" (1958), section 2.
    """
    return SIGMOID((x,), (), out)
