"""A convolutional network on images."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastattn.train import TrainConfig

from .images import ImageOptions, ImageRecipe


@dataclasses.dataclass(frozen=True)
class Options(ImageOptions):
    """The flags of `fastattn train cnn`."""


class CNNRecipe(ImageRecipe):
    """Convolutions and pooling."""

    name = "cnn"
    noun = "LeNet"
    help = "Train a convolutional network on images; with no flags, on 4,000 digits of MNIST."
    options = Options
    defaults = TrainConfig(
        epochs=10, batch_size=64, lr=2e-3, warmup=50, eval_every=250, eval_samples=0, checkpoint_every=250
    )

    def build(self, options: Options, sizes: dict[str, Any]) -> Any:
        """A LeNet for images of this size."""
        from fastattn.models import LeNet, LeNetConfig

        channels, *image = sizes["image"]
        return LeNet(
            LeNetConfig(
                image_size=image,
                num_channels=channels,
                dropout=options.dropout,
                num_labels=sizes["classes"],
                id2label=dict(enumerate(sizes["names"])),
            )
        )

    def shape(self, options: Options) -> str:
        """It has one."""
        return "two convolutions"
