"""The layers of one op each: Linear, Embedding, Dropout, activations and the loss."""

from __future__ import annotations

import math
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


class SiLU(Module):
    """x * sigmoid(x).

    Args:
        inplace: accepted for torch's sake; the result is always a new tensor.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.SiLU()(fa.zeros(2))
        tensor([0., 0.])

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input)


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
    r"""Cross-entropy of logits against class ids.

    .. math:: \ell_i = -\log \mathrm{softmax}(x_i)_{t_i}

    Args:
        weight: not supported.
        ignore_index: a target of this value counts for nothing.
        reduction: "mean" over the targets that count, "sum" or "none".
        label_smoothing: not supported.

    Shape:
        logits (N, C), (C,) or (N, C, d1, ...); targets (N,), () or (N, d1, ...).

    Raises:
        NotImplementedError: `weight` or `label_smoothing`.

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
        if weight is not None or label_smoothing:
            msg = "CrossEntropyLoss: weight and label_smoothing are not supported; leave them out"
            raise NotImplementedError(msg)
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(input, target, None, self.ignore_index, self.reduction)
