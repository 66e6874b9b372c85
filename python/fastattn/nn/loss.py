"""Losses as layers, called with the prediction and the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastattn.autograd.tensor import Tensor

from . import functional as F
from .module import Module

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
]


class Loss(Module):
    """A loss of nn.functional with its options as a layer."""

    function: Callable[..., Tensor]
    options: tuple[str, ...]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.function(*args, **kwargs, **{name: getattr(self, name) for name in self.options})


class _Reduced(Loss):
    """A loss without options but `reduction`: "mean", "sum" or "none"."""

    options = ("reduction",)

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction


class L1Loss(_Reduced):
    """|input - target|."""

    function = staticmethod(F.l1_loss)


class MSELoss(_Reduced):
    """(input - target)^2."""

    function = staticmethod(F.mse_loss)


class SmoothL1Loss(Loss):
    """d^2 / (2 beta) where d = |input - target| is below beta, d - beta / 2 elsewhere.

    Args:
        reduction: "mean", "sum" or "none".
        beta: where the parabola ends.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.SmoothL1Loss()(fa.tensor([1.0]), fa.zeros(1))
        tensor(0.5)

    Source: Girshick, "Fast R-CNN" (2015), equation 3.
    """

    function = staticmethod(F.smooth_l1_loss)
    options = (
        "reduction",
        "beta",
    )

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__()
        self.reduction = reduction
        self.beta = beta


class HuberLoss(Loss):
    """d^2 / 2 where d = |input - target| is below delta, delta * (d - delta / 2) elsewhere.

    Args:
        reduction: "mean", "sum" or "none".
        delta: where the parabola ends.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.HuberLoss()(fa.tensor([1.0]), fa.zeros(1))
        tensor(0.5)

    Source: Huber, "Robust estimation of a location parameter" (1964).
    """

    function = staticmethod(F.huber_loss)
    options = (
        "reduction",
        "delta",
    )

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__()
        self.reduction = reduction
        self.delta = delta


class BCELoss(Loss):
    """Binary cross-entropy of probabilities.

    Args:
        weight: factors of the elements.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import fastattn as fa
        >>> round(fa.nn.BCELoss()(fa.tensor([0.5]), fa.ones(1)).item(), 4)
        0.6931
    """

    function = staticmethod(F.binary_cross_entropy)
    options = (
        "weight",
        "reduction",
    )

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.reduction = reduction


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of logits, without overflow.

    Args:
        weight: factors of the elements.
        reduction: "mean", "sum" or "none".
        pos_weight: the factor of the part of the target's 1, for each class.

    Example:
        >>> import fastattn as fa
        >>> round(fa.nn.BCEWithLogitsLoss()(fa.zeros(1), fa.ones(1)).item(), 4)
        0.6931
    """

    function = staticmethod(F.binary_cross_entropy_with_logits)
    options = (
        "weight",
        "reduction",
        "pos_weight",
    )

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.reduction = reduction
        self.register_buffer("pos_weight", pos_weight)


class NLLLoss(Loss):
    """-input[target] of log-probabilities.

    Args:
        weight: a number for each class.
        ignore_index: a target of this value counts for nothing.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import fastattn as fa
        >>> fa.nn.NLLLoss()(fa.tensor([[-1.0, -2.0]]), fa.tensor([1]))
        tensor(2.)
    """

    function = staticmethod(F.nll_loss)
    options = (
        "weight",
        "ignore_index",
        "reduction",
    )

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction


class KLDivLoss(Loss):
    """target * (log(target) - input), the input log-probabilities.

    Args:
        reduction: "batchmean" (the divergence itself), "mean", "sum" or "none".
        log_target: the target are log-probabilities too.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.KLDivLoss("sum")(fa.zeros(1), fa.ones(1))
        tensor(0.)

    Source: Kullback and Leibler, "On information and sufficiency" (1951).
    """

    function = staticmethod(F.kl_div)
    options = (
        "reduction",
        "log_target",
    )

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__()
        self.reduction = reduction
        self.log_target = log_target


class GaussianNLLLoss(Loss):
    """(log(var) + (input - target)^2 / var) / 2; called with (input, target, var).

    Args:
        full: add log(2 pi) / 2.
        eps: the least variance.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import fastattn as fa
        >>> fa.nn.GaussianNLLLoss()(fa.ones(1), fa.zeros(1), fa.ones(1))
        tensor(0.5)

    Source: Nix and Weigend, "Estimating the mean and variance of the target distribution" (1994).
    """

    function = staticmethod(F.gaussian_nll_loss)
    options = (
        "full",
        "eps",
        "reduction",
    )

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__()
        self.full = full
        self.eps = eps
        self.reduction = reduction


