"""Sampling from a model."""

import numpy as np
import pytest

from fastattn.train import sample


@pytest.fixture
def model(make_trainer):
    return make_trainer().model


def test_repeatable_and_in_range(model):
    one, two, other = (sample(model, [3], 40, context=8, seed=seed) for seed in (0, 0, 1))
    assert one.tolist() == two.tolist() != other.tolist()
    assert one.shape == (40,)
    assert one.dtype == np.int32
    assert 0 <= one.min() <= one.max() < 7
    assert model.training


def test_temperature_zero_takes_the_likeliest(model):
    ids = [3]
    for _ in range(10):
        ids.append(int(np.argmax(model.eval()(np.array([ids[-8:]], np.int32)).detach().numpy()[0, -1])))
    assert sample(model, [3], 10, context=8, temperature=0.0).tolist() == ids[1:]


def test_draws_follow_the_distribution(model):
    logits = model.eval()(np.array([[3]], np.int32)).detach().numpy()[0, -1].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    draws = [int(sample(model, [3], 1, context=8, temperature=1.0, seed=seed)[0]) for seed in range(2000)]
    counts = np.bincount(draws, minlength=7)
    chi_squared = ((counts - 2000 * expected) ** 2 / (2000 * expected)).sum()
    assert chi_squared < 22.5  # 6 degrees of freedom, p = 0.001


def test_nothing_to_do(model):
    assert sample(model, [3], 0, context=8).shape == (0,)


@pytest.mark.parametrize(("prompt", "temperature"), [([], 1.0), ([3], -1.0), ([3], float("nan"))])
def test_bad_arguments(model, prompt, temperature):
    with pytest.raises(ValueError, match="expected 1 or more and 0 or more"):
        sample(model, prompt, 1, context=8, temperature=temperature)
