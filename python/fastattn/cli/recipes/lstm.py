"""An LSTM that classifies texts."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastattn.train import TrainConfig

from .recipe import flag
from .texts import TextOptions, TextRecipe


@dataclasses.dataclass(frozen=True)
class Options(TextOptions):
    """The flags of `fastattn train lstm`."""

    embedding: int = flag(100, "Width of a token's vector.", min=1)
    width: int = flag(128, "Width of the state in one direction.", min=1)
    layers: int = flag(1, "Layers.", min=1)
    dropout: float = flag(0.5, "Dropout probability.", min=0.0, max=1.0)


class LSTMRecipe(TextRecipe):
    """Classification of texts by a bidirectional LSTM."""

    name = "lstm"
    noun = "LSTM classifier"
    help = "Train a bidirectional LSTM that classifies texts; with no flags, names by their language."
    reads = "lengths"
    options = Options
    defaults = TrainConfig(
        epochs=10, batch_size=32, lr=2e-3, warmup=100, weight_decay=0.01, eval_every=500, eval_samples=0,
        checkpoint_every=0,
    )  # fmt: skip

    def build(self, options: Options, sizes: dict[str, Any]) -> Any:
        """An LSTM with max pooling over time."""
        from fastattn.models import LSTMClassifier, LSTMClassifierConfig

        return LSTMClassifier(
            LSTMClassifierConfig(
                vocab_size=sizes["vocab_size"],
                embedding_size=options.embedding,
                hidden_size=options.width,
                num_hidden_layers=options.layers,
                dropout=options.dropout,
                num_labels=sizes["classes"],
                id2label=dict(enumerate(sizes["names"])),
            )
        )

    def shape(self, options: Options) -> str:
        """Layers and widths."""
        return f"{options.layers} layers x 2 x {options.width} over embeddings of {options.embedding}"
