"""The Transformer and its parts, as torch.nn.Transformer*."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from fastattn.autograd import creation
from fastattn.autograd.tensor import Tensor

from . import functional as F
from . import init
from .attention import MultiheadAttention
from .blocks import Stack, add_dense, dense, sublayer
from .container import ModuleList
from .layers import Dropout, Linear
from .module import Module
from .normalization import LayerNorm

Activation = str | Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class _Layer(Module):
    """Self-attention and the two dense layers: what layers of encoder and decoder share."""

    activation: Callable[[Tensor], Tensor]

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(activation, str):
            if activation not in ACTIVATIONS:
                msg = f"{type(self).__name__}: activation is {activation!r}; expected 'relu', 'gelu' or a function"
                raise ValueError(msg)
            activation = ACTIVATIONS[activation]
        self.norm_first = norm_first
        self.activation = activation
        made: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        for name in self._attentions:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, **made))
        self.linear1 = Linear(d_model, dim_feedforward, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **made)
        parts = [str(i + 1) for i in range(len(self._attentions) + 1)]
        for i in parts:
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, **made))
        for i in parts:
            setattr(self, f"dropout{i}", Dropout(dropout))

    _attentions: tuple[str, ...] = ("self_attn",)

    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool
    ) -> Tensor:
        out, _ = self.self_attn(x, x, x, key_padding_mask, False, attn_mask, is_causal=is_causal)
        return self.dropout1(out)  # type: ignore[no-any-return]

    def _add_feed_forward(self, x: Tensor, residual: Tensor, last: Dropout) -> Tensor:
        hidden = self.dropout(dense(self.linear1, x, self.activation))
        return add_dense(self.linear2, hidden, residual, last)


class TransformerEncoderLayer(_Layer):
    r"""A layer of an encoder: self-attention, then two dense layers, each around a residual and a norm.

    .. math:: x = \mathrm{norm}_1(x + \mathrm{attn}(x)), \quad y = \mathrm{norm}_2(x + W_2\, \mathrm{act}(W_1 x)), \\
        \text{norm first:} \quad x = x + \mathrm{attn}(\mathrm{norm}_1(x)), \quad
        y = x + W_2\, \mathrm{act}(W_1\, \mathrm{norm}_2(x))

    A GELU and, without dropout, the second sum are part of the products.

    Args:
        d_model: E, the width.
        nhead: heads; E is a multiple of it.
        dim_feedforward: the width between the dense layers.
        dropout: probability, of attention weights, between the dense layers, and before each sum.
        activation: "relu", "gelu", or a function of a tensor, or a layer.
        layer_norm_eps: eps of the norms.
        batch_first: inputs are (B, T, E); otherwise (T, B, E).
        norm_first: norms before attention and dense layers instead of after the sums.
        bias: whether dense layers, projections and norms have biases.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        src (T, B, E), or (B, T, E) with `batch_first`, or (T, E), to the same. state_dict keys are torch's: self_attn.*,
        linear1.*, linear2.*, norm1.*, norm2.*.

    Raises:
        ValueError: `d_model` is not a multiple of `nhead`, or an activation of another name.

    Example:
        >>> import fastattn as fa
        >>> layer = fa.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> layer(fa.ones(1, 3, 8)).shape
        (1, 3, 8)

    Source: Vaswani et al., "Attention is all you need" (2017), section 3.1; torch.nn.TransformerEncoderLayer's form of it.
    """

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The layer's output.

        Args:
            src: see the class.
            src_mask: (T, T) or (B * nhead, T, T). bool: True = hidden. Floats are added to the scores.
            src_key_padding_mask: (B, T), or (T,) without B. bool: True = hidden. Floats are added to the scores.
            is_causal: a position sees no later one; composes with the masks.
        """

        def attend(x: Tensor, residual: Tensor) -> Tensor:
            return residual + self._sa_block(x, src_mask, src_key_padding_mask, is_causal)

        x = sublayer(src, self.norm1, self.norm_first, attend)
        return sublayer(x, self.norm2, self.norm_first, lambda y, r: self._add_feed_forward(y, r, self.dropout2))