class PoissonNLLLoss(Loss):
    """exp(input) - target * input.

    Args:
        log_input: the input is the logarithm of the rate.
        full: add Stirling's term.
        eps: added to a rate before its logarithm.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import fastattn as fa
        >>> fa.nn.PoissonNLLLoss()(fa.zeros(1), fa.ones(1))
        tensor(1.)
    """

    function = staticmethod(F.poisson_nll_loss)
    options = (
        "log_input",
        "full",
        "eps",
        "reduction",
    )

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean") -> None:
        super().__init__()
        self.log_input = log_input
        self.full = full
        self.eps = eps
        self.reduction = reduction


class SoftMarginLoss(_Reduced):
    """log(1 + exp(-target * input)), targets 1 and -1."""

    function = staticmethod(F.soft_margin_loss)


class MultiLabelSoftMarginLoss(Loss):
    """The mean over classes of the binary cross-entropy of logits; `weight`: a number for each class."""

    function = staticmethod(F.multilabel_soft_margin_loss)
    options = (
        "weight",
        "reduction",
    )

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.reduction = reduction


class MultiMarginLoss(Loss):
    """The sum over the other classes of max(0, margin - x_target + x_class)^p, divided by the number of classes.

    Args:
        p: 1 or 2.
        margin: the distance that is wanted.
        weight: a number for each class.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import fastattn as fa
        >>> fa.nn.MultiMarginLoss()(fa.zeros(1, 2), fa.tensor([0]))
        tensor(0.5)
    """

    function = staticmethod(F.multi_margin_loss)
    options = (
        "p",
        "margin",
        "weight",
        "reduction",
    )

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__()
        self.p = p
        self.margin = margin
        self.register_buffer("weight", weight)
        self.reduction = reduction


class HingeEmbeddingLoss(Loss):
    """input where the target is 1, max(0, margin - input) where it is -1.

    Args:
        margin: the distance that is wanted.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import fastattn as fa
        >>> fa.nn.HingeEmbeddingLoss()(fa.tensor([0.25]), fa.tensor([-1.0]))
        tensor(0.75)
    """

    function = staticmethod(F.hinge_embedding_loss)
    options = (
        "margin",
        "reduction",
    )

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__()
        self.margin = margin
        self.reduction = reduction


class MarginRankingLoss(Loss):
    """max(0, -target * (input1 - input2) + margin); called with (input1, input2, target).

    Args:
        margin: the distance that is wanted.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import fastattn as fa
        >>> fa.nn.MarginRankingLoss()(fa.zeros(1), fa.ones(1), fa.ones(1))
        tensor(1.)
    """

    function = staticmethod(F.margin_ranking_loss)
    options = (
        "margin",
        "reduction",
    )

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__()
        self.margin = margin
        self.reduction = reduction


class CosineEmbeddingLoss(Loss):
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1; called with (input1, input2, target).

    Args:
        margin: the cosine that is allowed.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import fastattn as fa
        >>> fa.nn.CosineEmbeddingLoss()(fa.ones(1, 2), fa.ones(1, 2), -fa.ones(1)).round(decimals=4)
        tensor(1.)
    """

    function = staticmethod(F.cosine_embedding_loss)
    options = (
        "margin",
        "reduction",
    )

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__()
        self.margin = margin
        self.reduction = reduction


class TripletMarginLoss(Loss):
    """max(0, |anchor - positive| - |anchor - negative| + margin); called with (anchor, positive, negative).

    Args:
        margin: the distance that is wanted.
        p: of the norm.
        eps: added to the differences.
        swap: or the distance of positive and negative, if that is smaller.
        reduction: "mean", "sum" or "none".

    Example:
        >>> import fastattn as fa
        >>> fa.nn.TripletMarginLoss()(fa.zeros(1, 2), fa.zeros(1, 2), fa.zeros(1, 2))
        tensor(1.)

    Source: Balntas et al., "Learning local feature descriptors with triplets" (2016).
    """

    function = staticmethod(F.triplet_margin_loss)
    options = (
        "margin",
        "p",
        "eps",
        "swap",
        "reduction",
    )

    def __init__(
        self, margin: float = 1.0, p: float = 2, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap
        self.reduction = reduction


class CrossEntropyLoss(Loss):
    """Cross-entropy of logits against class ids or probabilities; see `nn.functional.cross_entropy`.

    Args:
        weight: a number for each class.
        ignore_index: a target of this value counts for nothing.
        reduction: "mean" over the targets that count, "sum" or "none".
        label_smoothing: this part of the target is spread over all classes.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.CrossEntropyLoss()(fa.zeros(2, 4), fa.tensor([0, 3]))
        tensor(1.3862944)

    Source: Bishop, "Pattern Recognition and Machine Learning" (2006), equation 4.108.
    """

    function = staticmethod(F.cross_entropy)
    options = (
        "weight",
        "ignore_index",
        "reduction",
        "label_smoothing",
    )

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing
