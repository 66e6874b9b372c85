"""The Transformer of "Attention is all you need": sequences of tokens to sequences of tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastattn import ops
from fastattn.autograd.node import no_grad
from fastattn.autograd.tensor import Tensor
from fastattn.generation import GenerationConfig, GenerationMixin, Token
from fastattn.nn import (
    Embedding,
    Linear,
    Module,
    MultiheadAttention,
    SinusoidalPositionalEncoding,
    Transformer,
    TransformerDecoderLayer,
    init,
)
from fastattn.nn import functional as F
from fastattn.nn.blocks import sublayer
from fastattn.nn.transformer import ACTIVATIONS
from fastattn.nn.utils import evaluation
from fastattn.ops import KVCache

from .config import ModelConfig, as_tensor
from .labels import fitting


@dataclass
class EncoderDecoderConfig(ModelConfig):
    """The sizes of an EncoderDecoder, with nn.Transformer's names and defaults.

    Args:
        src_vocab_size: tokens of what is read.
        tgt_vocab_size: V, tokens of what is written; None: `src_vocab_size`.
        d_model: E, the width.
        nhead: heads of each layer; E is a multiple of it.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        dim_feedforward: width between the dense layers.
        dropout: probability, everywhere.
        activation: "relu" or "gelu".
        layer_norm_eps: eps of the norms.
        norm_first: norms before attention and dense layers instead of after the sums.
        pad_token_id: fills short rows; it is neither seen nor counted.
        bos_token_id: begins what is written.
        eos_token_id: ends it.
        label_smoothing: of the loss; the paper has 0.1.
        tie_word_embeddings: whether the output matrix is the table of the tokens written.
        share_embeddings: whether that is also the table of those read; the vocabularies are one then.

    Raises:
        ValueError: a size that is not positive, E not a multiple of nhead, an unknown activation, special tokens outside of
            the vocabularies or with one meaning for two, shared tables of two sizes.

    Example:
        >>> import fastattn as fa
        >>> fa.models.EncoderDecoderConfig(src_vocab_size=100).tgt_vocab_size
        100

    Source: Vaswani et al., "Attention is all you need" (2017), section 3.
    """

    model_type: ClassVar[str] = "encoder_decoder"

    src_vocab_size: int = 32000
    tgt_vocab_size: int | None = None
    d_model: int = 512
    nhead: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    dim_feedforward: int = 2048
    dropout: float = 0.1
    activation: str = "relu"
    layer_norm_eps: float = 1e-5
    norm_first: bool = False
    pad_token_id: int = 0
    bos_token_id: int = 1
    eos_token_id: int = 2
    label_smoothing: float = 0.0
    tie_word_embeddings: bool = True
    share_embeddings: bool = False

    def __post_init__(self) -> None:
        if self.tgt_vocab_size is None:
            self.tgt_vocab_size = self.src_vocab_size
        sizes = ("src_vocab_size", "tgt_vocab_size", "d_model", "nhead", "num_encoder_layers", "num_decoder_layers")
        self._require_positive(*sizes, "dim_feedforward")
        self._require_multiple("d_model", "nhead")
        self._require_one_of("activation", ACTIVATIONS)
        if not 0 <= self.pad_token_id < min(self.src_vocab_size, self.tgt_vocab_size):
            self._refuse("pad_token_id", "a token of both vocabularies")
        for name in ("bos_token_id", "eos_token_id"):
            if not 0 <= getattr(self, name) < self.tgt_vocab_size or getattr(self, name) == self.pad_token_id:
                self._refuse(name, "a token of the target's vocabulary that is not pad_token_id")
        if self.share_embeddings and self.src_vocab_size != self.tgt_vocab_size:
            self._refuse("tgt_vocab_size", f"src_vocab_size {self.src_vocab_size}, with share_embeddings")


class EncoderDecoder(Module):
    r"""An encoder reads a sequence, a decoder writes another, each token after those before it.

    .. math:: m = \mathrm{encoder}(\sqrt{E}\, \mathrm{src}_{ids} + \mathrm{position}), \quad
        \mathrm{logits} = \mathrm{decoder}(\sqrt{E}\, \mathrm{tgt}_{ids} + \mathrm{position}, m)\, W^T

    Args:
        config: the sizes.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.manual_seed(0)
        >>> config = fa.models.EncoderDecoderConfig(11, d_model=8, nhead=2, dim_feedforward=16, num_encoder_layers=1)
        >>> model = fa.models.EncoderDecoder(config)
        >>> source, target = np.array([[3, 4, 5, 2], [6, 7, 2, 0]]), np.array([[1, 5, 4], [1, 7, 6]])
        >>> model(source, target).shape
        (2, 3, 11)
        >>> len(model.generate(source, max_new_tokens=4))
        2

    Source: Vaswani et al., "Attention is all you need" (2017), section 3 (sections 3.4 and 3.5 of tables and positions).
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        assert config.tgt_vocab_size is not None
        self.config = config
        e, pad = config.d_model, config.pad_token_id
        self.src_embedding = Embedding(config.src_vocab_size, e, pad)
        self.tgt_embedding = self.src_embedding if config.share_embeddings else Embedding(config.tgt_vocab_size, e, pad)
        self.position = SinusoidalPositionalEncoding(e, config.dropout)
        self.transformer = Transformer(
            e,
            config.nhead,
            config.num_encoder_layers,
            config.num_decoder_layers,
            config.dim_feedforward,
            config.dropout,
            config.activation,
            layer_norm_eps=config.layer_norm_eps,
            batch_first=True,
            norm_first=config.norm_first,
        )
        self.lm_head = Linear(e, config.tgt_vocab_size, bias=False)
        for table in (self.src_embedding, self.tgt_embedding, self.lm_head):
            init.normal_(table.weight, 0.0, e**-0.5)
        for embedding in (self.src_embedding, self.tgt_embedding):
            init.zeros_(embedding.weight[pad])
        if config.tie_word_embeddings:
            self.lm_head.weight = self.tgt_embedding.weight

    def forward(self, src_ids: Any, tgt_ids: Any, labels: Any = None) -> Any:
        """Logits of the token after each of the target's, and the loss where labels are given.

        Args:
            src_ids: (B, S) token ids of int32 or int64, padded with pad_token_id: a Tensor where the model is, or an ndarray.
            tgt_ids: (B, T) token ids, usually from bos_token_id on.
            labels: (B, T), what follows each of `tgt_ids`, usually to eos_token_id: nothing is shifted here; pad_token_id
                counts for nothing.

        Returns:
            logits (B, T, V), or (logits, loss) with labels.

        Raises:
            ValueError: shapes that do not fit.
        """
        logits = self.lm_head(self._hidden(src_ids, tgt_ids))
        if labels is None:
            return logits
        targets = fitting("EncoderDecoder", "labels", labels, logits.shape[:2], logits.device)
        options: dict[str, Any] = {
            "ignore_index": self.config.pad_token_id,
            "label_smoothing": self.config.label_smoothing,
        }
        return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1), **options)

    def loss(self, src_ids: Any, tgt_ids: Any, labels: Any, *, label_smoothing: float | None = None) -> Tensor:
        """The mean loss of a batch alone: the logits are never held as a whole.

        Args:
            src_ids, tgt_ids, labels: see `forward`.
            label_smoothing: instead of the config's.

        Returns:
            A scalar, nats per token.
        """
        hidden = self._hidden(src_ids, tgt_ids)
        targets = fitting("EncoderDecoder", "labels", labels, hidden.shape[:2], hidden.device)
        loss: Tensor = ops.linear_cross_entropy(
            hidden,
            self.lm_head.weight,
            targets,
            ignore_index=self.config.pad_token_id,
            label_smoothing=self.config.label_smoothing if label_smoothing is None else label_smoothing,
        )
        return loss

    def encode(self, src_ids: Any) -> tuple[Tensor, Tensor]:
        """The encoder's output (B, S, E), and where the source is padded, (B, S) bool."""
        ids = self._ids("src_ids", src_ids)
        padding = ids == self.config.pad_token_id
        x = self.position(self.src_embedding(ids) * math.sqrt(self.config.d_model))
        return self.transformer.encoder(x, src_key_padding_mask=padding), padding

    def _hidden(self, src_ids: Any, tgt_ids: Any) -> Tensor:
        memory, padding = self.encode(src_ids)
        ids = self._ids("tgt_ids", tgt_ids)
        if len(ids) != len(memory):
            msg = f"EncoderDecoder: tgt_ids has shape {ids.shape}; expected ({len(memory)}, T), the batch of src_ids"
            raise ValueError(msg)
        x = self.position(self.tgt_embedding(ids) * math.sqrt(self.config.d_model))
        return self.transformer.decoder(  # type: ignore[no-any-return]
            x,
            memory,
            tgt_key_padding_mask=ids == self.config.pad_token_id,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )

    def generate(self, src_ids: Any, generation_config: GenerationConfig | None = None, **options: Any) -> Any:
        """Writes a sequence for each source: the likeliest token again and again, or with `num_beams` a beam search.

        Args:
            src_ids: (B, S) token ids, padded with pad_token_id, a Tensor or an array; or a list of B sequences.
            generation_config: the settings, by default those of GenerationConfig.
            options: fields of GenerationConfig, before those of `generation_config`; eos_token_id and pad_token_id are by
                default the model's.

        Returns:
            A list of B int64 arrays, the tokens written without bos_token_id; eos_token_id ends those that have ended.

        Raises:
            ValueError: an empty source, or an option out of its range.
            TypeError: token ids that are not integers, or an option that there is not.
        """
        config = self._settings(generation_config, options)
        writer, starts = self._writer(src_ids)
        return [row[1:] for row in writer.generate(starts, config)]

    def stream(
        self, src_ids: Any, generation_config: GenerationConfig | None = None, *, tokenizer: Any = None, **options: Any
    ) -> Iterator[Token]:
        """As `generate`, a token at a time: (row, id, text, finish_reason), step by step; the arguments are the same.

        Args:
            src_ids, generation_config, options: see `generate`.
            tokenizer: decodes token ids, for the text and for `stop_strings`.
        """
        config = self._settings(generation_config, options)
        writer, starts = self._writer(src_ids)
        return writer.stream(starts, config, tokenizer=tokenizer)

    def _settings(self, config: GenerationConfig | None, options: dict[str, Any]) -> GenerationConfig:
        if config is None:
            config = GenerationConfig(eos_token_id=self.config.eos_token_id, pad_token_id=self.config.pad_token_id)
        return config.replace(**options)

    def _writer(self, src_ids: Any) -> tuple[Writer, list[list[int]]]:
        pad = self.config.pad_token_id
        rows = src_ids if isinstance(src_ids, (list, tuple)) else [row[row != pad] for row in _host(src_ids)]
        if not all(len(row) for row in rows):
            msg = "generate: a row of src_ids is empty; expected at least one token"
            raise ValueError(msg)
        lengths = np.array([len(row) for row in rows])
        ids = np.full((len(rows), lengths.max(initial=1)), pad, np.int64)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = _host(tokens)
        with evaluation(self), no_grad():
            memory, _ = self.encode(ids)
            return Writer(self, memory, lengths), [[self.config.bos_token_id]] * len(rows)

    def _ids(self, name: str, value: Any) -> Tensor:
        ids = as_tensor("EncoderDecoder", name, value, self.lm_head.weight.device)
        if ids.ndim != 2:
            msg = f"EncoderDecoder: {name} has shape {ids.shape}; expected (B, T)"
            raise ValueError(msg)
        return ids


