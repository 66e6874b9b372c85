"""A GPT of characters on a text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastattn.cli import TEMPERATURE, UsageError
from fastattn.train import TrainConfig

from .recipe import Data, Recipe, flag


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of `fastattn train gpt`."""

    text: Path | None = flag(  # noqa: RUF009 (it is dataclasses.field)
        None, "UTF-8 text to train on. [default: the topics of Python's help]", metavar="FILE"
    )
    tokens: int | None = flag(None, "Train on this many tokens, instead of --steps.", min=1)
    context: int = flag(128, "Characters a window.", min=1)
    layers: int = flag(4, "Transformer blocks.", min=1)
    width: int = flag(128, "Width of the model.", min=1)
    heads: int = flag(4, "Attention heads a block.", min=1)
    dropout: float = flag(0.0, "Dropout probability.", min=0.0, max=1.0)
    sample: int = flag(300, "Characters of the sample, 0: none.", min=0, free=True)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            msg = f"--width {self.width} is not a multiple of --heads {self.heads}"
            raise UsageError(msg)


class GPTRecipe(Recipe):
    """Causal language modelling."""

    name = "gpt"
    noun = "GPT"
    help = "Train a small GPT on text, characters as tokens; with no flags, for some minutes on Python's own help."
    options = Options
    defaults = TrainConfig()

    def config(self, options: Options, config: TrainConfig, given: set[str]) -> TrainConfig:
        """--tokens as steps."""
        if options.tokens is None:
            return config
        if "steps" in given or "epochs" in given:
            other = "steps" if "steps" in given else "epochs"
            msg = f"--{other} and --tokens say the same thing; pass one of them"
            raise UsageError(msg)
        steps = math.ceil(options.tokens / (config.batch_size * options.context))
        return dataclasses.replace(config, steps=steps, epochs=None)

    def load(self, options: Options) -> Data:
        """The text, its last tenth held out."""
        from fastattn.data import CharVocabulary, load_text, split

        text = load_text(options.text)
        vocabulary = CharVocabulary.of(text)
        train_ids, val_ids = split(vocabulary.encode(text))
        name = options.text or "the topics of Python's help"
        return Data(
            source=str(options.text or "the default text"),
            parts=(train_ids, val_ids),
            sizes={"vocab_size": len(vocabulary)},
            facts=[
                f"text     {name}: {len(text):,} characters, {len(vocabulary)} different",
                f"         {len(val_ids):,} of them, the last tenth, are held out for validation",
            ],
            vocabulary=vocabulary,
        )

    def build(self, options: Options, sizes: dict[str, Any]) -> Any:
        """A GPT with room for a window."""
        from fastattn.models import GPT, GPTConfig

        return GPT(
            GPTConfig(
                vocab_size=sizes["vocab_size"],
                n_positions=options.context,
                n_embd=options.width,
                n_layer=options.layers,
                n_head=options.heads,
                embd_pdrop=options.dropout,
                attn_pdrop=options.dropout,
                resid_pdrop=options.dropout,
            )
        )

    def task(self, options: Options, data: Data) -> Any:
        """The next character."""
        from fastattn.train import LanguageModeling

        train_ids, val_ids = data.parts
        return LanguageModeling(train_ids, val_ids, options.context)

    def shape(self, options: Options) -> str:
        """Layers, width, heads."""
        return f"{options.layers} layers x {options.width}, {options.heads} heads"

    def training(self, config: TrainConfig, task: Any, options: Options) -> str:
        """Steps and tokens."""
        each = config.batch_size * options.context
        windows = f"{config.batch_size} windows of {options.context}"
        return f"{config.steps:,} steps x {each:,} tokens ({windows}) = {config.steps * each:,} tokens"

    def outcome(self, trainer: Any, options: Options) -> list[str]:
        """The loss on the text that was held out."""
        count = len(trainer.task.val_ids) - 1  # the first has nothing before it to be predicted from
        return [
            f"validation loss {trainer.history.val_loss:.4f} nats per character, over all {count:,} predictions of the",
            f"held-out text, read in windows of {options.context} that do not overlap",
        ]

    def sample(self, model: Any, data: Data, options: Options, seed: int) -> tuple[str, str]:
        """A text that the model writes."""
        if not options.sample:
            return "", ""
        start = data.vocabulary.encode(data.vocabulary.start)
        (ids,) = model.generate(
            [start], do_sample=True, temperature=TEMPERATURE, max_new_tokens=options.sample, seed=seed
        )
        return f"sample at temperature {TEMPERATURE}:", data.vocabulary.decode(ids[len(start) :])

    def predict(self, model: Any, options: Options, run: Any, inputs: Sequence[str], top: int) -> list[Any]:
        """`fastattn generate` does it."""
        msg = f"{run.folder} is a language model; continue a text with: fastattn generate {run.folder} --prompt TEXT"
        raise UsageError(msg)
