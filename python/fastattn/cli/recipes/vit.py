"""A vision transformer on images."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastattn.cli import UsageError
from fastattn.train import TrainConfig

from .images import ImageOptions, ImageRecipe
from .recipe import flag


@dataclasses.dataclass(frozen=True)
class Options(ImageOptions):
    """The flags of `fastattn train vit`."""

    patch: int = flag(7, "Pixels of a patch, in both directions.", min=1)
    layers: int = flag(3, "Layers.", min=1)
    width: int = flag(64, "Width of the model.", min=1)
    heads: int = flag(4, "Attention heads a layer.", min=1)

    def __post_init__(self) -> None:
        if self.width % self.heads:
            msg = f"--width {self.width} is not a multiple of --heads {self.heads}"
            raise UsageError(msg)


class ViTRecipe(ImageRecipe):
    """Patches and attention."""

    name = "vit"
    noun = "ViT"
    help = "Train a vision transformer on images; with no flags, for some minutes on 4,000 digits of MNIST."
    options = Options
    defaults = TrainConfig(
        epochs=25, batch_size=32, lr=4e-3, warmup=200, eval_every=500, eval_samples=0, checkpoint_every=500
    )

    def build(self, options: Options, sizes: dict[str, Any]) -> Any:
        """A ViT with a classifier."""
        from fastattn.models import ViTConfig, ViTForImageClassification

        channels, *image = sizes["image"]
        return ViTForImageClassification(
            ViTConfig(
                hidden_size=options.width,
                num_hidden_layers=options.layers,
                num_attention_heads=options.heads,
                intermediate_size=2 * options.width,
                hidden_dropout_prob=options.dropout,
                initializer_range=0.1,  # a narrow model learns nothing for long from the usual 0.02
                image_size=image,
                patch_size=options.patch,
                num_channels=channels,
                num_labels=sizes["classes"],
                id2label=dict(enumerate(sizes["names"])),
            )
        )

    def shape(self, options: Options) -> str:
        """Layers, width, heads, patches."""
        patch = f"patches of {options.patch} x {options.patch}"
        return f"{options.layers} layers x {options.width}, {options.heads} heads, {patch}"
