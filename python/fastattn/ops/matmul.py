"""matmul with fused epilogues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn import _C

from ._op import Array, Op, Spec, attribute_error
from .activation import CODES

if TYPE_CHECKING:
    from ._kinds import Kind

ACTIVATIONS = {None: 0, **CODES}


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The common batch shape; where there is none, something: `_C` raises before it is used."""
    n = max(len(a), len(b))
    a, b = (1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b
    return tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))


class Matmul(Op):
    """attrs: transpose_a, transpose_b, activation (its code)."""

    name = "matmul"
    arrays = ("a", "b", "bias", "residual")
    required = 2
    differentiable = ("a", "b", "bias", "residual")
    autocast = "lower"

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        a, b = arrays[0], arrays[1]
        transpose_a, transpose_b, activation = attrs
        a_shape, b_shape = a.shape, b.shape
        shape: tuple[int, ...]
        if len(b_shape) == 2 and len(a_shape) > 1:  # a layer's product
            m, n = a_shape[-1 if transpose_a else -2], b_shape[0 if transpose_b else 1]
            shape = (m, n) if len(a_shape) == 2 else (*a_shape[:-2], m, n)
        else:
            rows = () if len(a_shape) < 2 else (a_shape[-1 if transpose_a else -2],)
            cols = () if len(b_shape) < 2 else (b_shape[-2 if transpose_b else -1],)
            shape = (*_broadcast(tuple(a_shape[:-2]), tuple(b_shape[:-2])), *rows, *cols)
        return ((shape, a.dtype), (shape, a.dtype) if saving and activation else None)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        a, b, bias, residual = arrays
        transpose_a, transpose_b, activation = attrs
        _C.matmul(a, b, bias, residual, outs[0], outs[1], transpose_a, transpose_b, activation)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return *arrays[:3], outs[1]

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        a, b, bias, preact = saved
        transpose_a, transpose_b, activation = attrs
        dout = grads[0]
        dpreact = dout
        if activation and any(needs[:3]):
            assert preact is not None
            dpreact = kind.empty(preact.shape, preact.dtype, preact)
            _C.activation_bwd(preact, dout, dpreact, activation)
        wanted = tuple(
            kind.empty(x.shape, x.dtype, x) if x is not None and need else None
            for x, need in zip((a, b, bias), needs, strict=False)
        )
        if any(needs[:3]):
            _C.matmul_bwd(a, b, dpreact, *wanted, transpose_a, transpose_b)
        return *wanted, dout if needs[3] else None

    def source(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...] | None:
        # Of 16 bits the activation was taken of float32 sums, of which `preact` is a rounding.
        preact, residual = outs[1], arrays[3]
        return None if preact is None or residual is not None or preact.dtype.itemsize < 4 else (preact,)

    def again(self, kind: Kind, source: tuple[Array | None, ...], attrs: tuple[Any, ...]) -> Array:
        (preact,) = source
        assert preact is not None
        out = kind.empty(preact.shape, preact.dtype, preact)
        _C.activation_fwd(preact, out, attrs[2])
        return out


MATMUL = Matmul()


def matmul(
    a: Array,
    b: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Array | None = None,
    activation: str | None = None,
    residual: Array | None = None,
    out: Array | None = None,
) -> Array:
    r"""Matrix product, with bias, activation and residual fused into it.

    .. math:: \mathrm{out} = \mathrm{activation}(A B + \mathrm{bias}) + \mathrm{residual}

    Args:
        a: (..., M, K), or (..., K, M) with `transpose_a`; any floating dtype, any strides. (K,) is a row.
        b: (..., K, N), or (..., N, K) with `transpose_b`; the dtype of `a`. (K,) is a column. Batch axes broadcast.
        transpose_a, transpose_b: read the last two axes swapped; nothing is copied.
        bias: (N,), added to every row.
        activation: None, "gelu" (erf), "gelu_tanh", "silu", "relu" or "sigmoid".
        residual: the shape of the result, added last.
        out: the array to write to, contiguous along N; not overlapping `a` or `b`.

    Returns:
        (..., M, N), of the kind and dtype of `a`; the axis that a 1-D argument lacks is dropped, as in numpy.matmul.

    Raises:
        ValueError: shapes that do not fit, named with their axes; an unknown `activation`.
        TypeError: dtypes that are not floating, or mixed.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.matmul(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]]), bias=np.array([10.0, 20.0]))
        array([[11., 22.],
               [13., 24.]])

    Source: Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008), section 4.
    """
    if activation not in ACTIVATIONS:
        raise attribute_error(
            "matmul", "activation", activation, 'None, "gelu", "gelu_tanh", "silu", "relu" or "sigmoid"'
        )
    return MATMUL((a, b, bias, residual), (transpose_a, transpose_b, ACTIVATIONS[activation]), out)
