"""Cross-entropy of a dense layer's logits, which are never held as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec
from .cross_entropy import REDUCTIONS, reduction_code

if TYPE_CHECKING:
    from ._kinds import Kind


class LinearCrossEntropy(Op):
    """attrs: options (what `_C` takes: ignore_index, reduction, label_smoothing), needs (which of the arrays will want
    a gradient).

    A reduced loss has its gradients made in the forward, in the accumulator's dtype, while the logits are there; the
    backward multiplies them by dloss. Losses of rows ("none") are computed again in the backward, with dloss.
    """

    name = "linear_cross_entropy"
    arrays = ("input", "weight", "target", "bias")
    required = 3
    differentiable = ("input", "weight", "bias")
    autocast = "lower"

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        (_, reduction, _), needs = attrs
        statistics = kind.accumulator(arrays[0].dtype)
        none = reduction == REDUCTIONS["none"]
        loss = (tuple(arrays[2].shape) if none else (), statistics)
        made = tuple(
            (tuple(x.shape), statistics) if saving and not none and x is not None and need else None
            for x, need in zip(arrays, needs, strict=True)
        )
        # The last is empty: the dtype that gradients are due in.
        return loss, made[0], made[1], made[3], ((0,), arrays[0].dtype) if saving else None

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.linear_cross_entropy(*arrays, None, *outs[:4], *attrs[0])

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return (*arrays, outs[4]) if attrs[0][1] == REDUCTIONS["none"] else outs[1:]

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        options, _ = attrs
        dloss = grads[0]
        *made, like = saved
        if options[1] == REDUCTIONS["none"]:
            arrays = saved[:4]
            made = [
                kind.empty(x.shape, kind.accumulator(x.dtype), x) if x is not None and need else None
                for x, need in ((arrays[i], needs[i]) for i in (0, 1, 3))
            ]
            _C.linear_cross_entropy(*arrays, dloss, None, *made, *options)
            dloss = None
        assert like is not None
        dinput, dweight, dbias = (
            _scaled(kind, grad, dloss, like.dtype) if needs[i] else None
            for grad, i in zip(made, (0, 1, 3), strict=True)
        )
        return dinput, dweight, None, dbias


def _scaled(kind: Kind, grad: Array | None, dloss: Array | None, dtype: Any) -> Array | None:
    """dloss * grad in `dtype`; `grad` itself where that is the same."""
    if grad is None or (grad.dtype == dtype and (dloss is None or float(dloss) == 1.0)):
        return grad
    out = kind.empty(grad.shape, dtype, grad)
    _C.linear_cross_entropy_bwd(grad, dloss, out)
    return out


LINEAR_CROSS_ENTROPY = LinearCrossEntropy()


def linear_cross_entropy(
    input: Array,
    weight: Array,
    target: Array,
    bias: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    r"""Cross-entropy of the logits of a dense layer against class ids, a few rows of logits at a time.

    .. math:: \ell_i = -\sum_c \left( (1 - \epsilon) [c = t_i] + \epsilon / V \right)
        \log \mathrm{softmax}(x_i W^T + b)_c

    The same as `cross_entropy(matmul(input, weight, transpose_b=True, bias=bias), target)`, which holds N x V logits and
    as many gradients of them; this holds 32 MB, or one row. The gradients are made together with the loss, so the
    backward only scales them. Rows that are ignored cost nothing, and what they hold is not read.

    Args:
        input: x, (N, D), (D,) or (..., D); any floating dtype, any strides.
        weight: W, (V, D), as in nn.Linear or a table of embeddings; the dtype of `input`.
        target: t, class ids of 0 to V - 1, the shape of `input` without its last axis; int32 or int64.
        bias: b, (V,).
        ignore_index: a target of this value counts for nothing.
        reduction: "none", "sum", or "mean" over the targets that are not ignored (NaN if there are none). "none"
            computes the logits a second time for the gradients.
        label_smoothing: epsilon, 0 to 1.

    Returns:
        A scalar, or losses of the shape of `target` for "none"; the kind of `input`, float64 for float64 and float32
        for the other dtypes.

    Raises:
        ValueError: shapes that do not fit; an unknown `reduction`; `label_smoothing` outside 0 to 1.
        TypeError: a dtype that is not floating; targets other than int32 and int64; mixed dtypes.
        IndexError: a target out of range.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> hidden, table = np.ones((2, 3)), np.zeros((4, 3))
        >>> round(float(fa.linear_cross_entropy(hidden, table, np.array([0, 3]))), 4)
        1.3863

    Source: Hsu et al., "Liger kernel: efficient Triton kernels for LLM training" (2024), section 3.2.
    """
    code = reduction_code(LINEAR_CROSS_ENTROPY.name, reduction)
    arrays = (input, weight, target, bias)
    needs = tuple(getattr(a, "requires_grad", False) for a in arrays)
    return LINEAR_CROSS_ENTROPY(arrays, ((ignore_index, code, label_smoothing), needs))
