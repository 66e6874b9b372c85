"""BERT, with Hugging Face's configuration and state_dict keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from fastattn.autograd.tensor import Tensor
from fastattn.nn import Dropout, Embedding, LayerNorm, Module
from fastattn.nn import functional as F

from .config import ClassifierConfig, as_tensor
from .encoder import ACTIVATIONS, Encoder, EncoderOutput, Pooler
from .pretrained import PretrainedModel, init_weights


@dataclass
class BERTConfig(ClassifierConfig):
    """The sizes of a BERT, with Hugging Face's names and the defaults of BERT base.

    Args:
        vocab_size: V, tokens of the vocabulary.
        hidden_size: C, the width.
        num_hidden_layers: layers.
        num_attention_heads: heads of each layer; C is a multiple of it.
        intermediate_size: width between the dense layers.
        hidden_act: "gelu" (erf), "gelu_new" (with tanh), "relu", "silu" or "tanh".
        hidden_dropout_prob: dropout after embeddings and projections.
        attention_probs_dropout_prob: dropout of attention weights.
        max_position_embeddings: the longest sequence.
        type_vocab_size: kinds of segments.
        initializer_range: deviation of the first weights.
        layer_norm_eps: eps of the norms.
        pad_token_id: the token whose embedding starts as zeros and gets no gradient; None: no such token.
        classifier_dropout: dropout before the classifier; None: `hidden_dropout_prob`.
        tie_word_embeddings: whether the masked language model's decoder is the table of tokens.
        num_labels: classes of the classifier; 1: a number is predicted instead.
        id2label: their names, by class.

    Raises:
        ValueError: a size that is not positive, C not a multiple of num_attention_heads, an unknown activation.

    Example:
        >>> import fastattn as fa
        >>> fa.models.BERTConfig(hidden_size=128, num_attention_heads=4).num_hidden_layers
        12

    Source: transformers, BertConfig.
    """

    model_type: ClassVar[str] = "bert"
    fixed: ClassVar[dict[str, Any]] = {
        "is_decoder": False,
        "add_cross_attention": False,
        "position_embedding_type": "absolute",
    }

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        self._require_positive(*sizes, "max_position_embeddings", "type_vocab_size")
        self._check_labels()
        self._require_multiple("hidden_size", "num_attention_heads")
        self._require_one_of("hidden_act", ACTIVATIONS)


class Embeddings(Module):
    """Embeddings of tokens, segments and positions, normalised: ids (B, T) to (B, T, C)."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        c = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, c, config.pad_token_id)
        self.position_embeddings = Embedding(config.max_position_embeddings, c)
        self.token_type_embeddings = Embedding(config.type_vocab_size, c)
        self.LayerNorm = LayerNorm(c, config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, ids: Tensor, types: Tensor | None, positions: Tensor | None) -> Tensor:
        places = self.position_embeddings
        at = places.weight[: ids.shape[1]] if positions is None else places(positions)
        kinds = self.token_type_embeddings
        # Without segments all are of the first: one row is added to the positions, not to every token.
        kind = kinds.weight[0] if types is None else kinds(types)
        return self.dropout(self.LayerNorm(self.word_embeddings(ids) + (kind + at)))  # type: ignore[no-any-return]


class PretrainedBERT(PretrainedModel):
    """What BERT and its heads share."""

    config: BERTConfig
    config_class = BERTConfig
    base = "bert"
    # Places that older files carry as a buffer; heads and poolers that the class does without, each adds its own.
    ignored = r"(^|\.)embeddings\.(position_ids|token_type_ids)$"
    renamed = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))


