"""Callbacks: a model that only tells them its values, beside keras 3's callbacks; the progress bar; History."""

import csv
import io
import math
import re
import sys

import numpy as np
import pytest
from keras_oracle import keras_may_warn

import fastattn as fa
from fastattn import keras

pytestmark = keras_may_warn


class Optimizer:
    def __init__(self):
        self.learning_rate = 0.5


class Model:
    """Its weights are the epoch; `run` tells callbacks of values as fit does."""

    def __init__(self):
        self.optimizer, self.metrics, self.stop_training = Optimizer(), [], False
        self.weights_now, self.saved = None, []

    def get_weights(self):
        return [np.array(self.weights_now)]

    def set_weights(self, weights):
        self.weights_now = int(weights[0])

    def save(self, path, overwrite=True):
        self.saved.append(("model", str(path), self.weights_now))

    def save_weights(self, path, overwrite=True):
        self.saved.append(("weights", str(path), self.weights_now))

    def run(self, module, callbacks, values, batches=2, name="val_loss"):
        """Epochs of values; returns what can be seen of them."""
        told = module.callbacks.CallbackList(
            callbacks, add_history=True, model=self, verbose=0, epochs=len(values), steps=2
        )
        self.stop_training, rates = False, []
        told.on_train_begin()
        for epoch, value in enumerate(values):
            self.weights_now = epoch
            told.on_epoch_begin(epoch)
            for batch in range(batches):
                told.on_train_batch_begin(batch)
                told.on_train_batch_end(batch, {"loss": value})
                if self.stop_training:
                    break
            told.on_epoch_end(epoch, {"loss": 2 * value, name: value})
            rates.append(float(self.optimizer.learning_rate))
            if self.stop_training:
                break
        told.on_train_end()
        return {
            "epochs": epoch + 1,
            "weights": self.weights_now,
            "rates": rates,
            "saved": self.saved,
            "history": self.history.history,
            "epoch": self.history.epoch,
        }


FALLING = [1.0, 0.8, 0.81, 0.79, 0.795, 0.85, 0.9, 0.7, 0.71, 0.72, 0.73]
CASES = [
    ("EarlyStopping", {}),
    ("EarlyStopping", {"patience": 2}),
    ("EarlyStopping", {"patience": 2, "restore_best_weights": True}),
    ("EarlyStopping", {"patience": 1, "min_delta": 0.05, "restore_best_weights": True}),
    ("EarlyStopping", {"patience": 3, "baseline": 0.75, "restore_best_weights": True}),
    ("EarlyStopping", {"patience": 1, "start_from_epoch": 4, "restore_best_weights": True}),
    ("EarlyStopping", {"patience": 2, "mode": "max"}),
    ("EarlyStopping", {"patience": 20, "restore_best_weights": True}),
    ("ReduceLROnPlateau", {"patience": 1, "factor": 0.5}),
    ("ReduceLROnPlateau", {"patience": 2, "factor": 0.5, "min_lr": 0.2}),
    ("ReduceLROnPlateau", {"patience": 1, "factor": 0.5, "cooldown": 2, "min_delta": 0.02}),
    ("ReduceLROnPlateau", {"patience": 0, "factor": 0.5, "mode": "max"}),
    ("ModelCheckpoint", {"filepath": "{epoch:02d}-{val_loss:.2f}.keras"}),
    ("ModelCheckpoint", {"filepath": "best.keras", "save_best_only": True}),
    ("ModelCheckpoint", {"filepath": "w/{epoch}.weights.h5", "save_weights_only": True, "save_best_only": True}),
    ("ModelCheckpoint", {"filepath": "{epoch}-{batch}.keras", "save_freq": 5}),
    ("ModelCheckpoint", {"filepath": "m.keras", "save_best_only": True, "initial_value_threshold": 0.75}),
    ("ModelCheckpoint", {"filepath": "m.keras", "save_best_only": True, "mode": "max"}),
    ("LearningRateScheduler", {"schedule": lambda epoch, rate: rate * 0.9}),
    ("LearningRateScheduler", {"schedule": lambda epoch: 0.5 / (epoch + 1)}),
    ("CSVLogger", {"filename": "log.csv"}),
    ("CSVLogger", {"filename": "log.csv", "separator": ";", "append": True}),
    ("TerminateOnNaN", {}),
]


