"""Multi-head attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastattn as fa
from fastattn import ops
from fastattn.autograd.tensor import Tensor
from fastattn.keras import constraints, initializers, regularizers
from fastattn.keras.engine import masks
from fastattn.keras.engine.layer import Layer
from fastattn.keras.engine.weight import Layout
from fastattn.nn import functional as F

from .core import known, positive, stream


class MultiHeadAttention(Layer):
    r"""Attention of several heads between learned projections.

    .. math:: \mathrm{head}_i = \mathrm{softmax}(Q_i K_i^T / \sqrt{d}) V_i, \quad
        y = \mathrm{concat}(\mathrm{head}_1, \ldots) W_O + b_O

    A query whose keys are all hidden gives 0 before the last projection, where Keras averages all values.

    Args:
        num_heads: of the queries, keys and values.
        key_dim: d, the length of a query and a key of a head.
        value_dim: that of a value, default `key_dim`.
        dropout: probability of dropping a weight in training.
        use_bias: whether the projections have biases.
        output_shape: the length of an output, default that of a query.
        kernel_initializer: of the projections.
        bias_initializer: of their biases.
        kernel_regularizer: of the projections to a term of the loss.
        bias_regularizer: of their biases.
        activity_regularizer: of the output.
        kernel_constraint: of the projections after each step.
        bias_constraint: of their biases.
        seed: of a random stream of its own; None: the global one.
        kwargs: see Layer.

    Shape:
        query (B, T, n), value (B, S, m) and key (B, S, k), default `value`, to (B, T, n), and with
        `return_attention_scores` weights (B, num_heads, T, S). Weights: the kernels of query, key and value (length,
        num_heads, dim) with biases (num_heads, dim), that of the output (num_heads, value_dim, n) with (n,).

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> x = np.ones((1, 3, 8), np.float32)
        >>> keras.layers.MultiHeadAttention(num_heads=2, key_dim=4)(x, x).shape
        (1, 3, 8)

    Source: Vaswani et al., "Attention is all you need" (2017), section 3.2.2.
    """

    supports_masking = True

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("attention_axes", None) is not None:
            msg = "MultiHeadAttention: attention_axes is not supported; attention goes along axis 1"
            raise NotImplementedError(msg)
        kwargs.pop("flash_attention", None)
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.num_heads = positive(self, "num_heads", num_heads)
        self.key_dim = positive(self, "key_dim", key_dim)
        self.value_dim = self.key_dim if value_dim is None else positive(self, "value_dim", value_dim)
        self.dropout = float(dropout)
        self.use_bias = use_bias
        if isinstance(output_shape, (list, tuple)):
            if len(output_shape) != 1:
                msg = f"{self.title}: output_shape is {output_shape!r}; expected the length of one axis"
                raise NotImplementedError(msg)
            output_shape = output_shape[0]
        self.output_length = None if output_shape is None else int(output_shape)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.seed = seed
        self._stream = stream(seed)

    def build(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> None:
        value_shape = query_shape if value_shape is None else value_shape
        key_shape = value_shape if key_shape is None else key_shape
        self._agree(query_shape, value_shape, key_shape)
        for name, shape, dim in (
            ("query", query_shape, self.key_dim),
            ("key", key_shape, self.key_dim),
            ("value", value_shape, self.value_dim),
        ):
            self._project(name, (known(self, shape, -1),), (self.num_heads, dim))
        length = query_shape[-1] if self.output_length is None else self.output_length
        self._project("attention_output", (self.num_heads, self.value_dim), (int(length),))
        self.built = True

    def _project(self, name: str, of: tuple[int, ...], to: tuple[int, ...]) -> None:
        """The weights of a projection: Keras has heads as an axis, torch one matrix (outputs, inputs)."""
        rows, columns = math.prod(to), math.prod(of)
        self._new_weight(
            f"{name}/kernel",
            of + to,
            f"{name}_weight",
            self.kernel_initializer,
            Layout(lambda a: a.T.reshape(of + to), lambda a: (a.reshape(columns, rows).T,)),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self._new_weight(
                f"{name}/bias",
                to,
                f"{name}_bias",
                self.bias_initializer,
                Layout(lambda a: a.reshape(to), lambda a: (a.reshape(rows),)),
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def _agree(self, query: Any, value: Any, key: Any) -> None:
        fits = len(query) == len(value) == len(key) == 3
        if not fits or (None not in (value[1], key[1]) and value[1] != key[1]):
            msg = f"{self.title}: query {tuple(query)}, value {tuple(value)} and key {tuple(key)}; "
            raise ValueError(msg + "expected (B, T, n), (B, S, m) and (B, S, k)")

    def _linear(self, name: str, x: Tensor) -> Tensor:
        bias = getattr(self, f"{name}_bias") if self.use_bias else None
        return F.linear(x, getattr(self, f"{name}_weight"), bias)

    def call(
        self,
        query: Tensor,
        value: Tensor,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Attention.

        Args:
            query: (B, T, n).
            value: (B, S, m).
            key: (B, S, k), default `value`.
            query_mask: (B, T), True where a query counts.
            value_mask: (B, S), True where a value counts.
            key_mask: as well.
            attention_mask: (B, T, S), (T, S) or (B, heads, T, S), True where a query sees a key.
            return_attention_scores: also give the weights.
            training: whether there is dropout.
            use_causal_mask: a query sees no later key.
        """
        key = value if key is None else key
        self._agree(query.shape, value.shape, key.shape)
        q = self._linear("query", query).unflatten(-1, (self.num_heads, self.key_dim))
        k = self._linear("key", key).unflatten(-1, (self.num_heads, self.key_dim))
        v = self._linear("value", value).unflatten(-1, (self.num_heads, self.value_dim))
        mask = _whole_mask(query_mask, value_mask, key_mask, attention_mask)
        p = self.dropout if training else 0.0
        seed = self._stream.next_seed() if p and self._stream is not None else None
        options: dict[str, Any] = {"layout": "bthd", "seed": seed}
        if return_attention_scores:
            seed = fa._random.next_key() if p and seed is None else seed
            options["seed"] = seed
            out, weights, _ = ops.scaled_dot_product_attention(
                q, k, v, mask, p, use_causal_mask, return_weights=True, **options
            )
            weights = ops.dropout(weights, p, seed=seed) if p else weights
        else:
            out = ops.scaled_dot_product_attention(q, k, v, mask, p, use_causal_mask, **options)
        out = self._linear("attention_output", out.flatten(2))
        return (out, weights) if return_attention_scores else out

    def compute_mask(self, query: Any, previous_mask: Any = None) -> Any:
        return masks.mask_of(query)

    def compute_output_shape(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> Any:
        length = query_shape[-1] if self.output_length is None else self.output_length
        return (*query_shape[:-1], length)

    def compute_output_spec(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("return_attention_scores"):
            return self._traced(args, kwargs)
        return super().compute_output_spec(args, kwargs)


def _whole_mask(query: Any, value: Any, key: Any, attention: Any) -> Any:
    """All masks as one that the op takes, (B or 1, heads or 1, T or 1, S), or None."""
    whole = None
    if attention is not None:
        whole = attention if attention.dtype == np.bool_ else attention.bool()
        whole = whole[None, None] if whole.ndim == 2 else whole.unsqueeze(1) if whole.ndim == 3 else whole
    if query is not None:
        whole = _both(whole, query.bool()[:, None, :, None])
    for mask in (value, key):
        if mask is not None:
            whole = _both(whole, mask.bool()[:, None, None, :])
    return whole


def _both(a: Any, b: Any) -> Any:
    return b if a is None else a & b
