"""Measures of classifiers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .metric import Array, Metric, classes, on_host

AVERAGES = ("micro", "macro", "weighted", None)


class Accuracy(Metric):
    """The part of the predictions that are right.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> accuracy = fa.metrics.Accuracy()
        >>> accuracy.update(np.array([[0.1, 0.9], [0.8, 0.2]]), [1, 1])  # scores: the highest counts
        >>> accuracy.compute()
        0.5

    Source: none.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all batches."""
        self.right = self.count = 0

    def update(self, predictions: Any, targets: Any) -> None:
        """Adds predictions (N,), or scores (N, classes), and the true classes (N,)."""
        p, t = classes("Accuracy", predictions, targets)
        self.right += int((p == t).sum())
        self.count += len(t)

    def compute(self) -> float:
        """Of 0 to 1."""
        return self.right / self.count if self.count else math.nan


class TopKAccuracy(Metric):
    """The part of the samples whose class is among the k highest scores; of equal scores, the lower class is higher.

    Args:
        k: how many.

    Raises:
        ValueError: k is not positive.

    Example:
        >>> import fastattn as fa
        >>> top = fa.metrics.TopKAccuracy(2)
        >>> top.update([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [1, 2])
        >>> top.compute()
        0.5

    Source: none.
    """

    def __init__(self, k: int = 5) -> None:
        if k < 1:
            msg = f"TopKAccuracy: k is {k!r}; expected a positive integer"
            raise ValueError(msg)
        self.k = k
        self.reset()

    def reset(self) -> None:
        """Forgets all batches."""
        self.right = self.count = 0

    def update(self, scores: Any, targets: Any) -> None:
        """Adds scores (N, classes) and the true classes (N,)."""
        scores, targets = on_host(scores), on_host(targets)
        if scores.ndim != 2 or targets.shape != scores.shape[:1]:
            msg = f"TopKAccuracy: scores has shape {scores.shape}, targets {targets.shape}; expected (N, classes) and (N,)"
            raise ValueError(msg)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        self.right += int((best == targets[:, None]).any(1).sum())
        self.count += len(targets)

    def compute(self) -> float:
        """Of 0 to 1."""
        return self.right / self.count if self.count else math.nan


class ConfusionMatrix(Metric):
    """How often each class was taken for each: rows are the true classes, columns the predicted ones.

    Args:
        num_classes: C; None: as many as are seen.

    Example:
        >>> import fastattn as fa
        >>> matrix = fa.metrics.ConfusionMatrix()
        >>> matrix.update([0, 1, 1, 1], [0, 0, 1, 1])
        >>> matrix.compute()
        array([[1, 1],
               [0, 2]])
        >>> matrix.accuracy(), round(matrix.f1("macro"), 4)
        (0.75, 0.7333)

    Source: none.
    """

    def __init__(self, num_classes: int | None = None) -> None:
        self.num_classes = num_classes
        self.reset()

    def reset(self) -> None:
        """Forgets all batches."""
        self.matrix = np.zeros((self.num_classes or 0,) * 2, np.int64)

    def update(self, predictions: Any, targets: Any) -> None:
        """Adds predictions (N,), or scores (N, classes), and the true classes (N,); ValueError for a class out of range."""
        p, t = classes("ConfusionMatrix", predictions, targets)
        both = np.concatenate([p, t])
        if len(both) and (both.min() < 0 or both.max() >= (self.num_classes or math.inf)):
            msg = f"ConfusionMatrix: classes are {both.min()} to {both.max()}; expected 0 to "
            raise ValueError(msg + (f"{self.num_classes - 1}" if self.num_classes else "any"))
        n = max(len(self.matrix), int(both.max(initial=-1)) + 1)
        grown = np.bincount(t * n + p, minlength=n * n).reshape(n, n)
        grown[: len(self.matrix), : len(self.matrix)] += self.matrix
        self.matrix = grown

    def compute(self) -> Array:
        """(C, C) int64."""
        return self.matrix

    def accuracy(self) -> float:
        """The part on the diagonal."""
        return float(self.matrix.trace() / self.matrix.sum()) if self.matrix.sum() else math.nan

    def precision(self, average: str | None = "macro") -> Any:
        """Of what was taken for a class, the part that is; see `Precision`."""
        return self._averaged(self.matrix.sum(0), average)

    def recall(self, average: str | None = "macro") -> Any:
        """Of what is of a class, the part that was found; see `Recall`."""
        return self._averaged(self.matrix.sum(1), average)

    def f1(self, average: str | None = "macro") -> Any:
        """The harmonic mean of precision and recall; see `FScore`."""
        return self._averaged((self.matrix.sum(0) + self.matrix.sum(1)) / 2, average)

    def _averaged(self, counts: Array, average: str | None) -> Any:
        """right / counts of each class, or their mean. A class that nothing was taken for gives 0, as in scikit-learn."""
        right, counts = self.matrix.diagonal(), np.asarray(counts, float)
        if average == "micro":
            return float(right.sum() / counts.sum()) if counts.sum() else math.nan
        each = np.divide(right, counts, out=np.zeros(len(right)), where=counts > 0)
        if average is None:
            return each
        # Classes that neither are nor were predicted do not count.
        seen = (self.matrix.sum(0) + self.matrix.sum(1)) > 0
        weights = seen if average == "macro" else self.matrix.sum(1)
        return float((each * weights).sum() / weights.sum()) if weights.sum() else math.nan


class _FromMatrix(Metric):
    """A number of a confusion matrix."""

    def __init__(self, average: str | None = "macro", num_classes: int | None = None) -> None:
        if average not in AVERAGES:
            msg = f"{type(self).__name__}: average is {average!r}; expected 'micro', 'macro', 'weighted' or None"
            raise ValueError(msg)
        self.average = average
        self.confusion = ConfusionMatrix(num_classes)

    def reset(self) -> None:
        """Forgets all batches."""
        self.confusion.reset()

    def update(self, predictions: Any, targets: Any) -> None:
        """Adds predictions (N,), or scores (N, classes), and the true classes (N,)."""
        self.confusion.update(predictions, targets)


class Precision(_FromMatrix):
    r"""Of what was taken for a class, the part that is of it.

    .. math:: \mathrm{right}_c / \mathrm{predicted}_c

    Args:
        average: "micro": over all samples; "macro": the mean of the classes; "weighted": by their frequency; None: (C,),
            each class.
        num_classes: C; None: as many as are seen.

    Raises:
        ValueError: another average.

    Example:
        >>> import fastattn as fa
        >>> precision = fa.metrics.Precision(average=None)
        >>> precision.update([0, 1, 1, 1], [0, 0, 1, 1])
        >>> precision.compute().round(2)
        array([1.  , 0.67])

    Source: scikit-learn, metrics.precision_score.
    """

    def compute(self) -> Any:
        """A number, or (C,) for average=None."""
        return self.confusion.precision(self.average)


class Recall(_FromMatrix):
    r"""Of what is of a class, the part that was found.

    .. math:: \mathrm{right}_c / \mathrm{true}_c

    Args:
        average: see `Precision`.
        num_classes: C; None: as many as are seen.

    Raises:
        ValueError: another average.

    Example:
        >>> import fastattn as fa
        >>> recall = fa.metrics.Recall(average="micro")
        >>> recall.update([0, 1, 1, 1], [0, 0, 1, 1])
        >>> recall.compute()
        0.75

    Source: scikit-learn, metrics.recall_score.
    """

    def compute(self) -> Any:
        """A number, or (C,) for average=None."""
        return self.confusion.recall(self.average)


class FScore(_FromMatrix):
    r"""F1, the harmonic mean of precision and recall.

    .. math:: 2 \, \mathrm{right}_c / (\mathrm{predicted}_c + \mathrm{true}_c)

    Args:
        average: see `Precision`.
        num_classes: C; None: as many as are seen.

    Raises:
        ValueError: another average.

    Example:
        >>> import fastattn as fa
        >>> f1 = fa.metrics.FScore(average="weighted")
        >>> f1.update([0, 1, 1, 1], [0, 0, 1, 1])
        >>> round(f1.compute(), 4)
        0.7333

    Source: scikit-learn, metrics.f1_score.
    """

    def compute(self) -> Any:
        """A number, or (C,) for average=None."""
        return self.confusion.f1(self.average)
