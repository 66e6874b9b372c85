"""The encoder of BERT and ViT, of the pieces that nn.Transformer's layers are made of.

nn.TransformerEncoderLayer itself does not do: Hugging Face keeps queries, keys and values as three dense layers, under names
that say BERT's nesting, and those are this library's state_dict keys too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from fastattn import ops
from fastattn.autograd.tensor import Tensor
from fastattn.nn import GELU, Dropout, LayerNorm, Linear, Module, ModuleDict, ModuleList
from fastattn.nn import functional as F
from fastattn.nn.blocks import Stack, add_dense, dense, sublayer

# Hugging Face's names.
ACTIVATIONS: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
    "gelu": lambda: F.gelu,
    "gelu_new": lambda: GELU("tanh"),
    "gelu_pytorch_tanh": lambda: GELU("tanh"),
    "relu": lambda: F.relu,
    "silu": lambda: F.silu,
    "swish": lambda: F.silu,
    "tanh": lambda: F.tanh,
}


class EncoderOutput(NamedTuple):
    """What a bare encoder returns: hidden states (B, T, C), and the pooler's output (B, C) where there is a pooler."""

    last_hidden_state: Tensor
    pooler_output: Tensor | None


class SelfAttention(Module):
    """Attention of several heads, without what is behind it: (B, T, C) to (B, T, C)."""

    def __init__(self, width: int, num_heads: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.p = dropout
        self.query = Linear(width, width, bias)
        self.key = Linear(width, width, bias)
        self.value = Linear(width, width, bias)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        heads = (self.num_heads, x.shape[-1] // self.num_heads)
        q, k, v = [layer(x).unflatten(-1, heads) for layer in (self.query, self.key, self.value)]  # (B, T, H, D)
        p = self.p if self.training else 0.0
        y: Tensor = ops.scaled_dot_product_attention(q, k, v, mask, p, layout="bthd")
        return y.reshape(x.shape)

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}"


class EncoderLayer(Module):
    """Attention and two dense layers; norms first, with ViT's names, or after the sums, with BERT's."""

    def __init__(self, config: Any, norm_first: bool, qkv_bias: bool = True) -> None:
        super().__init__()
        c, inner = config.hidden_size, config.intermediate_size
        self.norm_first = norm_first
        self.activation = ACTIVATIONS[config.hidden_act]()
        attention = SelfAttention(c, config.num_attention_heads, config.attention_probs_dropout_prob, qkv_bias)
        norms = [LayerNorm(c, config.layer_norm_eps) for _ in range(2)]
        outputs: list[Any] = [ModuleDict({"dense": Linear(n, c)}) for n in (c, inner)]
        if not norm_first:
            for output, norm in zip(outputs, norms, strict=True):
                output["LayerNorm"] = norm
        self.attention = ModuleDict({"attention" if norm_first else "self": attention, "output": outputs[0]})
        self.intermediate = ModuleDict({"dense": Linear(c, inner)})
        self.output = outputs[1]
        if norm_first:
            self.layernorm_before, self.layernorm_after = norms
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.norm_first:
            attention, norms = self.attention["attention"], (self.layernorm_before, self.layernorm_after)
        else:
            attention, norms = self.attention["self"], (self.attention["output"]["LayerNorm"], self.output["LayerNorm"])

        def attend(y: Tensor, residual: Tensor) -> Tensor:
            return add_dense(self.attention["output"]["dense"], attention(y, mask), residual, self.dropout)

        def feed_forward(y: Tensor, residual: Tensor) -> Tensor:
            hidden = dense(self.intermediate["dense"], y, self.activation)
            return add_dense(self.output["dense"], hidden, residual, self.dropout)

        x = sublayer(x, norms[0], self.norm_first, attend)
        return sublayer(x, norms[1], self.norm_first, feed_forward)


class Encoder(Stack):
    """The layers, one after the other; those of BERT and ViT are called "layer"."""

    def __init__(self, config: Any, norm_first: bool, qkv_bias: bool = True) -> None:
        super().__init__()
        self.layer = ModuleList(EncoderLayer(config, norm_first, qkv_bias) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layer:
            x = self._run(layer, x, mask)
        return x


class Pooler(Module):
    """tanh of a dense layer on the first position: (B, T, C) to (B, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x[:, 0]).tanh()  # type: ignore[no-any-return]
