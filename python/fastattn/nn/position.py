"""Where in a sequence a vector is: added to it, or turned into it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastattn import ops
from fastattn.autograd import creation
from fastattn.autograd.node import Base, wrap
from fastattn.autograd.tensor import Tensor

from . import functional as F
from . import init
from .layers import Dropout, new_parameter
from .module import Module
from .parameter import Parameter


class _Tables(Module):
    """Computes tables of positions 0, 1, ... once for the longest sequence so far."""

    def __init__(self) -> None:
        super().__init__()
        # No buffers: they are made anew where and in the dtype that they are needed, exact to its last bit.
        self._made: dict[Any, tuple[Tensor, ...]] = {}

    def _compute(self, positions: Any, dtype: Any) -> tuple[np.ndarray[Any, Any], ...]:
        raise NotImplementedError

    def _tables(self, x: Tensor, positions: Any, dtype: Any) -> tuple[Tensor, ...]:
        """Of the positions given, (T,) or (B, T), or of 0 to T - 1; where x is."""
        length = x.shape[-2]
        if positions is not None:
            at = positions.numpy() if isinstance(positions, Base) else np.asarray(positions)
            if at.ndim not in (1, 2) or at.shape[-1] != length or at.shape[:-1] not in ((), (1,), x.shape[:1]):
                name = type(self).__name__
                msg = f"{name}: positions has shape {at.shape}; expected (T,) or (B, T) for an x of shape {x.shape}"
                raise ValueError(msg)
            return tuple([wrap(table).to(x.device) for table in self._compute(at, dtype)])
        key = (np.dtype(dtype), x.device)
        made = self._made.get(key)
        if made is None or len(made[0]) < length:
            made = tuple([wrap(table).to(x.device) for table in self._compute(np.arange(length), dtype)])
            self._made[key] = made
        return tuple([table[:length] for table in made])


class SinusoidalPositionalEncoding(_Tables):
    r"""Adds to each vector the sines and cosines of its position; nothing is learned, and no length is the longest.

    .. math:: y_{t,2j} = x_{t,2j} + \sin(t\, b^{-2j/E}), \quad y_{t,2j+1} = x_{t,2j+1} + \cos(t\, b^{-2j/E})

    Args:
        d_model: E, the length of a vector.
        dropout: probability, of what comes out.
        base: b.

    Shape:
        x (..., T, E) and, optionally, positions (T,) or (B, T) to x's; default positions 0 to T - 1. No state.

    Raises:
        ValueError: `d_model` is not positive, an x of other vectors, or positions that do not fit it.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.SinusoidalPositionalEncoding(2)(fa.zeros(1, 2))
        tensor([[0., 1.]])

    Source: Vaswani et al., "Attention is all you need" (2017), section 3.5.
    """

    def __init__(self, d_model: int, dropout: float = 0.0, base: float = 10000.0) -> None:
        super().__init__()
        if d_model <= 0:
            msg = f"SinusoidalPositionalEncoding: d_model is {d_model}; expected a positive number"
            raise ValueError(msg)
        self.d_model = d_model
        self.base = base
        self.dropout = Dropout(dropout)

    def _compute(self, positions: Any, dtype: Any) -> tuple[np.ndarray[Any, Any], ...]:
        even = self.d_model + self.d_model % 2
        frequency = float(self.base) ** (np.arange(0, even, 2) / -self.d_model)
        angle = positions.astype(np.float64)[..., None] * frequency
        table = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(*positions.shape, even)
        return (np.ascontiguousarray(table[..., : self.d_model].astype(dtype)),)

    def forward(self, x: Tensor, positions: Any = None) -> Tensor:
        _check("SinusoidalPositionalEncoding", x, self.d_model)
        (table,) = self._tables(x, positions, x.dtype)
        return self.dropout(x + table)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"{self.d_model}, base={self.base}"


class LearnedPositionalEmbedding(Module):
    r"""Adds to each vector a learned one of its position.

    .. math:: y_t = x_t + W_t

    Args:
        max_len: how many positions there are.
        d_model: E, the length of a vector.
        device: where the parameters are made, the CPU by default.
        dtype: of the table, float32 by default.

    Shape:
        x (..., T, E) and, optionally, positions (T,) or (B, T) to x's; default positions 0 to T - 1. weight (max_len, E),
        normal with deviation 0.02 at first.

    Raises:
        ValueError: x of more than `max_len` positions, or of other vectors.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.LearnedPositionalEmbedding(16, 4)(fa.zeros(2, 3, 4)).shape
        (2, 3, 4)

    Source: Gehring et al., "Convolutional sequence to sequence learning" (2017), section 3.1; Devlin et al., "BERT" (2019).
    """

    weight: Parameter

    def __init__(self, max_len: int, d_model: int, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.max_len = max_len
        self.d_model = d_model
        self.weight = new_parameter(max_len, d_model, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the table anew."""
        init.normal_(self.weight, 0.0, 0.02)

    def forward(self, x: Tensor, positions: Any = None) -> Tensor:
        _check("LearnedPositionalEmbedding", x, self.d_model)
        if positions is None:
            if x.shape[-2] > self.max_len:
                msg = f"LearnedPositionalEmbedding: x has shape {x.shape}; expected at most {self.max_len} positions, max_len"
                raise ValueError(msg)
            return x + self.weight[: x.shape[-2]]
        at: Any = positions if isinstance(positions, Base) else creation.tensor(positions, device=x.device)
        return x + F.embedding(at, self.weight)

    def extra_repr(self) -> str:
        return f"{self.max_len}, {self.d_model}"


