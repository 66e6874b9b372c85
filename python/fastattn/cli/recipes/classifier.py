"""A classifier of texts: BERT, from the start or from a run that has pretrained it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fastattn.train import TrainConfig

from .bert import Sizes
from .recipe import flag
from .texts import TextOptions, TextRecipe


@dataclasses.dataclass(frozen=True)
class Options(Sizes, TextOptions):
    """The flags of `fastattn train classifier`."""

    start: Path | None = flag(  # noqa: RUF009 (it is dataclasses.field)
        None, "A BERT whose weights and vocabulary are taken: a run, or Hugging Face's form.", metavar="MODEL"
    )


class ClassifierRecipe(TextRecipe):
    """Classification of texts by BERT."""

    name = "classifier"
    noun = "BERT classifier"
    help = "Train a BERT that classifies texts; with no flags, names by their language. See also `fastattn finetune`."
    options = Options
    defaults = TrainConfig(
        epochs=10, batch_size=32, lr=5e-4, warmup=100, weight_decay=0.01, beta2=0.98, eval_every=500, eval_samples=0,
        checkpoint_every=0,
    )  # fmt: skip

    def vocabulary_of(self, options: Options, texts: list[str]) -> Any:
        """That of the run which it starts from, if there is one."""
        from fastattn.data import load_tokenizer

        if options.start is None:
            return super().vocabulary_of(options, texts)
        return load_tokenizer(options.start)

    def build(self, options: Options, sizes: dict[str, Any]) -> Any:
        """BERT with a classifier; what is below it from the run that it starts from."""
        from fastattn.models import BERTForSequenceClassification

        if options.start is None:
            return BERTForSequenceClassification(options.config(sizes["vocab_size"], sizes["names"]))
        p = options.dropout
        return BERTForSequenceClassification.from_pretrained(
            options.start,
            id2label=dict(enumerate(sizes["names"])),
            hidden_dropout_prob=p,
            attention_probs_dropout_prob=p,
        )

    def shape(self, options: Options) -> str:
        """Layers, width, heads; or where they come from."""
        if options.start is not None:
            return f"from {options.start}"
        return f"{options.layers} layers x {options.width}, {options.heads} heads"
