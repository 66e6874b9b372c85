"""Datasets, samplers and loaders: against torch's where nothing is random; seeds and workers where something is."""

import collections
import threading

import numpy as np
import pytest

import fastattn as fa
from fastattn import data

Point = collections.namedtuple("Point", "x y")


class Squares(data.Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not 0 <= index < self.n:
            raise IndexError(index)
        return fa.tensor([index, index * index]), index % 2


def numbers(loader):
    return [batch[0][:, 0].tolist() for batch in loader]


def plain(value):
    """Nested lists, dtypes beside the numbers, of either library's batch."""
    if hasattr(value, "tolist"):
        return [str(value.dtype).removeprefix("torch."), value.tolist()]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(plain, value)]
    return value


SAMPLES = {
    "floats": [1.5, 2.5],
    "integers": [1, 2],
    "bools": [True, False],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "arrays": [np.ones(2, np.float32), np.zeros(2, np.float32)],
    "scalars": [np.float32(1), np.float32(2)],
    "dicts": [{"x": 1.0, "y": [1, 2]}, {"x": 2.0, "y": [3, 4]}],
    "tuples": [(np.arange(2), "a"), (np.arange(2), "b")],
    "named": [Point(1, 2.0), Point(3, 4.0)],
}


@pytest.mark.parity
@pytest.mark.parametrize("name", SAMPLES)
def test_collating_is_torchs(name):
    torch = pytest.importorskip("torch")
    assert plain(data.default_collate(SAMPLES[name])) == plain(torch.utils.data.default_collate(SAMPLES[name]))


@pytest.mark.parity
@pytest.mark.parametrize(
    ("n", "batch_size", "drop_last"),
    [(7, 2, False), (7, 2, True), (6, 3, True), (2, 5, False), (2, 5, True), (1, 1, False), (5, None, False)],
)
def test_batches_are_torchs(n, batch_size, drop_last):
    torch = pytest.importorskip("torch")
    found = []
    for library, utils in ((fa, data), (torch, torch.utils.data)):
        dataset = utils.TensorDataset(library.arange(n), library.arange(2 * n).reshape(n, 2) * 0.5)
        loader = utils.DataLoader(dataset, batch_size=batch_size, drop_last=drop_last)
        found.append((len(loader), [plain(list(batch)) for batch in loader]))
    assert found[0] == found[1]


@pytest.mark.parity
def test_datasets_are_torchs():
    torch = pytest.importorskip("torch")
    found = []
    for utils in (data, torch.utils.data):
        parts = [list("abc"), list("de")]
        concat = utils.ConcatDataset(parts)
        subset = utils.Subset(concat, [4, 0, 2])
        stacked = utils.StackDataset(a=parts[0], b=[1, 2, 3]), utils.StackDataset(parts[0], [1, 2, 3])
        sizes = [
            [len(p) for p in utils.random_split(range(n), parts)] for n, parts in ((10, [3, 7]), (11, [0.5, 0.3, 0.2]))
        ]
        found.append(
            [
                [concat[i] for i in range(-5, 5)],
                [subset[i] for i in range(3)],
                sizes,
                stacked[0][1],
                stacked[1][2],
                concat.cumulative_sizes,
            ]
        )
    assert found[0] == found[1]


def test_shuffling_follows_the_seed():
    loader = data.DataLoader(Squares(20), batch_size=4, shuffle=True)
    fa.manual_seed(1)
    first, second = numbers(loader), numbers(loader)
    assert sorted(i for batch in first for i in batch) == list(range(20))
    assert first != second
    fa.manual_seed(1)
    assert numbers(loader) == first
    own = [numbers(data.DataLoader(Squares(20), 4, True, generator=fa.Generator().manual_seed(s))) for s in (3, 3, 4)]
    assert own[0] == own[1] != own[2]


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(workers):
    options = {"batch_size": 3, "shuffle": True}
    fa.manual_seed(5)
    expected = numbers(data.DataLoader(Squares(50), **options))
    fa.manual_seed(5)
    assert numbers(data.DataLoader(Squares(50), num_workers=workers, **options)) == expected


def test_workers_raise_and_stop():
    class Broken(Squares):
        def __getitem__(self, index):
            if index == 7:
                raise RuntimeError("sample 7 is broken")
            return super().__getitem__(index)

    seen = []
    loader = data.DataLoader(Broken(20), batch_size=2, num_workers=2)
    with pytest.raises(RuntimeError, match="sample 7 is broken"):
        seen.extend(x[0, 0].item() for x, _ in loader)
    assert seen == [0, 2, 4]
    iterator = iter(data.DataLoader(Squares(1000), batch_size=1, num_workers=2))
    next(iterator)
    iterator.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("fastattn-data")]


