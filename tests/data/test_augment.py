"""Augmentation is a function of (seed, step, place), and does what it says."""

import numpy as np
import pytest

from fastattn.data import Augment
from fastattn.data.augment import beta


@pytest.fixture
def images(rng):
    return rng.random((16, 2, 9, 7), dtype=np.float32), rng.integers(0, 3, 16)


ALL = Augment(shift=2, rotate=15, scale=0.2, flip=True, mixup=0.4)


def test_a_function_of_seed_and_step(images):
    one = ALL(*images, seed=1, step=5)
    for a, b in zip(one, ALL(*images, seed=1, step=5), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one[0], ALL(*images, seed=1, step=6)[0])
    assert not np.array_equal(one[0], ALL(*images, seed=2, step=5)[0])
    alone = Augment(shift=2, rotate=15)
    # An image's change does not depend on how many follow it.
    np.testing.assert_array_equal(
        alone(*images, seed=1, step=5)[0][:4], alone(images[0][:4], images[1][:4], seed=1, step=5)[0]
    )


def test_nothing_asked_for_nothing_done(images):
    out, labels = Augment()(*images, seed=0, step=0)
    np.testing.assert_array_equal(out, images[0])
    np.testing.assert_array_equal(labels, images[1])


def test_shifts_move_whole_pixels(images):
    x, y = images
    out, _ = Augment(shift=2)(x, y, seed=0, step=0)
    framed = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    moves = set()
    for i in range(len(x)):
        found = [
            (a, b)
            for a in range(5)
            for b in range(5)
            if np.allclose(framed[i, :, a : a + 9, b : b + 7], out[i], atol=1e-6)
        ]
        assert len(found) == 1
        moves |= set(found)
    assert len(moves) > 8


def test_flips(images):
    x, y = images
    out, _ = Augment(flip=True)(x, y, seed=0, step=0)
    flipped = [np.array_equal(out[i], x[i, ..., ::-1]) for i in range(16)]
    assert 3 < sum(flipped) < 13
    assert all(flip or np.array_equal(out[i], x[i]) for i, flip in enumerate(flipped))


def test_rotation_is_scipys(images):
    """A turn by a known angle, against an independent interpolation."""
    ndimage = pytest.importorskip("scipy.ndimage")
    x = images[0][:1].astype(np.float64)
    from fastattn.data.order import uniforms

    draw = 2 * uniforms(0, 0x696D616765, 0, 8)[0] - 1
    out, _ = Augment(rotate=30)(x, images[1][:1], seed=0, step=0)
    want = [ndimage.rotate(c, -30 * draw, reshape=False, order=1, mode="grid-constant") for c in x[0]]
    np.testing.assert_allclose(out[0], want, atol=1e-9)


def test_mixup(images):
    x, y = images
    out, labels = Augment(mixup=0.4)(x, y, seed=0, step=0)
    first, second, part = labels.T
    np.testing.assert_array_equal(first, y)
    assert ((part >= 0.5) & (part <= 1)).all()
    assert sorted(second) == sorted(y)
    assert out.dtype == np.float32
    assert x.min() <= out.min() <= out.max() <= x.max()


@pytest.mark.parametrize("alpha", [0.4, 1.0, 3.0])
def test_beta(alpha):
    drawn = beta(alpha, (np.arange(20000) + 0.5) / 20000)
    assert drawn.mean() == pytest.approx(0.5, abs=1e-3)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.01)


@pytest.mark.parametrize(("name", "value"), [("shift", -1), ("scale", 1.0), ("mixup", float("nan"))])
def test_errors(name, value, images):
    with pytest.raises(ValueError, match=f"Augment: {name} is {value!r}; expected a number of at least 0"):
        Augment(**{name: value})
    with pytest.raises(
        ValueError, match=r"Augment: images has shape \(9, 7\); expected \(B, channels, height, width\)"
    ):
        ALL(images[0][0, 0], images[1], seed=0, step=0)
