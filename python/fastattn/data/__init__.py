"""Data: datasets, samplers and loaders by torch's names; and text for language models: its vocabulary, split, batches."""

from fastattn._missing import missing

from .dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from .loader import DataLoader, default_collate, default_convert
from .sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from .text import default_text, load_text, split
from .tokenizer import Tokenizer, load_tokenizer
from .vocabulary import CharVocabulary
from .windows import WindowSampler, windows

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "CharVocabulary",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "Tokenizer",
    "WeightedRandomSampler",
    "WindowSampler",
    "default_collate",
    "default_convert",
    "default_text",
    "load_text",
    "load_tokenizer",
    "random_split",
    "split",
    "windows",
]

__getattr__ = missing(__name__)