@pytest.mark.parametrize("workers", [0, 2])
def test_iterable_datasets(workers):
    class Count(data.IterableDataset):
        def __iter__(self):
            return iter(range(5))

    loader = data.DataLoader(Count(), batch_size=2, num_workers=workers)
    assert [b.tolist() for b in loader] == [[0, 1], [2, 3], [4]]
    assert list(data.DataLoader(Count(), batch_size=None, num_workers=workers)) == list(range(5))
    assert [b.tolist() for b in data.DataLoader(Count() + Count(), batch_size=4, drop_last=True)] == [
        [0, 1, 2, 3],
        [4, 0, 1, 2],
    ]


def test_samplers():
    fa.manual_seed(0)
    assert sorted(data.RandomSampler(range(4), num_samples=4)) == [0, 1, 2, 3]
    assert len(list(data.RandomSampler(range(4), num_samples=10))) == 10
    drawn = list(data.RandomSampler(range(4), replacement=True, num_samples=400))
    assert set(drawn) == {0, 1, 2, 3}
    weighted = list(data.WeightedRandomSampler([0.0, 1.0, 3.0], 4000))
    assert collections.Counter(weighted)[2] / 4000 == pytest.approx(0.75, abs=0.03)
    assert 0 not in weighted
    assert sorted(data.WeightedRandomSampler([1, 1, 5], 3, replacement=False)) == [0, 1, 2]
    assert sorted(data.SubsetRandomSampler([9, 5])) == [5, 9]
    loader = data.DataLoader(Squares(6), batch_sampler=data.BatchSampler([5, 3, 1], 2, drop_last=False))
    assert numbers(loader) == [[5, 3], [1]]
    assert len(loader) == 2
    assert numbers(data.DataLoader(Squares(6), sampler=[4, 2], batch_size=2)) == [[4, 2]]


def test_a_collate_function_that_pads():
    texts = [fa.tensor([1, 2, 3]), fa.tensor([4]), fa.tensor([5, 6])]
    pad = fa.nn.utils.rnn.pad_sequence
    (batch,) = data.DataLoader(texts, batch_size=3, collate_fn=lambda b: pad(b, batch_first=True, padding_value=-1))
    assert batch.tolist() == [[1, 2, 3], [4, -1, -1], [5, 6, -1]]


def test_splits_are_disjoint():
    fa.manual_seed(0)
    a, b = data.random_split(range(100), [60, 40])
    assert sorted([*a, *b]) == list(range(100))
    again = data.random_split(range(100), [60, 40], generator=fa.Generator().manual_seed(1))
    assert list(again[0]) == list(data.random_split(range(100), [60, 40], fa.Generator().manual_seed(1))[0])
    assert list(a) != list(again[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.TensorDataset(fa.ones(2), fa.ones(3)), r"^TensorDataset: tensors of lengths \(2, 3\)"),
        (lambda: data.StackDataset([1], [1, 2]), r"^StackDataset: datasets of lengths \(1, 2\)"),
        (lambda: data.ConcatDataset([]), r"^ConcatDataset: expected datasets with a length"),
        (lambda: data.random_split(range(5), [2, 2]), r"^random_split: lengths \(2, 2\) add up to 4; expected 5"),
        (lambda: data.BatchSampler(range(3), 0, False), r"^BatchSampler: batch_size is 0; expected a positive"),
        (lambda: data.RandomSampler(range(3), num_samples=0), "^RandomSampler: num_samples is 0"),
        (lambda: data.WeightedRandomSampler([1.0], 0), "^WeightedRandomSampler: num_samples is 0"),
        (lambda: list(data.WeightedRandomSampler([-1.0], 1)), "^multinomial: input of shape"),
        (
            lambda: data.DataLoader(range(3), shuffle=True, sampler=[0]),
            r"^DataLoader: sampler and shuffle=True are both",
        ),
        (lambda: data.DataLoader(range(3), 2, batch_sampler=[[0]]), r"^DataLoader: batch_sampler excludes batch_size"),
        (lambda: data.DataLoader(range(3), None, drop_last=True), r"^DataLoader: drop_last needs a batch_size"),
        (lambda: data.DataLoader(data.ChainDataset([]), shuffle=True), r"^DataLoader: an IterableDataset has an order"),
        (lambda: data.DataLoader(range(3), num_workers=-1), r"^DataLoader: num_workers is -1"),
        (lambda: data.default_collate([(1, 2), (1,)]), r"^default_collate: samples of \[1, 2\] parts"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_other_errors():
    with pytest.raises(TypeError, match=r"^default_collate: a sample is a object; expected tensors"):
        data.default_collate([object()])
    with pytest.raises(IndexError, match=r"^ConcatDataset: index 3 is outside its 3 samples"):
        data.ConcatDataset([[1, 2], [3]])[3]
