"""Training causal language models: the loop, what it records, and what it does when something goes wrong."""

from .checks import NonFiniteError, first_nonfinite
from .config import TrainConfig
from .evaluate import evaluate
from .history import History, Row
from .progress import Bar, Lines, Progress, progress_for
from .trainer import Trainer

__all__ = [
    "Bar",
    "History",
    "Lines",
    "NonFiniteError",
    "Progress",
    "Row",
    "TrainConfig",
    "Trainer",
    "evaluate",
    "first_nonfinite",
    "progress_for",
]
