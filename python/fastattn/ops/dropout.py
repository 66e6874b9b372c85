"""Dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C, _random

from ._op import Array, Op, Spec

if TYPE_CHECKING:
    from ._kinds import Kind


class Dropout(Op):
    """attrs: p, seed, offset. The mask is a function of these, so nothing is kept for the backward."""

    name = "dropout"
    arrays = ("x",)
    differentiable = ("x",)

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        return ((arrays[0].shape, arrays[0].dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.dropout(arrays[0], outs[0], *attrs)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return ()

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        (dout,) = grads
        assert dout is not None
        dx = kind.empty(dout.shape, dout.dtype, dout)
        _C.dropout(dout, dx, *attrs)
        return (dx,)


DROPOUT = Dropout()


def dropout(x: Array, p: float = 0.5, *, seed: int | tuple[int, int] | None = None, out: Array | None = None) -> Array:
    r"""Sets elements to 0 with probability p and divides the others by 1 - p.

    .. math:: y_i = [u_i \ge p] \, x_i / (1 - p)

    Args:
        x: any shape and strides, any floating dtype.
        p: probability of dropping an element, 0 to 1.
        seed: key of the Philox stream that u comes from, default the next of the global stream (`fa.manual_seed`); or a pair,
            seed and offset.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`. The same seed drops the same elements on every machine.

    Raises:
        ValueError: `p` outside 0 to 1, or `out` of another shape.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> sorted(set(fa.dropout(np.ones(1000), 0.5, seed=1).tolist()))
        [0.0, 2.0]

    Source: Srivastava et al., "Dropout" (2014), section 4; Salmon et al., "Parallel random numbers" (2011).
    """
    if not 0.0 <= p <= 1.0:
        msg = f"dropout: p is {p!r}; expected a probability, 0 to 1"
        raise ValueError(msg)
    return DROPOUT((x,), (p, *_random.key_of(seed)), out)
