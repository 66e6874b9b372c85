"""Language models: the next token, and the token behind a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn._device import CPU
from fastattn.autograd import no_grad
from fastattn.data.order import BucketSampler, pad, uniforms
from fastattn.data.windows import WindowSampler, windows
from fastattn.nn.utils import evaluation

from .task import Array, Batch, Task, chunks, spaced, with_model

if TYPE_CHECKING:
    from fastattn import Tensor
    from fastattn.nn import Module

IGNORE = -100
_MASKS = 0x6D61736B  # the stream of masks


class LanguageModeling(Task):
    """Predicting each token of a sequence from those before it, on random windows.

    Args:
        train_ids: (N,) integers, the tokens to train on.
        val_ids: (M,) integers, the tokens held out.
        context: tokens a window.

    Raises:
        ValueError: fewer tokens than a window and its target, or a context that the model has no positions for.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> task = fa.train.LanguageModeling(np.arange(100) % 4, np.arange(20) % 4, context=8)
        >>> inputs, targets = task.sampler(2, seed=0)(5)
        >>> inputs.shape, task.size((inputs, targets))
        ((2, 8), 16)

    Source: Radford et al., "Language models are unsupervised multitask learners" (2019), section 2.
    """

    unit = "tokens"

    def __init__(self, train_ids: Any, val_ids: Any, context: int) -> None:
        self.train_ids, self.val_ids, self.context = train_ids, val_ids, context
        WindowSampler(train_ids, 1, context, 0)  # says what does not fit
        self.num_samples = max(1, (len(train_ids) - 1) // context)

    def check(self, model: Module) -> None:
        """Raises ValueError for a context that the model has no positions for."""
        limit = getattr(getattr(model, "config", None), "n_positions", None)
        if limit is not None and self.context > limit:
            msg = f"Trainer: context {self.context} exceeds the model's n_positions {limit}"
            raise ValueError(msg)

    def sampler(self, batch_size: int, seed: int) -> Callable[[int], Batch]:
        """Windows and their targets, (batch_size, context) each."""
        return WindowSampler(self.train_ids, batch_size, self.context, seed)

    def size(self, batch: Batch) -> int:
        """Tokens that are predicted."""
        return int(batch[1].size)

    def inputs(self, model: Module, batch: Batch) -> tuple[Any, ...]:
        """The token ids."""
        return (on(model, batch[0]),)

    def loss(self, model: Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy, nats per token."""
        return loss_of(model, batch[0], batch[1], label_smoothing)

    def evaluate(self, model: Module, batch_size: int, limit: int | None = None) -> dict[str, float]:
        """Loss and perplexity on windows that do not overlap."""
        loss = evaluate(model, self.val_ids, self.context, batch_size, limit)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}

    def arrays(self) -> Iterable[Any]:
        """The tokens."""
        return (self.train_ids, self.val_ids)


def on(model: Module, array: Any) -> Any:
    """Token ids where the model is: ndarrays as they are on the CPU."""
    where = next((p.device for p in model.parameters()), CPU)
    return array if where == CPU else with_model(model, array)


