"""Question answering: where in a text an answer stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn.autograd import no_grad
from fastattn.data.order import BucketSampler, pad
from fastattn.nn.utils import evaluation

from .task import Array, Batch, Task, chunks, same_length, spaced, with_model

if TYPE_CHECKING:
    from fastattn import Tensor
    from fastattn.nn import Module

Rows = Sequence[Any]


class QuestionAnswering(Task):
    r"""The first and the last token of the answer to a question, in a row of question and text.

    .. math:: L = -\tfrac12 (\log p_{start} + \log q_{end}), \qquad
        (i, j) = \mathrm{argmax}_{i \le j < i + n} (\log p_i + \log q_j)

    The model is called with ids, mask and segments, and returns logits of both (B, T), as `BERTForQuestionAnswering` does.

    Args:
        rows: N rows of token ids, question and text together.
        segments: N rows of the same lengths: 0 for tokens of the question, 1 for those of the text.
        spans: (N, 2) places of the answers' first and last tokens in their rows.
        val_rows, val_segments, val_spans: the same, held out.
        pad_id: fills short rows.
        longest: tokens of an answer that is predicted, at most: n.

    Raises:
        ValueError: lengths that differ, or an answer that is not in its text.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> task = fa.train.QuestionAnswering(
        ...     [[1, 7, 2, 5, 7, 2]], [[0, 0, 0, 1, 1, 1]], [[4, 4]], [[1, 5, 2, 5, 7, 2]], [[0, 0, 0, 1, 1, 1]], [[3, 3]]
        ... )
        >>> start, end = np.array([[0, 9, 0, 2, 3, 0]]), np.array([[0, 9, 0, 1, 4, 0]])
        >>> task.best_spans(start, end, task.train[1])  # the question is no answer
        array([[4, 4]])

    Source: Devlin et al., "BERT" (2019), section 4.2; Rajpurkar et al., "SQuAD" (2016), section 6, for the measures.
    """

    primary = "f1"
    higher_is_better = True

    def __init__(
        self,
        rows: Rows,
        segments: Rows,
        spans: Any,
        val_rows: Rows,
        val_segments: Rows,
        val_spans: Any,
        *,
        pad_id: int = 0,
        longest: int = 30,
    ) -> None:
        self.train = self._part("", rows, segments, spans)
        self.val = self._part("val_", val_rows, val_segments, val_spans)
        if longest < 1:
            msg = f"QuestionAnswering: longest is {longest!r}; expected a positive number"
            raise ValueError(msg)
        self.pad_id, self.longest = pad_id, longest
        self.num_samples = len(self.train[0])

    @staticmethod
    def _part(prefix: str, rows: Rows, segments: Rows, spans: Any) -> tuple[Rows, Rows, Array]:
        spans = np.asarray(spans)
        named = {f"{prefix}rows": rows, f"{prefix}segments": segments, f"{prefix}spans": spans}
        same_length("QuestionAnswering", **named)
        if spans.dtype.kind not in "iu" or spans.shape != (len(rows), 2):
            found = f"dtype {spans.dtype} and shape {spans.shape}"
            msg = f"QuestionAnswering: {prefix}spans has {found}; expected ({len(rows)}, 2) places"
            raise ValueError(msg)
        for i, (row, kinds, (first, last)) in enumerate(zip(rows, segments, spans.tolist(), strict=True)):
            if len(row) != len(kinds):
                msg = f"QuestionAnswering: {prefix}rows[{i}] has {len(row)} tokens, {prefix}segments[{i}] has {len(kinds)}"
                raise ValueError(msg)
            if not (0 <= first <= last < len(row) and all(kinds[first : last + 1])):
                msg = f"QuestionAnswering: {prefix}spans[{i}] is {[first, last]}, which is not in its text"
                raise ValueError(msg)
        return rows, segments, spans.astype(np.int64)

    def sampler(self, batch_size: int, seed: int) -> Callable[[int], Batch]:
        """Every row once an epoch, with others of like lengths."""
        rows, segments, spans = self.train
        buckets = BucketSampler([len(row) for row in rows], batch_size, seed)

        def batch(step: int) -> Batch:
            at = buckets(step)
            return (*self._padded([rows[i] for i in at], [segments[i] for i in at]), spans[at])

        return batch

    def _padded(self, rows: Rows, segments: Rows) -> tuple[Array, Array, Array]:
        lengths = np.array([len(row) for row in rows], np.int64)
        return pad(rows, self.pad_id), lengths, pad(segments)

    def inputs(self, model: Module, batch: Batch) -> tuple[Any, ...]:
        """Ids, their mask, their segments."""
        ids, lengths, segments = batch[:3]
        mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
        return tuple(with_model(model, array) for array in (ids, mask, segments))

    def loss(self, model: Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of the first and the last token."""
        from fastattn.nn import functional

        losses = [
            functional.cross_entropy(logits, with_model(model, places), label_smoothing=label_smoothing)
            for logits, places in zip(model(*self.inputs(model, batch)), batch[3].T, strict=True)
        ]
        mean: Tensor = (losses[0] + losses[1]) / 2
        return mean

    def best_spans(self, start: Array, end: Array, segments: Rows) -> Array:
        """The best answers (B, 2) by logits (B, T) of both ends: within the text, of at most `longest` tokens."""
        found = np.empty((len(start), 2), np.int64)
        for i, kinds in enumerate(segments):
            outside = np.asarray(kinds) == 0
            first = np.where(outside, -np.inf, start[i, : len(kinds)])
            last = np.where(outside, -np.inf, end[i, : len(kinds)])
            both = first[:, None] + last
            ahead = np.arange(len(kinds)) - np.arange(len(kinds))[:, None]
            both[(ahead < 0) | (ahead >= self.longest)] = -np.inf
            found[i] = np.unravel_index(both.argmax(), both.shape)
        return found

    def evaluate(self, model: Module, batch_size: int, limit: int | None = None) -> dict[str, float]:
        """Loss, the part of the answers that are exact, and the mean F1 of the tokens that answer and prediction share."""
        rows, segments, spans = self.val
        at = spaced(len(rows), limit)
        order = at[np.argsort([len(rows[i]) for i in at], kind="stable")]
        losses, exact, f1 = 0.0, 0, 0.0
        with evaluation(model), no_grad():
            for chunk in chunks(order, max(batch_size, 64)):
                kinds = [segments[i] for i in chunk]
                batch = (*self._padded([rows[i] for i in chunk], kinds), spans[chunk])
                start, end = (x.cpu().numpy().astype(np.float64) for x in model(*self.inputs(model, batch)))
                for logits, places in ((start, batch[3][:, 0]), (end, batch[3][:, 1])):
                    logits = logits - logits.max(1, keepdims=True)
                    chosen = logits[np.arange(len(chunk)), places]
                    losses += float((np.log(np.exp(logits).sum(1)) - chosen).sum()) / 2
                found, wanted = self.best_spans(start, end, kinds), batch[3]
                exact += int((found == wanted).all(1).sum())
                shared = np.minimum(found[:, 1], wanted[:, 1]) - np.maximum(found[:, 0], wanted[:, 0]) + 1
                lengths = (found[:, 1] - found[:, 0] + 1) + (wanted[:, 1] - wanted[:, 0] + 1)
                f1 += float((2 * np.maximum(shared, 0) / lengths).sum())
        return {"loss": losses / len(at), "exact": exact / len(at), "f1": f1 / len(at)}

    def arrays(self) -> Iterable[Any]:
        """Rows, segments and answers."""
        return (*self.train, *self.val)
