"""The Gaussian error linear unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind

FORMS = {"none": False, "tanh": True}


class Gelu(Op):
    """attrs: tanh_form."""

    name = "gelu"
    arrays = ("x",)
    differentiable = ("x",)

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        return ((arrays[0].shape, arrays[0].dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.gelu_fwd(arrays[0], outs[0], attrs[0])

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return arrays

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
        _C.gelu_bwd(x, grads[0], dx, attrs[0])
        return (dx,)


GELU = Gelu()


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
    if approximate not in FORMS:
        raise attribute_error("gelu", "approximate", approximate, '"none" or "tanh"')
    return GELU((x,), (FORMS[approximate],), out)
