"""Measures that are computed as the data come: `update` with each batch, `compute` at the end, `reset` for the next."""

from .classification import Accuracy, ConfusionMatrix, FScore, Precision, Recall, TopKAccuracy
from .metric import Metric
from .text import BLEU, Perplexity

__all__ = [
    "BLEU",
    "Accuracy",
    "ConfusionMatrix",
    "FScore",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "TopKAccuracy",
]
