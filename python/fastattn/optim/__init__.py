"""Optimizers, with torch.optim's names; Keras's (learning_rate, beta_1, beta_2, epsilon, decay) are accepted too."""

from fastattn._missing import missing

from . import lr_scheduler
from .adam import Adam, AdamW
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]

__getattr__ = missing(__name__)
