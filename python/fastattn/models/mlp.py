"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from fastattn.autograd.tensor import Tensor
from fastattn.nn import Dropout, Linear, Module, ModuleList
from fastattn.nn import functional as F
from fastattn.nn.blocks import dense

from .encoder import ACTIVATIONS


class MLP(Module):
    r"""Dense layers with an activation after each but the last.

    .. math:: x_{i+1} = \mathrm{act}(W_i x_i + b_i), \quad y = W_n x_n + b_n

    Args:
        in_features: the length of the last axis of the input; those after the first axis are made one, if `flatten`.
        hidden_features: widths of the hidden layers.
        out_features: the length of the last axis of the output.
        activation: "relu", "gelu", "silu" or "tanh", or a function of a tensor.
        dropout: probability, after each activation.
        bias: whether the layers have biases.
        flatten: whether an input (B, ...) becomes (B, in_features): images as they are.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a width that is not positive, an unknown activation, or an input of another length.

    Example:
        >>> import fastattn as fa
        >>> fa.models.MLP(28 * 28, [128, 64], 10, flatten=True)(fa.zeros(5, 1, 28, 28)).shape
        (5, 10)

    Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors" (1986).
    """

    activation: Callable[[Tensor], Tensor]

    def __init__(
        self,
        in_features: int,
        hidden_features: Sequence[int],
        out_features: int,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        dropout: float = 0.0,
        bias: bool = True,
        flatten: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden_features, out_features]
        if min(widths) <= 0:
            msg = f"MLP: widths are {widths}; expected positive numbers"
            raise ValueError(msg)
        if isinstance(activation, str):
            if activation not in ACTIVATIONS:
                msg = f"MLP: activation is {activation!r}; expected {' or '.join(ACTIVATIONS)}, or a function"
                raise ValueError(msg)
            activation = ACTIVATIONS[activation]()
        self.activation = activation
        self.flatten = flatten
        self.layers = ModuleList(Linear(n, m, bias, device=device, dtype=dtype) for n, m in pairwise(widths))
        self.dropout = Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        x = input.flatten(1) if self.flatten else input
        *hidden, last = self.layers
        width = self.layers[0].weight.shape[1]
        if x.shape[-1] != width:
            msg = f"MLP: input has shape {input.shape}; expected (..., {width})"
            raise ValueError(msg)
        for layer in hidden:
            x = self.dropout(dense(layer, x, self.activation))
        return last(x)  # type: ignore[no-any-return]
