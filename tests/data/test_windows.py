"""Which tokens a step sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fastattn.data import WindowSampler, windows

IDS = np.arange(1000, dtype=np.int32)


@pytest.mark.smoke
def test_a_pure_function_of_seed_and_step():
    one, two = WindowSampler(IDS, 4, 16, seed=3), WindowSampler(IDS, 4, 16, seed=3)
    later = [two(step) for step in (9, 5, 7)]  # asked for in another order
    for (inputs, targets), step in zip(later, (9, 5, 7), strict=True):
        assert_array_equal(one(step)[0], inputs)
        assert_array_equal(one(step)[1], targets)
        assert_array_equal(targets, inputs + 1)
    assert not np.array_equal(one(5)[0], one(6)[0])
    assert not np.array_equal(one(5)[0], WindowSampler(IDS, 4, 16, seed=4)(5)[0])


def test_the_stream_is_fixed():
    """A change here would break every resume of an older run."""
    assert WindowSampler(IDS, 4, 16, seed=0).offsets(0).tolist() == [581, 565, 325, 429]
    assert WindowSampler(IDS, 4, 16, seed=2**64 - 1).offsets(10**6).tolist() == [336, 930, 484, 227]


def test_every_offset_comes_about_equally_often():
    sampler = WindowSampler(np.arange(14), 50, 4, seed=0)
    counts = np.bincount(np.concatenate([sampler.offsets(step) for step in range(200)]), minlength=10)
    assert len(counts) == 10
    assert counts.min() > 900  # 10,000 draws, 1,000 expected, 3.3 standard deviations


@given(n=st.integers(2, 40), context=st.integers(1, 39), seed=st.integers(0, 2**64 - 1), step=st.integers(0, 2**63))
def test_windows_and_targets_stay_inside(n, context, seed, step):
    if context >= n:
        with pytest.raises(ValueError, match=f"has {n} tokens; a window and its target need {context + 1}"):
            WindowSampler(IDS[:n], 3, context, seed)
        return
    inputs, targets = WindowSampler(IDS[:n], 3, context, seed)(step)
    assert inputs.shape == targets.shape == (3, context)
    assert targets.max() < n


@pytest.mark.parametrize(("batch_size", "context"), [(0, 4), (4, 0)])
def test_sizes_must_be_positive(batch_size, context):
    with pytest.raises(ValueError, match="must be positive"):
        WindowSampler(IDS, batch_size, context, 0)


@given(n=st.integers(2, 60), context=st.integers(1, 20), batch_size=st.integers(1, 5))
def test_windows_predict_every_token_once(n, context, batch_size):
    batches = list(windows(IDS[:n], context, batch_size))
    targets = np.concatenate([t.reshape(-1) for _, t in batches])
    assert sorted(targets.tolist()) == list(range(1, n))
    for inputs, targets in batches:
        assert inputs.shape == targets.shape
        assert inputs.shape[0] <= batch_size
        assert inputs.shape[1] <= context
        assert_array_equal(targets, inputs + 1)


@given(n=st.integers(2, 60), limit=st.integers(1, 10))
def test_a_limit_spreads_evenly(n, limit):
    starts = [row[0] for inputs, _ in windows(IDS[:n], 4, 3, limit) for row in inputs]
    every = len(range(0, n - 1, 4))
    assert len(starts) == min(limit, every)
    assert starts[0] == 0
    if every > limit:
        gaps = np.diff(starts)
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 4


def test_one_token_is_too_few():
    with pytest.raises(ValueError, match="at least 2 are needed"):
        list(windows(IDS[:1], 4, 2))
