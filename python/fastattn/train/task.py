"""What is trained: the data, the loss of a batch, and the measures of an evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastattn._device import CPU, move
from fastattn.autograd.node import wrap

if TYPE_CHECKING:
    from fastattn import Tensor
    from fastattn.nn import Module

Array = np.ndarray[Any, Any]
Batch = tuple[Array, ...]  # arrays whose first axis counts the samples


class Task:
    """Base of tasks: what a Trainer asks for, and nothing else is known to it.

    A subclass sets `num_samples` (samples of the training data: an epoch) and defines `sampler`, `inputs`, `loss` and
    `evaluate`. Everything that it computes is a function of its arguments: a run that is resumed gets the batches that it
    would have got.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> class Halves(fa.train.Task):
        ...     num_samples = 100
        ...     def sampler(self, batch_size, seed):
        ...         order = fa.data.EpochSampler(100, batch_size, seed)
        ...         return lambda step: (order(step)[:, None].astype(np.float32) / 100,)
        ...     def inputs(self, model, batch):
        ...         return (fa.tensor(batch[0]),)
        ...     def loss(self, model, batch, label_smoothing=0.0):
        ...         return ((model(*self.inputs(model, batch)) - fa.tensor(batch[0] / 2)) ** 2).mean()
        ...     def evaluate(self, model, batch_size, limit=None):
        ...         return {"loss": self.loss(model, self.sampler(100, 0)(0)).item()}
        >>> config = fa.train.TrainConfig(steps=200, batch_size=10, lr=0.1, warmup=1, weight_decay=0.0)
        >>> fa.manual_seed(0)
        >>> fa.train.Trainer(fa.nn.Linear(1, 1), Halves(), config).fit().val_loss < 1e-4
        True

    Source: none.
    """

    unit: ClassVar[str] = "samples"  # what `size` counts
    primary: str = "loss"  # the measure that early stopping looks at
    higher_is_better: bool = False
    prefetch: bool = False  # whether a batch takes long enough to be made in a thread, while the step before it runs
    num_samples: int

    def check(self, model: Module) -> None:
        """Raises ValueError where the model cannot be trained on this; before anything is done."""

    def sampler(self, batch_size: int, seed: int) -> Callable[[int], Batch]:
        """A pure function from a step, counted from 0, to its batch: arrays whose first axis is the samples."""
        raise NotImplementedError(f"{type(self).__name__} defines no sampler()")

    def inputs(self, model: Module, batch: Batch) -> tuple[Any, ...]:
        """What the model is called with, where the model is."""
        raise NotImplementedError(f"{type(self).__name__} defines no inputs()")

    def loss(self, model: Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """The mean loss of a batch, a scalar to differentiate."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss()")

    def evaluate(self, model: Module, batch_size: int, limit: int | None = None) -> dict[str, float]:
        """Measures on the held-out data, `loss` and `primary` among them; of at most `limit` samples, evenly spaced."""
        raise NotImplementedError(f"{type(self).__name__} defines no evaluate()")

    def size(self, batch: Batch) -> int:
        """How many units a batch trains on."""
        return len(batch[0])

    def weight(self, batch: Batch) -> float:
        """What the mean in `loss` is taken over: parts of a batch count by it when gradients are accumulated."""
        return len(batch[0])

    def arrays(self) -> Iterable[Any]:
        """All the data, for `fingerprint`."""
        return ()

    def fingerprint(self) -> str:
        """A hash of the data: a checkpoint keeps it, and a run does not go on with others."""
        found = hashlib.sha256()
        for value in flat(self.arrays()):
            array = np.ascontiguousarray(value)
            found.update(f"{array.dtype.str}{array.shape}".encode())
            found.update(array.tobytes())
        return found.hexdigest()


def flat(values: Iterable[Any]) -> Iterator[Any]:
    """Arrays and numbers of nested sequences."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from flat(value)
        else:
            yield value


def with_model(model: Module, array: Any, dtype: Any = None) -> Any:
    """A batch where the model is, as a Tensor; of floats, in the model's dtype."""
    first = next(model.parameters(), None)
    array = np.asarray(array)
    if first is not None and array.dtype.kind == "f" and array.dtype != first.dtype:
        array = array.astype(first.dtype)
    where = CPU if first is None else first.device
    return wrap(array if where == CPU else move(array, where))


def parts(batch: Batch, count: int) -> list[Batch]:
    """A batch in `count` parts, along the samples; in fewer where it has fewer of those."""
    count = min(count, len(batch[0]))
    if count == 1:
        return [batch]
    return [tuple(chunk) for chunk in zip(*(np.array_split(array, count) for array in batch), strict=True)]


def spaced(n: int, limit: int | None) -> Array:
    """0 to n - 1, or `limit` of them, evenly spaced."""
    if limit is None or limit >= n:
        return np.arange(n)
    return np.arange(limit) * n // limit


def chunks(indices: Array, size: int) -> Iterator[Array]:
    """Consecutive pieces of at most `size`."""
    for i in range(0, len(indices), size):
        yield indices[i : i + size]


def same_length(name: str, **sequences: Sequence[Any]) -> None:
    """Raises unless the sequences are as long as each other, and not empty."""
    lengths = {key: len(value) for key, value in sequences.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        found = ", ".join(f"{key} {n}" for key, n in lengths.items())
        msg = f"{name}: lengths are {found}; expected one length of at least 1"
        raise ValueError(msg)