def _host(ids: Any) -> Any:
    array = ids.numpy() if hasattr(ids, "numpy") else np.asarray(ids)
    if array.dtype.kind not in "iu":
        msg = f"generate: src_ids has dtype {array.dtype}; expected integers"
        raise TypeError(msg)
    return array


class Writer(GenerationMixin, Module):
    """A decoder that has read its sources: a language model of the target, for `generate` to ask."""

    def __init__(self, model: EncoderDecoder, memory: Tensor, lengths: Any) -> None:
        super().__init__()
        self.model = model
        # Keys and values of the sources, once for all steps; what is behind the end of a short one does not count.
        self.memory = [KVCache(memory.shape[1]) for _ in model.transformer.decoder.layers]
        for layer, cache in zip(model.transformer.decoder.layers, self.memory, strict=True):
            k, v = _project(layer.multihead_attn, memory, 1, 3)
            cache.append(k, v, lengths, layout="bthd")

    def new_cache(self, capacity: int = 0) -> list[KVCache]:
        """Of each layer: the tokens so far, and then, of each layer, the source."""
        return [*(KVCache(capacity) for _ in self.memory), *self.memory]

    def next_logits(self, input_ids: Any, cache: list[KVCache] | None = None) -> Tensor:
        """Logits (B, V) after the last token of each row."""
        assert cache is not None
        model, layers = self.model, self.model.transformer.decoder.layers
        done = cache[0].length
        ids = model._ids("tgt_ids", input_ids)
        positions = np.arange(done, done + ids.shape[1])
        x = model.position(model.tgt_embedding(ids) * math.sqrt(model.config.d_model), positions)
        for layer, tokens, source in zip(layers, cache, cache[len(layers) :], strict=False):
            x = _step(layer, x, tokens, source)
        return model.lm_head(model.transformer.decoder.norm(x[:, -1]))  # type: ignore[no-any-return]


