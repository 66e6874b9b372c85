"""What the table of model kinds holds: for each, its options, its data, its model, and what it says about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastattn.nn import Module
    from fastattn.train import Task, TrainConfig, Trainer


def flag(default: Any, help: str, **about: Any) -> Any:
    """A field of a recipe's options: `min`, `max` and `metavar` are of its flag; `free`: a resumed run may have another."""
    return field(default=default, metadata={"help": help, **about})


@dataclass
class Data:
    """What a recipe has read.

    Args:
        source: what it was read from, for messages.
        parts: the data themselves, as the recipe's task takes them.
        sizes: what of them the model depends on; of JSON's types, as run.json keeps it.
        facts: lines that tell of it.
        vocabulary: of texts, kept as vocab.json, or tokenizer.json.
        names: of classes.
    """

    source: str
    parts: Any
    sizes: dict[str, Any] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    vocabulary: Any = None
    names: list[str] | None = None


class Recipe:
    """A kind of model that `fastattn train KIND` trains.

    A subclass has a line of help, a frozen dataclass of options (each a `flag`), the TrainConfig that it starts from, and
    the methods below.
    """

    name: str
    help: str
    options: type[Any]
    defaults: TrainConfig
    noun: str  # the kind of model, in what is said

    def config(self, options: Any, config: TrainConfig, given: set[str]) -> TrainConfig:
        """The settings, where options have a say in them; `given` are those that were asked for."""
        return config

    def load(self, options: Any) -> Data:
        """Reads the data."""
        raise NotImplementedError(f"{self.name} has no load()")

    def build(self, options: Any, sizes: dict[str, Any]) -> Module:
        """A model with its initial weights, drawn from the global random stream."""
        raise NotImplementedError(f"{self.name} has no build()")

    def task(self, options: Any, data: Data) -> Task:
        """What is trained."""
        raise NotImplementedError(f"{self.name} has no task()")

    def shape(self, options: Any) -> str:
        """The model's sizes, as text."""
        raise NotImplementedError(f"{self.name} has no shape()")

    def training(self, config: TrainConfig, task: Task, options: Any) -> str:
        """How much is trained, as text."""
        epochs = config.steps * config.batch_size / task.num_samples
        return f"{config.steps:,} steps x {config.batch_size} {self.noun_of_samples(task)} = {epochs:.3g} epochs"

    def noun_of_samples(self, task: Task) -> str:
        """What a sample is called."""
        return task.unit

    def outcome(self, trainer: Trainer, options: Any) -> list[str]:
        """Lines that tell what the run came to."""
        measures = trainer.history.measures
        best = trainer.history.best(trainer.task.primary, trainer.task.higher_is_better)
        lines = []
        if trainer.config.patience and best is not None:
            measures = best.val
            lines.append(f"the best evaluation was that of step {best.step}")
        lines.append("held out  " + ", ".join(f"{name} {value:.4f}" for name, value in measures.items()))
        return lines

    def sample(self, model: Module, data: Data, options: Any, seed: int) -> tuple[str, str]:
        """What the trained model makes, and a line above it; "" for nothing."""
        return "", ""

    def predict(self, model: Module, options: Any, run: Any, inputs: Sequence[str], top: int) -> list[Any]:
        """What the model says of each input: a JSON value, a line of text in "text"."""
        raise NotImplementedError(f"{self.name} has no predict()")

    def tokens(self, options: Any, run: Any, text: str) -> list[str] | None:
        """Names of the positions that the model reads an input as, if they have any."""
        return None


def classes_of(scores: Any, names: Sequence[str], top: int) -> list[dict[str, float]]:
    """The likeliest classes of each row of logits (N, C), with their probabilities."""
    scores = np.asarray(scores, np.float64)
    chances = np.exp(scores - scores.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    found = []
    for row in chances:
        best = np.argsort(-row, kind="stable")[:top]
        found.append({names[i]: float(row[i]) for i in best})
    return found


def parameters(model: Module) -> int:
    """Numbers that are trained."""
    return sum(math.prod(p.shape) for p in model.parameters())


def existing(path: Path | str) -> Path:
    """A path at which something is."""
    path = Path(path)
    if not path.exists():
        msg = f"no such file: {path}"
        raise FileNotFoundError(msg)
    return path
