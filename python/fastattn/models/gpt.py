"""GPT-2's architecture, with Hugging Face's configuration and state_dict keys."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, overload

import numpy as np

from fastattn import ops
from fastattn.autograd import creation
from fastattn.autograd.node import wrap
from fastattn.autograd.tensor import Tensor
from fastattn.generation import GenerationMixin
from fastattn.nn import Dropout, Embedding, LayerNorm, Linear, Module, ModuleList, Parameter, init
from fastattn.nn import functional as F
from fastattn.nn.blocks import Stack
from fastattn.nn.layers import new_parameter
from fastattn.ops import KVCache

from .config import ModelConfig, as_tensor
from .pretrained import PretrainedModel

# Hugging Face's names of activations, and what they are in matmul's epilogue.
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
IGNORE_INDEX = -100


@dataclass
class GPTConfig(ModelConfig):
    """The sizes of a GPT, with Hugging Face's names and GPT-2's defaults.

    Args:
        vocab_size: V, tokens of the vocabulary.
        n_positions: the longest sequence.
        n_embd: C, the width.
        n_layer: blocks.
        n_head: heads of each block; C is a multiple of it.
        n_inner: width of the MLPs, 4 C by default.
        activation_function: "gelu_new" (with tanh) or "gelu" (erf).
        resid_pdrop: dropout after projections.
        embd_pdrop: dropout after the embeddings.
        attn_pdrop: dropout of attention weights.
        layer_norm_epsilon: eps of the layer norms.
        initializer_range: deviation of the first weights.
        tie_word_embeddings: whether lm_head.weight is the token table.

    Raises:
        ValueError: a size that is not positive, C not a multiple of n_head, an unknown activation.

    Example:
        >>> import fastattn as fa
        >>> fa.models.GPTConfig(n_embd=128, n_layer=4, n_head=4).n_inner is None
        True

    Source: transformers, GPT2Config.
    """

    model_type: ClassVar[str] = "gpt2"
    fixed: ClassVar[dict[str, Any]] = {
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        self._require_positive("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
        self._require_multiple("n_embd", "n_head")
        self._require_one_of("activation_function", ACTIVATIONS)


class Conv1D(Module):
    """A dense layer whose weight is (in, out), as GPT-2 stores it, with activation and residual fused in."""

    weight: Parameter
    bias: Parameter

    def __init__(self, nf: int, nx: int, std: float) -> None:
        super().__init__()
        self.nf = nf
        self.nx = nx
        self.weight = new_parameter(nx, nf, dtype=None)
        self.bias = new_parameter(nf, dtype=None)
        init.normal_(self.weight, 0.0, std)
        init.zeros_(self.bias)

    def forward(self, x: Tensor, activation: str | None = None, residual: Tensor | None = None) -> Tensor:
        out: Tensor = ops.matmul(x, self.weight, bias=self.bias, activation=activation, residual=residual)
        return out

    def extra_repr(self) -> str:
        return f"nf={self.nf}, nx={self.nx}"


def _project(layer: Conv1D, x: Tensor, residual: Tensor, dropout: Dropout) -> Tensor:
    """residual + dropout(layer(x)); without dropout the sum is part of the product."""
    if dropout.training and dropout.p:
        return dropout(layer(x)) + residual  # type: ignore[no-any-return]
    return layer(x, residual=residual)  # type: ignore[no-any-return]


class Attention(Module):
    """Causal self-attention of several heads."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.num_heads = config.n_head
        self.attn_pdrop = config.attn_pdrop
        std = config.initializer_range
        self.c_attn = Conv1D(3 * config.n_embd, config.n_embd, std)
        self.c_proj = Conv1D(config.n_embd, config.n_embd, std / math.sqrt(2 * config.n_layer))
        self.resid_dropout = Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, residual: Tensor, cache: KVCache | None = None) -> Tensor:
        batch, length, width = x.shape
        # Views of one product: the op reads queries, keys and values where they lie, (B, T, H, D) each.
        q, k, v = self.c_attn(x).view(batch, length, 3, self.num_heads, width // self.num_heads).unbind(2)
        if cache is not None:
            y = ops.attention_with_kv_cache(q, cache, k, v, layout="bthd")
        else:
            p = self.attn_pdrop if self.training else 0.0
            y = ops.scaled_dot_product_attention(q, k, v, None, p, is_causal=True, layout="bthd")
        return _project(self.c_proj, y.reshape(batch, length, width), residual, self.resid_dropout)


class MLP(Module):
    """Two dense layers with a GELU between."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        std = config.initializer_range
        self.c_fc = Conv1D(inner, config.n_embd, std)
        self.c_proj = Conv1D(config.n_embd, inner, std / math.sqrt(2 * config.n_layer))
        self.activation = ACTIVATIONS[config.activation_function]
        self.dropout = Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return _project(self.c_proj, self.c_fc(x, activation=self.activation), residual, self.dropout)


class Block(Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config)
        self.ln_2 = LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cache: KVCache | None = None) -> Tensor:
        x = self.attn(self.ln_1(x), residual=x, cache=cache)
        return self.mlp(self.ln_2(x), residual=x)  # type: ignore[no-any-return]


class Transformer(Stack):
    """Embeddings, blocks and the last norm: token ids (B, T) to (B, T, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.wte = Embedding(config.vocab_size, config.n_embd)
        self.wpe = Embedding(config.n_positions, config.n_embd)
        self.drop = Dropout(config.embd_pdrop)
        self.h = ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        for table in (self.wte, self.wpe):
            init.normal_(table.weight, 0.0, config.initializer_range)

    def forward(self, input_ids: Tensor, cache: list[KVCache] | None = None) -> Tensor:
        x = self.drop(self.wte(input_ids) + self.positions(input_ids.shape[1], cache))
        for i, block in enumerate(self.h):
            x = self._run(block, x) if cache is None else block(x, cache[i])
        return self.ln_f(x)  # type: ignore[no-any-return]

    def positions(self, length: int, cache: list[KVCache] | None) -> Tensor:
        """Embeddings of the places of `length` new tokens: (T, C), or (B, T, C) where the rows of the cache differ."""
        if cache is None:
            return self.wpe(creation.arange(length, device=self.wpe.weight.device))  # type: ignore[no-any-return]
        held = cache[0]
        if held.is_ragged:
            return self.wpe(wrap(held.lengths[:, None] + np.arange(length)).to(self.wpe.weight.device))  # type: ignore[no-any-return]
        return self.wpe.weight[held.length : held.length + length]  # a view: without a gradient it does for a look-up


class GPT(GenerationMixin, PretrainedModel):
    r"""A causal language model: GPT-2's blocks, and Hugging Face's keys, so its checkpoints load as they are.

    .. math:: x = \mathrm{wte}_{ids} + \mathrm{wpe}, \quad x = x + \mathrm{attn}(\mathrm{ln_1}(x)), \quad
        x = x + \mathrm{mlp}(\mathrm{ln_2}(x)), \quad \mathrm{logits} = \mathrm{ln_f}(x) W^T

    Args:
        config: the sizes.

    Example:
        >>> import fastattn as fa
        >>> model = fa.models.GPT(fa.models.GPTConfig(vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=2))
        >>> model(fa.tensor([[1, 2, 3]])).shape
        (1, 3, 11)

    Source: Radford et al., "Language models are unsupervised multitask learners" (2019), section 2.3; transformers,
    GPT2LMHeadModel.
    """

    config: GPTConfig
    config_class = GPTConfig
    architecture = "GPT2LMHeadModel"
    base = "transformer"
    ignored = r"(^|\.)attn\.(masked_)?bias$"  # the causal mask that older files carry as a buffer

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config)
        self.lm_head = Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight
        else:
            init.normal_(self.lm_head.weight, 0.0, config.initializer_range)

    @overload
    def __call__(self, input_ids: Any, labels: None = None, *, cache: list[KVCache] | None = None) -> Tensor: ...

    @overload
    def __call__(self, input_ids: Any, labels: Any) -> tuple[Tensor, Tensor]: ...

    def __call__(self, input_ids: Any, labels: Any = None, *, cache: list[KVCache] | None = None) -> Any:
        return self.forward(input_ids, labels, cache)

    def forward(self, input_ids: Any, labels: Any = None, cache: list[KVCache] | None = None) -> Any:
        """Logits of the next token at every position, and the loss where labels are given.

        Args:
            input_ids: (B, T) token ids of int32 or int64: a Tensor where the model is, or an ndarray.
            labels: (B, T) token ids, usually `input_ids` themselves: as in transformers, the logits at t are scored
                against the label at t + 1; -100 counts for nothing.
            cache: from `new_cache`: the tokens go on those that it holds, and are added to it.

        Returns:
            logits (B, T, V), or (logits, loss) with labels.

        Raises:
            ValueError: `input_ids` is not (B, T), or T and what the cache holds exceed n_positions.
        """
        ids, names = self._ids("input_ids", input_ids), self._ids("labels", labels)
        self._check_ids(ids, cache)
        logits = self.lm_head(self.transformer(ids, cache))
        if labels is None:
            return logits
        if names.shape != ids.shape:
            msg = f"GPT: labels has shape {names.shape}; expected {ids.shape}, that of input_ids"
            raise ValueError(msg)
        # The labels move, not the logits: those stay one array, whose last position is ignored.
        targets = names.new_full(ids.shape, IGNORE_INDEX)
        targets._data[:, :-1] = names._data[:, 1:]
        loss = F.cross_entropy(logits.view(-1, self.config.vocab_size), targets.view(-1))
        return logits, loss

    def loss(self, input_ids: Any, targets: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """The mean loss of a batch alone: the logits are never held as a whole.

        Args:
            input_ids: (B, T) token ids of int32 or int64: a Tensor where the model is, or an ndarray.
            targets: (B, T) token ids: what follows each position, so that nothing is shifted here; -100 counts for
                nothing.
            label_smoothing: part of a target's probability that is spread over all tokens.

        Returns:
            A scalar, nats per token.

        Raises:
            ValueError: `input_ids` is not (B, T), or T exceeds n_positions; `targets` of another shape.
        """
        ids, names = self._ids("input_ids", input_ids), self._ids("targets", targets)
        self._check_ids(ids, None)
        if type(self.lm_head) is not Linear:  # an adapter or the like: its logits are its own
            logits = self.lm_head(self.transformer(ids))
            flat = logits.view(-1, self.config.vocab_size)
            return F.cross_entropy(flat, names.reshape(-1), label_smoothing=label_smoothing)
        hidden = self.transformer(ids)
        loss: Tensor = ops.linear_cross_entropy(
            hidden, self.lm_head.weight, names, self.lm_head.bias, label_smoothing=label_smoothing
        )
        return loss

    @property
    def context_length(self) -> int:
        """The longest sequence that the model reads."""
        return self.config.n_positions

    def new_cache(self, capacity: int = 0) -> list[KVCache]:
        """An empty cache for each block, with room for `capacity` tokens a row at first."""
        return [KVCache(capacity) for _ in self.transformer.h]

    def next_logits(self, input_ids: Any, cache: list[KVCache] | None = None) -> Tensor:
        """Logits (B, V) after the last token of each row; see `GenerationMixin`."""
        ids = self._ids("input_ids", input_ids)
        self._check_ids(ids, cache)
        return self.lm_head(self.transformer(ids, cache)[:, -1])  # type: ignore[no-any-return]

    def _ids(self, name: str, value: Any) -> Tensor:
        """Ids as a tensor; those of an array go where the model is."""
        if value is None:
            return value  # type: ignore[return-value]
        return as_tensor("GPT", name, value, self.transformer.wte.weight.device)

    def _check_ids(self, ids: Tensor, cache: list[KVCache] | None) -> None:
        limit = self.config.n_positions
        if ids.ndim != 2 or ids.shape[1] > limit:
            msg = f"GPT: input_ids has shape {ids.shape}; expected (B, T) with T at most {limit}"
            raise ValueError(msg)
        if cache is None:
            return
        if len(cache) != len(self.transformer.h):
            msg = f"GPT: cache has {len(cache)} layers; expected {len(self.transformer.h)}, from new_cache()"
            raise ValueError(msg)
        if cache[0].length + ids.shape[1] > limit:
            msg = f"GPT: input_ids adds {ids.shape[1]} tokens to the {cache[0].length} of the cache; expected at most {limit}"
            raise ValueError(msg)

    def config_json(self) -> dict[str, Any]:
        """What config.json says besides names and dtype."""
        # GPT-2's own ids lie outside a small vocabulary, and transformers warns.
        return {"bos_token_id": None, "eos_token_id": None, **super().config_json()}
