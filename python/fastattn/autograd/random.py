"""Functions that draw random tensors, from the global stream (`fa.manual_seed`) or a Generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastattn import ops
from fastattn._device import CPU, move, resolve, where_is
from fastattn._random import Generator

from .creation import empty
from .node import Array, Base
from .tensor import Tensor


def _seed(generator: Generator | None) -> int | None:
    return None if generator is None else generator.next_seed()


def _drawn(fill: Callable[..., Any], tensor: Tensor, generator: Generator | None, requires_grad: bool) -> Tensor:
    fill(tensor._data, seed=_seed(generator))
    tensor.requires_grad = requires_grad
    return tensor


def uniform(shape: tuple[int, ...], generator: Generator | None) -> Array:
    """An ndarray of float64 of [0, 1): of what has no float64 or sorts, the numbers are drawn on the host."""
    return ops.uniform_(np.empty(shape), seed=_seed(generator))


def like(input: Any, wanted: Any) -> Any:
    """The device asked for, by default that of a tensor or array."""
    if wanted is not None:
        return wanted
    return input.device if isinstance(input, Base) else where_is(input)


def rand(
    *size: Any, dtype: Any = None, device: Any = None, generator: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uniform random numbers of [0, 1), from the global stream (`fa.manual_seed`).

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: float32 or float64.
        device: where it is made, the CPU by default.
        generator: a stream of its own (`fa.Generator`), instead of the global one.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> bool((fa.rand(100) < 1).all())
        True
    """
    return _drawn(ops.uniform_, empty(*size, dtype=dtype, device=device), generator, requires_grad)


def randn(
    *size: Any, dtype: Any = None, device: Any = None, generator: Any = None, requires_grad: bool = False
) -> Tensor:
    """Normal random numbers of mean 0 and variance 1, from the global stream (`fa.manual_seed`).

    Args:
        size: the lengths of the axes, or one tuple of them.
        dtype: float32 or float64.
        device: where it is made, the CPU by default.
        generator: a stream of its own (`fa.Generator`), instead of the global one.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.manual_seed(0)
        >>> fa.randn(2, 3).shape
        (2, 3)
    """
    return _drawn(ops.normal_, empty(*size, dtype=dtype, device=device), generator, requires_grad)


def rand_like(
    input: Any, *, dtype: Any = None, device: Any = None, generator: Any = None, requires_grad: bool = False
) -> Tensor:
    """Uniform random numbers of [0, 1) in the shape and dtype of another tensor.

    Args:
        input: a tensor or array, float32 or float64.
        dtype: another dtype.
        device: where it is made, by default where `input` is.
        generator: a stream of its own (`fa.Generator`), instead of the global one.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.rand_like(fa.ones(2, 3)).shape
        (2, 3)
    """
    where, wanted = like(input, device), dtype or input.dtype
    return rand(input.shape, dtype=wanted, device=where, generator=generator, requires_grad=requires_grad)


def randn_like(
    input: Any, *, dtype: Any = None, device: Any = None, generator: Any = None, requires_grad: bool = False
) -> Tensor:
    """Normal random numbers in the shape and dtype of another tensor.

    Args:
        input: a tensor or array, float32 or float64.
        dtype: another dtype.
        device: where it is made, by default where `input` is.
        generator: a stream of its own (`fa.Generator`), instead of the global one.
        requires_grad: whether gradients are wanted for it.

    Returns:
        A leaf.

    Example:
        >>> import fastattn as fa
        >>> fa.randn_like(fa.ones(2, 3)).shape
        (2, 3)
    """
    where, wanted = like(input, device), dtype or input.dtype
    return randn(input.shape, dtype=wanted, device=where, generator=generator, requires_grad=requires_grad)


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    dtype: Any = np.int64,
    device: Any = None,
    generator: Any = None,
) -> Tensor:
    """Random integers, from the global stream (`fa.manual_seed`).

    Args:
        low: the smallest; or, if `high` is missing, the bound, and 0 is the smallest.
        high: the bound, not included.
        size: the lengths of the axes; a tuple in place of `high` is the size, as in torch.
        dtype: the dtype.
        device: where it is made, the CPU by default.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

    Returns:
        A leaf.

    Raises:
        ValueError: an empty range.

    Example:
        >>> import fastattn as fa
        >>> fa.randint(3, 4, (2,))
        tensor([3, 3])
    """
    if isinstance(high, (tuple, list)):
        high, size = None, high
    if high is None:
        low, high = 0, low
    if high <= low:
        msg = f"randint: low is {low} and high {high}; expected low < high"
        raise ValueError(msg)
    where = resolve("randint", device)
    return Tensor(move((low + np.floor(uniform(tuple(size or ()), generator) * (high - low))).astype(dtype), where))


