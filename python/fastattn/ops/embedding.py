"""Embedding: rows of a table by index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from . import _kinds
from ._op import Array, Op, Spec

if TYPE_CHECKING:
    from ._kinds import Kind


class Embedding(Op):
    """attrs: padding_idx (-1 for none), rows of the table. The table is not kept: it may change before the backward."""

    name = "embedding"
    arrays = ("weight", "index")
    required = 2
    differentiable = ("weight",)

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        weight, index = arrays
        return (((*index.shape, *weight.shape[-1:]), weight.dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.embedding_fwd(*arrays, outs[0])

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return (arrays[1],)

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        dout = kind.contiguous(grads[0])
        padding, rows = attrs
        dweight = kind.empty((rows, dout.shape[-1]), dout.dtype, dout)
        _C.embedding_bwd(saved[0], dout, dweight, padding)
        return dweight, None


EMBEDDING = Embedding()


def embedding(index: Array, weight: Array, padding_idx: int | None = None) -> Array:
    r"""Rows of a table.

    .. math:: y_i = W_{\mathrm{index}_i}

    Args:
        index: row numbers of any shape, 0 to V - 1; int32 or int64.
        weight: (V, D), any floating dtype.
        padding_idx: a row that gets no gradient; a negative one counts from the end.

    Returns:
        (*index.shape, D), the kind and dtype of `weight`.

    Raises:
        ValueError: `weight` is not 2-D; `padding_idx` out of range.
        TypeError: `index` is not int32 or int64; `weight` not of a floating dtype.
        IndexError: an index out of range.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.embedding(np.array([1, 0]), np.array([[1.0, 2.0], [3.0, 4.0]]))
        array([[3., 4.],
               [1., 2.]])

    Source: torch.nn.functional.embedding's form of it.
    """
    if len(getattr(index, "shape", ())) > 1:  # columns of a batch of tokens: the kernel reads one stride
        index = _kinds.kind_of("embedding", ("index",), (index,)).contiguous(index)
    padding = -1
    shape: tuple[int, ...] = getattr(weight, "shape", ())
    rows = shape[0] if len(shape) else 0
    if padding_idx is not None:
        padding = padding_idx + rows if padding_idx < 0 else padding_idx
        if not 0 <= padding < rows:
            msg = f"embedding: padding_idx {padding_idx} is outside the {rows} rows of weight"
            raise ValueError(msg)
    return EMBEDDING((weight, index), (padding, rows))
