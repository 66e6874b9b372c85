"""Whole models."""

from .bert import BERT, BERTConfig
from .bert_heads import BERTForMaskedLM, BERTForQuestionAnswering, BERTForSequenceClassification
from .encoder import EncoderOutput
from .encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from .gpt import GPT, GPTConfig
from .lenet import LeNet, LeNetConfig
from .lstm_classifier import LSTMClassifier, LSTMClassifierConfig
from .mlp import MLP, MLPConfig
from .pretrained import PretrainedModel
from .vit import ViT, ViTConfig, ViTForImageClassification

__all__ = [
    "BERT",
    "GPT",
    "MLP",
    "BERTConfig",
    "BERTForMaskedLM",
    "BERTForQuestionAnswering",
    "BERTForSequenceClassification",
    "EncoderDecoder",
    "EncoderDecoderConfig",
    "EncoderOutput",
    "GPTConfig",
    "LSTMClassifier",
    "LSTMClassifierConfig",
    "LeNet",
    "LeNetConfig",
    "MLPConfig",
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
    LeNet,
    LSTMClassifier,
    MLP,
]
