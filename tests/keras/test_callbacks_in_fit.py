"""Callbacks in fit: what they do to real models, and that what is printed is what is returned."""

import re

import numpy as np
import pytest

from fastattn import keras


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(1)])
    made.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse", metrics=["mae"])
    return made


@pytest.fixture
def data(rng):
    x = rng.standard_normal((32, 4)).astype(np.float32)
    return x, (x @ [1.0, -2.0, 0.5, 0.0] > 0).astype(np.float32)[:, None]


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_printed_is_returned(model, data, capsys, verbose):
    history = model.fit(*data, batch_size=8, epochs=3, validation_split=0.25, verbose=verbose).history
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("3/3")]
    assert len(lines) == 3
    for epoch, line in enumerate(lines):
        shown = dict(re.findall(r"(\w+): ([\d.e-]+)", line))
        assert shown == {name: f"{values[epoch]:.4f}" for name, values in history.items()}


def test_evaluate_prints_what_it_returns(model, data, capsys):
    values = model.evaluate(*data, verbose=2, return_dict=True)
    shown = dict(re.findall(r"(\w+): ([\d.e-]+)", capsys.readouterr().out))
    assert shown == {name: f"{value:.4f}" for name, value in values.items()}


def test_early_stopping_restores(model, data):
    kept = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch] = (logs["loss"], self.model.get_weights())
            self.model.optimizer.learning_rate = 0.05 if epoch < 2 else 5.0  # from here on it gets worse

    stopping = keras.callbacks.EarlyStopping("loss", patience=2, restore_best_weights=True)
    history = model.fit(*data, epochs=30, verbose=0, shuffle=False, callbacks=[Keep(), stopping])
    assert len(history.epoch) < 30
    best = min(kept, key=lambda epoch: kept[epoch][0])
    for now, then in zip(model.get_weights(), kept[best][1], strict=True):
        np.testing.assert_array_equal(now, then)


def test_checkpoints_can_be_loaded(model, data, tmp_path):
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}-{loss:.3f}", monitor="loss"),
        keras.callbacks.ModelCheckpoint(tmp_path / "best", monitor="loss", save_best_only=True),
    ]
    history = model.fit(*data, epochs=3, verbose=0, callbacks=callbacks)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted([*(f"{i + 1}-{loss:.3f}" for i, loss in enumerate(history.history["loss"])), "best"])
    again = keras.models.load_model(tmp_path / f"3-{history.history['loss'][-1]:.3f}")
    np.testing.assert_array_equal(again.predict(data[0], verbose=0), model.predict(data[0], verbose=0))


def test_rates_are_logged(model, data, tmp_path):
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    history = model.fit(*data, epochs=3, verbose=0, callbacks=callbacks).history
    assert history["learning_rate"] == pytest.approx([0.025, 0.0125, 0.00625])
    names = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert names == "epoch,learning_rate,loss,mae,val_learning_rate,val_loss,val_mae"


def test_tensorboard_of_weights(model, data, tmp_path):
    pytest.importorskip("tensorboardX")
    model.fit(*data, epochs=2, verbose=0, callbacks=[keras.callbacks.TensorBoard(tmp_path, histogram_freq=1)])
    assert next(tmp_path.glob("train/events*")).stat().st_size > 1000


def test_the_way_a_metric_is_better_is_the_models(model, data):
    model.compile("sgd", "binary_crossentropy", metrics=[keras.metrics.AUC(name="area")])
    model.fit(*data, epochs=2, verbose=0, callbacks=[keras.callbacks.ReduceLROnPlateau("area")])


def test_nan_ends_training(model, data):
    history = model.fit(data[0] * np.nan, data[1], epochs=5, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN()])
    assert len(history.epoch) == 1


def test_the_average_of_the_weights_stays(model, data):
    """use_ema: after the last epoch the weights are their running average."""
    model.compile(optimizer=keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), loss="mse")
    path = []

    class Keep(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            path.append(self.model.get_weights())

    model.fit(*data, batch_size=8, epochs=1, verbose=0, callbacks=[Keep()])
    average = path[0]
    for weights in path[1:]:
        average = [0.5 * a + 0.5 * w for a, w in zip(average, weights, strict=True)]
    for now, then in zip(model.get_weights(), average, strict=True):
        np.testing.assert_allclose(now, then, rtol=1e-6)
