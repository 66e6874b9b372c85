"""Image layers: what they do to an image, and where nothing is left to chance, beside keras 3."""

import numpy as np
import pytest

from fastattn import keras
from fastattn.keras import layers

RANDOM = {
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.2},
    "RandomZoom": {"height_factor": 0.3},
    "RandomTranslation": {"height_factor": 0.3, "width_factor": 0.2},
    "RandomCrop": {"height": 5, "width": 4},
    "RandomContrast": {"factor": 0.5, "value_range": (-9, 9)},
    "RandomBrightness": {"factor": 0.2, "value_range": (-9, 9)},
}


@pytest.fixture
def images():
    return np.random.default_rng(0).standard_normal((6, 7, 8, 2)).astype(np.float32)


@pytest.mark.parametrize("name", RANDOM)
def test_random_in_training_only(name, images):
    layer, again = [getattr(layers, name)(**RANDOM[name], seed=3) for _ in range(2)]
    changed = layer(images, training=True).numpy()
    np.testing.assert_array_equal(changed, again(images, training=True).numpy())
    assert (changed != layer(images).numpy()).any()
    assert changed.shape == layer.compute_output_shape(images.shape)
    if name != "RandomCrop":
        np.testing.assert_array_equal(layer(images, training=False).numpy(), images)
        assert len({str(c - i) for c, i in zip(changed, images, strict=True)}) > 1
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config


FIXED = [
    (name, {**options, "fill_mode": mode, "interpolation": interpolation})
    for name, options in (
        ("RandomRotation", {"factor": (0.13, 0.13)}),
        ("RandomZoom", {"height_factor": (0.3, 0.3), "width_factor": (-0.25, -0.25)}),
        ("RandomTranslation", {"height_factor": (0.2, 0.2), "width_factor": (-0.3, -0.3)}),
    )
    for mode in ("reflect", "constant", "nearest", "wrap")
    for interpolation in ("bilinear", "nearest")
]


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "options"), FIXED, ids=[f"{n}-{o['fill_mode']}-{o['interpolation']}" for n, o in FIXED]
)
def test_moved_beside_keras(name, options, images, oracle):
    ours = getattr(layers, name)(**options)(images, training=True).numpy()
    theirs = getattr(oracle.layers, name)(**options)(images, training=True).numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_middle_outside_of_training():
    x = np.random.default_rng(0).standard_normal((2, 8, 10, 3))
    out = layers.RandomCrop(4, 4, dtype="float64")(x, training=False).numpy()
    blocks = x[:, :, 1:-1].reshape(2, 4, 2, 4, 2, 3).mean((2, 4))  # half the size: the mean of two by two
    np.testing.assert_allclose(out, blocks, rtol=1e-12)


def test_turned_by_a_quarter(images):
    square = images[:, :7, :7]
    turned = layers.RandomRotation((0.25, 0.25), interpolation="nearest")(square, training=True).numpy()
    np.testing.assert_array_equal(turned, np.rot90(square, 1, (1, 2)))


def test_moved_by_whole_pixels(images):
    moved = layers.RandomTranslation((2 / 7, 2 / 7), (0.0, 0.0), "constant", fill_value=5.0)(images, training=True)
    np.testing.assert_allclose(moved.numpy()[:, 2:], images[:, :-2], atol=1e-5)
    np.testing.assert_allclose(moved.numpy()[:, :2], 5.0, atol=1e-5)


ERRORS = [
    (lambda: layers.RandomFlip("up"), "mode is 'up'"),
    (lambda: layers.RandomRotation(2.0), "factor is 2.0; expected a number, or two, of -1.0 to 1.0"),
    (lambda: layers.RandomZoom(0.1, fill_mode="edge"), "fill_mode is 'edge'"),
    (lambda: layers.RandomContrast(-0.1), "factor is -0.1"),
    (lambda: layers.RandomFlip()(np.ones((2, 2))), r"input has shape \(2, 2\); expected 4 axes"),
    (lambda: layers.ZeroPadding2D((1, 2, 3)), r"got \(1, 2, 3\)"),
    (lambda: layers.Cropping2D(3)(np.ones((1, 4, 4, 1))), "nothing of it is left"),
    (lambda: layers.UpSampling2D(interpolation="bicubic"), "only 'nearest' is supported"),
    (lambda: layers.GaussianNoise(-1), "stddev is -1"),
    (lambda: layers.GaussianDropout(1.0), "rate is 1.0"),
]


@pytest.mark.parametrize(("action", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_errors(action, message):
    with pytest.raises((ValueError, NotImplementedError), match=message):
        action()


def test_noise():
    x = np.ones((2000, 5), np.float32)
    for layer, std in ((layers.GaussianNoise(0.5, seed=1), 0.5), (layers.GaussianDropout(0.2, seed=1), 0.5)):
        y = layer(x, training=True).numpy()
        assert abs(y.mean() - 1) < 4 * std / 100
        assert abs(y.std() - std) < 4 * std / 100
    dropped = layers.SpatialDropout1D(0.5, seed=1)(np.ones((50, 4, 6)), training=True).numpy()
    assert (dropped == dropped[:, :1]).all()
    assert set(np.unique(dropped)) == {0.0, 2.0}


def test_in_a_model(images):
    model = keras.Sequential([layers.RandomFlip(seed=1), layers.RandomRotation(0.1, seed=2), layers.Flatten()])
    model.add(layers.Dense(2))
    model.compile("sgd", "mse")
    model.fit(images, np.zeros((6, 2)), verbose=0)
    assert model.predict(images, verbose=0).shape == (6, 2)
