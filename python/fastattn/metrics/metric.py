"""What measures share."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Metric:
    """Base of measures: `update(...)` takes a batch, `compute()` gives the value so far, `reset()` begins anew.

    Example:
        >>> import fastattn as fa
        >>> accuracy = fa.metrics.Accuracy()
        >>> accuracy.update([0, 1], [0, 0])
        >>> accuracy.update([1, 1], [1, 1])
        >>> accuracy.compute()
        0.75

    Source: none.
    """

    def reset(self) -> None:
        """Forgets all batches."""
        raise NotImplementedError(f"{type(self).__name__} defines no reset()")

    def compute(self) -> Any:
        """The value over all batches so far; NaN before the first."""
        raise NotImplementedError(f"{type(self).__name__} defines no compute()")


def on_host(value: Any) -> Array:
    """An array, a tensor on any device or a list, as an ndarray."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def classes(name: str, predictions: Any, targets: Any) -> tuple[Array, Array]:
    """Predicted and true classes, (N,) each; of scores (N, C), the highest is predicted."""
    p, t = on_host(predictions), on_host(targets)
    if p.ndim == t.ndim + 1 and p.ndim >= 2:
        p = p.argmax(-1)
    if p.shape != t.shape or t.dtype.kind not in "iub":
        msg = f"{name}: predictions has shape {on_host(predictions).shape}, targets {t.shape} of {t.dtype}; expected "
        raise ValueError(msg + "(N,) or (N, classes), and (N,) classes")
    return p.reshape(-1).astype(np.int64), t.reshape(-1).astype(np.int64)
