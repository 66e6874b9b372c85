"""Callbacks that watch a value: to stop, to keep the best model, to learn more slowly."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import metrics
from .callback import Callback, Logs


class _Monitor(Callback):
    """Knows which of two values is better: by `mode`, of "auto" by the metric."""

    def __init__(self, monitor: str, mode: str, best: float | None = None, min_delta: float = 0.0) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            msg = f"{type(self).__name__}: mode is {mode!r}; expected 'auto', 'min' or 'max'"
            raise ValueError(msg)
        self.monitor, self.mode, self.best, self.min_delta = monitor, mode, best, abs(min_delta)

    def _better(self) -> Callable[[Any, Any], bool]:
        mode = self.mode
        if mode == "auto":
            name = self.monitor.removeprefix("val_")
            mode = "min" if name.endswith("loss") else {"up": "max", "down": "min"}.get(self._direction(name), "auto")
        if mode == "auto":
            own = type(self).__name__
            msg = f"{own}: whether {self.monitor!r} should be high or low is not known; pass mode='min' or 'max'"
            raise ValueError(msg)
        return operator.lt if mode == "min" else operator.gt

    def _direction(self, name: str) -> str:
        """Which way a metric is better: "up", "down" or ""."""
        own = [inner for metric in getattr(self.model, "metrics", ()) for inner in getattr(metric, "metrics", [metric])]
        found = next((metric for metric in own if getattr(metric, "name", None) == name), None)
        if found is None or getattr(found, "_direction", None) is None:
            shorthand = {"acc": "accuracy"}.get(name, name)
            try:
                found = metrics._NAMES.find(shorthand)
            except ValueError:
                return ""
        return getattr(found, "_direction", None) or ""

    def _improves(self, value: float, than: float | None) -> bool:
        if than is None:
            return True
        better = self._better()
        return bool(better(value + self.min_delta if better is operator.lt else value - self.min_delta, than))

    def _value(self, logs: Logs) -> Any:
        value = (logs or {}).get(self.monitor)
        if value is None:
            there = ", ".join(logs or {}) or "none"
            msg = f"{type(self).__name__}: there is no value {self.monitor!r} to watch; there are {there}"
            warnings.warn(msg, stacklevel=3)
        return value


class EarlyStopping(_Monitor):
    """Ends training when a value has not become better for some epochs.

    Args:
        monitor: the value.
        min_delta: the least change that counts as better.
        patience: how many epochs without.
        verbose: 1: says so.
        mode: "min", "max", or "auto": as the metric has it.
        baseline: a value that has to be bettered as well.
        restore_best_weights: ends with the weights of the best epoch.
        start_from_epoch: epochs before this do not count.

    Raises:
        ValueError: another mode, or "auto" for a value that nothing is known of.

    Example:
        >>> from fastattn import keras
        >>> keras.callbacks.EarlyStopping(monitor="val_accuracy", patience=3).patience
        3
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, None, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs: Logs = None) -> None:
        """Begins anew."""
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best: float | None = None
        self.best_weights: Any = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Looks at the value."""
        value = self._value(logs)
        self._better()
        if value is None or epoch < self.start_from_epoch:
            return
        improves = self._improves(value, self.best)
        if self.restore_best_weights and (improves or self.best_weights is None):
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if improves:
            self.best, self.best_epoch = value, epoch
            if self.baseline is None or self._improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        """Puts the best weights back."""
        if self.verbose and self.stopped_epoch:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of the best epoch: {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Monitor):
    """Saves the model, or its weights, after each epoch or so many batches.

    Args:
        filepath: where; {epoch}, {batch} and the names of values are filled in: "{epoch:02d}-{val_loss:.2f}".
        monitor: the value that `save_best_only` goes by.
        verbose: 1: says so.
        save_best_only: only if the value is better than all before.
        save_weights_only: `model.save_weights` instead of `model.save`.
        mode: "min", "max", or "auto": as the metric has it.
        save_freq: "epoch", or after how many batches.
        initial_value_threshold: a value that has to be bettered at first.

    Raises:
        ValueError: another `save_freq` or `mode`; a name in `filepath` that no value has.

    Example:
        >>> from fastattn import keras
        >>> checkpoint = keras.callbacks.ModelCheckpoint("best", monitor="val_loss", save_best_only=True)
    """

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            msg = f"ModelCheckpoint: save_freq is {save_freq!r}; expected 'epoch' or a positive integer"
            raise ValueError(msg)
        self.filepath, self.verbose = str(filepath), verbose
        self.save_best_only, self.save_weights_only, self.save_freq = save_best_only, save_weights_only, save_freq
        self._epoch, self._batches = 0, 0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Knows the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Saves if it is due."""
        self._batches += 1
        if self.save_freq != "epoch" and self._batches >= int(self.save_freq):
            self._batches = 0
            self._save(self._epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Saves if it is due."""
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: dict[str, Any]) -> None:
        if self.save_best_only and not self._is_best(epoch, logs):
            return
        of_batch = {} if batch is None else {"batch": batch + 1}
        try:
            path = self.filepath.format(epoch=epoch + 1, **{**of_batch, **logs})
        except KeyError as missing:
            there = ", ".join(["epoch", *of_batch, *logs])
            msg = f"ModelCheckpoint: filepath is {self.filepath!r}, and there is no value {missing}; there are {there}"
            raise ValueError(msg) from None
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saving the model to {path}")
        save = self.model.save_weights if self.save_weights_only else self.model.save
        save(path, overwrite=True)

    def _is_best(self, epoch: int, logs: dict[str, Any]) -> bool:
        value = self._value(logs)
        if value is None:
            return True  # rather than lose it
        improves = self._improves(value, self.best)
        if self.verbose:
            before = "nothing" if self.best is None else f"{self.best:.5f}"
            what = f"improved from {before} to {value:.5f}" if improves else f"did not improve from {before}"
            print(f"Epoch {epoch + 1}: {self.monitor} {what}")
        if improves:
            self.best = value
        return improves


class ReduceLROnPlateau(_Monitor):
    """Lowers the learning rate when a value has not become better for some epochs.

    Args:
        monitor: the value.
        factor: what the rate is multiplied by, below 1.
        patience: how many epochs without.
        verbose: 1: says so.
        mode: "min", "max", or "auto": as the metric has it.
        min_delta: the least change that counts as better.
        cooldown: how many epochs after it do not count.
        min_lr: the lowest rate.

    Raises:
        ValueError: an option out of range.

    Example:
        >>> from fastattn import keras
        >>> plateau = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=2)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, None, min_delta)
        if factor >= 1:
            msg = f"ReduceLROnPlateau: factor is {factor!r}; expected below 1"
            raise ValueError(msg)
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.on_train_begin()

    def on_train_begin(self, logs: Logs = None) -> None:
        """Begins anew."""
        self.wait = self.cooldown_counter = 0
        self.best = None

    def in_cooldown(self) -> bool:
        """Whether the rate has been lowered a short while ago."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Looks at the value; logs the rate."""
        self._better()
        optimizer = self.model.optimizer
        rate = float(optimizer.learning_rate)
        if logs is not None:
            logs["learning_rate"] = rate
        value = self._value(logs)
        if value is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._improves(value, self.best):
            self.best, self.wait = value, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and rate > self.min_lr:
                optimizer.learning_rate = max(rate * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"Epoch {epoch + 1}: the learning rate becomes {float(optimizer.learning_rate):.4g}")
