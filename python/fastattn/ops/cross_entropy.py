"""Cross-entropy of logits against class ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from . import _kinds
from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind

REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}


class CrossEntropy(Op):
    """attrs: ignore_index, reduction (its code)."""

    name = "cross_entropy"
    arrays = ("input", "target")
    required = 2
    differentiable = ("input",)
    autocast = "float32"

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        logits, target = arrays
        rows = tuple(target.shape)
        statistics = kind.accumulator(logits.dtype)
        loss = (rows if attrs[1] == REDUCTIONS["none"] else (), statistics)
        return loss, (rows, statistics) if saving else None

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.cross_entropy_fwd(*arrays, *outs, *attrs)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return *arrays, outs[1]

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        logits, target, lse = saved
        assert logits is not None
        dlogits = kind.empty(logits.shape, logits.dtype, logits)
        _C.cross_entropy_bwd(logits, target, lse, grads[0], dlogits, *attrs)
        return dlogits, None


CROSS_ENTROPY = CrossEntropy()


def cross_entropy(input: Array, target: Array, *, ignore_index: int = -100, reduction: str = "mean") -> Array:
    r"""Cross-entropy of the softmax of logits against class ids.

    .. math:: \ell_i = -\log \mathrm{softmax}(x_i)_{t_i}

    Args:
        input: logits, (N, C), (C,) or (N, C, d1, ...); any floating dtype.
        target: class ids of 0 to C - 1, (N,), () or (N, d1, ...); int32 or int64.
        ignore_index: a target of this value counts for nothing.
        reduction: "none", "sum", or "mean" over the targets that are not ignored (NaN if there are none).

    Returns:
        A scalar, or losses of the shape of `target` for "none"; the kind of `input`, float64 for float64 and
        float32 for the other dtypes.

    Raises:
        ValueError: shapes that do not fit; an unknown `reduction`.
        TypeError: logits of no floating dtype; targets other than int32 and int64.
        IndexError: a target out of range.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> round(float(fa.cross_entropy(np.zeros((2, 4)), np.array([0, 3]))), 4)
        1.3863

    Source: Bishop, "Pattern Recognition and Machine Learning" (2006), equation 4.108.
    """
    if reduction not in REDUCTIONS:
        raise attribute_error("cross_entropy", "reduction", reduction, '"none", "sum" or "mean"')
    if len(getattr(input, "shape", ())) > 2:  # torch's axis of classes is the second, the kernel's the last
        input = _kinds.kind_of("cross_entropy", ("input",), (input,)).classes_last(input)
    return CROSS_ENTROPY((input, target), (ignore_index, REDUCTIONS[reduction]))
