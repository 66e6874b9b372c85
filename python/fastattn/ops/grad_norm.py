"""The norm of a list of gradients, and scaling them: the two halves of clipping by norm."""

from __future__ import annotations

from collections.abc import Sequence

from fastattn import _C

from . import _kinds
from ._op import Array


def grad_norm(grads: Sequence[Array]) -> float:
    r"""The 2-norm of all elements of all tensors.

    .. math:: \sqrt{\sum_i \sum_j g_{ij}^2}

    Args:
        grads: contiguous arrays, any floating dtype. Squares are summed in float64.

    Returns:
        The norm; 0 for an empty list.

    Raises:
        ValueError: an array that is not contiguous.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.grad_norm([np.array([3.0]), np.array([4.0])])
        5.0

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013), section 3.2.
    """
    arrays = _kinds.raw_list("grad_norm", "grads", grads)
    norm = _kinds.host_number(arrays)
    found: float = _C.grad_norm(arrays, norm)
    return found if norm is None else float(norm)


def grad_scale(grads: Sequence[Array], scale: float) -> None:
    """Multiplies all tensors by one number, in place.

    Args:
        grads: contiguous arrays, any floating dtype.
        scale: the factor.

    Raises:
        ValueError: an array that is not contiguous or not writeable; nothing changes.
        TypeError: a dtype that is not floating.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> g = np.ones(2)
        >>> fa.grad_scale([g], 0.5)
        >>> g
        array([0.5, 0.5])

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013), section 3.2.
    """
    _C.grad_scale(_kinds.raw_list("grad_scale", "grads", grads), scale)
    _kinds.mutated(grads)