@pytest.mark.parity
@pytest.mark.parametrize("values", [FALLING, [0.5, 0.5, 0.5, 0.6], [0.3, math.nan, 0.2], [0.9]])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_beside_keras(oracle, tmp_path, monkeypatch, name, options, values):
    seen = []
    for module, folder in ((keras, "ours"), (oracle, "theirs")):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        seen.append(Model().run(module, [getattr(module.callbacks, name)(**options)], values))
        seen[-1]["files"] = {p.name: p.read_text() for p in sorted((tmp_path / folder).glob("*.csv"))}
    np.testing.assert_equal(seen[0], seen[1])


# Without keras -------------------------------------------------------------------------------------------------------


def test_early_stopping_by_hand():
    model = Model()
    seen = model.run(keras, [keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)], FALLING)
    assert (seen["epochs"], seen["weights"]) == (6, 3)  # 0.79 was the best, then 0.795 and 0.85


def test_the_metric_says_which_way_is_better():
    up = [0.5, 0.6, 0.55, 0.54, 0.53]
    for name in ("val_accuracy", "val_acc", "val_auc", "val_sparse_categorical_accuracy"):
        seen = Model().run(keras, [keras.callbacks.EarlyStopping(name, patience=2)], up, name=name)
        assert seen["epochs"] == 4
    model = Model()
    model.metrics = [keras.metrics.AUC(name="area")]
    seen = model.run(keras, [keras.callbacks.EarlyStopping("val_area", patience=2)], up, name="val_area")
    assert seen["epochs"] == 4
    seen = Model().run(keras, [keras.callbacks.EarlyStopping("mae", patience=0)], up, name="mae")
    assert seen["epochs"] == 2
    with pytest.raises(ValueError, match="EarlyStopping: whether 'val_area' should be high or low is not known"):
        Model().run(keras, [keras.callbacks.EarlyStopping("val_area")], up, name="val_area")


def test_callbacks_can_be_used_twice():
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    first = Model().run(keras, [stopping], FALLING)
    assert Model().run(keras, [stopping], FALLING) == first


def test_order_and_logs():
    """Callbacks hear each moment in their order, and see what those before them added to the logs; fit's own stay."""
    heard = []

    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["added"] = epoch + 10.0

    class Hears(keras.callbacks.Callback):
        def on_epoch_end(self, number, values):
            heard.append((number, dict(values)))

    told = keras.callbacks.CallbackList([[Adds()], Hears()], add_history=True, model=Model(), epochs=1)
    logs = {"loss": 1.0, "accuracy": 0.5}
    told.on_train_begin()
    told.on_epoch_end(0, logs)
    assert heard == [(0, {"accuracy": 0.5, "added": 10.0, "loss": 1.0})]
    assert logs == {"loss": 1.0, "accuracy": 0.5}
    assert list(told.history.history) == ["accuracy", "loss", "added"]
    assert told.model.history is told.history


def test_all_moments_are_told():
    heard = []
    names = [name for name in dir(keras.callbacks.Callback) if name.startswith("on_")]
    assert len(names) == 16
    functions = {name: lambda *args, name=name: heard.append((name, len(args))) for name in names}
    told = keras.callbacks.CallbackList([keras.callbacks.LambdaCallback(**functions)])
    for name in names:
        with_number = "batch" in name or "epoch" in name
        getattr(told, name)(*([3] if with_number else []), logs={"loss": 1.0})
        getattr(told, name)(*([3] if with_number else []), {"loss": 1.0})
        getattr(told, name)(*([3] if with_number else []))
        assert heard == [(name, 2 if with_number else 1)] * 3
        heard.clear()


def test_old_names_of_batches():
    heard = []

    class Old(keras.callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            heard.append((batch, logs["loss"]))

    told = keras.callbacks.CallbackList([Old()])
    told.on_train_batch_end(2, {"loss": 0.5})
    assert heard == [(2, 0.5)]


def test_csv(tmp_path):
    path = tmp_path / "log.csv"
    for _ in range(2):
        Model().run(keras, [keras.callbacks.CSVLogger(path, append=True)], [0.5, 0.25])
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "0", "1"]
    assert [float(row["val_loss"]) for row in rows] == [0.5, 0.25, 0.5, 0.25]


def test_terminate_on_nan(capsys):
    model = Model()
    assert model.run(keras, [keras.callbacks.TerminateOnNaN()], [0.5, math.inf, 0.1])["epochs"] == 2
    assert "Batch 0: the loss is inf; training ends" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="TerminateOnNaN: the loss is nan after batch 0"):
        model.run(keras, [keras.callbacks.TerminateOnNaN(raise_error=True)], [math.nan])


