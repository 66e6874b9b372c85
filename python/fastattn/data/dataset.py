"""Datasets: what gives samples by number, or one after the other."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from fastattn._random import Generator
from fastattn.autograd.random import randperm


class Dataset:
    """Base of datasets: a subclass defines `__getitem__(index)`, one sample, and `__len__()`.

    Example:
        >>> import fastattn as fa
        >>> class Squares(fa.data.Dataset):
        ...     def __getitem__(self, index):
        ...         return index * index
        ...     def __len__(self):
        ...         return 10
        >>> (Squares() + Squares())[13]
        9

    Source: torch.utils.data.Dataset's form of it.
    """

    def __getitem__(self, index: Any) -> Any:
        msg = f"{type(self).__name__} defines no __getitem__()"
        raise NotImplementedError(msg)

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])

    def __class_getitem__(cls, item: Any) -> type[Dataset]:
        return cls  # Dataset[T] in annotations and bases


class IterableDataset(Dataset):
    """Base of datasets that only give their samples in order: a subclass defines `__iter__()`.

    Example:
        >>> import fastattn as fa
        >>> class Lines(fa.data.IterableDataset):
        ...     def __iter__(self):
        ...         yield from ("one", "two")
        >>> list(fa.data.DataLoader(Lines(), batch_size=2))
        [['one', 'two']]

    Source: torch.utils.data.IterableDataset's form of it.
    """

    def __iter__(self) -> Iterator[Any]:
        msg = f"{type(self).__name__} defines no __iter__()"
        raise NotImplementedError(msg)

    def __add__(self, other: Dataset) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Samples are tuples of slices of tensors along their first axis.

    Args:
        tensors: tensors, or arrays, of one length.

    Raises:
        ValueError: other lengths.

    Example:
        >>> import fastattn as fa
        >>> fa.data.TensorDataset(fa.arange(3), fa.ones(3, 2))[1]
        (tensor(1), tensor([1., 1.]))

    Source: torch.utils.data.TensorDataset's form of it.
    """

    def __init__(self, *tensors: Any) -> None:
        lengths = [len(t) for t in tensors]
        if len(set(lengths)) != 1:
            msg = f"TensorDataset: tensors of lengths {tuple(lengths)}; expected one length"
            raise ValueError(msg)
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class StackDataset(Dataset):
    """Samples are tuples, or dicts, of the samples of several datasets.

    Args:
        datasets: datasets of one length.
        named: the same by name; then samples are dicts.

    Raises:
        ValueError: other lengths, both kinds, or none.

    Example:
        >>> import fastattn as fa
        >>> fa.data.StackDataset(image=[10, 11], text=["a", "b"])[1]
        {'image': 11, 'text': 'b'}

    Source: torch.utils.data.StackDataset's form of it.
    """

    def __init__(self, *datasets: Any, **named: Any) -> None:
        self.datasets: Any = named or datasets
        every = list(named.values() or datasets)
        if bool(datasets) == bool(named) or len({len(d) for d in every}) != 1:
            lengths = tuple(len(d) for d in every)
            msg = f"StackDataset: datasets of lengths {lengths}; expected one length, all by name or none"
            raise ValueError(msg)
        self._length = len(every[0])

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {name: dataset[index] for name, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset):
    """The samples of several datasets, one dataset after the other.

    Args:
        datasets: datasets with a length.

    Raises:
        ValueError: none, or one that only iterates.
        IndexError: a number out of range.

    Example:
        >>> import fastattn as fa
        >>> fa.data.ConcatDataset([[1, 2], [3]])[-1]
        3

    Source: torch.utils.data.ConcatDataset's form of it.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets or any(isinstance(d, IterableDataset) for d in self.datasets):
            msg = "ConcatDataset: expected datasets with a length, at least one; ChainDataset takes those that iterate"
            raise ValueError(msg)
        self.cumulative_sizes = list(accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int) -> Any:
        n = len(self)
        if not -n <= index < n:
            msg = f"ConcatDataset: index {index} is outside its {n} samples"
            raise IndexError(msg)
        index %= n
        which = bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


class ChainDataset(IterableDataset):
    """The samples of several datasets that iterate, one dataset after the other.

    Args:
        datasets: datasets.

    Example:
        >>> import fastattn as fa
        >>> list(fa.data.ChainDataset([[1, 2], [3]]))
        [1, 2, 3]

    Source: torch.utils.data.ChainDataset's form of it.
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset

    def __len__(self) -> int:
        return sum(len(d) for d in self.datasets)


class Subset(Dataset):
    """Some samples of a dataset.

    Args:
        dataset: the dataset.
        indices: the numbers of the samples.

    Example:
        >>> import fastattn as fa
        >>> list(fa.data.DataLoader(fa.data.Subset("abcd", [3, 1]), batch_size=2))
        [['d', 'b']]

    Source: torch.utils.data.Subset's form of it.
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Parts of a dataset, its samples in random order.

    Args:
        dataset: a dataset with a length.
        lengths: of the parts; or parts of 1, whose rest goes to the first ones.
        generator: a stream of its own, instead of the global one (`fa.manual_seed`).

    Returns:
        A Subset for each length.

    Raises:
        ValueError: lengths that do not add up.

    Example:
        >>> import fastattn as fa
        >>> [len(part) for part in fa.data.random_split(range(10), [0.7, 0.3])]
        [7, 3]

    Source: torch.utils.data.random_split's form of it.
    """
    n = len(dataset)
    sizes = list(lengths)
    if math.isclose(sum(sizes), 1) and sum(sizes) <= 1 and all(0 <= part <= 1 for part in sizes):
        sizes = [math.floor(n * part) for part in sizes]
        for i in range(n - int(sum(sizes))):
            sizes[i % len(sizes)] += 1
    if sum(sizes) != n:
        msg = f"random_split: lengths {tuple(lengths)} add up to {sum(lengths)}; expected {n}, the samples, or 1"
        raise ValueError(msg)
    order = randperm(n, generator=generator).tolist()
    ends = list(accumulate(int(size) for size in sizes))
    return [Subset(dataset, order[end - int(size) : end]) for end, size in zip(ends, sizes, strict=True)]