class BERT(PretrainedBERT):
    r"""An encoder of text: post-norm layers over embeddings of tokens, segments and positions.

    .. math:: x = \mathrm{norm}(\mathrm{word}_{ids} + \mathrm{type} + \mathrm{position}), \quad
        x = \mathrm{norm}(x + \mathrm{attn}(x)), \quad x = \mathrm{norm}(x + W_2 \, \mathrm{gelu}(W_1 x))

    Args:
        config: the sizes.
        add_pooling_layer: whether there is a pooler, tanh of a dense layer on the first position.

    Example:
        >>> import fastattn as fa
        >>> sizes = {"vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = fa.models.BERT(fa.models.BERTConfig(**sizes, intermediate_size=8))
        >>> hidden, pooled = model(fa.tensor([[1, 2, 3]]))
        >>> hidden.shape, pooled.shape
        ((1, 3, 4), (1, 4))

    Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2019), section 3; transformers, BertModel.
    """

    architecture = "BertModel"
    is_bare = True

    def __init__(self, config: BERTConfig, add_pooling_layer: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config, norm_first=False)
        self.pooler = Pooler(config.hidden_size) if add_pooling_layer else None
        init_weights(self.modules(), config.initializer_range)

    def forward(
        self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, position_ids: Any = None
    ) -> EncoderOutput:
        """Hidden states of every token, and the pooler's output.

        Args:
            input_ids: (B, T) token ids of int32 or int64: a Tensor where the model is, or an ndarray.
            attention_mask: (B, T), 0 where a row is padded; default all 1.
            token_type_ids: (B, T), the segment of each token; default all 0.
            position_ids: (B, T) or (T,); default 0 to T - 1.

        Returns:
            last_hidden_state (B, T, C) and pooler_output (B, C), or None without a pooler.

        Raises:
            ValueError: `input_ids` is not (B, T), T exceeds max_position_embeddings, or the others do not fit it.
        """
        ids = self._input("input_ids", input_ids)
        limit = self.config.max_position_embeddings
        if ids.ndim != 2 or ids.shape[1] > limit:
            msg = f"BERT: input_ids has shape {ids.shape}; expected (B, T) with T at most {limit}"
            raise ValueError(msg)
        others = {"attention_mask": attention_mask, "token_type_ids": token_type_ids, "position_ids": position_ids}
        given = {name: None if value is None else self._input(name, value) for name, value in others.items()}
        for name, value in given.items():
            if (
                value is not None
                and value.shape != ids.shape
                and (name, value.shape) != ("position_ids", ids.shape[1:])
            ):
                msg = f"BERT: {name} has shape {value.shape}; expected {ids.shape}, that of input_ids"
                raise ValueError(msg)
        mask = given["attention_mask"]
        seen = None if mask is None else (mask != 0).reshape(len(mask), 1, 1, -1)
        x = self.embeddings(ids, given["token_type_ids"], given["position_ids"])
        hidden = self.encoder(x, seen)
        return EncoderOutput(hidden, None if self.pooler is None else self.pooler(hidden))

    def embed(
        self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *, normalize: bool = True
    ) -> Tensor:
        r"""A vector for each row: the mean of its hidden states.

        .. math:: y = \sum_t m_t h_t / \sum_t m_t, \quad y = y / \lVert y \rVert

        Args:
            input_ids: (B, T) token ids.
            attention_mask: m, (B, T), 0 where a row is padded; default all 1.
            token_type_ids: (B, T), the segment of each token; default all 0.
            normalize: whether the vectors get length 1, so that their products are cosines.

        Returns:
            (B, C).

        Raises:
            ValueError: as `forward`.

        Source: Reimers and Gurevych, "Sentence-BERT" (2019), section 3.
        """
        hidden: Tensor = self(input_ids, attention_mask, token_type_ids).last_hidden_state
        if attention_mask is None:
            mean = hidden.mean(1)
        else:
            mask = (self._input("attention_mask", attention_mask) != 0).to(hidden.dtype)
            # The sum over tokens is a product, which reads the states once.
            total = (mask.unsqueeze(1) @ hidden).squeeze(1)
            mean = total / mask.sum(1, keepdim=True).clamp(min=1e-9)
        return F.normalize(mean, dim=1) if normalize else mean

    def _input(self, name: str, value: Any) -> Tensor:
        return as_tensor("BERT", name, value, self.embeddings.word_embeddings.weight.device)
