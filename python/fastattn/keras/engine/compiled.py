"""The losses and metrics of compile, laid out over the outputs of a model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastattn.autograd.node import no_grad

from . import masks
from .tree import leaves, nested


class Outputs:
    """Which output has which name.

    Args:
        names: of a model's outputs; None where it has none.
    """

    def __init__(self, names: list[str] | None) -> None:
        self.names = names

    def of(self, y_pred: Any) -> list[str] | None:
        """The names of the outputs, in the order of `flat`."""
        if isinstance(y_pred, Mapping):
            keys = list(y_pred)
            return self.names if self.names and set(self.names) == set(keys) else sorted(keys)
        return self.names if self.names and len(self.names) == len(list(leaves(y_pred))) else None

    def flat(self, what: str, value: Any, y_pred: Any) -> list[Any]:
        """What belongs to each output: labels, losses, weights, given by name, in a list, or as one for all."""
        names, count = self.of(y_pred), len(list(leaves(y_pred)))
        if isinstance(value, Mapping):
            if names is None and count == 1:
                return list(value.values())[:1]
            unknown = [key for key in value if key not in (names or ())]
            if unknown:
                msg = f"{what}: there is no output {unknown[0]!r}; outputs are {', '.join(names or ['without names'])}"
                raise ValueError(msg)
            return [value.get(name) for name in names or ()]
        if not nested(value):
            return [value] * count
        if len(value) == count:
            return list(value)
        msg = f"{what}: {len(value)} given for {count} outputs"
        raise ValueError(msg)


class _Term(NamedTuple):
    """One output's part of the loss."""

    loss: Any
    weight: float | None
    tracker: Any


class CompiledLoss:
    """The sum of the outputs' losses.

    Args:
        loss: one, or one for each output, by name or in a list.
        loss_weights: their factors.
        outputs: the model's.
    """

    def __init__(self, loss: Any, loss_weights: Any, outputs: Outputs) -> None:
        self.loss, self.loss_weights, self.outputs = loss, loss_weights, outputs
        self.terms: list[_Term | None] | None = None

    @property
    def metrics(self) -> list[Any]:
        """What keeps each output's loss, where there are several."""
        return [t.tracker for t in self.terms or () if t is not None and t.tracker is not None]

    def _build(self, y_true: list[Any], y_pred: Any) -> list[_Term | None]:
        from fastattn.keras import losses, metrics

        preds = list(leaves(y_pred))
        given = self.outputs.flat("loss", self.loss, y_pred)
        weights = self.loss_weights
        weights = [None] * len(preds) if weights is None else self.outputs.flat("loss_weights", weights, y_pred)
        names = self.outputs.of(y_pred)
        several = sum(g is not None for g in given) > 1
        terms: list[_Term | None] = []
        for i, (loss, weight) in enumerate(zip(given, weights, strict=True)):
            if loss is None:
                terms.append(None)
                continue
            made: Any = losses.resolve(loss, y_true[i].shape, preds[i].shape)
            name = made.name if names is None else names[i]
            terms.append(_Term(made, weight, metrics.Mean(name=f"{name}_loss") if several else None))
        return terms

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss of a batch, or None where no output has one."""
        preds = list(leaves(y_pred))
        if y_true is None:
            msg = "compile gave a loss, but there are no labels: y is None"
            raise ValueError(msg)
        trues = self._labels(y_true, y_pred)
        if self.terms is None:
            self.terms = self._build(trues, y_pred)
        sample_weights = self.outputs.flat("sample_weight", sample_weight, y_pred)
        total = None
        for term, true, pred, weight in zip(self.terms, trues, preds, sample_weights, strict=True):
            if term is None:
                continue
            mask = masks.mask_of(pred)
            value = term.loss(true, pred, weight) if mask is None else term.loss(true, pred, weight, mask=mask)
            if term.tracker is not None:
                term.tracker.update_state(value.detach(), sample_weight=len(pred))
            if term.weight is not None:
                value = value * term.weight
            total = value if total is None else total + value
        return total

    def _labels(self, y_true: Any, y_pred: Any) -> list[Any]:
        """Each output's labels; of outputs without a loss there may be none."""
        count = len(list(leaves(y_pred)))
        flat = list(leaves(y_true))
        if not isinstance(y_true, Mapping) and len(flat) != count and nested(self.loss):
            wanted = self.outputs.flat("loss", self.loss, y_pred)
            if sum(w is not None for w in wanted) == len(flat):
                rest = iter(flat)
                return [None if w is None else next(rest) for w in wanted]
        if not isinstance(y_true, Mapping) and len(flat) != count:
            msg = f"y has {len(flat)} arrays for {count} outputs"
            raise ValueError(msg)
        return self.outputs.flat("y", y_true, y_pred) if isinstance(y_true, Mapping) else flat


