"""Recurrent layers, over the fused ops; what those do not have (other activations, recurrent dropout) goes step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastattn import ops
from fastattn.autograd.tensor import Tensor
from fastattn.keras import activations
from fastattn.keras.engine.weight import Layout
from fastattn.nn import functional as F

from .recurrent_base import RNNLayer, blocks


class SimpleRNN(RNNLayer):
    r"""Elman's recurrent network.

    .. math:: h_t = f(x_t W + h_{t-1} U + b)

    Args:
        units: the length of the state.
        activation: f.
        use_bias: whether there is a `b`.
        kernel_initializer: of W.
        recurrent_initializer: of U.
        bias_initializer: of b.
        kernel_regularizer: of W to a term of the loss.
        recurrent_regularizer: of U.
        bias_regularizer: of b.
        activity_regularizer: of the output.
        kernel_constraint: of W after each step.
        recurrent_constraint: of U.
        bias_constraint: of b.
        dropout: probability, on the input; one mask for all steps.
        recurrent_dropout: probability, on the state; goes step by step.
        seed: of a random stream of its own; None: the global one.
        return_sequences: the outputs of all steps, not of the last.
        return_state: also the last state.
        go_backwards: from the last step to the first.
        stateful: start a batch from the states in which the last one ended.
        unroll: accepted for Keras's sake.
        zero_output_for_mask: 0 for steps that a mask hides, not the output of the last before them.
        kwargs: see Layer.

    Shape:
        (B, T, n) to (B, units), or (B, T, units); weights kernel (n, units), recurrent_kernel (units, units), bias (units,).

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.SimpleRNN(4)(np.ones((2, 5, 3))).shape
        (2, 4)

    Source: Elman, "Finding structure in time" (1990).
    """

    gates = 1
    order = (0,)

    def _is_fused(self) -> bool:
        return self.activation in (activations.tanh, activations.relu)

    def _fused(self, x: Tensor, states: list[Any], lengths: Any) -> tuple[Tensor, list[Any]]:
        kind = "tanh" if self.activation is activations.tanh else "relu"
        weights = self.weight_ih_l0, self.weight_hh_l0, *self._biases
        out, h = ops.rnn(x, *weights, *states, nonlinearity=kind, lengths=lengths, batch_first=True)
        return out, [h]

    def _step(self, projected: Tensor, states: list[Any], dropped: Any) -> list[Any]:
        h = states[0] if dropped is None else states[0] * dropped
        return [self.activation(projected + F.linear(h, self.weight_hh_l0))]


class LSTM(RNNLayer):
    r"""A long short-term memory.

    .. math::
        (i, f, g, o) &= x_t W + h_{t-1} U + b \\
        c_t &= \sigma(f) c_{t-1} + \sigma(i) \tanh(g), \quad h_t = \sigma(o) \tanh(c_t)

    Args:
        units: the length of the states.
        activation: in place of tanh.
        recurrent_activation: in place of the sigmoid; the op has the two defaults, others go step by step.
        use_bias: whether there is a `b`.
        kernel_initializer: of W.
        recurrent_initializer: of U.
        bias_initializer: of b.
        unit_forget_bias: add 1 to the forget gate's bias at first.
        kwargs: regularizers, constraints, dropout, what is returned and the other arguments of SimpleRNN and of Layer.

    Shape:
        (B, T, n) to (B, units), or (B, T, units); weights kernel (n, 4 units), recurrent_kernel (units, 4 units) and bias
        (4 units,), with the gates i, f, g and o.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.LSTM(4, return_sequences=True)(np.ones((2, 5, 3))).shape
        (2, 5, 4)

    Source: Hochreiter and Schmidhuber, "Long short-term memory" (1997).
    """

    gates = 4
    order = (0, 1, 2, 3)
    states_count = 2

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, **kwargs
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias

    def _first_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        if not self.unit_forget_bias:
            return self.bias_initializer(shape, dtype)
        n = self.units
        parts = [self.bias_initializer((n,), dtype), np.ones(n), self.bias_initializer((2 * n,), dtype)]
        return np.concatenate([np.asarray(p) for p in parts])

    def _is_fused(self) -> bool:
        return super()._is_fused() and self.recurrent_activation is activations.sigmoid

    def _fused(self, x: Tensor, states: list[Any], lengths: Any) -> tuple[Tensor, list[Any]]:
        weights = self.weight_ih_l0, self.weight_hh_l0, *self._biases
        out, h, c = ops.lstm(x, *weights, *states, lengths=lengths, batch_first=True)
        return out, [h, c]

    def _step(self, projected: Tensor, states: list[Any], dropped: Any) -> list[Any]:
        h, c = states
        z = projected + F.linear(h if dropped is None else h * dropped, self.weight_hh_l0)
        i, f, g, o = z.split(self.units, -1)
        c = self.recurrent_activation(f) * c + self.recurrent_activation(i) * self.activation(g)
        return [self.recurrent_activation(o) * self.activation(c), c]


class GRU(RNNLayer):
    r"""Gated recurrent units.

    .. math::
        z &= \sigma(x_t W_z + h_{t-1} U_z + b_z), \quad r = \sigma(x_t W_r + h_{t-1} U_r + b_r) \\
        n &= \tanh(x_t W_n + b_n + r (h_{t-1} U_n + b'_n)), \quad h_t = z h_{t-1} + (1 - z) n

    Args:
        units: the length of the state.
        activation: in place of tanh.
        recurrent_activation: in place of the sigmoid; the op has the two defaults, others go step by step.
        use_bias: whether there are biases.
        kernel_initializer: of W.
        recurrent_initializer: of U.
        bias_initializer: of the biases.
        reset_after: as in the formula; False: n is tanh(x W + b + (r h) U), which goes step by step.
        kwargs: regularizers, constraints, dropout, what is returned and the other arguments of SimpleRNN and of Layer.

    Shape:
        (B, T, n) to (B, units), or (B, T, units); weights kernel (n, 3 units), recurrent_kernel (units, 3 units) and bias
        (2, 3 units), the input's and the state's, with the gates z, r and n; (3 units,) without `reset_after`.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.GRU(4)(np.ones((2, 5, 3))).shape
        (2, 4)

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation"
    (2014).
    """

    gates = 3
    order = (1, 0, 2)

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer, **kwargs
        )
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = reset_after

    def _build_bias(self) -> None:
        if not self.reset_after:
            super()._build_bias()
            return
        order, back = self.order, np.argsort(self.order)
        self._new_weight(
            "bias",
            (2, 3 * self.units),
            ("bias_ih_l0", "bias_hh_l0"),
            self.bias_initializer,
            Layout(
                lambda a, b: np.stack([blocks(a, order), blocks(b, order)]),
                lambda a: (blocks(a[0], back), blocks(a[1], back)),
            ),
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    @property
    def _biases(self) -> tuple[Any, Any]:
        if not self.use_bias:
            return None, None
        return self.bias_ih_l0, (self.bias_hh_l0 if self.reset_after else None)

    def _is_fused(self) -> bool:
        return super()._is_fused() and self.recurrent_activation is activations.sigmoid and self.reset_after

    def _fused(self, x: Tensor, states: list[Any], lengths: Any) -> tuple[Tensor, list[Any]]:
        weights = self.weight_ih_l0, self.weight_hh_l0, *self._biases
        out, h = ops.gru(x, *weights, *states, lengths=lengths, batch_first=True)
        return out, [h]

    def _step(self, projected: Tensor, states: list[Any], dropped: Any) -> list[Any]:
        h = states[0]
        held = h if dropped is None else h * dropped
        n = self.units
        x_r, x_z, x_n = projected.split(n, -1)
        if self.reset_after:
            h_r, h_z, h_n = F.linear(held, self.weight_hh_l0, self._biases[1]).split(n, -1)
            r, z = self.recurrent_activation(x_r + h_r), self.recurrent_activation(x_z + h_z)
            new = self.activation(x_n + r * h_n)
        else:
            h_r, h_z = F.linear(held, self.weight_hh_l0[: 2 * n]).split(n, -1)
            r, z = self.recurrent_activation(x_r + h_r), self.recurrent_activation(x_z + h_z)
            new = self.activation(x_n + F.linear(r * held, self.weight_hh_l0[2 * n :]))
        return [z * h + (1 - z) * new]
