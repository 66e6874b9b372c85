"""conv1d and conv2d with torch's arguments."""

from __future__ import annotations

from collections.abc import Sequence

from fastattn import ops
from fastattn.autograd.tensor import Tensor

__all__ = ["conv1d", "conv2d"]


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution along one axis; see `fa.conv1d`.

    Args:
        input: (N, C, L), or (C, L).
        weight: (O, C / groups, K).
        bias: (O,).
        stride: positions of the input from one output to the next.
        padding: zeros at both ends, "valid" for none, "same" for as many outputs as inputs.
        dilation: positions from one tap to the next.
        groups: of channels that do not see each other.

    Returns:
        (N, O, P).

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.conv1d(fa.tensor([[1.0, 2.0, 4.0]]), fa.tensor([[[-1.0, 1.0]]]))
        tensor([[1., 2.]])
    """
    return ops.conv1d(input, weight, bias, stride, padding, dilation, groups)  # type: ignore[no-any-return]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of images; see `fa.conv2d`, which takes images with the channels last too.

    Args:
        input: (N, C, H, W), or (C, H, W).
        weight: (O, C / groups, KH, KW).
        bias: (O,).
        stride: pixels of the input from one output to the next.
        padding: zeros at every side, "valid" for none, "same" for as many outputs as inputs.
        dilation: pixels from one tap to the next.
        groups: of channels that do not see each other.

    Returns:
        (N, O, P, Q).

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.functional.conv2d(fa.ones(1, 1, 2, 2), fa.ones(1, 1, 2, 2))
        tensor([[[[4.]]]])
    """
    return ops.conv2d(input, weight, bias, stride, padding, dilation, groups)  # type: ignore[no-any-return]
