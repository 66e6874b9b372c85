"""Losses as layers, called with the prediction and the target."""

from __future__ import annotations

from fastattn.autograd.tensor import Tensor

from . import functional as F
from .function_layer import FunctionLayer

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


class _Reduced(FunctionLayer):
    """A loss without options but `reduction`: "mean", "sum" or "none"."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)


class L1Loss(_Reduced):
    """|input - target|."""

    function = staticmethod(F.l1_loss)


class MSELoss(_Reduced):
    """(input - target)^2."""

    function = staticmethod(F.mse_loss)


class SmoothL1Loss(FunctionLayer):
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

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction, beta=beta)


class HuberLoss(FunctionLayer):
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

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction, delta=delta)


class BCELoss(FunctionLayer):
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
    tensors = ("weight",)

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(weight=weight, reduction=reduction)


class BCEWithLogitsLoss(FunctionLayer):
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
    tensors = (
        "weight",
        "pos_weight",
    )

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None) -> None:
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)


class NLLLoss(FunctionLayer):
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
    tensors = ("weight",)

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction)


class KLDivLoss(FunctionLayer):
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

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction=reduction, log_target=log_target)


class GaussianNLLLoss(FunctionLayer):
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

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(full=full, eps=eps, reduction=reduction)


class PoissonNLLLoss(FunctionLayer):
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

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean") -> None:
        super().__init__(log_input=log_input, full=full, eps=eps, reduction=reduction)


class SoftMarginLoss(_Reduced):
    """log(1 + exp(-target * input)), targets 1 and -1."""

    function = staticmethod(F.soft_margin_loss)


class MultiLabelSoftMarginLoss(FunctionLayer):
    """The mean over classes of the binary cross-entropy of logits; `weight`: a number for each class."""

    function = staticmethod(F.multilabel_soft_margin_loss)
    tensors = ("weight",)

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(weight=weight, reduction=reduction)


class MultiMarginLoss(FunctionLayer):
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
    tensors = ("weight",)

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(p=p, margin=margin, weight=weight, reduction=reduction)


class HingeEmbeddingLoss(FunctionLayer):
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

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(margin=margin, reduction=reduction)


class MarginRankingLoss(FunctionLayer):
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

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(margin=margin, reduction=reduction)


class CosineEmbeddingLoss(FunctionLayer):
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

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(margin=margin, reduction=reduction)


class TripletMarginLoss(FunctionLayer):
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

    def __init__(
        self, margin: float = 1.0, p: float = 2, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        super().__init__(margin=margin, p=p, eps=eps, swap=swap, reduction=reduction)


class CrossEntropyLoss(FunctionLayer):
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
    tensors = ("weight",)

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight=weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing)
