"""Samplers: in which order a DataLoader takes the samples of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastattn._random import Generator
from fastattn.autograd.creation import as_tensor
from fastattn.autograd.random import multinomial, randint, randperm


class Sampler:
    """Base of samplers: a subclass defines `__iter__()`, over sample numbers, and `__len__()`.

    Args:
        data_source: not read here.

    Example:
        >>> import fastattn as fa
        >>> class Backwards(fa.data.Sampler):
        ...     def __init__(self, n):
        ...         self.n = n
        ...     def __iter__(self):
        ...         return iter(range(self.n - 1, -1, -1))
        >>> list(fa.data.DataLoader("abc", sampler=Backwards(3), batch_size=2))
        [['c', 'b'], ['a']]

    Source: torch.utils.data.Sampler's form of it.
    """

    def __init__(self, data_source: Any = None) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        msg = f"{type(self).__name__} defines no __iter__()"
        raise NotImplementedError(msg)

    def __class_getitem__(cls, item: Any) -> type[Sampler]:
        return cls


class SequentialSampler(Sampler):
    """All samples in order.

    Args:
        data_source: what has the samples.

    Example:
        >>> import fastattn as fa
        >>> list(fa.data.SequentialSampler("abc"))
        [0, 1, 2]
    """

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """All samples in random order, another in each pass.

    Args:
        data_source: what has the samples.
        replacement: draw each one anew: some come twice, some never.
        num_samples: how many, as many as there are by default.
        generator: a stream of its own, instead of the global one (`fa.manual_seed`).

    Raises:
        ValueError: `num_samples` is not positive.

    Example:
        >>> import fastattn as fa
        >>> sorted(fa.data.RandomSampler("abc"))
        [0, 1, 2]

    Source: torch.utils.data.RandomSampler's form of it.
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        if num_samples is not None and num_samples <= 0:
            msg = f"RandomSampler: num_samples is {num_samples}; expected a positive integer"
            raise ValueError(msg)
        self.data_source = data_source
        self.replacement = replacement
        self.generator = generator
        self._num_samples = num_samples

    @property
    def num_samples(self) -> int:
        """How many samples a pass has."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, wanted = len(self.data_source), self.num_samples
        if self.replacement:
            yield from randint(0, n, (wanted,), generator=self.generator).tolist()
            return
        for start in range(0, wanted, max(n, 1)):
            yield from randperm(n, generator=self.generator).tolist()[: wanted - start]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """Some samples in random order, another in each pass.

    Args:
        indices: the numbers of the samples.
        generator: a stream of its own, instead of the global one (`fa.manual_seed`).

    Example:
        >>> import fastattn as fa
        >>> sorted(fa.data.SubsetRandomSampler([5, 7]))
        [5, 7]

    Source: torch.utils.data.SubsetRandomSampler's form of it.
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Samples drawn with probabilities in proportion to weights.

    Args:
        weights: a number for each sample.
        num_samples: how many a pass has.
        replacement: whether a sample may come twice.
        generator: a stream of its own, instead of the global one (`fa.manual_seed`).

    Raises:
        ValueError: `num_samples` is not positive.

    Example:
        >>> import fastattn as fa
        >>> list(fa.data.WeightedRandomSampler([0.0, 1.0], 2))
        [1, 1]

    Source: torch.utils.data.WeightedRandomSampler's form of it.
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        if num_samples <= 0:
            msg = f"WeightedRandomSampler: num_samples is {num_samples}; expected a positive integer"
            raise ValueError(msg)
        self.weights = as_tensor(weights)
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        drawn = multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator)
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of the numbers that another sampler gives.

    Args:
        sampler: a sampler, or anything to iterate over.
        batch_size: numbers in a list.
        drop_last: leave out the last list if it is shorter.

    Raises:
        ValueError: `batch_size` is not positive.

    Example:
        >>> import fastattn as fa
        >>> list(fa.data.BatchSampler(range(5), batch_size=2, drop_last=False))
        [[0, 1], [2, 3], [4]]

    Source: torch.utils.data.BatchSampler's form of it.
    """

    def __init__(self, sampler: Iterable[Any], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or batch_size <= 0:
            msg = f"BatchSampler: batch_size is {batch_size!r}; expected a positive integer"
            raise ValueError(msg)
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[Any]]:
        batch = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