class TransformerDecoderLayer(_Layer):
    r"""A layer of a decoder: self-attention, attention to an encoder's output (memory), then two dense layers.

    .. math:: x = \mathrm{norm}_1(x + \mathrm{attn}(x, x)), \quad x = \mathrm{norm}_2(x + \mathrm{attn}(x, m)), \quad
        y = \mathrm{norm}_3(x + W_2\, \mathrm{act}(W_1 x))

    With `norm_first` the norms are where they are in TransformerEncoderLayer.

    Args:
        d_model: E, the width, also of memory.
        nhead: heads; E is a multiple of it.
        dim_feedforward: the width between the dense layers.
        dropout: probability, of attention weights, between the dense layers, and before each sum.
        activation: "relu", "gelu", or a function of a tensor, or a layer.
        layer_norm_eps: eps of the norms.
        batch_first: inputs are (B, T, E); otherwise (T, B, E).
        norm_first: norms before attention and dense layers instead of after the sums.
        bias: whether dense layers, projections and norms have biases.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        tgt (T, B, E) and memory (S, B, E), or (B, T, E) and (B, S, E) with `batch_first`, or without B, to tgt's. state_dict
        keys are torch's: self_attn.*, multihead_attn.*, linear1.*, linear2.*, norm1.*, norm2.*, norm3.*.

    Raises:
        ValueError: `d_model` is not a multiple of `nhead`, or an activation of another name.

    Example:
        >>> import fastattn as fa
        >>> layer = fa.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        >>> layer(fa.ones(1, 3, 8), fa.ones(1, 5, 8), tgt_is_causal=True).shape
        (1, 3, 8)

    Source: Vaswani et al., "Attention is all you need" (2017), section 3.1; torch.nn.TransformerDecoderLayer's form of it.
    """

    _attentions = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The layer's output.

        Args:
            tgt, memory: see the class.
            tgt_mask: (T, T) or (B * nhead, T, T). bool: True = hidden. Floats are added to the scores.
            memory_mask: (T, S) or (B * nhead, T, S), in the same way.
            tgt_key_padding_mask: (B, T), or (T,) without B, in the same way.
            memory_key_padding_mask: (B, S), or (S,) without B, in the same way.
            tgt_is_causal: a position of tgt sees no later one; composes with the masks.
            memory_is_causal: position t of tgt sees no position of memory after t.
        """

        def attend(x: Tensor, residual: Tensor) -> Tensor:
            return residual + self._sa_block(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal)

        def attend_to_memory(x: Tensor, residual: Tensor) -> Tensor:
            return residual + self._mha_block(x, memory, memory_mask, memory_key_padding_mask, memory_is_causal)

        x = sublayer(tgt, self.norm1, self.norm_first, attend)
        x = sublayer(x, self.norm2, self.norm_first, attend_to_memory)
        return sublayer(x, self.norm3, self.norm_first, lambda y, r: self._add_feed_forward(y, r, self.dropout3))

    def _mha_block(
        self, x: Tensor, mem: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool
    ) -> Tensor:
        out, _ = self.multihead_attn(x, mem, mem, key_padding_mask, False, attn_mask, is_causal=is_causal)
        return self.dropout2(out)  # type: ignore[no-any-return]


class TransformerEncoder(Stack):
    """A stack of copies of an encoder layer.

    Args:
        encoder_layer: the layer; each of the copies starts with its weights.
        num_layers: how many.
        norm: a layer after the last, for example LayerNorm.
        enable_nested_tensor: accepted for torch's sake; there are no nested tensors here.
        mask_check: accepted for torch's sake.

    Shape:
        as the layer's. state_dict keys are torch's: layers.0.*, layers.1.*, norm.*.

    Raises:
        ValueError: `num_layers` is negative.

    Example:
        >>> import fastattn as fa
        >>> layer = fa.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> fa.nn.TransformerEncoder(layer, 3)(fa.ones(1, 3, 8)).shape
        (1, 3, 8)

    Source: torch.nn.TransformerEncoder's form of it.
    """

    norm: Module | None

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies(self, encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """The output of the last layer, and of `norm`.

        Args:
            src: see the layer.
            mask: the layer's `src_mask`.
            src_key_padding_mask: the layer's.
            is_causal: the layer's; None: found out from the mask.
        """
        causal, found = _is_causal(mask, is_causal)
        x = src
        for layer in self.layers:
            # Our own layer needs no mask to be causal; another's may know nothing else.
            own = None if found and type(layer) is TransformerEncoderLayer else mask
            x = self._run(layer, x, src_mask=own, is_causal=causal, src_key_padding_mask=src_key_padding_mask)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Stack):
    """A stack of copies of a decoder layer.

    Args:
        decoder_layer: the layer; each of the copies starts with its weights.
        num_layers: how many.
        norm: a layer after the last, for example LayerNorm.

    Shape:
        as the layer's. state_dict keys are torch's: layers.0.*, layers.1.*, norm.*.

    Raises:
        ValueError: `num_layers` is negative.

    Example:
        >>> import fastattn as fa
        >>> layer = fa.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        >>> fa.nn.TransformerDecoder(layer, 3)(fa.ones(1, 3, 8), fa.ones(1, 5, 8)).shape
        (1, 3, 8)

    Source: torch.nn.TransformerDecoder's form of it.
    """

    norm: Module | None

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies(self, decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The output of the last layer, and of `norm`; the arguments are the layer's.

        Args:
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, memory_is_causal: the layer's.
            tgt_is_causal: the layer's; None: found out from the mask.
        """
        causal, found = _is_causal(tgt_mask, tgt_is_causal)
        x = tgt
        for layer in self.layers:
            x = self._run(
                layer,
                x,
                memory,
                tgt_mask=None if found and type(layer) is TransformerDecoderLayer else tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=causal,
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    r"""An encoder and a decoder, each with a norm after the last layer.

    .. math:: y = \mathrm{decoder}(\mathrm{tgt}, \mathrm{encoder}(\mathrm{src}))

    Args:
        d_model: E, the width.
        nhead: heads; E is a multiple of it.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        dim_feedforward: the width between the dense layers.
        dropout: probability, of attention weights, between the dense layers, and before each sum.
        activation: "relu", "gelu", or a function of a tensor, or a layer.
        custom_encoder: a module in the place of the encoder.
        custom_decoder: a module in the place of the decoder.
        layer_norm_eps: eps of the norms.
        batch_first: inputs are (B, T, E); otherwise (T, B, E).
        norm_first: norms before attention and dense layers instead of after the sums.
        bias: whether dense layers, projections and norms have biases.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        src (S, B, E) and tgt (T, B, E), or (B, S, E) and (B, T, E) with `batch_first`, or without B, to tgt's. state_dict
        keys are torch's: encoder.layers.0.*, encoder.norm.*, decoder.layers.0.*, decoder.norm.*. Weights of two axes are
        xavier_uniform at first.

    Raises:
        ValueError: `d_model` is not a multiple of `nhead`, or an activation of another name.

    Example:
        >>> import fastattn as fa
        >>> model = fa.nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
        >>> model(fa.ones(1, 5, 8), fa.ones(1, 3, 8), tgt_is_causal=True).shape
        (1, 3, 8)

    Source: Vaswani et al., "Attention is all you need" (2017), section 3.1; torch.nn.Transformer's form of it.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        made: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        layer: list[Any] = [
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
        ]

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, **made)

        self.encoder: Module = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*layer, **made), num_encoder_layers, norm()
        )
        self.decoder: Module = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*layer, **made), num_decoder_layers, norm()
        )
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The decoder's output; the masks are those of the layers.

        Raises:
            ValueError: shapes that do not fit.
        """
        batch = 0 if self.batch_first else 1
        if src.ndim == 3 and tgt.ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            msg = f"Transformer: src {src.shape} and tgt {tgt.shape}; expected the same batch, axis {batch}"
            raise ValueError(msg)
        for name, x in (("src", src), ("tgt", tgt)):
            if x.shape[-1] != self.d_model:
                msg = f"Transformer: {name} has shape {x.shape}; expected (..., {self.d_model}), d_model"
                raise ValueError(msg)
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(  # type: ignore[no-any-return]
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """A causal mask (sz, sz) of floats to add: -inf above the diagonal, 0 elsewhere."""
        return creation.full((sz, sz), -math.inf, dtype=dtype, device=device).triu(1)


def _copies(stack: Module, layer: Module, count: int) -> ModuleList:
    if count < 0:
        msg = f"{type(stack).__name__}: num_layers is {count}; expected 0 or more"
        raise ValueError(msg)
    return ModuleList(copy.deepcopy(layer) for _ in range(count))


def _is_causal(mask: Tensor | None, said: bool | None) -> tuple[bool, bool]:
    """Whether attention is causal, and whether it is the mask that says so, and says nothing else."""
    if said is not None or mask is None or mask.requires_grad or mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        return bool(said), False
    same = Transformer.generate_square_subsequent_mask(mask.shape[0], mask.device, mask.dtype) == mask
    found = bool(same.all())
    return found, found