def randint_like(input: Any, low: int, high: int | None = None, *, dtype: Any = None) -> Tensor:
    """Random integers of low to high - 1 (of 0 to low - 1 if `high` is missing), in the shape of another tensor."""
    return randint(low, high, input.shape, dtype=dtype or input.dtype, device=like(input, None))


def randperm(n: int, *, dtype: Any = np.int64, device: Any = None, generator: Any = None) -> Tensor:
    """The integers of 0 to n - 1 in random order, from the global stream (`fa.manual_seed`).

    Args:
        n: how many.
        dtype: the dtype.
        device: where it is made, the CPU by default.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

    Returns:
        A leaf (n,) of int64.

    Example:
        >>> import fastattn as fa
        >>> sorted(fa.randperm(3).tolist())
        [0, 1, 2]
    """
    where = resolve("randperm", device)
    return Tensor(move(np.argsort(uniform((n,), generator), kind="stable").astype(dtype), where))


def normal(mean: Any = 0.0, std: Any = 1.0, size: Sequence[int] | None = None, *, generator: Any = None) -> Tensor:
    """Normal random numbers, each of its own mean and deviation where those are tensors; of `size` where they are not."""
    shape = tuple(size) if size is not None else np.broadcast_shapes(*[getattr(t, "shape", ()) for t in (mean, std)])
    where = next((like(t, None) for t in (mean, std) if hasattr(t, "shape")), None)
    return randn(shape, device=where, generator=generator) * std + mean  # type: ignore[no-any-return]


def bernoulli(input: Tensor, *, generator: Any = None) -> Tensor:
    """1 with the probability that each element is, else 0; the dtype of `input`."""
    drawn = move(uniform(input.shape, generator), input.device)
    return Tensor((drawn < input._data).astype(input.dtype))


def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
    """Indices drawn with probabilities in proportion to the weights in each row.

    Args:
        input: weights, (C,) or (N, C); not negative, finite, and not all 0.
        num_samples: how many for each row.
        replacement: whether an index may come twice.
        generator: a stream of its own (`fa.Generator`), instead of the global one.

    Returns:
        (num_samples,) or (N, num_samples), int64.

    Raises:
        ValueError: weights that are none, or fewer that are not 0 than samples.

    Example:
        >>> import fastattn as fa
        >>> fa.multinomial(fa.tensor([0.0, 1.0]), 2, replacement=True)
        tensor([1, 1])

    Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006).
    """
    weights = np.atleast_2d(move(input._data, CPU)).astype(np.float64)
    if input.ndim not in (1, 2) or not np.isfinite(weights).all() or (weights < 0).any() or (weights.sum(1) <= 0).any():
        msg = f"multinomial: input of shape {input.shape} is no rows of weights; expected finite, none < 0, some > 0"
        raise ValueError(msg)
    if replacement:
        edges = np.cumsum(weights, 1)
        draws = uniform((len(weights), num_samples), generator) * edges[:, -1:]
        out = np.stack([np.searchsorted(e, u, "right") for e, u in zip(edges, draws, strict=True)])
    else:
        if num_samples > (weights > 0).sum(1).min():
            msg = f"multinomial: {num_samples} samples of {int((weights > 0).sum(1).min())} weights above 0"
            raise ValueError(msg)
        # The smallest of exponential times, each of the rate of its weight.
        with np.errstate(divide="ignore"):
            times = -np.log1p(-uniform(weights.shape, generator)) / weights
        out = np.argsort(times, 1, kind="stable")[:, :num_samples]
    return Tensor(move(out[0] if input.ndim == 1 else out, input.device))
