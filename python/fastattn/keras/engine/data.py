"""Batches out of what fit, evaluate and predict take: arrays, sequences of batches, loaders, generators."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastattn.autograd.convert import is_float
from fastattn.autograd.node import Base, wrap
from fastattn.autograd.random import randperm
from fastattn.data import Dataset, IterableDataset
from fastattn.data.loader import DataLoader
from fastattn.keras.config import dtype_of

from .tree import leaves, mapped

Batch = tuple[Any, Any, Any]  # x, y, sample_weight


def unpack_x_y_sample_weight(data: Any) -> Batch:
    """(x, y, sample_weight) of a batch, None for what is not there.

    Args:
        data: x, or a tuple of up to three.

    Raises:
        ValueError: a longer tuple.

    Example:
        >>> from fastattn import keras
        >>> keras.utils.unpack_x_y_sample_weight((1, 2))
        (1, 2, None)
    """
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        msg = f"a batch is a tuple of {len(data)} parts; expected x, (x, y) or (x, y, sample_weight)"
        raise ValueError(msg)
    x, y, weight = (*data, None, None)[:3]
    return x, y, weight


def as_tensors(structure: Any) -> Any:
    """The structure with tensors in place of arrays; floats in `floatx`."""

    def one(value: Any) -> Any:
        if value is None:
            return None
        array = _array(value)
        return value if isinstance(value, Base) and array is value._data else wrap(array)

    return mapped(one, structure)


def _array(value: Any) -> Any:
    """The array of anything, floats in `floatx`."""
    if isinstance(value, Base):
        array = value._data
    elif hasattr(value, "detach"):  # torch
        array = value.detach().cpu().numpy()
    else:
        array = value if hasattr(value, "__array_namespace__") else np.asarray(value)
    if array.dtype == object:
        msg = "data of objects; expected numbers. Sequences of different lengths need padding first"
        raise ValueError(msg)
    wanted = dtype_of(None)
    return array.astype(wanted) if is_float(array.dtype) and array.dtype != wanted else array


class Batches:
    """Epochs of batches.

    Args:
        x: data, in one of the forms that fit takes.
        y: labels, if `x` is arrays.
        sample_weight: as well.
        batch_size: of arrays, 32 by default.
        shuffle: whether an epoch of arrays has an order of its own.
        steps: batches of an epoch; the next epoch goes on from there.
        class_weight: class number to the weight of its samples.
        what: who asks, for errors.

    Raises:
        ValueError: data that do not belong together.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int | None = None,
        shuffle: Any = False,
        steps: int | None = None,
        class_weight: Mapping[int, float] | None = None,
        what: str = "fit",
    ) -> None:
        self.what = what
        self.shuffle = bool(shuffle)
        self.steps = steps
        self.class_weight = class_weight
        self._going: Iterator[Any] | None = None
        self.arrays = is_arrays(x)
        if class_weight is not None and sample_weight is not None:
            msg = f"{what}: class_weight and sample_weight are both given; pass one of them"
            raise ValueError(msg)
        if self.arrays:
            self.batch_size = 32 if batch_size is None else int(batch_size)
            if self.batch_size < 1:
                msg = f"{what}: batch_size is {batch_size}; expected a positive number"
                raise ValueError(msg)
            self.source: Any = tuple(
                mapped(lambda v: None if v is None else _array(v), part) for part in (x, y, sample_weight)
            )
            self.samples = count_samples(what, self.source)
            self.length: int | None = math.ceil(self.samples / self.batch_size)
            if not self.samples:
                msg = f"{what}: x has no samples"
                raise ValueError(msg)
        else:
            if y is not None or sample_weight is not None:
                msg = f"{what}: x is a {type(x).__name__} that gives batches; expected no y and no sample_weight beside it"
                raise ValueError(msg)
            if isinstance(x, (Dataset, IterableDataset)):
                x = DataLoader(
                    x, 32 if batch_size is None else batch_size, None if isinstance(x, IterableDataset) else shuffle
                )
            self.source = x
            self.length = len(x) if hasattr(x, "__len__") else getattr(x, "num_batches", None)

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch; None if that is not known."""
        return self.length if self.steps is None else self.steps

    def epoch(self) -> Iterator[Batch]:
        """The batches of one epoch."""
        if self.steps is None:
            yield from self._once()
            return
        for _ in range(self.steps):
            if self._going is None:
                self._going = self._once()
            batch = next(self._going, None)
            if batch is None and not self._is_spent():
                self._going = self._once()
                batch = next(self._going, None)
            if batch is None:
                self._going = None
                return
            yield batch

    def _is_spent(self) -> bool:
        """Whether the source is an iterator, which gives its batches once."""
        return not self.arrays and not self._indexed() and iter(self.source) is self.source

    def _indexed(self) -> bool:
        return (
            not isinstance(self.source, DataLoader)
            and hasattr(self.source, "__getitem__")
            and hasattr(self.source, "__len__")
        )

    def _once(self) -> Iterator[Batch]:
        if self.arrays:
            yield from self._slices()
            return
        for data in self._indexed_batches() if self._indexed() else self.source:
            x, y, weight = unpack_x_y_sample_weight(data)
            yield self._weighted(as_tensors(x), as_tensors(y), as_tensors(weight))

    def _indexed_batches(self) -> Iterator[Any]:
        count = len(self.source)
        order = randperm(count).tolist() if self.shuffle else range(count)
        for i in order:
            yield self.source[i]
        if hasattr(self.source, "on_epoch_end"):
            self.source.on_epoch_end()

    def _slices(self) -> Iterator[Batch]:
        order = randperm(self.samples).numpy() if self.shuffle else None
        for start in range(0, self.samples, self.batch_size):
            at: Any = slice(start, start + self.batch_size)
            at = at if order is None else order[at]
            x, y, weight = (mapped(lambda a, at=at: None if a is None else wrap(a[at]), part) for part in self.source)
            yield self._weighted(x, y, weight)

    def _weighted(self, x: Any, y: Any, weight: Any) -> Batch:
        if self.class_weight is None or y is None:
            return x, y, weight
        if not isinstance(y, Base):
            msg = f"{self.what}: class_weight needs one output; there are {len(list(leaves(y)))}"
            raise ValueError(msg)
        return x, y, wrap(_class_weights(y._data, self.class_weight))


def _class_weights(y: Any, class_weight: Mapping[int, float]) -> Any:
    """The weight of each sample's class; 1 for a class without one."""
    if y.ndim > 1:
        y = y.argmax(-1) if y.shape[-1] != 1 else y[..., 0]
    classes = np.round(np.asarray(y)).astype(np.int64)
    weights = np.ones(classes.shape, dtype_of(None))
    for number, weight in class_weight.items():
        weights[classes == number] = weight
    return weights


