"""From logits to tokens: plain functions on NumPy arrays (B, V), a row a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastattn import ops

Logits = np.ndarray[Any, np.dtype[np.floating[Any]]]


def penalize_repetition(logits: Logits, seen: np.ndarray[Any, Any], penalty: float) -> Logits:
    """Makes the tokens that a sequence has already less likely, or likelier with a penalty under 1.

    Args:
        logits: (B, V).
        seen: (B, V) bool, the tokens that each sequence has.
        penalty: divides the positive logits of those, and multiplies the negative.

    Returns:
        (B, V).

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.generation.penalize_repetition(np.array([[1.0, 2.0, -1.0]]), np.array([[False, True, True]]), 2.0)
        array([[ 1.,  1., -2.]])

    Source: Keskar et al., "CTRL" (2019), section 4.1.
    """
    return np.where(seen, np.where(logits > 0, logits / penalty, logits * penalty), logits)


def keep_top_k(logits: Logits, k: int) -> Logits:
    """Hides all but the k largest logits of each row; those equal to the last of them stay.

    Args:
        logits: (B, V).
        k: how many to keep; V or more keeps all.

    Returns:
        (B, V), -inf where hidden.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.generation.keep_top_k(np.array([[1.0, 3.0, 2.0]]), 2)
        array([[-inf,   3.,   2.]])

    Source: Fan et al., "Hierarchical neural story generation" (2018), section 5.4.
    """
    if k >= logits.shape[-1]:
        return logits
    last = np.partition(logits, -k, axis=-1)[:, -k, None]
    return np.where(logits >= last, logits, -np.inf)


def keep_top_p(logits: Logits, p: float) -> Logits:
    """Hides all but the fewest logits of each row whose probabilities sum to p; those equal to the last of them stay.

    Args:
        logits: (B, V), float32 or float64.
        p: the sum, over 0 and at most 1; the largest logit always stays.

    Returns:
        (B, V), -inf where hidden.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.generation.keep_top_p(np.log([[0.5, 0.2, 0.3]]), 0.6)
        array([[-0.69314718,        -inf, -1.2039728 ]])

    Source: Holtzman et al., "The curious case of neural text degeneration" (2020), section 3.1.
    """
    ascending = np.sort(logits, axis=-1)
    below = np.cumsum(ops.softmax(ascending), axis=-1)  # the sum up to and with each
    hidden = below[:, :-1] <= 1.0 - p
    last = np.take_along_axis(ascending, hidden.sum(-1, keepdims=True), -1)
    return np.where(logits >= last, logits, -np.inf)


def draw(logits: Logits, uniforms: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Draws a token of each row from softmax(logits), by inversion of the cumulative distribution.

    Args:
        logits: (B, V), float32 or float64.
        uniforms: (B,), numbers of [0, 1).

    Returns:
        (B,) integers; -1 where a row has no distribution: a logit is NaN or inf, or all are -inf.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.generation.draw(np.log([[0.25, 0.75], [0.25, 0.75]]), np.array([0.2, 0.3]))
        array([0, 1])

    Source: Devroye, "Non-uniform random variate generation" (1986), section III.2.
    """
    cumulative = np.cumsum(ops.softmax(logits), axis=-1)
    total = cumulative[:, -1:]
    # A token of probability 0 is never drawn: u * total is under the total, and the count passes what is equal to it.
    tokens = (cumulative <= uniforms[:, None] * total).sum(-1)
    return np.where(total[:, 0] > 0, tokens, -1)
