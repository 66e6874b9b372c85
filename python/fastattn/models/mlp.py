"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from fastattn.autograd.tensor import Tensor
from fastattn.nn import Dropout, Linear, ModuleList
from fastattn.nn.blocks import dense

from .config import ModelConfig, as_tensor
from .encoder import ACTIVATIONS
from .pretrained import PretrainedModel


@dataclass
class MLPConfig(ModelConfig):
    """The sizes of an MLP.

    Args:
        in_features: the length of the last axis of the input; those after the first axis are made one, if `flatten`.
        hidden_features: widths of the hidden layers.
        out_features: the length of the last axis of the output.
        activation: "relu", "gelu" (erf), "gelu_new" (with tanh), "silu" or "tanh".
        dropout: probability, after each activation.
        bias: whether the layers have biases.
        flatten: whether an input (B, ...) becomes (B, in_features): images as they are.

    Raises:
        ValueError: a width that is not positive, an unknown activation, a dropout that is no probability.

    Example:
        >>> import fastattn as fa
        >>> fa.models.MLPConfig(28 * 28, [128, 64], 10).hidden_features
        (128, 64)
    """

    model_type: ClassVar[str] = "mlp"

    in_features: int
    hidden_features: Sequence[int]
    out_features: int
    activation: str = "relu"
    dropout: float = 0.0
    bias: bool = True
    flatten: bool = False

    def __post_init__(self) -> None:
        self.hidden_features = tuple(self.hidden_features)  # of a config.json it is a list
        self._require_positive("in_features", "out_features")
        if min(self.hidden_features, default=1) <= 0:
            self._refuse("hidden_features", "positive numbers")
        self._require_one_of("activation", ACTIVATIONS)
        if not 0.0 <= self.dropout <= 1.0:
            self._refuse("dropout", "a probability")


class MLP(PretrainedModel):
    r"""Dense layers with an activation after each but the last.

    .. math:: x_{i+1} = \mathrm{act}(W_i x_i + b_i), \quad y = W_n x_n + b_n

    Args:
        config: the sizes.

    Example:
        >>> import fastattn as fa
        >>> fa.models.MLP(fa.models.MLPConfig(28 * 28, [128, 64], 10, flatten=True))(fa.zeros(5, 1, 28, 28)).shape
        (5, 10)

    Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors" (1986).
    """

    config: MLPConfig
    config_class = MLPConfig
    architecture = "MLP"
    base = "mlp"
    is_bare = True

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.config = config
        widths = (config.in_features, *config.hidden_features, config.out_features)
        self.activation = ACTIVATIONS[config.activation]()
        self.layers = ModuleList(Linear(n, m, config.bias) for n, m in pairwise(widths))
        self.dropout = Dropout(config.dropout)

    def forward(self, input: Any) -> Tensor:
        """The last layer's output.

        Args:
            input: (..., in_features) floats, or (B, ...) if `flatten`; a Tensor where the model is, or an ndarray. Another
                dtype is cast to the model's.

        Returns:
            (..., out_features).

        Raises:
            ValueError: an input of another length.
        """
        *hidden, last = self.layers
        x = as_tensor("MLP", "input", input, last.weight.device, "numbers")
        x = x.flatten(1) if self.config.flatten else x
        if x.shape[-1:] != (self.config.in_features,):
            msg = f"MLP: input has shape {x.shape}; expected (..., {self.config.in_features})"
            raise ValueError(msg)
        x = x.to(last.weight.dtype)
        for layer in hidden:
            x = self.dropout(dense(layer, x, self.activation))
        return last(x)  # type: ignore[no-any-return]