def is_arrays(x: Any) -> bool:
    """Whether data are arrays, or a structure of them, rather than something that gives batches."""
    if isinstance(x, (list, tuple, Mapping)):
        return True
    return isinstance(x, (np.ndarray, np.generic, Base)) or hasattr(x, "__array__") or hasattr(x, "__dlpack__")


def count_samples(what: str, parts: tuple[Any, Any, Any]) -> int:
    """How many samples there are; an error for arrays that disagree."""
    names = ("x", "y", "sample_weight")
    shapes = [(name, a.shape) for name, part in zip(names, parts, strict=True) for a in leaves(part) if a is not None]
    for name, shape in shapes:
        if not shape:
            msg = f"{what}: {name} is a number; expected an array with the samples along its first axis"
            raise ValueError(msg)
    if len({shape[0] for _, shape in shapes}) != 1:
        told = ", ".join(f"{name} {shape[0]}" for name, shape in shapes)
        msg = (
            f"{what}: arrays of different numbers of samples: {told}" if shapes else f"{what}: x is None; expected data"
        )
        raise ValueError(msg)
    return int(shapes[0][1][0])


def split_off(what: str, parts: Batch, share: float) -> tuple[Batch, Batch]:
    """The first samples for training, and the last `share` of them for validation."""
    if not 0 < share < 1:
        msg = f"{what}: validation_split is {share}; expected a number between 0 and 1"
        raise ValueError(msg)
    if not is_arrays(parts[0]):
        msg = f"{what}: validation_split needs arrays; x is a {type(parts[0]).__name__}. Pass validation_data"
        raise ValueError(msg)
    arrays: Any = tuple(mapped(lambda v: None if v is None else _array(v), part) for part in parts)
    samples = count_samples(what, arrays)
    at = math.floor(samples * (1.0 - share))
    if at in (0, samples):
        msg = f"{what}: validation_split {share} of {samples} samples leaves none for one of the two parts"
        raise ValueError(msg)
    first = tuple(mapped(lambda a: None if a is None else a[:at], part) for part in arrays)
    last = tuple(mapped(lambda a: None if a is None else a[at:], part) for part in arrays)
    return first, last
