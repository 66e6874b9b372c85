"""The layers of one op each: Linear, Embedding, Dropout, and those that only reshape."""

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


def new_parameter(*shape: int, dtype: Any, device: Any = None) -> Parameter:
    return Parameter(creation.empty(shape, dtype=FLOAT32 if dtype is None else dtype, device=device))


class Linear(Module):
    r"""A dense layer.

    .. math:: y = x W^T + b

    Args:
        in_features: the length of the last axis of the input.
        out_features: that of the output.
        bias: whether there is a `b`.
        device: where the parameters are made, the CPU by default.
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
        self.weight = new_parameter(out_features, in_features, dtype=dtype, device=device)
        if bias:
            self.bias = new_parameter(out_features, dtype=dtype, device=device)
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
        device: where the parameters are made, the CPU by default.
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
        self.weight = new_parameter(num_embeddings, embedding_dim, dtype=dtype, device=device)
        self.reset_parameters()

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None) -> Embedding:
        """A layer with a given table (rows, dim), which is shared; `freeze`: not trained."""
        rows, length = embeddings.shape
        layer = cls(rows, length, padding_idx, embeddings.device, embeddings.dtype)
        layer.weight = Parameter(embeddings, requires_grad=not freeze)
        return layer

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
            msg = f"{type(self).__name__}: p is {p!r}; expected a probability, 0 to 1"
            raise ValueError(msg)
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Dropout of whole channels of (N, C, L)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout1d(input, self.p, self.training)


class Dropout2d(Dropout):
    """Dropout of whole channels of (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training)


class Dropout3d(Dropout):
    """Dropout of whole channels of (N, C, D, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout3d(input, self.p, self.training)


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


class Unflatten(Module):
    """One axis as several.

    Args:
        dim: the axis.
        unflattened_size: the lengths of those it becomes.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Unflatten(1, (3, 4))(fa.ones(2, 12)).shape
        (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Bilinear(Module):
    r"""A form of two inputs.

    .. math:: y_o = x_1^T W_o x_2 + b_o

    Args:
        in1_features: the length of the last axis of the first input.
        in2_features: that of the second.
        out_features: that of the output.
        bias: whether there is a `b`.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.Bilinear(2, 3, 4)(fa.ones(5, 2), fa.ones(5, 3)).shape
        (5, 4)

    Source: torch.nn.Bilinear's form of it.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = new_parameter(out_features, in1_features, in2_features, dtype=dtype, device=device)
        if bias:
            self.bias = new_parameter(out_features, dtype=dtype, device=device)
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class CosineSimilarity(Module):
    """The cosine of the angle between vectors; see `nn.functional.cosine_similarity`.

    Args:
        dim: the axis of the vectors.
        eps: lengths are at least this.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.CosineSimilarity(dim=0)(fa.tensor([1.0, 0.0]), fa.tensor([0.0, 2.0]))
        tensor(0.)
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of the difference of vectors; see `nn.functional.pairwise_distance`.

    Args:
        p: of the norm.
        eps: added to the difference.
        keepdim: keep the last axis, with length 1.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.PairwiseDistance(eps=0)(fa.tensor([[3.0, 4.0]]), fa.zeros(1, 2))
        tensor([5.])
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
