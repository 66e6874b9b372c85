"""Rotary position embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn import _C

from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind


class Rope(Op):
    """attrs: interleaved. The tables are constants: they have no gradient."""

    name = "rope"
    arrays = ("x", "cos", "sin")
    required = 3
    differentiable = ("x",)
    autocast = "keep"  # float32 tables are right for an x of 16 bits

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        return ((arrays[0].shape, arrays[0].dtype),)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.rope(*arrays, *outs, *attrs, False)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return arrays[1:]

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        dout = grads[0]
        assert dout is not None
        dx = kind.empty(dout.shape, dout.dtype, dout)
        _C.rope(dout, *saved, dx, *attrs, True)
        return dx, None, None


ROPE = Rope()


def rope(x: Array, cos: Array, sin: Array, *, interleaved: bool = False, out: Array | None = None) -> Array:
    r"""Rotary position embedding: turns pairs of elements of each row by an angle of its position.

    .. math:: (y_a, y_b) = (x_a \cos - x_b \sin, \; x_b \cos + x_a \sin)

    Pair j is elements j and j + R/2 (the halves of Llama, GPT-NeoX and all of Hugging Face) or, `interleaved`, 2 j and
    2 j + 1 (GPT-J, and RoFormer itself). Weights trained with one pairing do not work with the other.

    Args:
        x: (..., T, D), for example queries or keys (B, H, T, D); any floating dtype, any strides.
        cos: (T, R/2), or (B, T, R/2) for an x of four axes, or what broadcasts to x's rows; float32 (float64 for float64).
            One column a pair: of Hugging Face's tables, which repeat the columns, pass the first half of them. R may be
            smaller than D: the elements from R on stay as they are (partial rotary).
        sin: like `cos`. Both are constants and get no gradient.
        interleaved: how elements are paired.
        out: an array like `x` to write to; may be `x` itself.

    Returns:
        An array of the kind, shape and dtype of `x`.

    Raises:
        ValueError: tables that do not fit `x`.
        TypeError: dtypes that are not floating, or tables of another dtype than float32 (float64).

    Example:
        >>> import numpy as np, fastattn as fa
        >>> cos, sin = fa.rope_cos_sin(np.arange(3), 4)
        >>> fa.rope(np.ones((3, 4), np.float32), cos, sin)[0]
        array([1., 1., 1., 1.], dtype=float32)

    Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021), section 3.2.
    """
    return ROPE((x, cos, sin), (interleaved,), out)


def rope_cos_sin(positions: Any, dim: int, base: float = 10000.0, *, dtype: Any = np.float32) -> tuple[Any, Any]:
    r"""The tables that `rope` takes: cosine and sine of position times frequency.

    .. math:: \theta_{t,j} = t \cdot \mathrm{base}^{-2j / \mathrm{dim}}, \quad j < \mathrm{dim} / 2

    Angles are float64: at position 100000 a float32 angle is off by 0.004.

    Args:
        positions: numbers of any shape, (T,) or (B, T); an int is `arange` of it.
        dim: how many elements of a row are turned: the head's dimension, or fewer; even.
        base: Llama's rope_theta.
        dtype: of the tables; float64 for an `x` of float64.

    Returns:
        cos and sin, ndarrays (*positions.shape, dim / 2).

    Raises:
        ValueError: `dim` is odd or negative.

    Example:
        >>> import fastattn as fa
        >>> cos, sin = fa.rope_cos_sin(8, 64)
        >>> cos.shape, float(cos[0, 0]), float(sin[0, 0])
        ((8, 32), 1.0, 0.0)

    Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021), section 3.3.
    """
    if dim < 0 or dim % 2:
        raise attribute_error("rope_cos_sin", "dim", dim, "an even number: that of the elements to turn")
    at = np.arange(positions) if isinstance(positions, int) else np.asarray(positions)
    frequency = float(base) ** (np.arange(0, dim, 2) / -max(dim, 1))
    angle = at.astype(np.float64)[..., None] * frequency
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)
