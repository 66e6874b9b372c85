"""DataLoader: the batches of a dataset."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from fastattn._random import Generator
from fastattn.autograd.creation import tensor
from fastattn.autograd.joining import stack
from fastattn.autograd.node import Base

from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler


def default_collate(batch: Sequence[Any]) -> Any:
    """A batch of a list of samples.

    Tensors, arrays and numbers are stacked to tensors (Python floats to float64, as torch does); dicts, tuples and lists
    are gone through; strings stay a list.

    Args:
        batch: samples of one structure.

    Returns:
        The same structure, of batches.

    Raises:
        TypeError: something else.
        ValueError: lists of different lengths, or tensors of different shapes.

    Example:
        >>> import fastattn as fa
        >>> fa.data.default_collate([{"x": 1, "name": "a"}, {"x": 2, "name": "b"}])
        {'x': tensor([1, 2]), 'name': ['a', 'b']}

    Source: torch.utils.data.default_collate's form of it.
    """
    first = batch[0]
    if isinstance(first, Base):
        return stack(batch)
    if isinstance(first, (np.ndarray, np.generic)):
        return tensor(np.stack(batch))
    if isinstance(first, float):
        return tensor(batch, dtype=np.float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        if len({len(sample) for sample in batch}) != 1:
            msg = f"default_collate: samples of {sorted({len(s) for s in batch})} parts; expected one length"
            raise ValueError(msg)
        parts = [default_collate(part) for part in zip(*batch, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    msg = (
        f"default_collate: a sample is a {type(first).__name__}; expected tensors, arrays, numbers, strings, or dicts, "
    )
    msg += "tuples and lists of them. Pass a collate_fn"
    raise TypeError(msg)


def default_convert(data: Any) -> Any:
    """A sample with tensors in place of arrays.

    Args:
        data: an array, or a structure of them.

    Returns:
        The same structure.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.data.default_convert([np.zeros(1), "a"])
        [tensor([0.], dtype=float64), 'a']

    Source: torch.utils.data.default_convert's form of it.
    """
    if isinstance(data, (np.ndarray, np.generic)):
        return tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, (tuple, list)):
        return type(data)(map(default_convert, data))
    return data


class DataLoader:
    """The batches of a dataset, once for every time it is iterated over.

    The order depends on the seed alone, not on the number of workers. Workers are threads: they overlap reading and
    preparing samples (NumPy, files) with training. A dataset that draws random numbers itself repeats them only with
    `num_workers=0`.

    Args:
        dataset: with `__getitem__` and `__len__`, or one that iterates.
        batch_size: samples in a batch; None for the samples themselves.
        shuffle: in random order, another in each pass.
        sampler: the order, instead of `shuffle`.
        batch_sampler: gives lists of sample numbers, instead of `batch_size`, `shuffle`, `sampler` and `drop_last`.
        num_workers: threads that prepare batches ahead; 0: none.
        collate_fn: makes a batch of a list of samples, default_collate by default.
        pin_memory: accepted for torch's sake; tensors are in host memory.
        drop_last: leave out the last batch if it is smaller.
        generator: the stream of `shuffle`, instead of the global one (`fa.manual_seed`).
        prefetch_factor: batches that each worker prepares ahead.
        persistent_workers: accepted for torch's sake; threads start at once.

    Raises:
        ValueError: options that exclude each other, or are out of range.

    Example:
        >>> import fastattn as fa
        >>> data = fa.data.TensorDataset(fa.arange(5), fa.arange(5) * 10)
        >>> for x, y in fa.data.DataLoader(data, batch_size=2, drop_last=True):
        ...     print(x.tolist(), y.tolist())
        [0, 1] [0, 10]
        [2, 3] [20, 30]

    Source: torch.utils.data.DataLoader's form of it.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        *,
        generator: Generator | None = None,
        prefetch_factor: int = 2,
        persistent_workers: bool = False,
    ) -> None:
        iterable = isinstance(dataset, IterableDataset)
        if num_workers < 0 or prefetch_factor < 1:
            msg = f"DataLoader: num_workers is {num_workers} and prefetch_factor {prefetch_factor}; expected 0 or more, and 1"
            raise ValueError(msg)
        if sampler is not None and shuffle:
            msg = "DataLoader: sampler and shuffle=True are both given; pass one of them"
            raise ValueError(msg)
        if iterable and (shuffle or sampler is not None or batch_sampler is not None):
            msg = "DataLoader: an IterableDataset has an order of its own; leave out shuffle, sampler and batch_sampler"
            raise ValueError(msg)
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                msg = "DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last; leave them out"
                raise ValueError(msg)
            batch_size = None
        elif batch_size is None and drop_last:
            msg = "DataLoader: drop_last needs a batch_size"
            raise ValueError(msg)
        if sampler is None and not iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_sampler is None and batch_size is not None:
            batch_sampler = BatchSampler(sampler if sampler is not None else dataset, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.generator = generator
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)

    def __len__(self) -> int:
        return len(self.dataset if self._plan() is None else self._plan())

    def _plan(self) -> Any:
        """What gives the sample numbers; of an iterable dataset without batches there is nothing but itself."""
        return self.batch_sampler if self.batch_sampler is not None else self.sampler

    def __iter__(self) -> Iterator[Any]:
        plan = iter(self.dataset if self._plan() is None else self._plan())
        if not self.num_workers:
            return map(self._fetch, plan)
        return self._ahead(plan)

    def _fetch(self, step: Any) -> Any:
        """The batch, or sample, of one step of the plan."""
        if self.sampler is None and isinstance(self.dataset, IterableDataset):
            return self.collate_fn(step)  # the samples themselves
        if self.batch_sampler is None:
            return self.collate_fn(self.dataset[step])
        if hasattr(self.dataset, "__getitems__"):
            return self.collate_fn(self.dataset.__getitems__(step))
        return self.collate_fn([self.dataset[i] for i in step])

    def _ahead(self, plan: Iterator[Any]) -> Iterator[Any]:
        """The batches in order, some of them prepared ahead by threads."""
        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(self.num_workers, thread_name_prefix="fastattn-data") as pool:
            try:
                for step in plan:  # read in this thread: samplers and iterables are no thread's but ours
                    waiting.append(pool.submit(self._fetch, step))
                    if len(waiting) > self.num_workers * self.prefetch_factor:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
