"""Orders are functions of seed and step, and every sample is there once an epoch."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.data import BucketSampler, EpochSampler, pad


@pytest.mark.parametrize(("n", "batch"), [(1, 1), (10, 3), (10, 10), (7, 20), (13, 5)])
def test_each_sample_once_an_epoch(n, batch):
    order = EpochSampler(n, batch, seed=3)
    found = np.concatenate([order(step) for step in range(3 * n)])[: 3 * n]
    for epoch in found.reshape(3, n):
        assert sorted(epoch) == list(range(n))
    assert all(len(order(step)) == batch for step in range(9))


def test_orders_depend_on_seed_and_epoch_alone():
    one, other = EpochSampler(50, 10, seed=1), EpochSampler(50, 10, seed=1)
    for step in (7, 0, 3, 12, 3):  # in any order: nothing is remembered that matters
        np.testing.assert_array_equal(one(step), other(step))
    first, second = (np.concatenate([one(5 * epoch + i) for i in range(5)]) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    assert not np.array_equal(one(0), EpochSampler(50, 10, seed=2)(0))


@pytest.mark.parametrize(("n", "batch", "pool"), [(1, 4, 2), (40, 4, 3), (41, 4, 3), (5, 8, 50)])
def test_buckets(n, batch, pool):
    lengths = np.random.default_rng(0).integers(1, 30, n)
    order = BucketSampler(lengths, batch, seed=0, pool=pool)
    for epoch in range(2):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        found = [order(step) for step in steps]
        assert sorted(np.concatenate(found)) == list(range(n))
        assert max(map(len, found)) <= batch


def test_buckets_hold_like_lengths():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    order = BucketSampler(lengths, 10, seed=0, pool=100)
    spread = [np.ptp(lengths[order(step)]) for step in range(order.steps_per_epoch)]
    assert np.mean(spread) < 3
    shuffled = EpochSampler(1000, 10, seed=0)
    assert np.mean([np.ptp(lengths[shuffled(step)]) for step in range(100)]) > 50


def test_padding():
    assert pad([[1, 2, 3], [4]], 9).tolist() == [[1, 2, 3], [4, 9, 9]]
    assert pad([[1, 2, 3], []], multiple=4).tolist() == [[1, 2, 3, 0], [0, 0, 0, 0]]
    assert pad([]).shape == (0, 0)
    assert pad([[0.5]], dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: EpochSampler(0, 1, 0), "EpochSampler: num_samples 0 and batch_size 1 must be positive"),
        (lambda: BucketSampler([], 1, 0), "BucketSampler: 0 samples, batch_size 1 and pool 50 must be positive"),
        (lambda: pad([[1]], multiple=0), "pad: multiple is 0; expected a positive integer"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_split_is_scikit_learns():
    a, b = np.arange(23), [str(i) for i in range(23)]
    parts = fa.data.train_test_split(a, b, test_size=0.3, seed=0)
    assert [len(part) for part in parts] == [16, 7, 16, 7]
    assert [str(i) for i in parts[0]] == parts[2]
    assert [str(i) for i in parts[1]] == parts[3]
    selection = pytest.importorskip("sklearn.model_selection")
    for ours, theirs in zip(parts, selection.train_test_split(a, b, test_size=0.3, random_state=0), strict=True):
        assert list(ours) == list(theirs)


@pytest.mark.parametrize("size", [0, 23, 0.0, 1.0])
def test_split_of_nothing(size):
    with pytest.raises(ValueError, match="expected some of both"):
        fa.data.train_test_split(np.arange(23), test_size=size)
    with pytest.raises(ValueError, match=r"arrays of lengths \[2, 3\]; expected one length"):
        fa.data.train_test_split([1, 2], [1, 2, 3])
