"""What a language model is worth: its loss on held-out text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastattn._device import CPU, move
from fastattn.autograd import no_grad
from fastattn.autograd.node import wrap
from fastattn.data.windows import windows
from fastattn.nn.utils import evaluation

if TYPE_CHECKING:
    from fastattn import Tensor
    from fastattn.nn import Module


def with_model(model: Module, array: Any) -> Any:
    """A batch where the model is: ndarrays as they are on the CPU, else a Tensor on the model's device."""
    where = next((p.device for p in model.parameters()), CPU)
    return array if where == CPU else wrap(move(array, where))


def loss_of(model: Module, inputs: Any, targets: Any) -> Tensor:
    """Mean cross-entropy of a batch, nats per token, as a Tensor to differentiate."""
    from fastattn.nn import functional

    inputs, targets = with_model(model, inputs), with_model(model, targets)
    if (loss := getattr(model, "loss", None)) is not None:
        return loss(inputs, targets)  # type: ignore[no-any-return]
    logits = model(inputs)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


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
