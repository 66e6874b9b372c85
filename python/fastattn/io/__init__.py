"""Files: models and tensors as safetensors, checkpoints of a whole training run, folders of the Hugging Face shape."""

from ._atomic import atomic_write
from .checkpoint import FORMAT_VERSION, Checkpoint, load_checkpoint, save_checkpoint
from .pretrained import from_pretrained, save_pretrained
from .tensors import load_model, load_tensors, save_model, save_tensors

__all__ = [
    "FORMAT_VERSION",
    "Checkpoint",
    "atomic_write",
    "from_pretrained",
    "load_checkpoint",
    "load_model",
    "load_tensors",
    "save_checkpoint",
    "save_model",
    "save_pretrained",
    "save_tensors",
]
