"""What a language model is worth: its loss on held-out text, and a sample of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn.data.sampler import philox_words, windows

if TYPE_CHECKING:
    from fastattn import Tensor
    from fastattn.nn import Module

_STREAM = 0x73616D70  # the sample's own Philox stream


def loss_of(model: Module, inputs: Any, targets: Any) -> Tensor:
    """Mean cross-entropy of a batch, nats per token, as a Tensor to differentiate."""
    from fastattn.nn import functional

    if (loss := getattr(model, "loss", None)) is not None:
        return loss(inputs, targets)  # type: ignore[no-any-return]
    logits = model(inputs)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def evaluate(model: Module, ids: Any, context: int, batch_size: int = 16, limit: int | None = None) -> float:
    """The model's mean loss over a token sequence, read in windows that do not overlap.

    Args:
        model: from (B, T) token ids to (B, T, vocabulary) logits.
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
    with _inference(model):
        for inputs, targets in windows(ids, context, batch_size, limit):
            total += loss_of(model, inputs, targets).item() * targets.size
            count += targets.size
    return total / count


def sample(model: Module, prompt: Any, length: int, *, context: int, temperature: float = 0.8, seed: int = 0) -> Any:
    """Continues a token sequence, drawing each next token from the model's distribution.

    Args:
        model: from (B, T) token ids to (B, T, vocabulary) logits.
        prompt: (P,) integers, P >= 1: what to continue.
        length: how many tokens to add.
        context: how many of the last tokens the model reads, at most.
        temperature: divides the logits; 0 takes the likeliest token.
        seed: the draws are Philox by (seed, token number).

    Returns:
        (length,) int32, the new tokens.

    Raises:
        ValueError: an empty prompt, or a negative temperature.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> config = fa.models.GPTConfig(vocab_size=4, n_positions=8, n_embd=4, n_layer=1, n_head=2)
        >>> len(fa.train.sample(fa.models.GPT(config), np.array([0]), 5, context=8))
        5

    Source: none.
    """
    ids = np.asarray(prompt, np.int32).reshape(-1)
    if not ids.size or not temperature >= 0.0:
        msg = (
            f"sample: the prompt has {ids.size} tokens, temperature is {temperature}; expected 1 or more and 0 or more"
        )
        raise ValueError(msg)
    with _inference(model):
        for i in range(length):
            logits = model(ids[None, -context:]).numpy()[0, -1].astype(np.float64)
            ids = np.append(ids, np.int32(_draw(logits, temperature, int(philox_words(seed, _STREAM, i, 1)[0]))))
    return ids[-length:] if length else ids[:0]


def _draw(logits: np.ndarray[Any, Any], temperature: float, word: int) -> int:
    """A token by inversion of the cumulative distribution at a uniform number of 53 bits."""
    if temperature == 0.0:
        return int(np.argmax(logits))
    weights = np.exp((logits - logits.max()) / temperature)
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, (word >> 11) * 2.0**-53 * cumulative[-1], side="right"))


@contextmanager
def _inference(model: Module) -> Iterator[None]:
    """Eval mode without gradients; the mode is put back."""
    import fastattn

    training = model.training
    model.eval()
    try:
        with fastattn.no_grad():
            yield
    finally:
        model.train(training)