def loss_of(model: Module, inputs: Any, targets: Any, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of a batch, nats per token, as a Tensor to differentiate."""
    from fastattn.nn import functional

    inputs, targets = on(model, inputs), on(model, targets)
    options: dict[str, Any] = {"label_smoothing": label_smoothing} if label_smoothing else {}
    if (loss := getattr(model, "loss", None)) is not None:
        return loss(inputs, targets, **options)  # type: ignore[no-any-return]
    logits = model(inputs)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), **options)


def evaluate(model: Module, ids: Any, context: int, batch_size: int = 16, limit: int | None = None) -> float:
    """The model's mean loss over a token sequence, read in windows that do not overlap.

    Args:
        model: from (B, T) token ids to (B, T, vocabulary) logits, on any device.
        ids: (N,), the tokens; every one but the first is predicted, from what precedes it in its window.
        context: tokens a window.
        batch_size: windows at a time; it does not change the result beyond rounding.
        limit: at most this many windows, evenly spaced; None for all.

    Returns:
        Mean loss in nats per token. The model is run in eval mode, without gradients, and left in the mode it was in.

    Raises:
        ValueError: fewer than two tokens.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.manual_seed(0)
        >>> config = fa.models.GPTConfig(vocab_size=4, n_positions=8, n_embd=4, n_layer=1, n_head=2)
        >>> 1.0 < fa.train.evaluate(fa.models.GPT(config), np.arange(50) % 4, context=8) < 2.0
        True

    Source: none.
    """
    total, count = 0.0, 0
    with evaluation(model), no_grad():
        for inputs, targets in windows(ids, context, batch_size, limit):
            total += loss_of(model, inputs, targets).item() * targets.size
            count += targets.size
    return total / count


class MaskedLanguageModeling(Task):
    """Predicting tokens of a text behind masks, from both sides (BERT).

    Of the tokens that are not special, each is chosen with probability `rate`: 8 of 10 of those become the mask, 1 a random
    token, 1 stays. Which, is a function of seed, step and place in the batch; an evaluation has masks of its own, always
    the same.

    Args:
        train: a list of (T,) arrays of token ids.
        val: the same, held out.
        mask_id: the mask.
        vocab_size: tokens of the vocabulary.
        pad_id: fills short rows.
        special: tokens that are never chosen, besides pad_id and mask_id.
        rate: part of the tokens that is chosen.

    Raises:
        ValueError: no sequences.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> texts = [np.arange(5, 5 + n) for n in (3, 5, 4)]
        >>> task = fa.train.MaskedLanguageModeling(texts, texts, mask_id=4, vocab_size=10, rate=0.5)
        >>> ids, labels, mask = task.sampler(3, seed=0)(0)
        >>> ids.shape, bool((ids[labels == -100] != 4).all())
        ((3, 5), True)

    Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2019), section 3.1, task 1.
    """

    unit = "tokens"

    def __init__(
        self,
        train: Sequence[Any],
        val: Sequence[Any],
        *,
        mask_id: int,
        vocab_size: int,
        pad_id: int = 0,
        special: Sequence[int] = (),
        rate: float = 0.15,
    ) -> None:
        if not len(train) or not len(val):
            msg = f"MaskedLanguageModeling: {len(train)} sequences to train on, {len(val)} held out; expected some of both"
            raise ValueError(msg)
        self.train, self.val = train, val
        self.mask_id, self.vocab_size, self.pad_id, self.rate = mask_id, vocab_size, pad_id, rate
        self.special = np.array(sorted({pad_id, mask_id, *special}))
        self.ordinary = np.setdiff1d(np.arange(vocab_size), self.special)
        self.num_samples = len(train)

    def masked(self, rows: Sequence[Any], seed: int, step: int) -> Batch:
        """Token ids with masks, labels (-100: not chosen) and attention mask, of (B, T)."""
        ids = pad(rows, self.pad_id)
        draws = uniforms(seed, _MASKS, step, 3 * ids.size).reshape(3, *ids.shape)
        ordinary = ~np.isin(ids, self.special)
        chosen = ordinary & (draws[0] < self.rate)
        # A row without a single label teaches nothing: its likeliest token is taken.
        least = np.where(ordinary, draws[0], 2.0)
        first = np.arange(ids.shape[1]) == least.argmin(1)[:, None]
        chosen |= first & ordinary & ~chosen.any(1, keepdims=True)
        labels = np.where(chosen, ids, IGNORE)
        other = self.ordinary[(draws[2] * len(self.ordinary)).astype(np.int64)]
        shown = np.where(chosen & (draws[1] < 0.8), self.mask_id, ids)
        shown = np.where(chosen & (draws[1] >= 0.9), other, shown)
        return shown.astype(np.int64), labels, (ids != self.pad_id).astype(np.int64)

    def sampler(self, batch_size: int, seed: int) -> Callable[[int], Batch]:
        """Rows of like lengths, masked."""
        order = BucketSampler([len(row) for row in self.train], batch_size, seed)
        return lambda step: self.masked([self.train[i] for i in order(step)], seed, step)

    def size(self, batch: Batch) -> int:
        """Tokens read, without padding."""
        return int(batch[2].sum())

    def weight(self, batch: Batch) -> float:
        """Tokens that are predicted."""
        return float((batch[1] != IGNORE).sum())

    def inputs(self, model: Module, batch: Batch) -> tuple[Any, ...]:
        """Token ids and attention mask."""
        return on(model, batch[0]), on(model, batch[2])

    def loss(self, model: Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of the tokens behind masks, nats."""
        ids, mask = self.inputs(model, batch)
        options: dict[str, Any] = {"label_smoothing": label_smoothing} if label_smoothing else {}
        return model.loss(ids, on(model, batch[1]), mask, **options)  # type: ignore[no-any-return]

    def evaluate(self, model: Module, batch_size: int, limit: int | None = None) -> dict[str, float]:
        """Loss, perplexity and accuracy of the tokens behind masks."""
        from fastattn.metrics import Accuracy, Perplexity
        from fastattn.nn import functional

        perplexity, accuracy = Perplexity(), Accuracy()
        order = spaced(len(self.val), limit)
        order = order[np.argsort([len(self.val[i]) for i in order], kind="stable")]
        with evaluation(model), no_grad():
            for i, chunk in enumerate(chunks(order, batch_size)):
                batch = self.masked([self.val[j] for j in chunk], 0, i)
                at = batch[1] != IGNORE
                if not at.any():
                    continue
                logits = model(*self.inputs(model, batch)).reshape(-1, self.vocab_size)
                targets: Array = batch[1].reshape(-1)
                loss = functional.cross_entropy(logits, with_model(model, targets)).item()
                perplexity.update(loss, int(at.sum()))
                guesses = logits.argmax(-1).cpu().numpy()
                accuracy.update(guesses[at.reshape(-1)], targets[at.reshape(-1)])
        return {"loss": perplexity.loss, "perplexity": perplexity.compute(), "accuracy": accuracy.compute()}

    def arrays(self) -> Iterable[Any]:
        """The token ids."""
        return (list(self.train), list(self.val))
