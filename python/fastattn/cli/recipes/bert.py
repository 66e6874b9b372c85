"""BERT: pretraining as a masked language model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastattn.cli import UsageError
from fastattn.train import TrainConfig

from .recipe import Data, Recipe, classes_of, flag
from .texts import TextOptions, read_labelled, sentences


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the model."""

    context: int = flag(64, "Tokens of a text, at most.", min=3)
    vocabulary: int = flag(4000, "Tokens of the vocabulary, at most.", min=6)
    layers: int = flag(3, "Layers.", min=1)
    width: int = flag(128, "Width of the model.", min=1)
    heads: int = flag(4, "Attention heads a layer.", min=1)
    dropout: float = flag(0.1, "Dropout probability.", min=0.0, max=1.0)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            msg = f"--width {self.width} is not a multiple of --heads {self.heads}"
            raise UsageError(msg)

    def config(self, vocab_size: int, names: Sequence[str] | None = None) -> Any:
        """Of a BERT of these sizes."""
        from fastattn.models import BERTConfig

        labels: dict[str, Any] = {} if names is None else {"num_labels": len(names), "id2label": dict(enumerate(names))}
        return BERTConfig(
            vocab_size=vocab_size,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=4 * self.width,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            max_position_embeddings=self.context,
            **labels,
        )


@dataclasses.dataclass(frozen=True)
class Options(Sizes):
    """The flags of `fastattn train bert`."""

    data: str | None = flag(
        None,
        "A UTF-8 text, or labelled texts as finetune takes. [default: the topics of Python's help]",
        metavar="FILE",
    )
    unit: str = flag("words", "What a token is: words or characters.", choices=("words", "characters"))
    rate: float = flag(0.15, "Part of the tokens that is to be found.", min=0.01, max=1.0)


class BERTRecipe(Recipe):
    """Masked language modelling."""

    name = "bert"
    noun = "BERT"
    help = "Pretrain a small BERT, a masked language model, on a text; `fastattn finetune` makes a classifier of it."
    options = Options
    defaults = TrainConfig(
        steps=2000, batch_size=32, lr=1e-3, warmup=200, weight_decay=0.01, beta2=0.98, eval_samples=512
    )

    def load(self, options: Options) -> Data:
        """Pieces of the text, a twentieth held out by RandomState(0); of labelled texts, what finetune holds out."""
        from fastattn.data import Vocabulary, load_text, train_test_split

        if options.data is None or options.data.endswith((".txt", ".md")):
            texts, part = sentences(load_text(options.data), options.context - 2), 0.05
        else:  # what a classifier holds out is held out here too, so that it has not been read before
            (texts, _, _), part = read_labelled(options.data), TextOptions.held_out
        train, held = train_test_split(texts, test_size=part, seed=0)
        vocabulary = Vocabulary.of(train, unit=options.unit, lower=True, size=options.vocabulary)
        rows = [[vocabulary.encode_within(text, options.context) for text in some] for some in (train, held)]
        name = options.data or "the topics of Python's help"
        facts = f"data     {name}: {len(train):,} texts, {len(held):,} held out, {len(vocabulary):,} {options.unit}"
        return Data(
            options.data or "the default text", rows, {"vocab_size": len(vocabulary)}, [facts], vocabulary=vocabulary
        )

    def build(self, options: Options, sizes: dict[str, Any]) -> Any:
        """BERT with the head that says which token is where."""
        from fastattn.models import BERTForMaskedLM

        return BERTForMaskedLM(options.config(sizes["vocab_size"]))

    def task(self, options: Options, data: Data) -> Any:
        """What is behind the masks."""
        from fastattn.train import MaskedLanguageModeling

        v = data.vocabulary
        special = (v.unknown, v.begin, v.end)
        return MaskedLanguageModeling(
            *data.parts, mask_id=v.mask, vocab_size=len(v), pad_id=v.pad, special=special, rate=options.rate
        )

    def shape(self, options: Options) -> str:
        """Layers, width, heads."""
        return f"{options.layers} layers x {options.width}, {options.heads} heads"

    def noun_of_samples(self, task: Any) -> str:
        """Texts."""
        return "texts"

    def predict(self, model: Any, options: Options, run: Any, inputs: Sequence[str], top: int) -> list[Any]:
        """The likeliest tokens for each [MASK] of each text."""
        from fastattn import no_grad
        from fastattn.nn.utils import evaluation
        from fastattn.train.task import with_model

        v, found = run.vocabulary, []
        for text in inputs:
            pieces = text.split("[MASK]")
            if len(pieces) < 2:
                msg = f"{text!r} has no [MASK] to be found"
                raise UsageError(msg)
            row = [v.begin, *v.encode(pieces[0])]
            for piece in pieces[1:]:
                row += [v.mask, *v.encode(piece)]
            ids = np.array([[*row, v.end]], np.int64)
            if ids.shape[1] > options.context:
                msg = f"{text!r} has {ids.shape[1]} tokens; the model reads {options.context}"
                raise ValueError(msg)
            with evaluation(model), no_grad():
                logits = model(with_model(model, ids)).cpu().numpy()[0]
            chances = classes_of(logits[ids[0] == v.mask], v.tokens, top)
            lines = "; ".join(", ".join(f"{token} {p:.4f}" for token, p in one.items()) for one in chances)
            found.append({"input": text, "masks": chances, "text": lines})
        return found
