"""Whole models."""

from .bert import BERT, BERTConfig
from .bert_heads import BERTForMaskedLM, BERTForQuestionAnswering, BERTForSequenceClassification
from .encoder import EncoderOutput
from .gpt import GPT, GPTConfig
from .pretrained import PretrainedModel
from .vit import ViT, ViTConfig, ViTForImageClassification

__all__ = [
    "BERT",
    "GPT",
    "BERTConfig",
    "BERTForMaskedLM",
    "BERTForQuestionAnswering",
    "BERTForSequenceClassification",
    "EncoderOutput",
    "GPTConfig",
    "ViT",
    "ViTConfig",
    "ViTForImageClassification",
]

# What fastattn.io.from_pretrained opens; the first of a kind is the one whose head, or lack of it, needs no name.
PRETRAINED: list[type[PretrainedModel]] = [
    GPT,
    BERT,
    BERTForMaskedLM,
    BERTForQuestionAnswering,
    BERTForSequenceClassification,
    ViT,
    ViTForImageClassification,
]
