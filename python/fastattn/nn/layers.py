"""The layers of one op each: Linear, Embedding, LayerNorm, Dropout, activations and the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastattn.autograd import creation
from fastattn.autograd.convert import FLOAT32
from fastattn.autograd.node import no_grad
from fastattn.autograd.tensor import Tensor

from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


def new_parameter(*shape: int, dtype: Any) -> Parameter:
    return Parameter(creation.empty(shape, dtype=FLOAT32 if dtype is None else dtype))


class Linear(Module):
    r"""A dense layer.

    .. math:: y = x W^T + b

    Args:
        in_features: the length of the last axis of the input.
        out_features: that of the output.
        bias: whether there is a `b`.
        device: only the CPU for now.
        dtype: of the parameters, float32 by default.

    Shape:
        (..., in_features) to (..., out_features); weight (out_features, in_features), bias (out_features,), both
        uniform of +- 1 / sqrt(in_features) at first.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Linear(2, 3)(fa.ones(4, 2)).shape
        (4, 3)

    Source: torch.nn.Linear's form of it.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = new_parameter(out_features, in_features, dtype=dtype)
        if bias:
            self.bias = new_parameter(out_features, dtype=dtype)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Embedding(Module):
    """A table of vectors, looked up by index.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: length of a row.
        padding_idx: a row that starts as zeros and gets no gradient; a negative one counts from the end.
        device: only the CPU for now.
        dtype: of the table, float32 by default.

    Shape:
        integers of any shape to (*shape, embedding_dim); weight (num_embeddings, embedding_dim), normal at first.

    Raises:
        ValueError: `padding_idx` out of range.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Embedding(10, 4)(fa.tensor([[1, 2, 3]])).shape
        (1, 3, 4)

    Source: torch.nn.Embedding's form of it.
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                msg = f"Embedding: padding_idx {padding_idx} is outside the {num_embeddings} rows"
                raise ValueError(msg)
            padding_idx %= num_embeddings
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.weight = new_parameter(num_embeddings, embedding_dim, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the table anew."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class LayerNorm(Module):
    r"""Normalises the last axes to mean 0 and variance 1, then scales and shifts.

    .. math:: y = (x - \mathrm{mean}) / \sqrt{\mathrm{var} + \mathrm{eps}} \cdot \mathrm{weight} + \mathrm{bias}

    Args:
        normalized_shape: the last axes of the input; an int is one axis.
        eps: added to the variance.
        elementwise_affine: whether there are a weight and a bias.
        bias: whether there is a bias.
        device: only the CPU for now.
        dtype: of the parameters, float32 by default.

    Shape:
        (..., *normalized_shape) to the same; weight (ones at first) and bias (zeros) of normalized_shape.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.LayerNorm(2, eps=0.0)(fa.tensor([[1.0, 3.0]])).detach()
        tensor([[-1.,  1.]])

    Source: Ba, Kiros and Hinton, "Layer Normalization" (2016), section 3.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)
        if elementwise_affine:
            self.weight = new_parameter(*self.normalized_shape, dtype=dtype)
            if bias:
                self.bias = new_parameter(*self.normalized_shape, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine = f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        return f"{self.normalized_shape}, eps={self.eps}, {affine}"


class Dropout(Module):
    """In training, sets elements to 0 with probability p and divides the others by 1 - p.

    Args:
        p: the probability.
        inplace: accepted for torch's sake; the result is always a new tensor.

    Raises:
        ValueError: `p` outside 0 to 1.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Dropout(0.5).eval()(fa.ones(2))
        tensor([1., 1.])

    Source: Srivastava et al., "Dropout" (2014), section 4.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            msg = f"Dropout: p is {p!r}; expected a probability, 0 to 1"
            raise ValueError(msg)
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class GELU(Module):
    """x * Phi(x), Phi the normal distribution function.

    Args:
        approximate: "none", or "tanh" for the form with tanh.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.GELU()(fa.zeros(2))
        tensor([0., 0.])

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class ReLU(Module):
    """max(x, 0).

    Args:
        inplace: accepted for torch's sake; the result is always a new tensor.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.ReLU()(fa.tensor([-1.0, 1.0]))
        tensor([0., 1.])

    Source: Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010).
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input)


class Tanh(Module):
    """Hyperbolic tangent.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Tanh()(fa.zeros(1))
        tensor([0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Sigmoid()(fa.zeros(1))
        tensor([0.5])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Identity(Module):
    """Its input.

    Args:
        args: ignored.
        kwargs: ignored.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Identity()(fa.ones(1))
        tensor([1.])
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Softmax(Module):
    """Softmax along an axis.

    Args:
        dim: the axis, the last by default.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Softmax(dim=-1)(fa.zeros(2))
        tensor([0.5, 0.5])
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """Logarithm of the softmax along an axis.

    Args:
        dim: the axis, the last by default.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.LogSoftmax(dim=-1)(fa.zeros(1))
        tensor([0.])
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Flatten(Module):
    """Some axes as one.

    Args:
        start_dim: the first of them.
        end_dim: the last of them.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Flatten()(fa.ones(2, 3, 4)).shape
        (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class CrossEntropyLoss(Module):
    r"""Cross-entropy of logits against class ids or probabilities.

    .. math:: \ell_i = -\sum_c w_c \left( (1 - \epsilon) y_{ic} + \epsilon / C \right) \log \mathrm{softmax}(x_i)_c

    Args:
        weight: w, (C,), what a class counts for; part of the state_dict where it is given.
        ignore_index: a class id of this value counts for nothing.
        reduction: "mean" over the weights of the targets that count, "sum" or "none".
        label_smoothing: epsilon, the share of a target that is spread over all classes.

    Shape:
        logits (N, C), (C,) or (N, C, d1, ...); class ids (N,), () or (N, d1, ...), or probabilities like the logits.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.CrossEntropyLoss()(fa.zeros(2, 4), fa.tensor([0, 3]))
        tensor(1.3862944)

    Source: Bishop, "Pattern Recognition and Machine Learning" (2006), equation 4.108.
    """

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

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)
