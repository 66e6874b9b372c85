"""Data: datasets, samplers and loaders by torch's names; files and built-in data sets; vocabularies, splits, batches as a
function of seed and step, augmentation."""

from fastattn._missing import missing

from .augment import Augment
from .builtin import DATASETS, Labelled, Pairs, load_dataset
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
from .files import read_csv, read_idx, read_jsonl, read_npz, read_text_folder, train_test_split
from .loader import DataLoader, default_collate, default_convert
from .order import BucketSampler, EpochSampler, pad
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
from .vocabulary import CharVocabulary, Vocabulary
from .windows import WindowSampler, windows

__all__ = [
    "DATASETS",
    "Augment",
    "BatchSampler",
    "BucketSampler",
    "ChainDataset",
    "CharVocabulary",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "EpochSampler",
    "IterableDataset",
    "Labelled",
    "Pairs",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "Tokenizer",
    "Vocabulary",
    "WeightedRandomSampler",
    "WindowSampler",
    "default_collate",
    "default_convert",
    "default_text",
    "load_dataset",
    "load_text",
    "load_tokenizer",
    "pad",
    "random_split",
    "read_csv",
    "read_idx",
    "read_jsonl",
    "read_npz",
    "read_text_folder",
    "split",
    "train_test_split",
    "windows",
]

__getattr__ = missing(__name__)
