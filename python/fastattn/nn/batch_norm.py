"""BatchNorm1d and BatchNorm2d."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np

from fastattn.autograd import creation
from fastattn.autograd.node import no_grad
from fastattn.autograd.tensor import Tensor

from . import functional as F
from . import init
from .layers import new_parameter
from .module import Module
from .parameter import Parameter


def _count_of_old(module: Any, state_dict: MutableMapping[str, Any], prefix: str, *rest: Any) -> None:
    """A state of before num_batches_tracked was kept has none; as in torch, the module's own stays."""
    if module.num_batches_tracked is not None:
        state_dict.setdefault(f"{prefix}num_batches_tracked", module.num_batches_tracked)


class _BatchNorm(Module):
    """What the two have in common; they differ in the axes of their inputs."""

    axes: tuple[int, ...]
    expected: str
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)
        if affine:
            self.weight = new_parameter(num_features, dtype=dtype, device=device)
            if bias:
                self.bias = new_parameter(num_features, dtype=dtype, device=device)
        dtype = np.dtype(np.float32) if dtype is None else dtype
        tracked = track_running_stats
        self.register_buffer(
            "running_mean", creation.zeros(num_features, dtype=dtype, device=device) if tracked else None
        )
        self.register_buffer(
            "running_var", creation.ones(num_features, dtype=dtype, device=device) if tracked else None
        )
        self.register_buffer(
            "num_batches_tracked", creation.zeros((), dtype=np.int64, device=device) if tracked else None
        )
        self.register_load_state_dict_pre_hook(_count_of_old)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batch counted."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        with no_grad():
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and the running statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.axes:
            msg = f"expected {self.expected} input (got {input.ndim}D input)"
            raise ValueError(msg)
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1 / float(self.num_batches_tracked)
        kept = not self.training or self.track_running_stats
        return F.batch_norm(  # type: ignore[no-any-return]
            input,
            self.running_mean if kept else None,
            self.running_var if kept else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            momentum,
            self.eps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    r"""Normalises each feature over the batch, and the positions where there are any, then scales and shifts.

    .. math:: y = (x - \mathrm{mean}_c) / \sqrt{\mathrm{var}_c + \mathrm{eps}} \cdot \mathrm{weight}_c + \mathrm{bias}_c

    In training mean and variance are the batch's, in evaluation the running ones.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of a batch in the running statistics; None makes them the mean over all batches.
        affine: whether there are a weight and a bias.
        track_running_stats: whether there are running statistics; without, the batch's serve in evaluation too.
        device: where the parameters are made, the CPU by default.
        dtype: of parameters and statistics, float32 by default.
        bias: whether there is a bias.

    Shape:
        (N, C) or (N, C, L) to the same; weight, bias, running_mean and running_var of (C,).

    Raises:
        ValueError: an input with another number of axes, or one value per channel in training.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.BatchNorm1d(1, eps=0.0, affine=False)(fa.tensor([[1.0], [3.0]]))
        tensor([[-1.],
                [ 1.]])

    Source: Ioffe and Szegedy, "Batch Normalization" (2015), algorithms 1 and 2.
    """

    axes = (2, 3)
    expected = "2D or 3D"


class BatchNorm2d(_BatchNorm):
    r"""Normalises each channel over the batch and the positions of an image, then scales and shifts.

    .. math:: y = (x - \mathrm{mean}_c) / \sqrt{\mathrm{var}_c + \mathrm{eps}} \cdot \mathrm{weight}_c + \mathrm{bias}_c

    In training mean and variance are the batch's, in evaluation the running ones.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of a batch in the running statistics; None makes them the mean over all batches.
        affine: whether there are a weight and a bias.
        track_running_stats: whether there are running statistics; without, the batch's serve in evaluation too.
        device: where the parameters are made, the CPU by default.
        dtype: of parameters and statistics, float32 by default.
        bias: whether there is a bias.

    Shape:
        (N, C, H, W) to the same; weight, bias, running_mean and running_var of (C,).

    Raises:
        ValueError: an input with another number of axes, or one value per channel in training.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.BatchNorm2d(3)(fa.randn(2, 3, 4, 4)).shape
        (2, 3, 4, 4)

    Source: Ioffe and Szegedy, "Batch Normalization" (2015), algorithms 1 and 2.
    """

    axes = (4,)
    expected = "4D"
