"""What models that Hugging Face has too share: their names of tensors, and folders with config.json."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from fastattn.nn import Embedding, LayerNorm, Linear, Module, init
from fastattn.nn.blocks import set_gradient_checkpointing
from fastattn.nn.module import IncompatibleKeys

from .config import ModelConfig


class PretrainedModel(Module):
    """A model whose state_dict has Hugging Face's keys."""

    config: ModelConfig
    config_class: ClassVar[type[ModelConfig]]
    architecture: ClassVar[str]  # transformers' class
    base: ClassVar[str]  # before the names of what is no head
    is_bare: ClassVar[bool] = False  # whether this is that alone, and its names have no such prefix
    ignored: ClassVar[str] = "$^"  # names in files that are no parameters of this model
    renamed: ClassVar[tuple[tuple[str, str], ...]] = ()  # names that other versions have, and what they are here

    def own_names(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A state under this model's names: of other versions, and of the bare model with or without its prefix."""
        named = {}
        for name, tensor in state.items():
            if not re.search(self.ignored, name):
                for pattern, replacement in self.renamed:
                    name = re.sub(pattern, replacement, name)
                named[name] = tensor
        prefix = f"{self.base}."
        if self.is_bare:
            return {name.removeprefix(prefix): tensor for name, tensor in named.items()}
        if any(name.startswith(prefix) for name in named):
            return named
        own = self.state_dict()
        return {name if name in own else prefix + name: tensor for name, tensor in named.items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies a state into the model; see `nn.Module`.

        Keys may lack the prefix of the bare model, or have it where this is the bare model; names of older and newer
        versions of transformers are understood, and a tied weight may be absent.
        """
        return super().load_state_dict(self.own_names(state_dict), strict, assign)

    def config_json(self) -> dict[str, Any]:
        """What config.json says besides names and dtype."""
        return self.config.to_json()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes model.safetensors and config.json; see `fastattn.io.save_pretrained`."""
        from fastattn import io

        io.save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **changes: Any) -> Self:
        """Makes a model of this class from a folder with config.json and model.safetensors.

        Where the folder holds the same model with another head, or without one, what is no head is read, and the head here
        starts anew: a masked language model becomes a classifier to be trained.

        Args:
            folder: what save_pretrained wrote, or a model that `transformers` has saved.
            changes: fields of the config, before those of config.json, as num_labels.

        Returns:
            The model, in training mode, with the file's weights as float32.

        Raises:
            FileNotFoundError: one of the two files is missing.
            ValueError: the config is of another kind of model, or the tensors are not the model's; the message lists
                every missing, unexpected and wrongly shaped key.
        """
        from fastattn.io.pretrained import load_as

        return load_as(cls, folder, changes)

    def gradient_checkpointing_enable(self) -> None:
        """In training keeps of each layer only what goes in: less memory, for a second forward pass; the same bits."""
        set_gradient_checkpointing(self)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps activations again."""
        set_gradient_checkpointing(self, False)

    def num_parameters(self) -> int:
        """How many numbers are trained; tied weights count once."""
        return sum(p.numel() for p in self.parameters())


def init_weights(modules: Iterable[Module], std: float) -> None:
    """Hugging Face's first weights: normal ones in dense layers and tables, zeros in biases, norms that do nothing."""
    for module in modules:
        if isinstance(module, Linear):
            init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, Embedding):
            init.normal_(module.weight, 0.0, std)
            if module.padding_idx is not None:
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, LayerNorm):
            module.reset_parameters()
