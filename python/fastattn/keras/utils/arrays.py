"""Arrays of labels and sequences, seeds, and batches that are made one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastattn._random import manual_seed
from fastattn.autograd.node import Base, wrap
from fastattn.metrics.metric import on_host

Array = np.ndarray[Any, Any]


def set_random_seed(seed: int) -> None:
    """Restarts the random streams of Python, NumPy and fastattn.

    Args:
        seed: of 0 to 2^32 - 1.

    Raises:
        ValueError: another seed.

    Example:
        >>> from fastattn import keras
        >>> keras.utils.set_random_seed(0)
    """
    if not hasattr(seed, "__index__") or not 0 <= seed < 2**32:
        msg = f"set_random_seed: seed is {seed!r}; expected an integer of 0 to 2^32 - 1"
        raise ValueError(msg)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    manual_seed(seed)


def to_categorical(x: Any, num_classes: int | None = None) -> Any:
    """Classes as rows of 0 and one 1.

    Args:
        x: integers; a last axis of 1 goes away.
        num_classes: how long the rows are; the highest class + 1 by default.

    Returns:
        float64 as Keras's, one axis more than `x`; a tensor of a tensor.

    Raises:
        ValueError: a class out of range.

    Example:
        >>> from fastattn import keras
        >>> keras.utils.to_categorical([0, 2])
        array([[1., 0., 0.],
               [0., 0., 1.]])
    """
    if isinstance(x, Base):
        return wrap(to_categorical(on_host(x), num_classes)).to("float32").to(x.device)
    classes = np.array(x, np.int64)
    if classes.ndim > 1 and classes.shape[-1] == 1:
        classes = classes[..., 0]
    n = num_classes or int(classes.max(initial=-1)) + 1
    if classes.size and (classes.min() < 0 or classes.max() >= n):
        msg = f"to_categorical: classes are {classes.min()} to {classes.max()}; expected 0 to {n - 1}"
        raise ValueError(msg)
    return np.eye(n)[classes]


def normalize(x: Any, axis: int = -1, order: int = 2) -> Array:
    """An array over its norms along an axis; norms of 0 count as 1.

    Args:
        x: an array.
        axis: along which norms are taken.
        order: of the norm.

    Returns:
        Of the shape of `x`.

    Example:
        >>> from fastattn import keras
        >>> keras.utils.normalize([[3.0, 4.0]])
        array([[0.6, 0.8]])
    """
    x = np.asarray(x)
    norms = np.atleast_1d(np.linalg.norm(x, order, axis))
    norms[norms == 0] = 1
    return np.asarray(x / np.expand_dims(norms, axis))


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> Array:
    """Sequences of different lengths as one array.

    Args:
        sequences: lists, or arrays that differ in their first axis.
        maxlen: the length; the longest's by default.
        dtype: of the array.
        padding: "pre": short ones are filled up before, "post": after.
        truncating: "pre": long ones lose their beginning, "post": their end.
        value: what they are filled up with.

    Returns:
        (sequences, maxlen, ...).

    Raises:
        ValueError: an option or a shape that does not fit.

    Example:
        >>> from fastattn import keras
        >>> keras.utils.pad_sequences([[1], [2, 3, 4]], maxlen=2)
        array([[0, 1],
               [3, 4]], dtype=int32)
    """
    for name, option in (("padding", padding), ("truncating", truncating)):
        if option not in ("pre", "post"):
            msg = f"pad_sequences: {name} is {option!r}; expected 'pre' or 'post'"
            raise ValueError(msg)
    try:
        lengths = [len(sequence) for sequence in sequences]
    except TypeError:
        msg = "pad_sequences: sequences has elements without a length; expected lists"
        raise ValueError(msg) from None
    length = max(lengths, default=0) if maxlen is None else maxlen
    inner = next((np.asarray(sequence).shape[1:] for sequence in sequences if len(sequence)), ())
    out = np.full((len(lengths), length, *inner), value, dtype)
    for i, sequence in enumerate(sequences):
        cut = sequence[max(len(sequence) - length, 0) :] if truncating == "pre" else sequence[:length]
        if not len(cut):
            continue
        cut = np.asarray(cut, dtype)
        if cut.shape[1:] != inner:
            msg = f"pad_sequences: sequence {i} has elements of shape {cut.shape[1:]}; expected {inner}, the first's"
            raise ValueError(msg)
        out[i, slice(length - len(cut), None) if padding == "pre" else slice(len(cut))] = cut
    return out


class PyDataset:
    """Base of batches that are made one by one: `__len__` says how many, `__getitem__(i)` makes one.

    Args:
        workers, use_multiprocessing, max_queue_size: accepted for Keras's sake; batches are made where they are used.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> class Squares(keras.utils.PyDataset):
        ...     def __len__(self):
        ...         return 2
        ...     def __getitem__(self, index):
        ...         x = np.arange(3) + 3 * index
        ...         return x, x**2
        >>> [y.tolist() for x, y in Squares()]
        [[0, 1, 4], [9, 16, 25]]
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__(index)")

    @property
    def num_batches(self) -> int | None:
        """How many, None: no end."""
        if not hasattr(self, "__len__"):
            msg = f"{type(self).__name__} defines neither __len__ nor num_batches"
            raise NotImplementedError(msg)
        return len(self)

    def __iter__(self) -> Iterator[Any]:
        index = 0
        while self.num_batches is None or index < self.num_batches:
            yield self[index]
            index += 1

    def on_epoch_begin(self) -> None:
        """Before each epoch."""

    def on_epoch_end(self) -> None:
        """After each epoch."""
