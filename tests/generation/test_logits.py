"""The functions from logits to tokens: against transformers' warpers, and what they keep."""

import numpy as np
import pytest

from fastattn.generation import draw, keep_top_k, keep_top_p, penalize_repetition


@pytest.fixture
def logits(randn):
    return 3 * randn(4, 50)


def warped(name, logits, *args, ids=None):
    torch = pytest.importorskip("torch")
    process = pytest.importorskip("transformers.generation.logits_process")
    ids = torch.zeros((len(logits), 1), dtype=torch.long) if ids is None else torch.from_numpy(ids)
    return getattr(process, name)(*args)(ids, torch.from_numpy(logits.copy())).numpy()


@pytest.mark.parity
@pytest.mark.parametrize("k", [1, 2, 7, 49, 50, 80])
def test_top_k_is_transformers(logits, k):
    np.testing.assert_array_equal(keep_top_k(logits, k), warped("TopKLogitsWarper", logits, k))


@pytest.mark.parity
@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.999])
def test_top_p_is_transformers(logits, p):
    np.testing.assert_array_equal(keep_top_p(logits, p), warped("TopPLogitsWarper", logits, p))
    both = keep_top_p(keep_top_k(logits, 9), p)
    np.testing.assert_array_equal(both, warped("TopPLogitsWarper", warped("TopKLogitsWarper", logits, 9), p))


@pytest.mark.parity
@pytest.mark.parametrize("penalty", [0.5, 1.3])
def test_repetition_penalty_is_transformers(logits, rng, penalty):
    ids = rng.integers(0, 50, (4, 12))
    seen = np.zeros(logits.shape, np.bool_)
    np.put_along_axis(seen, ids, True, axis=1)
    expected = warped("RepetitionPenaltyLogitsProcessor", logits, penalty, ids=ids)
    np.testing.assert_allclose(penalize_repetition(logits, seen, penalty), expected, rtol=1e-15)


def test_ties_stay():
    x = np.array([[2.0, 1.0, 2.0, 2.0, 0.0]])
    kept = np.array([[2.0, -np.inf, 2.0, 2.0, -np.inf]])
    np.testing.assert_array_equal(keep_top_k(x, 2), kept)
    np.testing.assert_array_equal(keep_top_p(x, 0.1), kept)


def test_arguments_are_not_changed(logits):
    before = logits.copy()
    keep_top_k(logits, 3)
    keep_top_p(logits, 0.3)
    penalize_repetition(logits, logits > 0, 2.0)
    draw(logits, np.full(4, 0.5))
    np.testing.assert_array_equal(logits, before)


def test_draw_inverts_the_cumulative_distribution():
    logits = np.log(np.array([[0.125, 0.5, 0.375]])).repeat(7, 0)
    uniforms = np.array([0.0, 0.12, 0.13, 0.5, 0.62, 0.63, 1 - 2**-53])
    assert draw(logits, uniforms).tolist() == [0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-53])
def test_what_is_hidden_is_never_drawn(u):
    hidden = -np.inf
    logits = np.array([[hidden, 1.0, hidden, 2.0, hidden], [hidden, hidden, 0.0, hidden, hidden]])
    first, second = draw(logits, np.array([u, u])).tolist()
    assert first in (1, 3)
    assert second == 2


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_no_distribution(bad):
    assert draw(np.array([bad, [0.0, 0.0]]), np.array([0.3, 0.7])).tolist() == [-1, 1]
