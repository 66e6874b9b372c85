"""Trainer: fit, evaluate and predict: epochs of batches, with callbacks around them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastattn.autograd.node import no_grad

from .data import Batches, as_tensors, split_off, unpack_x_y_sample_weight
from .steps import Stepper
from .tree import leaves, mapped, packed


class Trainer(Stepper):
    """A model that is trained by epochs."""

    # Epochs ---------------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> Any:
        """Trains the model.

        Args:
            x: arrays (or a list or dict of them, of several inputs), or what gives batches: a DataLoader, a
                keras.utils.Sequence, a generator.
            y: labels, if `x` is arrays.
            batch_size: of arrays, 32 by default.
            epochs: the number of the last epoch.
            verbose: 0 for nothing, 1 for a bar, 2 for one line an epoch, "auto" for 1 on a terminal and 2 elsewhere.
            callbacks: a list.
            validation_split: the part of the samples, at their end, that is kept for validation.
            validation_data: (x, y), (x, y, sample_weight), or what gives batches.
            shuffle: whether the samples of arrays come in another order each epoch.
            class_weight: class number to the weight of its samples.
            sample_weight: of each sample.
            initial_epoch: the number of the first epoch.
            steps_per_epoch: batches of an epoch.
            validation_steps: batches of a validation.
            validation_batch_size: default `batch_size`.
            validation_freq: validate every so many epochs, or after the epochs (counted from 1) in a list.

        Returns:
            A History: its `history` has a list for each metric.

        Raises:
            ValueError: the model is not compiled, or data that do not belong together.
        """
        self._assert_compiled("fit")
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_off("fit", (x, y, sample_weight), validation_split)
        batches = Batches(
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            shuffle=shuffle,
            steps=steps_per_epoch,
            class_weight=class_weight,
        )
        validation = None
        if validation_data is not None:
            size = batch_size if validation_batch_size is None else validation_batch_size
            validation = self._validation(validation_data, size, validation_steps)
        calls = self._callback_list(callbacks, verbose, epochs, batches.num_batches, history=True)
        self.stop_training = False
        logs: dict[str, Any] = {}
        calls.on_train_begin()
        for epoch in range(initial_epoch if self._initial_epoch is None else self._initial_epoch, epochs):
            self.reset_metrics()
            calls.on_epoch_begin(epoch)
            self.train()
            try:
                logs = self._train_epoch(batches, calls)
            finally:
                self.eval()
            if validation is not None and _due(epoch, validation_freq):
                results = self._test_epoch(validation, calls)
                logs |= {f"val_{name}": value for name, value in results.items()}
            logs = _told(logs)
            calls.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        if epochs > 0 and self.optimizer is not None and self.optimizer.built:
            self.optimizer.finalize_variable_values(self.trainable_parameters)
        calls.on_train_end(logs)
        return self.history

    def _train_epoch(self, batches: Batches, calls: Any) -> dict[str, Any]:
        logs: dict[str, Any] = {}
        step = -1
        for step, data in enumerate(batches.epoch()):
            calls.on_train_batch_begin(step)
            logs = _told(self.train_step(data))
            calls.on_train_batch_end(step, logs)
            if self.stop_training:
                break
        self._warn_short("fit", batches, step + 1)
        return logs

    def _test_epoch(self, batches: Batches, calls: Any) -> dict[str, Any]:
        self.stop_evaluating = False
        calls.on_test_begin()
        self.reset_metrics()
        logs: dict[str, Any] = {}
        step = -1
        with no_grad():
            for step, data in enumerate(batches.epoch()):
                calls.on_test_batch_begin(step)
                logs = _told(self.test_step(data))
                calls.on_test_batch_end(step, logs)
                if self.stop_evaluating:
                    break
        self._warn_short("evaluate", batches, step + 1)
        calls.on_test_end(logs)
        return logs

    def _warn_short(self, what: str, batches: Batches, steps: int) -> None:
        if not steps:
            msg = f"{what}: the data gave no batch"
            raise ValueError(msg)
        if batches.steps is not None and steps < batches.steps and not (self.stop_training or self.stop_evaluating):
            text = f"{what}: the data ended after {steps} of {batches.steps} steps"
            warnings.warn(text, UserWarning, stacklevel=4)

    def _validation(self, data: Any, batch_size: int | None, steps: int | None) -> Batches:
        x, y, weight = unpack_x_y_sample_weight(data) if isinstance(data, (tuple, list)) else (data, None, None)
        return Batches(x, y, weight, batch_size=batch_size, steps=steps, what="validation_data")

    def _callback_list(
        self, callbacks: Any, verbose: Any, epochs: int, steps: int | None, history: bool = False
    ) -> Any:
        from fastattn.keras.callbacks import CallbackList

        if isinstance(callbacks, CallbackList):
            return callbacks
        return CallbackList(
            callbacks,
            add_history=history,
            add_progbar=verbose != 0,
            model=self,
            verbose=verbose,
            epochs=epochs,
            steps=steps,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss and the metrics on data.

        Args:
            x: as fit takes it, as all that follows.
            y: labels.
            batch_size: of arrays, 32 by default.
            verbose: see fit.
            sample_weight: of each sample.
            steps: batches.
            callbacks: a list.
            return_dict: give a dict by name.

        Returns:
            The loss, or a list that begins with it, or a dict.
        """
        self._assert_compiled("evaluate")
        batches = Batches(x, y, sample_weight, batch_size=batch_size, steps=steps, what="evaluate")
        calls = self._callback_list(callbacks, verbose, 1, batches.num_batches)
        self.eval()
        logs = self._test_epoch(batches, calls)
        return logs if return_dict else self._in_order(logs)

    def _in_order(self, logs: dict[str, Any]) -> Any:
        names = [name for name in self.metrics_names if name in logs]
        values = [logs[name] for name in names] + [logs[name] for name in sorted(logs) if name not in names]
        return values[0] if len(values) == 1 else values

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for data, as arrays.

        Args:
            x: as fit takes it.
            batch_size: of arrays, 32 by default.
            verbose: see fit.
            steps: batches.
            callbacks: a list.

        Returns:
            An ndarray, or the model's structure of them.
        """
        batches = Batches(x, batch_size=batch_size, steps=steps, what="predict")
        calls = self._callback_list(callbacks, verbose, 1, batches.num_batches)
        self.eval()
        self.stop_predicting = False
        calls.on_predict_begin()
        parts: list[list[Any]] = []
        outputs: Any = None
        with no_grad():
            for step, data in enumerate(batches.epoch()):
                calls.on_predict_batch_begin(step)
                outputs = self.predict_step(data)
                parts.append([t.numpy() for t in leaves(outputs)])
                calls.on_predict_batch_end(step, {"outputs": outputs})
                if self.stop_predicting:
                    break
        self._warn_short("predict", batches, len(parts))
        calls.on_predict_end()
        return packed(outputs, [np.concatenate(arrays) for arrays in zip(*parts, strict=True)])

    # Single batches -------------------------------------------------------------------------------------------------

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step of training on one batch.

        Args:
            x: arrays.
            y: labels.
            sample_weight: of each sample.
            class_weight: class number to the weight of its samples.
            return_dict: give a dict by name.

        Returns:
            The loss, or a list that begins with it, or a dict; since the metrics were last reset.
        """
        self._assert_compiled("train_on_batch")
        self.train()
        try:
            logs = _told(self.train_step(self._batch("train_on_batch", x, y, sample_weight, class_weight)))
        finally:
            self.eval()
        return logs if return_dict else self._in_order(logs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The metrics with one batch more.

        Args:
            x: arrays.
            y: labels.
            sample_weight: of each sample.
            return_dict: give a dict by name.
        """
        self._assert_compiled("test_on_batch")
        with no_grad():
            logs = _told(self.test_step(self._batch("test_on_batch", x, y, sample_weight, None)))
        return logs if return_dict else self._in_order(logs)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as arrays.

        Args:
            x: arrays.
        """
        with no_grad():
            return mapped(lambda t: t.numpy(), self.predict_step((as_tensors(x), None, None)))

    def _batch(self, what: str, x: Any, y: Any, sample_weight: Any, class_weight: Any) -> Any:
        size = len(next(leaves(x)))
        batches: Iterator[Any] = Batches(
            x, y, sample_weight, batch_size=max(size, 1), class_weight=class_weight, what=what
        ).epoch()
        return next(batches)

    def _assert_compiled(self, what: str) -> None:
        if not self.compiled:
            msg = f"{self.title}: call compile() before {what}()"
            raise ValueError(msg)


def _due(epoch: int, frequency: Any) -> bool:
    """Whether there is a validation after an epoch."""
    if isinstance(frequency, (list, tuple, set)):
        return epoch + 1 in frequency
    return (epoch + 1) % int(frequency) == 0


def _told(logs: Any) -> dict[str, Any]:
    """Logs as callbacks get them: numbers, in the order of their names."""
    told = {}
    for name in sorted(logs or {}):
        value = logs[name]
        told[name] = float(value) if getattr(value, "ndim", 0) == 0 and not isinstance(value, str) else value
    return told