class RotaryEmbedding(_Tables):
    r"""Turns pairs of elements of queries and keys by an angle of their position; see `fastattn.rope`.

    .. math:: (y_a, y_b) = (x_a \cos\theta - x_b \sin\theta, \; x_b \cos\theta + x_a \sin\theta), \quad
        \theta_{t,j} = t\, b^{-2j/R}

    Args:
        dim: R, how many elements of a row are turned: the head's dimension, or fewer; even.
        base: b.
        interleaved: pairs are 2 j and 2 j + 1 (GPT-J), not j and j + R/2 (Llama, Hugging Face).

    Shape:
        x (..., T, D), for example (B, H, T, D), and, optionally, positions (T,) or (B, T) to x's; default positions 0 to
        T - 1. No state.

    Raises:
        ValueError: `dim` is odd or not positive, or positions that do not fit x.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.RotaryEmbedding(4)(fa.ones(1, 2, 1, 4))[0, 0]
        tensor([[1., 1., 1., 1.]])

    Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021), section 3.2.
    """

    def __init__(self, dim: int, base: float = 10000.0, interleaved: bool = False) -> None:
        super().__init__()
        if dim <= 0 or dim % 2:
            msg = f"RotaryEmbedding: dim is {dim}; expected a positive even number: that of the elements to turn"
            raise ValueError(msg)
        self.dim = dim
        self.base = base
        self.interleaved = interleaved

    def _compute(self, positions: Any, dtype: Any) -> tuple[np.ndarray[Any, Any], ...]:
        return ops.rope_cos_sin(positions, self.dim, self.base, dtype=dtype)

    def forward(self, x: Tensor, positions: Any = None) -> Tensor:
        cos, sin = self._tables(x, positions, np.float64 if x.dtype == np.float64 else np.float32)
        y: Tensor = ops.rope(x, cos, sin, interleaved=self.interleaved)
        return y

    def extra_repr(self) -> str:
        return f"{self.dim}, base={self.base}, interleaved={self.interleaved}"


def _check(name: str, x: Tensor, d_model: int) -> None:
    if x.ndim < 2 or x.shape[-1] != d_model:
        msg = f"{name}: x has shape {x.shape}; expected (..., T, {d_model}), d_model"
        raise ValueError(msg)
