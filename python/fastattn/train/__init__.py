"""Training: the loop for every task, what it records, and what it does when something goes wrong."""

from .checks import NonFiniteError, first_nonfinite
from .classification import Classification
from .config import TrainConfig
from .history import History, Row
from .language import LanguageModeling, MaskedLanguageModeling, evaluate
from .pictures import plot_attention, plot_confusion
from .progress import Bar, Lines, Progress, progress_for
from .question_answering import QuestionAnswering
from .task import Task
from .trainer import Trainer
from .translation import Translation

__all__ = [
    "Bar",
    "Classification",
    "History",
    "LanguageModeling",
    "Lines",
    "MaskedLanguageModeling",
    "NonFiniteError",
    "Progress",
    "QuestionAnswering",
    "Row",
    "Task",
    "TrainConfig",
    "Trainer",
    "Translation",
    "evaluate",
    "first_nonfinite",
    "plot_attention",
    "plot_confusion",
    "progress_for",
]
