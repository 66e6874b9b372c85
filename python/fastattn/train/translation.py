"""A sequence for a sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn.autograd import no_grad
from fastattn.data.order import BucketSampler, pad
from fastattn.nn.utils import evaluation

from .task import Batch, Task, chunks, same_length, spaced, with_model

if TYPE_CHECKING:
    from fastattn import Tensor
    from fastattn.models import EncoderDecoder
    from fastattn.nn import Module


class Translation(Task):
    """Writing a target for a source, token after token.

    Args:
        sources: a list of N (S,) arrays of token ids, with what ends them, if anything.
        targets: a list of N (T,) arrays, without the tokens that begin and end what is written.
        val_sources: the same, held out.
        val_targets: the same.
        config: the model's config: which tokens pad, begin and end.
        decode: from token ids to a text: then an evaluation has BLEU too, by sacrebleu.
        num_beams: beams of the search in an evaluation, 1: the likeliest token.

    Raises:
        ValueError: lengths that differ.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> rng = np.random.default_rng(0)
        >>> sources = [rng.integers(3, 8, n) for n in rng.integers(1, 5, 64)]
        >>> config = fa.models.EncoderDecoderConfig(8, d_model=8, nhead=2, dim_feedforward=16)
        >>> task = fa.train.Translation(sources, [s[::-1] for s in sources], sources[:8], sources[:8], config)
        >>> source, target = task.sampler(4, seed=0)(0)
        >>> bool((target[:, 0] == config.bos_token_id).all())
        True

    Source: Vaswani et al., "Attention is all you need" (2017), section 5.
    """

    unit = "pairs"
    primary = "exact"
    higher_is_better = True

    def __init__(
        self,
        sources: Sequence[Any],
        targets: Sequence[Any],
        val_sources: Sequence[Any],
        val_targets: Sequence[Any],
        config: Any,
        *,
        decode: Callable[[Any], str] | None = None,
        num_beams: int = 1,
    ) -> None:
        same_length("Translation", sources=sources, targets=targets)
        same_length("Translation", val_sources=val_sources, val_targets=val_targets)
        self.train, self.val, self.config = (sources, targets), (val_sources, val_targets), config
        self.decode, self.num_beams = decode, num_beams
        self.num_samples = len(sources)

    def batch(self, sources: Sequence[Any], targets: Sequence[Any]) -> Batch:
        """Sources (B, S) and targets (B, T) from bos_token_id to eos_token_id, padded."""
        c = self.config
        written = [np.concatenate([[c.bos_token_id], row, [c.eos_token_id]]) for row in targets]
        return pad(sources, c.pad_token_id), pad(written, c.pad_token_id)

    def sampler(self, batch_size: int, seed: int) -> Callable[[int], Batch]:
        """Pairs of like lengths."""
        sources, targets = self.train
        order = BucketSampler([len(s) + len(t) for s, t in zip(sources, targets, strict=True)], batch_size, seed)

        def batch(step: int) -> Batch:
            at = order(step)
            return self.batch([sources[i] for i in at], [targets[i] for i in at])

        return batch

    def weight(self, batch: Batch) -> float:
        """Tokens that are written."""
        return float((batch[1][:, 1:] != self.config.pad_token_id).sum())

    def inputs(self, model: Module, batch: Batch) -> tuple[Any, ...]:
        """Sources, and targets without their last token."""
        return with_model(model, batch[0]), with_model(model, np.ascontiguousarray(batch[1][:, :-1]))

    def loss(self, model: Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy, nats per token written; smoothed as asked, else as the model's config says."""
        return self._loss(model, batch, label_smoothing or None)

    def _loss(self, model: Module, batch: Batch, label_smoothing: float | None) -> Tensor:
        labels = with_model(model, np.ascontiguousarray(batch[1][:, 1:]))
        return model.loss(*self.inputs(model, batch), labels, label_smoothing=label_smoothing)  # type: ignore[no-any-return]

    def write(self, model: EncoderDecoder, sources: Sequence[Any], batch_size: int = 64) -> list[Any]:
        """What the model writes for each source, without the token that ends it."""
        longest = max(len(row) for row in (*self.train[1], *self.val[1]))
        written: list[Any] = [None] * len(sources)
        order = np.argsort([len(row) for row in sources], kind="stable")
        for chunk in chunks(order, batch_size):
            rows = model.generate(
                [sources[i] for i in chunk], max_new_tokens=longest + 1, num_beams=self.num_beams,
            )  # fmt: skip
            for i, row in zip(chunk, rows, strict=True):
                ends = np.flatnonzero(np.asarray(row) == self.config.eos_token_id)
                written[i] = np.asarray(row)[: ends[0]] if len(ends) else np.asarray(row)
        return written

    def evaluate(self, model: Module, batch_size: int, limit: int | None = None) -> dict[str, float]:
        """Loss, the part of targets that are written exactly, and BLEU if there is `decode`."""
        from fastattn.metrics import BLEU, Perplexity

        at = spaced(len(self.val[0]), limit)
        sources, targets = ([side[i] for i in at] for side in self.val)
        perplexity = Perplexity()
        with evaluation(model), no_grad():
            for chunk in chunks(np.argsort([len(row) for row in sources], kind="stable"), max(batch_size, 64)):
                batch = self.batch([sources[i] for i in chunk], [targets[i] for i in chunk])
                perplexity.update(self._loss(model, batch, 0.0).item(), int(self.weight(batch)))
        written = self.write(model, sources, max(batch_size, 128))  # type: ignore[arg-type]
        exact = [np.array_equal(a, b) for a, b in zip(written, targets, strict=True)]
        measures = {"loss": perplexity.loss, "exact": float(np.mean(exact))}
        if self.decode is not None:
            bleu = BLEU()
            bleu.update([self.decode(row) for row in written], [self.decode(row) for row in targets])
            measures["bleu"] = bleu.compute()
        return measures

    def arrays(self) -> Iterable[Any]:
        """The pairs."""
        return (list(self.train[0]), list(self.train[1]), list(self.val[0]), list(self.val[1]))
