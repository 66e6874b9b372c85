"""Normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastattn as fa
from fastattn import ops
from fastattn.autograd.node import no_grad
from fastattn.autograd.tensor import Tensor
from fastattn.keras import constraints, initializers, regularizers
from fastattn.keras.config import epsilon
from fastattn.keras.engine.layer import Layer
from fastattn.nn import functional as F

from .core import known


class BatchNormalization(Layer):
    r"""Normalises each channel over the batch and the positions, then scales and shifts.

    .. math:: y = (x - \mathrm{mean}_c) / \sqrt{\mathrm{var}_c + \epsilon} \cdot \gamma_c + \beta_c

    In training mean and variance are the batch's, otherwise the moving ones; also in training where the layer is not
    trainable.

    Args:
        axis: of the channels.
        momentum: share that the moving statistics keep of themselves in a step.
        epsilon: added to the variance.
        center: whether there is a beta.
        scale: whether there is a gamma.
        beta_initializer: of beta.
        gamma_initializer: of gamma.
        moving_mean_initializer: of the moving mean.
        moving_variance_initializer: of the moving variance.
        beta_regularizer: of beta to a term of the loss.
        gamma_regularizer: of gamma.
        beta_constraint: of beta after each step.
        gamma_constraint: of gamma.
        synchronized: accepted for Keras's sake; there is one process.
        kwargs: see Layer.

    Shape:
        any with a batch to the same; weights gamma, beta, moving_mean and moving_variance of the number of channels.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.BatchNormalization()(np.ones((2, 3))).shape
        (2, 3)

    Source: Ioffe and Szegedy, "Batch Normalization" (2015), algorithms 1 and 2.
    """

    supports_masking = True
    expected_min_ndim = 2

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = int(axis)
        self.momentum, self.epsilon = float(momentum), float(epsilon)
        self.center, self.scale = center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    def build(self, input_shape: Any) -> None:
        if not -len(input_shape) <= self.axis < len(input_shape):
            msg = f"{self.title}: input has shape {tuple(input_shape)}; it has no axis {self.axis}"
            raise ValueError(msg)
        shape = (known(self, input_shape, self.axis),)
        if self.scale:
            self._new_weight(
                "gamma",
                shape,
                "weight",
                self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )
        if self.center:
            self._new_weight(
                "beta",
                shape,
                "bias",
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )
        self._new_weight("moving_mean", shape, "running_mean", self.moving_mean_initializer, trainable=False)
        self._new_weight("moving_variance", shape, "running_var", self.moving_variance_initializer, trainable=False)
        self._expected_axes = {self.axis: shape[0]}
        self.built = True

    def call(self, inputs: Tensor, training: bool = False, mask: Any = None) -> Tensor:
        axis = self.axis % inputs.ndim
        moved = axis not in (1, inputs.ndim - 1)
        x = inputs.transpose(axis, -1) if moved else inputs
        layout = "nhwc" if moved or axis == inputs.ndim - 1 else "nchw"
        training = bool(training) and self.trainable
        if training and (mask is not None or inputs.numel() == inputs.shape[axis]):  # the op wants two values a channel
            return self._composed(inputs, mask, axis)
        weight = self.weight if self.scale else None
        bias = self.bias if self.center else None
        options: dict[str, Any] = {"eps": self.epsilon, "layout": layout}
        if training:
            # With momentum 1 the op writes the batch's own statistics, of which Keras takes the biased variance.
            mean, variance = fa.zeros_like(self.running_mean), fa.ones_like(self.running_var)
            out: Tensor = ops.batch_norm(x, mean, variance, weight, bias, True, 1.0, **options)
            count = x.numel() // mean.numel()
            self._move(mean, variance * ((count - 1) / count))
        else:
            out = ops.batch_norm(x, self.running_mean, self.running_var, weight, bias, False, 0.0, **options)
        return out.transpose(axis, -1) if moved else out

    def _move(self, mean: Any, variance: Any) -> None:
        """The moving statistics one step on."""
        with no_grad():
            for moving, now in ((self.running_mean, mean), (self.running_var, variance)):
                moving.mul_(self.momentum).add_(now.detach() * (1 - self.momentum))

    def _composed(self, x: Tensor, mask: Any, axis: int) -> Tensor:
        """The same out of other ops; mean and variance are over the steps that a mask keeps."""
        shape = [n if i == axis else 1 for i, n in enumerate(x.shape)]
        over = tuple(i for i in range(x.ndim) if i != axis)
        guard = 0.0 if mask is None else epsilon()  # Keras's, against steps that are all hidden
        mask = fa.ones(x.shape[0], dtype=bool) if mask is None else mask
        kept = mask.to(x.dtype).reshape(*mask.shape, *[1] * (x.ndim - mask.ndim))
        count = (kept + fa.zeros(shape, dtype=x.dtype)).expand(*x.shape).sum(over, keepdim=True)
        count = count + guard
        mean = (x * kept).sum(over, keepdim=True) / count
        variance = ((x - mean).square() * kept).sum(over, keepdim=True) / count
        self._move(mean.reshape(-1), variance.reshape(-1))
        out: Tensor = (x - mean) * (variance + self.epsilon).rsqrt()
        if self.scale:
            out = out * self.weight.reshape(*shape)
        return out + self.bias.reshape(*shape) if self.center else out

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class LayerNormalization(Layer):
    r"""Normalises each sample along axes, then scales and shifts.

    .. math:: y = (x - \mathrm{mean}) / \sqrt{\mathrm{var} + \epsilon} \cdot \gamma + \beta

    Args:
        axis: what is normalised along, one or several.
        epsilon: added to the variance.
        center: whether there is a beta.
        scale: whether there is a gamma.
        beta_initializer: of beta.
        gamma_initializer: of gamma.
        beta_regularizer: of beta to a term of the loss.
        gamma_regularizer: of gamma.
        beta_constraint: of beta after each step.
        gamma_constraint: of gamma.
        kwargs: see Layer.

    Shape:
        any to the same; weights gamma and beta of the shape of the axes.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.LayerNormalization(epsilon=0.0)(np.array([[1.0, 3.0]])).detach()
        tensor([[-1.,  1.]])

    Source: Ba, Kiros and Hinton, "Layer Normalization" (2016), section 3.
    """

    supports_masking = True

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = (int(axis),) if hasattr(axis, "__index__") else tuple(axis)
        self.epsilon = float(epsilon)
        self.center, self.scale = center, scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    def build(self, input_shape: Any) -> None:
        shape = tuple([known(self, input_shape, a) for a in self.axis])
        if self.scale:
            self._new_weight(
                "gamma",
                shape,
                "weight",
                self.gamma_initializer,
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )
        if self.center:
            self._new_weight(
                "beta",
                shape,
                "bias",
                self.beta_initializer,
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )
        self._expected_axes = dict(zip(self.axis, shape, strict=True))
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        ndim = inputs.ndim
        axes = [a % ndim for a in self.axis]
        order = [i for i in range(ndim) if i not in axes] + axes
        straight = order == list(range(ndim))
        x = inputs if straight else inputs.permute(*order)
        weight = self.weight if self.scale else None
        bias = self.bias if self.center else None
        if weight is None and bias is not None:
            out: Tensor = F.layer_norm(x, x.shape[ndim - len(axes) :], None, None, self.epsilon) + bias
        else:
            out = F.layer_norm(x, x.shape[ndim - len(axes) :], weight, bias, self.epsilon)
        return out if straight else out.permute(*[int(i) for i in np.argsort(order)])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape
