"""Callbacks that write logs, set the learning rate, and call functions."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastattn.metrics.metric import on_host

from .callback import MOMENTS, WITH_NUMBER, Callback, Logs


class CSVLogger(Callback):
    """Writes the values of each epoch as a line of a file.

    Args:
        filename: the file.
        separator: between values.
        append: goes on with a file that is there, instead of a new one.

    Example:
        >>> from fastattn import keras
        >>> logger = keras.callbacks.CSVLogger("log.csv")
    """

    def __init__(self, filename: Any, separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename, self.separator, self.append = os.fspath(filename), separator, append
        self._file: Any = None
        self._keys: list[str] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        """Opens the file."""
        path = Path(self.filename)
        self._headed = self.append and path.exists() and path.stat().st_size > 0
        self._file = path.open("a" if self.append else "w", newline="")
        self._keys = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Writes a line; values that the first epoch did not have are left out."""
        logs = logs or {}
        if not self._keys:
            self._keys = sorted(logs)
            if not any(key.startswith("val_") for key in self._keys):
                self._keys += [f"val_{key}" for key in self._keys]  # a later epoch may be validated
        writer = csv.DictWriter(self._file, ["epoch", *self._keys], delimiter=self.separator)
        if not self._headed:
            writer.writeheader()
            self._headed = True
        writer.writerow({"epoch": epoch, **{key: _cell(logs.get(key, "NA")) for key in self._keys}})
        self._file.flush()

    def on_train_end(self, logs: Logs = None) -> None:
        """Closes it."""
        self._file.close()


def _cell(value: Any) -> Any:
    many = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim)
    return f'"[{", ".join(map(str, value))}]"' if many else value


class LearningRateScheduler(Callback):
    """Sets the learning rate of each epoch.

    Args:
        schedule: of (epoch, rate), or of (epoch), gives the rate.
        verbose: 1: says so.

    Raises:
        ValueError: a rate that is no float.

    Example:
        >>> from fastattn import keras
        >>> halving = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Sets it."""
        optimizer = self.model.optimizer
        try:
            rate = self.schedule(epoch, float(optimizer.learning_rate))
        except TypeError:
            rate = self.schedule(epoch)
        if not isinstance(rate, (float, np.floating)):
            msg = f"LearningRateScheduler: schedule gave {rate!r}; expected a float"
            raise ValueError(msg)
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: the learning rate is {float(rate):.4g}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Logs it."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


class TerminateOnNaN(Callback):
    """Ends training when the loss is NaN or infinite; with `raise_error` by a RuntimeError."""

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Looks at the loss."""
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            msg = f"TerminateOnNaN: the loss is {loss} after batch {batch}"
            raise RuntimeError(msg)
        print(f"Batch {batch}: the loss is {loss}; training ends")
        self.model.stop_training = True


class LambdaCallback(Callback):
    """Functions as a callback.

    Args:
        functions: by the name of their moment, on_epoch_end=... and the like; other names are kept as attributes.

    Example:
        >>> from fastattn import keras
        >>> callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
        >>> callback.on_epoch_end(0, {"loss": 0.5})
        0 0.5
    """

    def __init__(self, **functions: Any) -> None:
        super().__init__()
        for name, function in functions.items():
            if name in MOMENTS and function is not None:
                setattr(self, name, _of_any_call(function, 2 if name in WITH_NUMBER else 1))
            elif name not in MOMENTS:
                setattr(self, name, function)


def _of_any_call(function: Callable[..., Any], count: int) -> Callable[..., None]:
    """Whatever the parameters of a function are called: logs are the last of `count`."""

    def call(*args: Any, logs: Logs = None) -> None:
        function(*args) if len(args) == count else function(*args, logs)

    return call


class TensorBoard(Callback):
    """Writes values for TensorBoard: of epochs below train/ and validation/; if asked for, of batches and weights.

    Args:
        log_dir: the folder.
        histogram_freq: after how many epochs the weights' distributions are written; 0: never.
        write_graph: accepted for Keras's sake; there are no graphs.
        write_images: accepted for Keras's sake.
        write_steps_per_second: the rate of batches as well.
        update_freq: "epoch", "batch", or after how many batches values are written.
        profile_batch: accepted as 0.
        embeddings_freq: accepted as 0.

    Raises:
        ImportError: tensorboardX is not installed.
        ValueError: profile_batch or embeddings_freq is not 0.

    Example:
        >>> from fastattn import keras
        >>> try:
        ...     board = keras.callbacks.TensorBoard("logs")
        ... except ImportError as error:
        ...     print(error)  # doctest: +SKIP
    """

    def __init__(
        self,
        log_dir: Any = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("profile_batch", profile_batch), ("embeddings_freq", embeddings_freq)):
            if value:
                msg = f"TensorBoard: {name} is {value!r}; expected 0, it is not there"
                raise ValueError(msg)
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            msg = "TensorBoard needs tensorboardX: pip install 'fastattn[tensorboard]'"
            raise ImportError(msg) from None
        self._new_writer = SummaryWriter
        self.log_dir, self.histogram_freq = os.fspath(log_dir), histogram_freq
        self.write_steps_per_second = write_steps_per_second
        self.update_freq: Any = 1 if update_freq == "batch" else update_freq
        self._writers: dict[str, Any] = {}
        self._batches = 0

    def _write(self, part: str, prefix: str, values: dict[str, Any], step: int) -> None:
        if part not in self._writers:
            self._writers[part] = self._new_writer(os.path.join(self.log_dir, part))
        for name, value in values.items():
            if np.ndim(value) == 0:
                self._writers[part].add_scalar(f"{prefix}_{name}", float(value), step)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Counts batches from 0."""
        self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Takes the time."""
        self._started, self._first = time.perf_counter(), self._batches

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Writes values if it is due."""
        self._batches += 1
        if self.update_freq != "epoch" and self._batches % int(self.update_freq) == 0:
            self._write("train", "batch", logs or {}, self._batches)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Writes values."""
        logs = logs or {}
        train = {name: value for name, value in logs.items() if not name.startswith("val_")}
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            train["learning_rate"] = float(optimizer.learning_rate)
        if self.write_steps_per_second:
            train["steps_per_second"] = (self._batches - self._first) / (time.perf_counter() - self._started)
        self._write("train", "epoch", train, epoch)
        if validation:
            self._write("validation", "epoch", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for i, weight in enumerate(self.model.weights):
                name = getattr(weight, "path", None) or getattr(weight, "name", None) or f"weight_{i}"
                self._writers["train"].add_histogram(
                    f"{name}/histogram", np.asarray(on_host(weight), np.float64), epoch
                )

    def on_train_end(self, logs: Logs = None) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