def test_verbose_callbacks_say_so(capsys):
    callbacks = [
        keras.callbacks.EarlyStopping(patience=1, verbose=1, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint("m", save_best_only=True, verbose=1),
        keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.5, verbose=1),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate, verbose=1),
    ]
    Model().run(keras, callbacks, [0.5, 0.6, 0.7])
    out = capsys.readouterr().out
    for line in (
        "Epoch 1: the learning rate is 0.5",
        "Epoch 1: val_loss improved from nothing to 0.50000",
        "Epoch 1: saving the model to m",
        "Epoch 2: val_loss did not improve from 0.50000",
        "Epoch 2: the learning rate becomes 0.25",
        "Epoch 2: early stopping",
        "Restoring the weights of the best epoch: 1",
    ):
        assert f"{line}\n" in out


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.callbacks.EarlyStopping("val_auc"),
        lambda: keras.callbacks.ReduceLROnPlateau("val_auc"),
        lambda: keras.callbacks.ModelCheckpoint("m", "val_auc", save_best_only=True),
    ],
)
def test_a_value_that_is_not_there_is_warned_of(make):
    with pytest.warns(UserWarning, match=r"there is no value 'val_auc' to watch; there are .*loss, val_loss"):
        Model().run(keras, [make()], [0.5])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: keras.callbacks.EarlyStopping(mode="up"), ValueError, "EarlyStopping: mode is 'up'; expected 'auto'"),
        (
            lambda: keras.callbacks.ReduceLROnPlateau(factor=1.0),
            ValueError,
            "ReduceLROnPlateau: factor is 1.0",
        ),
        (
            lambda: keras.callbacks.ModelCheckpoint("m", save_freq="day"),
            ValueError,
            "ModelCheckpoint: save_freq is 'day'",
        ),
        (
            lambda: Model().run(keras, [keras.callbacks.ModelCheckpoint("{mae}")], [0.5]),
            ValueError,
            "ModelCheckpoint: filepath is '{mae}', and there is no value 'mae'; there are epoch, loss, val_loss",
        ),
        (
            lambda: Model().run(keras, [keras.callbacks.LearningRateScheduler(lambda epoch, rate: "x")], [0.5]),
            ValueError,
            "LearningRateScheduler: schedule gave 'x'; expected a float",
        ),
        (lambda: keras.callbacks.CallbackList([print]), TypeError, "CallbackList: got a builtin_function_or_method"),
        (
            lambda: keras.callbacks.TensorBoard(profile_batch=2),
            ValueError,
            "TensorBoard: profile_batch is 2; expected 0",
        ),
        (lambda: keras.callbacks.History().plot(), ValueError, "History.plot: there are no values yet; there are none"),
    ],
)
def test_errors(call, error, message):
    if "History.plot" in message:
        pytest.importorskip("matplotlib")
    with pytest.raises(error, match=message):
        call()


# History -------------------------------------------------------------------------------------------------------------


def test_history_goes_on():
    history = keras.callbacks.History()
    for _ in range(2):
        Model().run(keras, [history], [0.5, 0.25])
    assert history.history["val_loss"] == [0.5, 0.25] * 2
    assert history.epoch == [0, 1]


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    model = Model()
    model.run(keras, [], [0.5, 0.25, 0.125])
    figure = model.history.plot(path=tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 1000
    (axes,) = figure.axes
    assert axes.get_title() == "loss"
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert lines == {"training": [1.0, 0.5, 0.25], "validation": [0.5, 0.25, 0.125]}
    with pytest.raises(ValueError, match=r"History.plot: no values of 'mae'; there are loss, val_loss"):
        model.history.plot(["mae"])


# TensorBoard ---------------------------------------------------------------------------------------------------------


def test_tensorboard_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        ImportError, match=re.escape("TensorBoard needs tensorboardX: pip install 'fastattn[tensorboard]'")
    ):
        keras.callbacks.TensorBoard()


