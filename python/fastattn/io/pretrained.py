"""Folders of the Hugging Face shape: config.json beside model.safetensors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tensors as _tensors
from ._atomic import atomic_write

if TYPE_CHECKING:
    from fastattn.models import GPT, GPTConfig

# The causal mask that older files of GPT-2 carry as a buffer; it is no parameter.
_MASK_BUFFERS = re.compile(r"(^|\.)attn\.(masked_)?bias$")


def save_pretrained(model: GPT, folder: _tensors.Path_) -> None:
    """Writes model.safetensors and config.json, a folder that `transformers` opens as GPT-2.

    Args:
        model: the model; its `config` gives the sizes.
        folder: where to write; it is made if it is missing.

    Raises:
        OSError: the folder cannot be written.

    Example:
        >>> import pathlib, tempfile, fastattn as fa
        >>> config = fa.models.GPTConfig(vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_pretrained(fa.models.GPT(config), folder)
        ...     sorted(path.name for path in pathlib.Path(folder).iterdir())
        ['config.json', 'model.safetensors']

    Source: transformers, GPT2Config and GPT2LMHeadModel.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _tensors.save_model(model, folder / "model.safetensors")
    atomic_write(folder / "config.json", json.dumps(config_dict(model), indent=2) + "\n")


def from_pretrained(folder: _tensors.Path_) -> GPT:
    """Makes a GPT from a folder with config.json and model.safetensors.

    Keys may lack the prefix "transformer.", as in files of the bare GPT-2, and the tied head may be absent.

    Args:
        folder: what save_pretrained wrote, or a GPT-2 that `transformers` has saved.

    Returns:
        The model, in training mode, with the file's weights as float32.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: the config is not GPT-2's, or the tensors are not the model's; the message lists every missing,
            unexpected and wrongly shaped key.

    Example:
        >>> import tempfile, fastattn as fa
        >>> config = fa.models.GPTConfig(vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.save_pretrained(fa.models.GPT(config), folder)
        ...     fa.io.from_pretrained(folder).config.n_positions
        8

    Source: transformers, GPT2Config and GPT2LMHeadModel.
    """
    from fastattn.models import GPT

    folder = Path(folder)
    model = GPT(read_config(folder / "config.json"))
    path = folder / "model.safetensors"
    tensors = {name: x for name, x in _tensors.load_tensors(path).items() if not _MASK_BUFFERS.search(name)}
    state = model.state_dict()
    if not any(name.startswith("transformer.") for name in tensors):
        tensors = {name if name in state else f"transformer.{name}": x for name, x in tensors.items()}
    _tensors.refuse("from_pretrained", path, _tensors.compare(state, tensors))
    _tensors.assign(state, tensors)
    return model


def config_dict(model: GPT) -> dict[str, Any]:
    """config.json of a model: its own fields, and what transformers needs to know it as GPT-2."""
    dtype = np.dtype(next(iter(model.state_dict().values())).dtype).name
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "torch_dtype": dtype,
        # GPT-2's own ids lie outside a small vocabulary, and transformers warns.
        "bos_token_id": None,
        "eos_token_id": None,
        **model.config.to_dict(),
    }


def read_config(path: Path) -> GPTConfig:
    """The GPTConfig of a config.json. Fields of no consequence here are ignored; those that change the model raise."""
    from fastattn.models import GPTConfig

    try:
        values = json.loads(path.read_text())
    except ValueError:
        msg = f"from_pretrained: {path} is not JSON"
        raise ValueError(msg) from None
    fixed = {
        "model_type": "gpt2",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    }
    problems = [
        f"{key} is {values[key]!r}, expected {want!r}" for key, want in fixed.items() if values.get(key, want) != want
    ]
    if problems:
        msg = f"from_pretrained: {path} is not a model that fastattn has: {'; '.join(problems)}"
        raise ValueError(msg)
    return GPTConfig.from_dict(values)
