"""Text for language models: reading it, its vocabulary, its split, and the batches of a step."""

from .sampler import BatchSampler, windows
from .text import default_text, load_text, split
from .tokenizer import Tokenizer, load_tokenizer
from .vocabulary import CharVocabulary

__all__ = [
    "BatchSampler",
    "CharVocabulary",
    "Tokenizer",
    "default_text",
    "load_text",
    "load_tokenizer",
    "split",
    "windows",
]