def test_tensorboard_writes_values(monkeypatch, tmp_path):
    """With a writer that keeps what it is told; the real one is tensorboardX's."""
    written = []

    class Writer:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            written.append((self.folder.removeprefix(f"{tmp_path}/"), name, value, step))

        def add_histogram(self, name, values, step):
            written.append(("histogram", name, values.shape, step))

        def close(self):
            written.append("closed")

    module = type(sys)("tensorboardX")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    model = Model()
    model.weights = [fa.ones(3)]
    board = keras.callbacks.TensorBoard(tmp_path, histogram_freq=2, update_freq=2)
    model.run(keras, [board], [0.5, 0.25], batches=3)
    assert written == [
        ("train", "batch_loss", 0.5, 2),
        ("train", "epoch_loss", 1.0, 0),
        ("train", "epoch_learning_rate", 0.5, 0),
        ("validation", "epoch_loss", 0.5, 0),
        ("histogram", "weight_0/histogram", (3,), 0),
        ("train", "batch_loss", 0.25, 4),
        ("train", "batch_loss", 0.25, 6),
        ("train", "epoch_loss", 0.5, 1),
        ("train", "epoch_learning_rate", 0.5, 1),
        ("validation", "epoch_loss", 0.25, 1),
        "closed",
        "closed",
    ]


def test_tensorboard_writes_files(tmp_path):
    pytest.importorskip("tensorboardX")
    Model().run(keras, [keras.callbacks.TensorBoard(tmp_path / "logs")], [0.5])
    assert {path.parent.name for path in tmp_path.glob("logs/*/events*")} == {"train", "validation"}


# The progress bar ----------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def fit(verbose, epochs=2, steps=3):
    """What fit, with its validation, and evaluate tell; returns the numbers that they return."""
    options = {"add_progbar": True, "model": Model(), "verbose": verbose}
    told = keras.callbacks.CallbackList(add_history=True, epochs=epochs, steps=steps, **options)
    told.on_train_begin()
    for epoch in range(epochs):
        told.on_epoch_begin(epoch)
        for batch in range(3):
            told.on_train_batch_end(batch, {"loss": 1.0 / (batch + 1)})
        told.on_test_begin()
        told.on_test_batch_end(0, {"loss": 9.0})
        told.on_test_end({"loss": 9.0})
        told.on_epoch_end(epoch, {"loss": 0.123456 + epoch, "val_loss": 1e-5})
    told.on_train_end()
    told = keras.callbacks.CallbackList(epochs=1, steps=None, **options)
    told.on_test_begin()
    for batch in range(3):
        told.on_test_batch_end(batch, {"loss": 1.0})
    told.on_test_end({"loss": 0.75})


def test_one_line_an_epoch(capsys):
    """Where standard output is no terminal; the numbers are those of the end, not the last batch's."""
    for verbose in (2, 1, "auto"):
        fit(verbose)
        lines = capsys.readouterr().out.splitlines()
        assert [re.sub(r"\d+(ms|us|s)(?=/step| )", "T", line) for line in lines] == [
            "Epoch 1/2",
            "3/3 - T - T/step - loss: 0.1235 - val_loss: 1.0000e-05",
            "Epoch 2/2",
            "3/3 - T - T/step - loss: 1.1235 - val_loss: 1.0000e-05",
            "3/3 - T - T/step - loss: 0.7500",
        ]


def test_nothing_is_shown(capsys):
    fit(0)
    assert capsys.readouterr().out == ""


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr(keras.progress.Progbar, "__init__", _without_interval(keras.progress.Progbar.__init__))
    fit("auto", epochs=1)
    pictures = sys.stdout.getvalue().split("\r")
    assert re.fullmatch(r"1/3 \[======              \] - 0s - .+/step - loss: 1.0000 *", pictures[1])
    assert re.fullmatch(
        r"3/3 \[====================\] - 0s - .+/step - loss: 0.1235 - val_loss: 1.0000e-05 *\n", pictures[4]
    )
    assert re.fullmatch(r"1/Unknown - 0s - .+/step - loss: 1.0000 *", pictures[5])


def _without_interval(init):
    def made(self, *args, **kwargs):
        init(self, *args, **{**kwargs, "interval": 0.0})

    return made


def test_lengths_of_time():
    from fastattn.keras.progress import duration, number

    assert [duration(t) for t in (0.2, 59.6, 61, 3600, 3725)] == ["0s", "1:00", "1:01", "1:00:00", "1:02:05"]
    assert [number(v) for v in (0.5, -0.25, 1e-4, -1e-4, 0.0, math.nan)] == [
        "0.5000",
        "-0.2500",
        "1.0000e-04",
        "-1.0000e-04",
        "0.0000e+00",
        "nan",
    ]


def test_verbosity():
    with pytest.raises(ValueError, match="verbose is 3; expected 0, 1, 2 or 'auto'"):
        keras.callbacks.CallbackList(add_progbar=True, model=Model(), verbose=3)
