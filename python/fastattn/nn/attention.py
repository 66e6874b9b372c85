"""Multi-head attention, as torch.nn.MultiheadAttention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastattn import _random, ops
from fastattn.autograd import creation
from fastattn.autograd.joining import cat
from fastattn.autograd.node import Base
from fastattn.autograd.tensor import Tensor

from . import functional as F
from . import init
from .layers import Linear, new_parameter
from .module import Module
from .parameter import Parameter


class MultiheadAttention(Module):
    r"""Attention of several heads between learned projections.

    .. math:: \mathrm{head}_i = \mathrm{softmax}(Q_i K_i^T / \sqrt{D}) V_i, \quad
        y = \mathrm{concat}(\mathrm{head}_1, \ldots) W_O^T + b_O

    It runs the fused op, which holds no T x S array but the weights that torch's default `need_weights=True` asks for:
    their mean over heads is made without those of each head, unless dropout is at work. A query whose keys are all hidden
    gives 0, where torch gives NaN.

    Args:
        embed_dim: E, the length of a query and of the output; a multiple of `num_heads`.
        num_heads: H.
        dropout: probability of dropping a weight in training.
        bias: whether the projections have biases.
        add_bias_kv: whether a learned key and value (`bias_k`, `bias_v`, (1, 1, E)) follow the others; all queries see it.
        add_zero_attn: whether a key and value of zeros follows the others; all queries see it.
        kdim: the length of a key, E by default.
        vdim: the length of a value, E by default.
        batch_first: inputs are (B, T, E); otherwise (T, B, E).
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        query (T, B, E), key (S, B, kdim), value (S, B, vdim) to (T, B, E) and weights (B, T, S), or (B, H, T, S) with
        `average_attn_weights=False`; without B for inputs of two axes. S counts the keys that add_bias_kv and add_zero_attn
        append. state_dict keys are torch's: in_proj_weight
        (3 E, E), or q_proj_weight, k_proj_weight and v_proj_weight if kdim or vdim differ; in_proj_bias, bias_k, bias_v,
        out_proj.*.

    Raises:
        ValueError: `embed_dim` is not a multiple of `num_heads`.

    Example:
        >>> import fastattn as fa
        >>> attention = fa.nn.MultiheadAttention(8, 2, batch_first=True)
        >>> x = fa.ones(1, 3, 8)
        >>> y, weights = attention(x, x, x)
        >>> y.shape, weights.shape
        ((1, 3, 8), (1, 3, 3))

    Source: Vaswani et al., "Attention is all you need" (2017), section 3.2.2.
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if num_heads <= 0 or embed_dim <= 0 or embed_dim % num_heads:
            msg = f"MultiheadAttention: embed_dim {embed_dim} is not a multiple of num_heads {num_heads}"
            raise ValueError(msg)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = new_parameter(3 * embed_dim, embed_dim, dtype=dtype, device=device)
            for name in names:
                self.register_parameter(name, None)
        else:
            for name, length in zip(names, (embed_dim, self.kdim, self.vdim), strict=True):
                setattr(self, name, new_parameter(embed_dim, length, dtype=dtype, device=device))
            self.register_parameter("in_proj_weight", None)
        self.register_parameter(
            "in_proj_bias", new_parameter(3 * embed_dim, dtype=dtype, device=device) if bias else None
        )
        for name in ("bias_k", "bias_v"):
            self.register_parameter(
                name, new_parameter(1, 1, embed_dim, dtype=dtype, device=device) if add_bias_kv else None
            )
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, dtype=dtype, device=device)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)  # type: ignore[arg-type]
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attention, and its weights (after dropout) or None.

        Args:
            query, key, value: see the class.
            key_padding_mask: (B, S), or (S,) without B. bool: True = hidden. Floats are added to the scores.
            need_weights: whether to return the weights.
            attn_mask: (T, S) or (B * H, T, S). bool: True = hidden. Floats are added to the scores.
            average_attn_weights: the mean of the weights over heads.
            is_causal: a query sees no later key; composes with the masks.

        Raises:
            ValueError: shapes that do not fit.
        """
        batched = query.ndim == 3
        if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
            msg = (
                f"MultiheadAttention: query {query.shape}, key {key.shape} and value {value.shape}; "
                "expected 2 axes (T, E) each, or 3 with the batch"
            )
            raise ValueError(msg)
        q, k, v = self._project(query, key, value, batched)  # (B, T, H, D)
        mask = self._mask(attn_mask, key_padding_mask, q.shape, k.shape)
        if self.bias_k is not None or self.add_zero_attn:
            k, v, mask = self._append(k, v, _causal(mask, q, k.shape[1]) if is_causal else mask)
            is_causal = False
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            out, weights = self._weighed(q, k, v, mask, is_causal, p, average_attn_weights)
        else:
            out = ops.scaled_dot_product_attention(q, k, v, mask, p, is_causal, layout="bthd")
        out = self.out_proj(out.reshape(*out.shape[:2], self.embed_dim))
        if not batched:
            out = out.squeeze(0)
        elif not self.batch_first:
            out = out.transpose(0, 1)
        return out, weights if batched or weights is None else weights.squeeze(0)

    def _project(self, query: Tensor, key: Tensor, value: Tensor, batched: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, length, H, D): views of the products, which take any strides."""
        same = query is key and key is value
        inputs = [query] if same else [query, key, value]
        if not batched:
            inputs = [x.unsqueeze(0) for x in inputs]
        elif not self.batch_first:
            inputs = [x.transpose(0, 1) for x in inputs]
        e = self.embed_dim
        if same and self.in_proj_weight is not None:
            parts = F.linear(inputs[0], self.in_proj_weight, self.in_proj_bias).split(e, -1)
        else:
            inputs = inputs * 3 if same else inputs
            weights: Any = (
                self.in_proj_weight.split(e)
                if self.in_proj_weight is not None
                else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            )
            biases: Any = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.split(e)
            parts = tuple([F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)])
        q, k, v = [x.unflatten(-1, (self.num_heads, self.head_dim)) for x in parts]
        return q, k, v

    def _mask(
        self, attn_mask: Tensor | None, padding: Tensor | None, q: tuple[int, ...], k: tuple[int, ...]
    ) -> Tensor | None:
        """Both masks as one that the op takes: bool True = attend, or floats to add; (B or 1, H or 1, T or 1, S)."""
        masks = []
        batch, t, s = q[0], q[1], k[1]
        if padding is not None:
            shape = (s,) if padding.ndim == 1 else (batch, s)
            self._check("key_padding_mask", padding, [shape])
            masks.append(padding.reshape(-1, 1, 1, s))
        if attn_mask is not None:
            self._check("attn_mask", attn_mask, [(t, s), (batch * self.num_heads, t, s)])
            heads = (1, 1) if attn_mask.ndim == 2 else (batch, self.num_heads)
            masks.append(attn_mask.reshape(*heads, t, s))
        if not masks:
            return None
        if all(m.dtype == np.bool_ for m in masks):
            keep = ~masks[0]
            return keep if len(masks) == 1 else keep & ~masks[1]
        added = [_additive(m, self.out_proj.weight.dtype) for m in masks]
        return added[0] if len(added) == 1 else added[0] + added[1]

    def _check(self, name: str, mask: Any, shapes: list[tuple[int, ...]]) -> None:
        if not isinstance(mask, Base):
            msg = f"MultiheadAttention: {name} is a {type(mask).__name__}; expected a Tensor"
            raise TypeError(msg)
        if mask.shape not in shapes:
            expected = " or ".join(str(s) for s in shapes)
            msg = f"MultiheadAttention: {name} has shape {mask._data.shape}; expected {expected}"
            raise ValueError(msg)

    def _append(self, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values (B, S, H, D) with what add_bias_kv and add_zero_attn put behind them, and the mask for it."""
        count = 0
        one = (k.shape[0], 1, self.num_heads, self.head_dim)
        if self.bias_k is not None and self.bias_v is not None:
            heads = (1, 1, self.num_heads, self.head_dim)
            k = cat([k, self.bias_k.reshape(*heads).expand(*one)], 1)
            v = cat([v, self.bias_v.reshape(*heads).expand(*one)], 1)
            count += 1
        if self.add_zero_attn:
            zero = creation.zeros(one, dtype=k.dtype, device=k.device)
            k, v = cat([k, zero], 1), cat([v, zero], 1)
            count += 1
        if mask is not None:
            seen = creation.ones if mask.dtype == np.bool_ else creation.zeros
            mask = cat([mask, seen((*mask.shape[:-1], count), dtype=mask.dtype, device=mask.device)], -1)
        return k, v, mask

    def _weighed(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool, p: float, average: bool
    ) -> tuple[Tensor, Tensor]:
        """Output (B, T, H, D) and the weights that made it, after dropout as torch's: (B, T, S) or (B, H, T, S)."""
        seed = _random.next_key() if p else None
        wanted = ops.Weights(mean=average and not p)
        out, weights, _ = ops.scaled_dot_product_attention(
            q, k, v, mask, p, is_causal, layout="bthd", return_weights=wanted, seed=seed
        )
        if p:  # with one seed the mask is that of dropout on the weights
            weights = ops.dropout(weights, p, seed=seed)
            weights = weights.mean(1) if average else weights
        return out, weights

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"


def _causal(mask: Tensor | None, q: Tensor, s: int) -> Tensor:
    """`mask`, and no key later than the query, as one mask of queries (B, T, H, D) and `s` keys."""
    sees = creation.ones(q.shape[1], s, dtype=np.bool_, device=q.device).tril()
    if mask is None:
        return sees
    return mask & sees if mask.dtype == np.bool_ else mask + _additive(~sees, mask.dtype)


def _additive(hidden: Tensor, dtype: Any) -> Tensor:
    """A mask as floats to add: -inf where a bool one hides."""
    if hidden.dtype != np.bool_:
        return hidden.to(dtype)
    return creation.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill(hidden, -math.inf)