def _step(layer: TransformerDecoderLayer, x: Tensor, tokens: KVCache, source: KVCache) -> Tensor:
    """A layer's output for new tokens (B, T, E) behind those of a cache, which takes them; dropout is for training."""

    def attend(y: Tensor, residual: Tensor) -> Tensor:
        q, k, v = _project(layer.self_attn, y, 0, 3)
        return _out(layer.self_attn, ops.attention_with_kv_cache(q, tokens, k, v, layout="bthd"), residual)

    def attend_to_source(y: Tensor, residual: Tensor) -> Tensor:
        (q,) = _project(layer.multihead_attn, y, 0, 1)
        out = ops.attention_with_kv_cache(q, source, is_causal=False, layout="bthd")
        return _out(layer.multihead_attn, out, residual)

    x = sublayer(x, layer.norm1, layer.norm_first, attend)
    x = sublayer(x, layer.norm2, layer.norm_first, attend_to_source)
    return sublayer(x, layer.norm3, layer.norm_first, lambda y, r: layer._add_feed_forward(y, r, layer.dropout3))


def _project(attention: MultiheadAttention, x: Tensor, first: int, last: int) -> list[Tensor]:
    """Of queries, keys and values (B, T, H, D), those from `first` on before `last`."""
    e, weight, bias = attention.embed_dim, attention.in_proj_weight, attention.in_proj_bias
    rows = slice(first * e, last * e)
    assert weight is not None
    y = F.linear(x, weight[rows], None if bias is None else bias[rows])
    return [part.unflatten(-1, (attention.num_heads, attention.head_dim)) for part in y.split(e, -1)]


def _out(attention: MultiheadAttention, heads: Tensor, residual: Tensor) -> Tensor:
    """residual + what a layer makes of its heads (B, T, H, D)."""
    return residual + attention.out_proj(heads.reshape(residual.shape))  # type: ignore[no-any-return]
