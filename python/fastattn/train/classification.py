"""Classification of images, vectors and token sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn.autograd import no_grad
from fastattn.data.order import BucketSampler, EpochSampler, pad
from fastattn.nn.utils import evaluation

from .task import Array, Batch, Task, chunks, same_length, spaced, with_model

if TYPE_CHECKING:
    from fastattn import Tensor
    from fastattn.data import Augment
    from fastattn.nn import Module

READS = ("mask", "lengths")


class Classification(Task):
    """A class for each sample; samples are arrays of one shape, or sequences of token ids.

    Args:
        inputs: (N, ...) floats, images as (N, channels, height, width); or a list of N (T,) arrays of token ids.
        labels: (N,) classes.
        val_inputs: the same, held out.
        val_labels: (M,) classes.
        augment: changes images as they are trained on; see `fa.data.Augment`.
        pad_id: fills short rows of token ids.
        reads: what a model of token ids is called with besides them: "mask", (B, T) with 0 where a row is padded, or
            "lengths", (B,).

    Raises:
        ValueError: lengths that differ, or labels that are no classes.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> x = np.random.default_rng(0).standard_normal((60, 4), dtype=np.float32)
        >>> task = fa.train.Classification(x, (x[:, 0] > 0).astype(int), x, (x[:, 0] > 0).astype(int))
        >>> fa.manual_seed(0)
        >>> config = fa.train.TrainConfig(steps=100, batch_size=16, lr=0.05, warmup=5)
        >>> history = fa.train.Trainer(fa.models.MLP(fa.models.MLPConfig(4, [8], 2)), task, config).fit()
        >>> history.measures["accuracy"] > 0.9
        True

    Source: none.
    """

    primary = "accuracy"
    higher_is_better = True

    def __init__(
        self,
        inputs: Any,
        labels: Any,
        val_inputs: Any,
        val_labels: Any,
        *,
        augment: Augment | None = None,
        pad_id: int = 0,
        reads: str = "mask",
    ) -> None:
        self.train = self._pair("inputs", inputs, "labels", labels)
        self.val = self._pair("val_inputs", val_inputs, "val_labels", val_labels)
        if reads not in READS:
            msg = f"Classification: reads is {reads!r}; expected {' or '.join(READS)}"
            raise ValueError(msg)
        self.augment, self.pad_id, self.reads = augment, pad_id, reads
        self.prefetch = augment is not None
        self.is_text = not isinstance(inputs, np.ndarray)
        self.num_samples = len(self.train[1])

    @staticmethod
    def _pair(name: str, inputs: Any, label_name: str, labels: Any) -> tuple[Any, Array]:
        labels = np.asarray(labels)
        same_length("Classification", **{name: inputs, label_name: labels})
        if labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.min() < 0:
            msg = (
                f"Classification: {label_name} has dtype {labels.dtype} and shape {labels.shape}; expected (N,) classes"
            )
            raise ValueError(msg)
        return inputs, labels.astype(np.int64)

    def sampler(self, batch_size: int, seed: int) -> Callable[[int], Batch]:
        """Every sample once an epoch, in an order of its own; token ids by like lengths."""
        inputs, labels = self.train
        if self.is_text:
            buckets = BucketSampler([len(row) for row in inputs], batch_size, seed)
            return lambda step: (*self._padded([inputs[i] for i in buckets(step)]), labels[buckets(step)])
        order = EpochSampler(len(labels), batch_size, seed)

        def batch(step: int) -> Batch:
            at = order(step)
            if self.augment is None:
                return inputs[at], labels[at]
            return self.augment(inputs[at], labels[at], seed=seed, step=step)

        return batch

    def _padded(self, rows: Sequence[Any]) -> tuple[Array, Array]:
        lengths = np.array([len(row) for row in rows], np.int64)
        return pad(rows, self.pad_id), lengths

    def inputs(self, model: Module, batch: Batch) -> tuple[Any, ...]:
        """The samples; with token ids, their mask or their lengths."""
        if not self.is_text:
            return (with_model(model, batch[0]),)
        ids, lengths = batch[:2]
        if self.reads == "lengths":
            return with_model(model, ids), lengths
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        return with_model(model, ids), with_model(model, mask)

    def loss(self, model: Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy; of mixed images, of both labels by their parts."""
        from fastattn.nn import functional

        logits = model(*self.inputs(model, batch))
        labels = batch[2] if self.is_text else batch[1]
        if labels.ndim == 1:
            return functional.cross_entropy(logits, with_model(model, labels), label_smoothing=label_smoothing)
        # Columns of mixup: label, other label, part of the first.
        first, second, part = labels.T
        one = functional.cross_entropy(
            logits, with_model(model, first.astype(np.int64)), reduction="none", label_smoothing=label_smoothing
        )
        two = functional.cross_entropy(
            logits, with_model(model, second.astype(np.int64)), reduction="none", label_smoothing=label_smoothing
        )
        share = with_model(model, part.astype(np.float32))
        mean: Tensor = (one * share + two * (1.0 - share)).mean()
        return mean

    def logits(self, model: Module, inputs: Any, batch_size: int = 64) -> Array:
        """Logits of samples, (N, classes) float32 or float64, in eval mode."""
        rows: list[Any] = [None] * len(inputs)
        order = np.arange(len(inputs))
        if self.is_text:
            order = np.argsort([len(row) for row in inputs], kind="stable")
        with evaluation(model), no_grad():
            for chunk in chunks(order, batch_size):
                batch: Any = self._padded([inputs[i] for i in chunk]) if self.is_text else (inputs[chunk],)
                found = model(*self.inputs(model, batch)).cpu().numpy()
                found = found if found.dtype == np.float64 else found.astype(np.float32)
                for i, row in zip(chunk, found, strict=True):
                    rows[i] = row
        return np.stack(rows)

    def evaluate(self, model: Module, batch_size: int, limit: int | None = None) -> dict[str, float]:
        """Loss, accuracy and macro F1."""
        from fastattn.metrics import ConfusionMatrix

        at = spaced(len(self.val[1]), limit)
        inputs, labels = self.val
        chosen = [inputs[i] for i in at] if self.is_text else inputs[at]
        logits = self.logits(model, chosen, max(batch_size, 64)).astype(np.float64)
        targets = labels[at]
        logits -= logits.max(1, keepdims=True)
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(at)), targets]
        matrix = ConfusionMatrix(logits.shape[1])
        matrix.update(logits.argmax(1), targets)
        return {"loss": float(losses.mean()), "accuracy": matrix.accuracy(), "f1": matrix.f1("macro")}

    def arrays(self) -> Iterable[Any]:
        """Samples and labels."""
        return (self.train[0], self.train[1], self.val[0], self.val[1])
