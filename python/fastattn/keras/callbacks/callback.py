"""Callbacks: what is told when training, testing and predicting begin, go on and end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..progress import Progbar, verbosity

Logs = dict[str, Any] | None


class Callback:
    """Base: methods of the moments, all of which may stay as they are. `model` and `params` are set before the first.

    Example:
        >>> from fastattn import keras
        >>> class Losses(keras.callbacks.Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         print(epoch, logs["loss"])
        >>> callbacks = keras.callbacks.CallbackList([Losses()])
        >>> callbacks.on_epoch_end(0, {"loss": 0.5})
        0 0.5
    """

    def __init__(self) -> None:
        self.params: dict[str, Any] | None = None
        self._model: Any = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Is told "verbose", "epochs" and "steps"."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Is told the model."""
        self._model = model

    @property
    def model(self) -> Any:
        """The model."""
        return getattr(self, "_model", None)

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """An old name of on_train_batch_begin."""

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        """An old name of on_train_batch_end."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Before an epoch of `fit`."""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """After an epoch of `fit` and its validation; `logs` are the values, `val_loss` that of validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a batch of `fit`."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After a batch of `fit`; `logs` are the means of the epoch so far."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a batch of `evaluate`, or of the validation of `fit`."""

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After one."""

    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After one."""

    def on_train_begin(self, logs: Logs = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs = None) -> None:
        """After the last."""

    def on_test_begin(self, logs: Logs = None) -> None:
        """Before `evaluate`, or the validation of `fit`."""

    def on_test_end(self, logs: Logs = None) -> None:
        """After it."""

    def on_predict_begin(self, logs: Logs = None) -> None:
        """Before `predict`."""

    def on_predict_end(self, logs: Logs = None) -> None:
        """After it."""


MOMENTS = tuple(name for name in vars(Callback) if name.startswith("on_"))
WITH_NUMBER = {name for name in MOMENTS if "batch" in name or "epoch" in name}


def _flat(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    if isinstance(callbacks, (list, tuple)):
        return [one for part in callbacks for one in _flat(part)]
    return [callbacks]


class CallbackList(Callback):
    """Callbacks as one: each moment is told to all, in order.

    Args:
        callbacks: one, or a list, which may have lists in it.
        add_history: adds a `History` if there is none; it is `model.history` then.
        add_progbar: adds a `ProgbarLogger` if there is none.
        model: what they are told is the model.
        params: what they are told besides: verbose, epochs, steps.

    Raises:
        TypeError: something that is not a callback.

    Example:
        >>> from fastattn import keras
        >>> callbacks = keras.callbacks.CallbackList(add_history=True)
        >>> callbacks.on_train_begin()
        >>> callbacks.on_epoch_end(0, {"loss": 0.5})
        >>> callbacks.history.history
        {'loss': [0.5]}
    """

    def __init__(
        self,
        callbacks: Callback | Iterable[Any] | None = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        super().__init__()
        self.callbacks = _flat(callbacks)
        for callback in self.callbacks:
            if not hasattr(callback, "on_epoch_end"):
                msg = f"CallbackList: got a {type(callback).__name__}; expected a Callback"
                raise TypeError(msg)
        self.history = next((one for one in self.callbacks if isinstance(one, History)), None)
        if self.history is None and add_history:
            self.history = History()
            self.callbacks.append(self.history)
        if add_progbar and not any(isinstance(one, ProgbarLogger) for one in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        if model is not None:
            self.set_model(model)
        if params:
            self.set_params(params)

    def append(self, callback: Callback) -> None:
        """Adds one."""
        self.callbacks.append(callback)

    def set_params(self, params: dict[str, Any]) -> None:
        """Tells all of them."""
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: Any) -> None:
        """Tells all of them."""
        self._model = model
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)


def _to_all(moment: str) -> Callable[..., None]:
    def tell(self: CallbackList, *args: Any, logs: Logs = None) -> None:
        """Logs come last or by name; all get one copy, to which they may add for those after them."""
        number, rest = (args[:1], args[1:]) if moment in WITH_NUMBER else ((), args)
        logs = rest[0] if rest else logs
        shared = None if logs is None else dict(sorted(logs.items()))
        for callback in self.callbacks:
            getattr(callback, moment)(*number, shared)

    tell.__name__ = moment
    tell.__doc__ = f"Tells {moment} to all."
    return tell


for _moment in MOMENTS:
    setattr(CallbackList, _moment, _to_all(_moment))


class History(Callback):
    """What the logs of each epoch were; `fit` returns it.

    Attributes: `epoch`, the epochs, and `history`, lists of values by name.

    Example:
        >>> from fastattn import keras
        >>> history = keras.callbacks.History()
        >>> history.on_train_begin()
        >>> history.on_epoch_end(0, {"loss": 0.5})
        >>> history.history, history.epoch
        ({'loss': [0.5]}, [0])
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        """Counts epochs anew; values are kept."""
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Keeps the values."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        if self.model is not None:
            self.model.history = self

    def plot(self, names: Iterable[str] | None = None, path: Any = None) -> Any:
        """Draws the values over the epochs: a picture for each, training and validation together.

        Args:
            names: which, all by default; "loss" has "val_loss" with it.
            path: a file that the picture is written to.

        Returns:
            The figure, of matplotlib.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: a name that has no values.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            msg = "History.plot needs matplotlib: pip install 'fastattn[train]'"
            raise ImportError(msg) from None
        shown = [name for name in self.history if not name.startswith("val_")] if names is None else list(names)
        unknown = [name for name in shown if name not in self.history]
        if unknown or not shown:
            msg = f"History.plot: no values of {unknown[0]!r}" if unknown else "History.plot: there are no values yet"
            raise ValueError(f"{msg}; there are {', '.join(self.history) or 'none'}")
        figure = Figure(figsize=(5 * len(shown), 4), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                if key in self.history:
                    values = self.history[key]
                    axes.plot(range(1, len(values) + 1), values, label=label)
            axes.set(title=name, xlabel="epoch")
            axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


class ProgbarLogger(Callback):
    """Shows how far an epoch is, and its values: those of `logs`, at its end those that are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.verbose, self.epochs = 1, 1
        self.steps: int | None = None
        self.bar: Progbar | None = None
        self._in_fit = False

    def set_params(self, params: dict[str, Any]) -> None:
        """Is told "verbose", "epochs" and "steps"."""
        self.params = params
        self.verbose = verbosity(params.get("verbose", 1))
        self.epochs = params.get("epochs") or 1
        self.steps = params.get("steps")

    def _begin(self) -> None:
        self.bar = Progbar(self.steps, verbose=self.verbose)

    def _show(self, batch: int, logs: Logs) -> None:
        if self.bar is None:
            self._begin()
        assert self.bar is not None
        self.bar.update(batch + 1, logs, finalize=False)

    def _end(self, logs: Logs) -> None:
        if self.bar is None:
            return
        if self.steps is None:
            self.steps = self.bar.target = self.bar.seen or None  # as many as there were
        self.bar.update(self.bar.seen, logs, finalize=True)
        self.bar = None

    def on_train_begin(self, logs: Logs = None) -> None:
        """Validation is silent from here."""
        self._in_fit = True

    def on_train_end(self, logs: Logs = None) -> None:
        """And no longer."""
        self._in_fit = False

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Begins a bar."""
        self._begin()
        if self.verbose and self.epochs > 1:
            print(f"Epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Moves it."""
        self._show(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Ends it."""
        self._end(logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        """Begins a bar, unless it is validation."""
        if not self._in_fit:
            self._begin()

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Moves it."""
        if not self._in_fit:
            self._show(batch, logs)

    def on_test_end(self, logs: Logs = None) -> None:
        """Ends it."""
        if not self._in_fit:
            self._end(logs)

    def on_predict_begin(self, logs: Logs = None) -> None:
        """Begins a bar."""
        self._begin()

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Moves it; predictions are not shown."""
        self._show(batch, None)

    def on_predict_end(self, logs: Logs = None) -> None:
        """Ends it."""
        self._end(None)
