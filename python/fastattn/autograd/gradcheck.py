"""Compares gradients with finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .gradients import grad
from .node import no_grad, wrap
from .tensor import Tensor


def gradcheck(
    function: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-6,
    rtol: float = 1e-5,
) -> bool:
    r"""Checks the gradients of a function of tensors against central differences, in float64.

    .. math:: \partial f_j / \partial x_i \approx (f_j(x + \epsilon e_i) - f_j(x - \epsilon e_i)) / 2 \epsilon

    Each output is projected on a fixed random vector, so a wrong gradient of any element shows.

    Args:
        function: takes `inputs`, returns a tensor or a tuple of tensors; the same result every time.
        inputs: tensors, those that require a gradient in float64, and anything else.
        eps: the step.
        atol: |analytic - numeric| <= atol + rtol * |numeric|.
        rtol: see `atol`.

    Returns:
        True.

    Raises:
        AssertionError: a gradient differs; names the input, the element and both values.
        TypeError: an input that requires a gradient is not float64.

    Example:
        >>> import fastattn as fa
        >>> x = fa.randn(3, dtype=fa.float64, requires_grad=True)
        >>> fa.gradcheck(lambda x: x.exp().sum(), [x])
        True

    Source: Griewank and Walther, "Evaluating Derivatives" (2008), section 3.1.
    """
    arguments = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [(i, a) for i, a in enumerate(arguments) if isinstance(a, Tensor) and a._requires_grad]
    if not checked:
        msg = "gradcheck: no input requires a gradient; pass requires_grad=True tensors"
        raise ValueError(msg)
    for i, a in checked:
        if a._data.dtype != np.float64:
            msg = f"gradcheck: input {i} is {a._data.dtype}; expected float64, finite differences need it"
            raise TypeError(msg)

    def outputs() -> list[Tensor]:
        out = function(*arguments)
        found = [out] if isinstance(out, Tensor) else [o for o in out if isinstance(o, Tensor)]
        return [o for o in found if o._data.dtype.kind == "f"]

    results = outputs()
    rng = np.random.default_rng(0)
    directions = [np.asarray(rng.standard_normal(o.shape)) for o in results]
    reached = [(o, wrap(d)) for o, d in zip(results, directions, strict=True) if o._requires_grad]
    if not reached:
        msg = "gradcheck: no output requires a gradient"
        raise AssertionError(msg)
    analytic = grad([o for o, _ in reached], [a for _, a in checked], [d for _, d in reached], allow_unused=True)

    @no_grad()
    def project() -> float:
        return float(sum((o._data * d).sum() for o, d in zip(outputs(), directions, strict=True)))

    for (i, a), found in zip(checked, analytic, strict=True):
        values = np.zeros(a.shape) if found is None else found._data
        if values.shape != a.shape:
            msg = f"gradcheck: the gradient of input {i} has shape {values.shape}; expected {a.shape}"
            raise AssertionError(msg)
        for at in np.ndindex(a.shape):
            kept = a._data[at].copy()
            a._data[at] = kept + eps
            above = project()
            a._data[at] = kept - eps
            below = project()
            a._data[at] = kept
            numeric = (above - below) / (2 * eps)
            if not abs(values[at] - numeric) <= atol + rtol * abs(numeric):
                msg = f"gradcheck: input {i} at {at}: gradient {values[at]}, by finite differences {numeric}"
                raise AssertionError(msg)
    return True
