"""BERT with a head for a task."""

from __future__ import annotations

from typing import Any

from fastattn import ops
from fastattn.autograd.tensor import Tensor
from fastattn.nn import Dropout, LayerNorm, Linear, Module, init
from fastattn.nn import functional as F
from fastattn.nn.blocks import dense
from fastattn.nn.layers import new_parameter
from fastattn.nn.parameter import Parameter

from .bert import BERT, BERTConfig, PretrainedBERT
from .encoder import ACTIVATIONS
from .labels import classification_loss, fitting
from .pretrained import init_weights

IGNORE_INDEX = -100


class Transform(Module):
    """A dense layer, an activation and a norm before the decoder of the masked language model."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.activation = ACTIVATIONS[config.hidden_act]()

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(dense(self.dense, x, self.activation))  # type: ignore[no-any-return]


class Predictions(Module):
    """Scores of every token of the vocabulary: (B, T, C) to (B, T, V)."""

    bias: Parameter

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.transform = Transform(config)
        self.decoder = Linear(config.hidden_size, config.vocab_size)
        self.bias = new_parameter(config.vocab_size, dtype=None)
        init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x))  # type: ignore[no-any-return]


class MaskedLMHead(Module):
    """Hugging Face's nesting of it."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.predictions = Predictions(config)

    def forward(self, x: Tensor) -> Tensor:
        return self.predictions(x)  # type: ignore[no-any-return]


class BERTForMaskedLM(PretrainedBERT):
    """BERT that says which token is at each position; the decoder is the table of tokens.

    Args:
        config: the sizes.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> sizes = {"vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = fa.models.BERTForMaskedLM(fa.models.BERTConfig(**sizes, intermediate_size=8))
        >>> model(np.array([[1, 2, 3]])).shape
        (1, 3, 11)

    Source: Devlin et al., "BERT" (2019), section 3.1, task 1; transformers, BertForMaskedLM.
    """

    architecture = "BertForMaskedLM"
    ignored = rf"{PretrainedBERT.ignored}|^cls\.seq_relationship\.|^(bert\.)?pooler\."

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BERT(config, add_pooling_layer=False)
        self.cls = MaskedLMHead(config)
        init_weights(self.cls.modules(), config.initializer_range)
        if config.tie_word_embeddings:
            self.cls.predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight
            self.cls.predictions.decoder.bias = self.cls.predictions.bias

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        labels: Any = None,
    ) -> Any:
        """Logits of the token at every position, and the loss where labels are given.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids: see `BERT`.
            labels: (B, T), the token that is to be found at each position; -100 counts for nothing.

        Returns:
            logits (B, T, V), or (logits, loss) with labels.

        Raises:
            ValueError: shapes that do not fit.
        """
        hidden = self.bert(input_ids, attention_mask, token_type_ids, position_ids).last_hidden_state
        logits = self.cls(hidden)
        if labels is None:
            return logits
        targets = self._labels(labels, hidden)
        return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))

    def loss(
        self,
        input_ids: Any,
        labels: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        *,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """The mean loss of a batch alone: the logits are never held as a whole.

        Args:
            input_ids, attention_mask, token_type_ids: see `BERT`.
            labels: (B, T), the token that is to be found at each position; -100 counts for nothing.
            label_smoothing: part of a label's probability that is spread over all tokens.

        Returns:
            A scalar, nats per token.
        """
        hidden = self.bert(input_ids, attention_mask, token_type_ids).last_hidden_state
        head, targets = self.cls.predictions, self._labels(labels, hidden)
        loss: Tensor = ops.linear_cross_entropy(
            head.transform(hidden),
            head.decoder.weight,
            targets,
            head.decoder.bias,
            ignore_index=IGNORE_INDEX,
            label_smoothing=label_smoothing,
        )
        return loss

    def _labels(self, labels: Any, hidden: Tensor) -> Tensor:
        return fitting("BERTForMaskedLM", "labels", labels, hidden.shape[:2], hidden.device)


class BERTForSequenceClassification(PretrainedBERT):
    """BERT with a classifier of whole sequences on the pooler.

    Args:
        config: the sizes; `num_labels` is the number of classes.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> sizes = {"vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> config = fa.models.BERTConfig(**sizes, intermediate_size=8, num_labels=3)
        >>> fa.models.BERTForSequenceClassification(config)(np.array([[1, 2, 3]])).shape
        (1, 3)

    Source: Devlin et al., "BERT" (2019), section 4.1; transformers, BertForSequenceClassification.
    """

    architecture = "BertForSequenceClassification"

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BERT(config)
        p = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = Dropout(p)
        self.classifier = Linear(config.hidden_size, config.num_labels)
        init_weights([self.classifier], config.initializer_range)

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        labels: Any = None,
    ) -> Any:
        """Logits of the classes, and the loss where labels are given.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids: see `BERT`.
            labels: (B,) classes: cross-entropy; or (B, num_labels) floats of 0 to 1, each class by itself: binary
                cross-entropy; or, where num_labels is 1, (B,) numbers: the mean squared error.

        Returns:
            logits (B, num_labels), or (logits, loss) with labels.

        Raises:
            ValueError: shapes that do not fit.
        """
        pooled = self.bert(input_ids, attention_mask, token_type_ids, position_ids).pooler_output
        logits = self.classifier(self.dropout(pooled))
        if labels is None:
            return logits
        return logits, classification_loss(type(self).__name__, logits, labels)


class BERTForQuestionAnswering(PretrainedBERT):
    """BERT that says where in a text an answer begins and ends.

    Args:
        config: the sizes.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> sizes = {"vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = fa.models.BERTForQuestionAnswering(fa.models.BERTConfig(**sizes, intermediate_size=8))
        >>> start, end = model(np.array([[1, 2, 3]]))
        >>> start.shape, end.shape
        ((1, 3), (1, 3))

    Source: Devlin et al., "BERT" (2019), section 4.2; transformers, BertForQuestionAnswering.
    """

    architecture = "BertForQuestionAnswering"
    ignored = rf"{PretrainedBERT.ignored}|^(bert\.)?pooler\."

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = BERT(config, add_pooling_layer=False)
        self.qa_outputs = Linear(config.hidden_size, 2)
        init_weights([self.qa_outputs], config.initializer_range)

    def forward(
        self,
        input_ids: Any,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        start_positions: Any = None,
        end_positions: Any = None,
    ) -> Any:
        """Logits of where the answer begins and ends, and the loss where both are given.

        Args:
            input_ids, attention_mask, token_type_ids, position_ids: see `BERT`.
            start_positions: (B,) the first token of each answer; one outside of the text counts for nothing.
            end_positions: (B,) the last one.

        Returns:
            (start, end) logits (B, T) each, or (start, end, loss).

        Raises:
            ValueError: shapes that do not fit, or one of the positions without the other.
        """
        hidden = self.bert(input_ids, attention_mask, token_type_ids, position_ids).last_hidden_state
        start, end = (part.squeeze(-1) for part in self.qa_outputs(hidden).split(1, -1))
        if start_positions is None and end_positions is None:
            return start, end
        length = start.shape[1]
        losses = []
        for name, logits, wanted in (
            ("start_positions", start, start_positions),
            ("end_positions", end, end_positions),
        ):
            at = fitting("BERTForQuestionAnswering", name, wanted, logits.shape[:1], logits.device)
            losses.append(F.cross_entropy(logits, at.clamp(0, length), ignore_index=length))
        return start, end, (losses[0] + losses[1]) / 2
