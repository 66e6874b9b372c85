"""Cross-entropy of logits against class ids or probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from . import _kinds
from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind

REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}


def reduction_code(op: str, reduction: str) -> int:
    if reduction not in REDUCTIONS:
        raise attribute_error(op, "reduction", reduction, '"none", "sum" or "mean"')
    return REDUCTIONS[reduction]


class CrossEntropy(Op):
    """attrs: ignore_index, reduction (its code), label_smoothing."""

    name = "cross_entropy"
    arrays = ("input", "target", "weight")
    required = 2
    differentiable = ("input", "target")
    autocast = "float32"

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        logits, target = arrays[:2]
        rows = tuple(target.shape)[: max(0, len(logits.shape) - 1)]
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
        logits = saved[0]
        assert logits is not None
        wanted = tuple(kind.empty(logits.shape, logits.dtype, logits) if need else None for need in needs[:2])
        _C.cross_entropy_bwd(*saved, grads[0], *wanted, *attrs)
        return *wanted, None


CROSS_ENTROPY = CrossEntropy()


def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    r"""Cross-entropy of the softmax of logits against class ids or probabilities.

    .. math:: \ell_i = -\sum_c w_c \left( (1 - \epsilon) y_{ic} + \epsilon / C \right) \log \mathrm{softmax}(x_i)_c

    y is the target of probabilities, or 1 at the class id and 0 elsewhere; without `weight` and `label_smoothing` the
    sum is -log softmax(x_i) at the class id. A class that counts for 0 adds 0, also where its logit is -inf.

    Args:
        input: logits, (N, C), (C,) or (N, C, d1, ...); any floating dtype.
        target: class ids of 0 to C - 1, (N,), () or (N, d1, ...), int32 or int64; or probabilities of the shape and
            dtype of `input`, which have a gradient too.
        weight: w, (C,), of the dtype of `input`; 1 by default. It has no gradient.
        ignore_index: a class id of this value counts for nothing.
        reduction: "none", "sum", or "mean": over the sum of the weights of the ids that are not ignored (NaN if there
            are none), or over the rows of probabilities.
        label_smoothing: epsilon, 0 to 1.

    Returns:
        A scalar, or losses, one a row, for "none"; the kind of `input`, float64 for float64 and float32 for the other
        dtypes.

    Raises:
        ValueError: shapes that do not fit; an unknown `reduction`; `label_smoothing` outside 0 to 1; `ignore_index` of
            0 or more with probabilities.
        TypeError: logits of no floating dtype; ids other than int32 and int64; mixed dtypes.
        IndexError: a target out of range.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> round(float(fa.cross_entropy(np.zeros((2, 4)), np.array([0, 3]))), 4)
        1.3863
        >>> round(float(fa.cross_entropy(np.zeros((1, 4)), np.array([[0.5, 0.5, 0.0, 0.0]]))), 4)
        1.3863

    Source: Bishop, "Pattern Recognition and Machine Learning" (2006), equation 4.108; Szegedy et al., "Rethinking the
    Inception architecture for computer vision" (2016), section 7.
    """
    name = CROSS_ENTROPY.name
    code = reduction_code(name, reduction)
    axes = len(getattr(input, "shape", ()))
    probabilities = len(getattr(target, "shape", ())) == axes > 0
    if axes > 2:  # torch's axis of classes is the second, the kernel's the last
        input = _kinds.kind_of(name, ("input",), (input,)).classes_last(input)
        if probabilities:
            target = _kinds.kind_of(name, ("target",), (target,)).classes_last(target)
    elif probabilities:
        target = _kinds.kind_of(name, ("target",), (target,)).contiguous(target)
    return CROSS_ENTROPY((input, target, weight), (ignore_index, code, label_smoothing))
