"""Stepper: compile, and what happens with one batch: the loss, a step of the optimizer, the metrics."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .compiled import CompiledLoss, CompiledMetrics, Outputs
from .data import unpack_x_y_sample_weight
from .tree import leaves
from .weighted import Weighted

if TYPE_CHECKING:
    from fastattn.autograd.tensor import Tensor


class Stepper(Weighted):
    """A model that is trained by steps."""

    optimizer: Any = None
    loss: Any = None
    stop_training = False
    stop_evaluating = False
    stop_predicting = False
    history: Any = None
    compiled = False
    _initial_epoch: int | None = None
    _compile_config: dict[str, Any] | None = None
    _compiled_loss: CompiledLoss | None = None
    _compiled_metrics: CompiledMetrics | None = None
    _loss_tracker: Any = None
    _optimized: tuple[int, ...] = ()
    output_names: list[str] | None = None

    if TYPE_CHECKING:
        losses: list[Any]

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Says how the model is trained.

        Args:
            optimizer: a name or an object.
            loss: a name, a function (y_true, y_pred) or an object; of several outputs a list, or a dict by their names.
            loss_weights: factors of the outputs' losses, in a list or a dict.
            metrics: names or objects, in a list; of several outputs one such for each, in a list or a dict.
            weighted_metrics: the same, of metrics that sample weights count for.
            run_eagerly: accepted for Keras's sake, as the rest.
            steps_per_execution: as well.
            jit_compile: as well.
            auto_scale_loss: as well.

        Raises:
            ValueError: a name that does not exist.
            TypeError: metrics that are no list and no dict.
        """
        from fastattn.keras import losses, optimizers
        from fastattn.keras import metrics as metrics_module

        outputs = Outputs(self.output_names)
        compiled_metrics = CompiledMetrics(metrics, weighted_metrics, outputs)
        # What a name means is known with the first batch; that it means something, now.
        for resolve, given in ((losses.resolve, loss), (metrics_module.resolve, (metrics, weighted_metrics))):
            for name in leaves(given):
                if isinstance(name, str):
                    resolve(name, (1, 1), (1, 1))
        object.__setattr__(self, "optimizer", optimizers.get(optimizer))
        object.__setattr__(self, "loss", loss)
        self._compiled_loss = None if loss is None else CompiledLoss(loss, loss_weights, outputs)
        self._compiled_metrics = compiled_metrics
        self._loss_tracker = metrics_module.Mean(name="loss")
        self._optimized = ()
        self._compile_config = {
            "optimizer": self.optimizer,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        self.compiled = True

    # One batch ------------------------------------------------------------------------------------------------------

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of the optimizer on a batch; what a subclass overrides for a training of its own.

        Args:
            data: x, (x, y) or (x, y, sample_weight), of tensors.

        Returns:
            The metrics so far in this epoch, by name.
        """
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)
        for parameter in self.trainable_parameters:
            parameter.grad = None
        loss = self.compute_loss(x, y, y_pred, sample_weight)
        self._loss_tracker.update_state(loss.detach(), sample_weight=len(next(leaves(x))))
        self._descend(loss)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def _descend(self, loss: Tensor) -> None:
        """The gradients of a loss, a step, and what weights are constrained to."""
        parameters = self.trainable_parameters
        if not parameters:
            warnings.warn(f"{self.title}: nothing is trained: no weight is trainable", UserWarning, stacklevel=3)
            return
        ids = tuple([id(p) for p in parameters])
        if self._optimized != ids:
            if not self.optimizer.built or self._optimized:
                self.optimizer.build(parameters)
            self._optimized = ids
        self.optimizer.scale_loss(loss).backward()
        self.optimizer.apply()
        constrained = self._once("constrained", lambda: [w for w in self.trainable_weights if w.constraint is not None])
        for weight in constrained:
            weight.assign(weight.constraint(weight.numpy()))

    def test_step(self, data: Any) -> dict[str, Any]:
        """The metrics of a batch, without training.

        Args:
            data: x, (x, y) or (x, y, sample_weight), of tensors.
        """
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=False)
        self._loss_tracker.update_state(loss.detach(), sample_weight=len(next(leaves(x))))
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs of a batch.

        Args:
            data: x, or a tuple that begins with it.
        """
        return self(unpack_x_y_sample_weight(data)[0], training=False)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """The outputs' losses, and the terms of add_loss and of regularizers.

        Args:
            x: the batch.
            y: its labels.
            y_pred: the outputs.
            sample_weight: of each sample.
            training: whether this is a step of training.

        Raises:
            ValueError: there is no loss.
        """
        terms = list(self.losses)
        if self._compiled_loss is not None:
            own = self._compiled_loss(y, y_pred, sample_weight)
            terms = terms if own is None else [own, *terms]
        if not terms:
            msg = f"{self.title}: there is no loss; pass one to compile(), or add_loss in a layer"
            raise ValueError(msg)
        total: Any = 0
        for i, term in enumerate(terms):
            term = term.sum() if term.ndim else term
            total = total + term if i else term
        return total  # type: ignore[no-any-return]

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Lets the metrics take in a batch, and gives what they have.

        Args:
            x: the batch.
            y: its labels.
            y_pred: the outputs.
            sample_weight: of each sample.
        """
        if self._compiled_metrics is not None:
            self._compiled_metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    @property
    def metrics(self) -> list[Any]:
        """What is kept during an epoch: the loss, the model's own, those of compile, the outputs' losses."""
        found = [] if self._loss_tracker is None else [self._loss_tracker]
        found += self._once("metrics", self._own_metrics)
        found += [] if self._compiled_metrics is None else self._compiled_metrics.metrics
        return found + ([] if self._compiled_loss is None else self._compiled_loss.metrics)

    def _own_metrics(self) -> list[Any]:
        """Metrics that layers have as attributes."""
        from fastattn.keras import metrics

        found = []
        for layer in self._flatten_layers():
            for name, value in layer.__dict__.items():
                if not name.startswith("_") and isinstance(value, metrics.Metric):
                    found.append(value)
        return found

    @property
    def metrics_names(self) -> list[str]:
        """Their names, in the order of what evaluate gives."""
        return [m.name for m in self.metrics]

    def get_metrics_result(self) -> dict[str, Any]:
        """What the metrics have so far, by name."""
        results: dict[str, Any] = {}
        compiled = self._compiled_metrics
        inside = [] if compiled is None else [id(m) for m in compiled.metrics]
        for metric in self.metrics:
            if id(metric) not in inside:
                value = metric.result()
                results.update(value if isinstance(value, Mapping) else {metric.name: value})
        return results | ({} if compiled is None else compiled.result())

    def reset_metrics(self) -> None:
        """Starts the metrics again."""
        for metric in self.metrics:
            metric.reset_state()
