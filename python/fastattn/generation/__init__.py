"""Generation: the next token again and again, from the model's cache; how it is chosen; text as it comes."""

from .config import GenerationConfig
from .decoding import Token
from .logits import draw, keep_top_k, keep_top_p, penalize_repetition
from .mixin import GenerationMixin
from .text import Detokenizer

__all__ = [
    "Detokenizer",
    "GenerationConfig",
    "GenerationMixin",
    "Token",
    "draw",
    "keep_top_k",
    "keep_top_p",
    "penalize_repetition",
]
