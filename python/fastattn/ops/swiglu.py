"""The gated activation of Llama's feed-forward layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec

if TYPE_CHECKING:
    from ._kinds import Kind


class SwiGLU(Op):
    name = "swiglu"
    arrays = ("gate", "up")
    differentiable = ("gate", "up")

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        gate, up = arrays
        shape = tuple(gate.shape)
        if up is None and shape:
            shape = (*shape[:-1], shape[-1] // 2)
        return ((shape, gate.dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.swiglu_fwd(*arrays, *outs)

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
        # One pass makes both gradients, also where one of them is not wanted.
        wanted = tuple(None if a is None else kind.empty(a.shape, a.dtype, a) for a in saved)
        _C.swiglu_bwd(*saved, grads[0], *wanted)
        return wanted

    def source(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...] | None:
        return arrays


SWIGLU = SwiGLU()


def swiglu(gate: Array, up: Array | None = None, *, out: Array | None = None) -> Array:
    r"""Gates `up` with silu(`gate`), element by element.

    .. math:: y = \mathrm{silu}(\mathrm{gate}) \cdot \mathrm{up}, \quad \mathrm{silu}(x) = x / (1 + e^{-x})

    Args:
        gate: any shape and strides, any floating dtype. Without `up`, gate and up side by side: (..., 2 C), the first
            half the gate, as one projection for both makes them (Phi-3's gate_up_proj, xformers' packed SwiGLU).
        up: the shape and dtype of `gate`. Two slices of one array are read in place too.
        out: an array like the result to write to; may be `gate`.

    Returns:
        An array of the kind, shape and dtype of `gate`; (..., C) without `up`.

    Raises:
        ValueError: shapes that differ, or a last axis that has no halves.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.swiglu(np.array([0.0, 1.0]), np.array([5.0, 2.0])).round(4)
        array([0.    , 1.4621])
        >>> fa.swiglu(np.array([0.0, 1.0, 5.0, 2.0])).round(4)
        array([0.    , 1.4621])

    Source: Shazeer, "GLU Variants Improve Transformer" (2020), section 2.
    """
    return SWIGLU((gate, up), (), out)
