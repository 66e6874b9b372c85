"""A multilayer perceptron on images."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from fastattn.cli import UsageError
from fastattn.train import TrainConfig

from .images import ImageOptions, ImageRecipe
from .recipe import flag


@dataclasses.dataclass(frozen=True)
class Options(ImageOptions):
    """The flags of `fastattn train mlp`."""

    hidden: str = flag("256,128", "Widths of the hidden layers.", metavar="N,N,...")

    def __post_init__(self) -> None:
        if not all(part.strip().isdecimal() and int(part) for part in self.hidden.split(",")):
            msg = f"--hidden is {self.hidden!r}; expected positive numbers with commas between, as 256,128"
            raise UsageError(msg)

    @property
    def widths(self) -> list[int]:
        """Of the hidden layers."""
        return [int(part) for part in self.hidden.split(",")]


class MLPRecipe(ImageRecipe):
    """Dense layers."""

    name = "mlp"
    noun = "MLP"
    help = "Train a multilayer perceptron on images; with no flags, for seconds on 4,000 digits of MNIST."
    options = Options
    defaults = TrainConfig(
        epochs=20, batch_size=64, lr=2e-3, warmup=50, eval_every=250, eval_samples=0, checkpoint_every=0
    )

    def build(self, options: Options, sizes: dict[str, Any]) -> Any:
        """An MLP of the pixels."""
        from fastattn.models import MLP, MLPConfig

        pixels = math.prod(sizes["image"])
        return MLP(MLPConfig(pixels, options.widths, sizes["classes"], dropout=options.dropout, flatten=True))

    def shape(self, options: Options) -> str:
        """Widths."""
        return f"hidden layers of {', '.join(map(str, options.widths))}"