class CompiledMetrics:
    """The metrics of each output.

    Args:
        metrics: a list for all outputs of a model with one, else a list or dict with those of each output.
        weighted_metrics: the same, of those that sample weights count for.
        outputs: the model's.
    """

    def __init__(self, metrics: Any, weighted_metrics: Any, outputs: Outputs) -> None:
        for name, value in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            if value is not None and not isinstance(value, (list, tuple, Mapping)):
                msg = f"compile: {name} is a {type(value).__name__}; expected a list or a dict"
                raise TypeError(msg)
        self.given = metrics, weighted_metrics
        self.outputs = outputs
        self.groups: list[tuple[list[list[Any]], list[str | None]]] | None = None

    @property
    def metrics(self) -> list[Any]:
        """All of them, in order."""
        return [m for lists, _ in self.groups or () for metrics in lists for m in metrics]

    def _build(self, y_true: list[Any], y_pred: Any) -> list[tuple[list[list[Any]], list[str | None]]]:
        from fastattn.keras import metrics as module

        preds = list(leaves(y_pred))
        names = self.outputs.of(y_pred)
        groups = []
        for what, given in zip(("metrics", "weighted_metrics"), self.given, strict=True):
            if not given:
                lists: list[Any] = [[] for _ in preds]
            elif len(preds) == 1:
                lists = [list(leaves(given))]
            else:
                lists = self.outputs.flat(what, given, y_pred)
            made = []
            for i, part in enumerate(lists):
                wanted = [] if part is None else list(part) if isinstance(part, (list, tuple)) else [part]
                made.append([module.resolve(m, y_true[i].shape, preds[i].shape) for m in wanted])
            groups.append((made, [None if names is None or len(preds) == 1 else names[i] for i in range(len(preds))]))
        return groups

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in a batch."""
        if not any(self.given) or y_true is None:
            return
        preds = list(leaves(y_pred))
        trues = self.outputs.flat("y", y_true, y_pred)
        if self.groups is None:
            self.groups = self._build(trues, y_pred)
        weights = self.outputs.flat("sample_weight", sample_weight, y_pred)
        with no_grad():
            for (lists, _), weighted in zip(self.groups, (False, True), strict=True):
                for metrics, true, pred, weight in zip(lists, trues, preds, weights, strict=True):
                    for metric in metrics:
                        _update(metric, true, pred.detach(), weight if weighted else None, masks.mask_of(pred))

    def reset_state(self) -> None:
        """Starts again."""
        for metric in self.metrics:
            metric.reset_state()

    def result(self) -> dict[str, Any]:
        """What each gives, by name: with that of its output, where there are several."""
        results: dict[str, Any] = {}
        counts: dict[str, int] = {}
        for (lists, names), weighted in zip(self.groups or (), (False, True), strict=False):
            for metrics, output in zip(lists, names, strict=True):
                for metric in metrics:
                    name = metric.name if output is None else f"{output}_{metric.name}"
                    if name in results and weighted:
                        name = f"weighted_{metric.name}" if output is None else f"{output}_weighted_{metric.name}"
                    if name in results:
                        counts[name] = counts.get(name, 0) + 1
                        name = f"{name}_{counts[name]}"
                    results[name] = metric.result()
        return results


def _update(metric: Any, true: Any, pred: Any, weight: Any, mask: Any) -> None:
    if mask is not None and "mask" in inspect.signature(metric.update_state).parameters:
        metric.update_state(true, pred, sample_weight=weight, mask=mask)
    else:
        metric.update_state(true, pred, sample_weight=weight)
