"""A classifier of texts: a bidirectional LSTM over embeddings, pooled over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastattn.autograd.joining import cat
from fastattn.autograd.tensor import Tensor
from fastattn.nn import LSTM, Dropout, Embedding, Linear

from .config import ClassifierConfig, as_tensor
from .labels import classification_loss
from .pretrained import PretrainedModel

POOLINGS = ("max", "mean", "last")


@dataclass
class LSTMClassifierConfig(ClassifierConfig):
    """The sizes of an LSTMClassifier.

    Args:
        vocab_size: tokens.
        embedding_size: I, of a token's vector.
        hidden_size: H, of the state in one direction.
        num_hidden_layers: layers of the LSTM.
        bidirectional: whether it also reads backward.
        pooling: "max" or "mean" of the outputs over the steps of a sequence, or "last": the last states.
        dropout: probability, on the embeddings, between layers and on what is pooled.
        pad_token_id: the token that fills up shorter sequences; its vector is 0 and is not trained.
        num_labels: classes; 1: a number is predicted instead.
        id2label: their names, by class.

    Raises:
        ValueError: a size that is not positive, an unknown pooling, a padding token outside the vocabulary.

    Example:
        >>> import fastattn as fa
        >>> fa.models.LSTMClassifierConfig(vocab_size=100, num_labels=4).num_labels
        4
    """

    model_type: ClassVar[str] = "lstm_classifier"

    vocab_size: int = 30000
    embedding_size: int = 100
    hidden_size: int = 256
    num_hidden_layers: int = 1
    bidirectional: bool = True
    pooling: str = "max"
    dropout: float = 0.5
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        self._require_positive("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers")
        self._require_one_of("pooling", POOLINGS)
        if not 0 <= self.pad_token_id < self.vocab_size:
            self._refuse("pad_token_id", f"one of the {self.vocab_size} tokens")
        if not 0 <= self.dropout <= 1:
            self._refuse("dropout", "0 to 1")
        self._check_labels()


class LSTMClassifier(PretrainedModel):
    r"""Texts to classes by a recurrent network.

    .. math:: h = \mathrm{LSTM}(E_{x_1}, \ldots, E_{x_n}), \quad y = W \max_t h_t + b

    Padding has no part in it: the LSTM stops at the end of each sequence, its backward direction starts there, and the
    pooling is over its steps.

    Args:
        config: the sizes.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> config = fa.models.LSTMClassifierConfig(vocab_size=11, embedding_size=4, hidden_size=5)
        >>> fa.models.LSTMClassifier(config)(np.array([[4, 5, 6], [7, 0, 0]])).shape
        (2, 2)

    Source: Conneau et al., "Supervised learning of universal sentence representations" (2017), section 3.2, for the
    bidirectional LSTM with max pooling.
    """

    config: LSTMClassifierConfig
    config_class = LSTMClassifierConfig
    architecture = "LSTMClassifier"
    base = "lstm"

    def __init__(self, config: LSTMClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.dropout = Dropout(config.dropout)
        self.lstm = LSTM(
            config.embedding_size,
            config.hidden_size,
            config.num_hidden_layers,
            batch_first=True,
            dropout=config.dropout,
            bidirectional=config.bidirectional,
        )
        self.classifier = Linear(config.hidden_size * (2 if config.bidirectional else 1), config.num_labels)

    def forward(self, input_ids: Any, lengths: Any = None, labels: Any = None) -> Any:
        """Logits of the classes, and the loss where labels are given.

        Args:
            input_ids: (B, T) tokens, shorter sequences filled up with the padding token; a Tensor or an integer array.
            lengths: (B,) the tokens of each, 0 to T; by default all up to the last one that is no padding. A sequence of
                none has the classes of a pooled 0.
            labels: (B,) classes: cross-entropy; or (B, num_labels) floats of 0 to 1, each class by itself: binary
                cross-entropy; or, where num_labels is 1, (B,) numbers: the mean squared error.

        Returns:
            logits (B, num_labels), or (logits, loss) with labels.

        Raises:
            ValueError: shapes that do not fit.
            IndexError: a length that is not one of 0 to T.
        """
        name, device = type(self).__name__, self.classifier.weight.device
        ids = as_tensor(name, "input_ids", input_ids, device)
        if ids.ndim != 2:
            msg = f"{name}: input_ids has shape {ids.shape}; expected (B, T)"
            raise ValueError(msg)
        steps = ids.shape[1]
        if lengths is None:
            ends = np.where(ids.cpu().numpy() != self.config.pad_token_id, np.arange(1, steps + 1), 0)
            lengths = ends.max(1, initial=0)
        lengths = as_tensor(name, "lengths", lengths, device, "lengths")
        x = self.dropout(self.embedding(ids)).transpose(0, 1)
        output, (h_n, _) = self.lstm.through_layers(x, None, lengths)
        logits = self.classifier(self.dropout(self._pooled(output, h_n, lengths)))
        return logits if labels is None else (logits, classification_loss(name, logits, labels))

    def _pooled(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        """Of outputs (T, B, C) that are 0 behind each end, and last states: (B, C)."""
        if self.config.pooling == "last":
            return cat([h_n[-2], h_n[-1]], -1) if self.config.bidirectional else h_n[-1]
        if self.config.pooling == "mean":
            counts = np.maximum(lengths.cpu().numpy(), 1)[:, None]
            return output.sum(0) / Tensor(counts).to(output.device).to(output.dtype)
        ends = np.arange(output.shape[0])[:, None] >= lengths.cpu().numpy()
        masked = output.masked_fill(Tensor(ends[:, :, None]).to(output.device), -np.inf)
        return masked.amax(0).masked_fill((lengths == 0).unsqueeze(1), 0)
