"""An encoder-decoder on pairs of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastattn.cli import UsageError
from fastattn.train import TrainConfig

from .recipe import Data, Recipe, existing, flag


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of `fastattn train translate`."""

    data: str = flag("dates", "dates, or a .jsonl of objects with source and target.", metavar="NAME|FILE")
    unit: str = flag("characters", "What a token is: characters or words.", choices=("characters", "words"))
    held_out: int = flag(1000, "Pairs held out.", min=1)
    layers: int = flag(2, "Layers of the encoder, and of the decoder.", min=1)
    width: int = flag(64, "Width of the model.", min=1)
    heads: int = flag(4, "Attention heads a layer.", min=1)
    dropout: float = flag(0.0, "Dropout probability.", min=0.0, max=1.0)
    beams: int = flag(1, "Beams of the search, 1: the likeliest token.", min=1)
    bleu: bool = flag(False, "Measure BLEU too, by sacrebleu.")

    def __post_init__(self) -> None:
        if self.width % self.heads:
            msg = f"--width {self.width} is not a multiple of --heads {self.heads}"
            raise UsageError(msg)


class TranslateRecipe(Recipe):
    """Reading a text and writing another."""

    name = "translate"
    noun = "encoder-decoder"
    help = "Train an encoder-decoder on pairs of texts; with no flags, on dates of four languages to ISO 8601."
    options = Options
    defaults = TrainConfig(
        steps=1200, batch_size=64, lr=2e-3, warmup=100, beta2=0.98, eval_every=400, eval_samples=200,
        checkpoint_every=400,
    )  # fmt: skip

    def load(self, options: Options) -> Data:
        """The pairs, a part of them held out by RandomState(0)."""
        from fastattn.data import Vocabulary, load_dataset, read_jsonl, train_test_split

        if options.data == "dates":
            pairs = load_dataset("dates")
            sources, targets = pairs.sources, pairs.targets
        else:
            sources, targets = read_jsonl(existing(options.data), ("source", "target"))
        parts = train_test_split(sources, targets, test_size=options.held_out, seed=0)
        source_train, source_held, target_train, target_held = parts
        vocabulary = Vocabulary.of([*source_train, *target_train], unit=options.unit)
        encoded = [[vocabulary.encode(text) for text in part] for part in (source_train, target_train)]
        held = [[vocabulary.encode(text) for text in part] for part in (source_held, target_held)]
        facts = f"data     {options.data}: {len(source_train):,} pairs, {len(source_held):,} held out, "
        return Data(
            source=options.data,
            parts=(*encoded, *held),
            sizes={
                "vocab_size": len(vocabulary),
                "longest": max(len(row) for row in (*encoded[1], *held[1])),
            },
            facts=[facts + f"{len(vocabulary)} {options.unit}"],
            vocabulary=vocabulary,
        )

    def _config(self, options: Options, sizes: dict[str, Any]) -> Any:
        from fastattn.data import Vocabulary
        from fastattn.models import EncoderDecoderConfig

        return EncoderDecoderConfig(
            sizes["vocab_size"],
            d_model=options.width,
            nhead=options.heads,
            num_encoder_layers=options.layers,
            num_decoder_layers=options.layers,
            dim_feedforward=4 * options.width,
            dropout=options.dropout,
            norm_first=True,
            pad_token_id=Vocabulary.pad,
            bos_token_id=Vocabulary.begin,
            eos_token_id=Vocabulary.end,
            share_embeddings=True,
        )

    def build(self, options: Options, sizes: dict[str, Any]) -> Any:
        """An encoder-decoder with one table of tokens."""
        from fastattn.models import EncoderDecoder

        return EncoderDecoder(self._config(options, sizes))

    def task(self, options: Options, data: Data) -> Any:
        """The target, token by token."""
        from fastattn.metrics import BLEU
        from fastattn.train import Translation

        config = self._config(options, data.sizes)
        sources, targets, held_sources, held_targets = data.parts
        decode = None
        if options.bleu:
            BLEU()  # says so now if sacrebleu is not there
            decode = data.vocabulary.decode
        return Translation(sources, targets, held_sources, held_targets, config, decode=decode, num_beams=options.beams)

    def shape(self, options: Options) -> str:
        """Layers, width, heads."""
        return f"{options.layers} + {options.layers} layers x {options.width}, {options.heads} heads"

    def predict(self, model: Any, options: Options, run: Any, inputs: Sequence[str], top: int) -> list[Any]:
        """What is written for each text."""
        vocabulary = run.vocabulary
        rows = [vocabulary.encode(text) for text in inputs]
        if not all(len(row) for row in rows):
            msg = "predict: a text is empty; expected at least one token"
            raise ValueError(msg)
        written = model.generate(rows, max_new_tokens=2 * run.sizes["longest"], num_beams=options.beams)
        texts = [vocabulary.decode(row[: _end(row, vocabulary.end)]) for row in written]
        return [{"input": text, "output": out, "text": out} for text, out in zip(inputs, texts, strict=True)]


def _end(row: Any, end: int) -> int:
    ends = np.flatnonzero(np.asarray(row) == end)
    return int(ends[0]) if len(ends) else len(row)
