"""Recurrent layers, over the fused ops; what those do not have (other activations, recurrent dropout) goes step by step."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import fastattn as fa
from fastattn import ops
from fastattn.autograd.node import wrap
from fastattn.autograd.tensor import Tensor
from fastattn.keras import activations, constraints, initializers, regularizers
from fastattn.keras.engine import saving
from fastattn.keras.engine.layer import Layer
from fastattn.keras.engine.weight import TRANSPOSED, Layout
from fastattn.nn import functional as F

from .core import known, positive, stream


class RNNLayer(Layer):
    """What the recurrent layers share: arguments, masks, states, directions.

    `gates` is how many blocks of `units` a kernel has; `order` is where torch has Keras's blocks.
    """

    gates: ClassVar[int]
    order: ClassVar[tuple[int, ...]]
    states_count: ClassVar[int] = 1
    supports_masking = True
    expected_ndim = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        for ignored in ("use_cudnn", "implementation", "time_major"):
            kwargs.pop(ignored, None)
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = positive(self, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        for name, value in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0 <= value <= 1:
                msg = f"{self.title}: {name} is {value!r}; expected a probability, 0 to 1"
                raise ValueError(msg)
        self.dropout, self.recurrent_dropout = float(dropout), float(recurrent_dropout)
        self.seed = seed
        self._stream = stream(seed)
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful = go_backwards, stateful
        self.zero_output_for_mask = zero_output_for_mask
        self._kept: list[Any] | None = None  # the states of a stateful layer

    def _swap(self) -> Layout:
        """Keras's kernel (n, gates * units) as torch's (gates * units, n), with torch's order of gates."""
        order = self.order
        if order == tuple(range(len(order))):
            return TRANSPOSED
        back = np.argsort(order)
        return Layout(
            lambda a: _blocks(a, order).T,
            lambda a: (_blocks(a.T, back),),
        )

    def build(self, input_shape: Any) -> None:
        length = known(self, input_shape, -1)
        wide = self.gates * self.units
        self._new_weight(
            "kernel",
            (length, wide),
            "weight_ih_l0",
            self.kernel_initializer,
            self._swap(),
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self._new_weight(
            "recurrent_kernel",
            (self.units, wide),
            "weight_hh_l0",
            self.recurrent_initializer,
            self._swap(),
            regularizer=self.recurrent_regularizer,
            constraint=self.recurrent_constraint,
        )
        if self.use_bias:
            self._build_bias()
        self._expected_axes = {-1: length}
        self.built = True

    def _build_bias(self) -> None:
        order, back = self.order, np.argsort(self.order)
        self._new_weight(
            "bias",
            (self.gates * self.units,),
            "bias_ih_l0",
            self._first_bias,
            Layout(lambda a: _blocks(a, order), lambda a: (_blocks(a, back),)),
            regularizer=self.bias_regularizer,
            constraint=self.bias_constraint,
        )

    def _first_bias(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return self.bias_initializer(shape, dtype)

    @property
    def _biases(self) -> tuple[Any, Any]:
        """Of the input's product, and of the state's."""
        return (self.bias_ih_l0 if self.use_bias else None), None

    # The two ways to run --------------------------------------------------------------------------------------------

    def _is_fused(self) -> bool:
        """Whether there is an op for the activations."""
        return self.activation is activations.tanh

    def _fused(self, x: Tensor, states: list[Any], lengths: Any) -> tuple[Tensor, list[Any]]:
        raise NotImplementedError

    def _step(self, projected: Tensor, states: list[Any], dropped: Any) -> list[Any]:
        """The states after a step, of the input's product (B, gates * units) and of states, the output's first."""
        raise NotImplementedError

    def _stepwise(self, x: Tensor, states: list[Any], lengths: Any, training: bool) -> tuple[Tensor, list[Any]]:
        projected = F.linear(x, self.weight_ih_l0, self._biases[0])
        rate = self.recurrent_dropout if training else 0.0
        ones = fa.ones(x.shape[0], self.units, dtype=x.dtype, device=x.device)
        if not states:
            states = [fa.zeros_like(ones) for _ in range(self.states_count)]
        dropped = ops.dropout(ones, rate, seed=self._next_seed()) if rate else None
        outputs = []
        for t in range(x.shape[1]):
            new = self._step(projected[:, t], states, dropped)
            if lengths is not None:
                on = (lengths > t).unsqueeze(-1)
                new = [fa.where(on, a, b) for a, b in zip(new, states, strict=True)]
            states = new
            outputs.append(states[0])
        return fa.stack(outputs, 1), states

    def _next_seed(self) -> int | None:
        return None if self._stream is None else self._stream.next_seed()

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        """Args: sequences (B, T, C); initial_state; mask (B, T), True where a step counts; training."""
        states = self._first_states(sequences, initial_state)
        x = sequences
        if training and self.dropout:  # one mask for all steps of a sequence
            ones = fa.ones(x.shape[0], 1, x.shape[2], dtype=x.dtype, device=x.device)
            x = x * ops.dropout(ones, self.dropout, seed=self._next_seed())
        if self.go_backwards:
            x = x.flip(1)
            mask = None if mask is None else mask.flip(1)
        lengths, order, places = _layout_of(mask)
        if order is not None:  # the steps that count to the front
            x = x[np.arange(x.shape[0])[:, None], order]
        recurrent = self.recurrent_dropout if training else 0.0
        if self._is_fused() and not recurrent:
            out, states = self._fused(x, states, None if lengths is None else wrap(lengths))
        else:
            out, states = self._stepwise(x, states, None if lengths is None else wrap(lengths), training)
        if self.stateful:
            self._kept = [s.detach() for s in states]
        result: Any = states[0]
        if self.return_sequences:
            result = out if places is None else self._placed(out, places)
        return [result, *states] if self.return_state else result

    def _placed(self, out: Tensor, places: Any) -> Tensor:
        """Each step's output where the step is; a step that is hidden has the output of the last before it, or 0."""
        spread = out[np.arange(out.shape[0])[:, None], np.maximum(places, 0)]
        empty = places < 0
        if self.zero_output_for_mask:
            empty = np.diff(places, axis=1, prepend=-1) == 0
        return spread.masked_fill(wrap(empty[..., None]), 0.0) if empty.any() else spread

    def _first_states(self, x: Tensor, initial_state: Any) -> list[Any]:
        if initial_state is None:
            kept = self._kept if self.stateful else None
            if kept is not None and kept[0].shape[0] != x.shape[0]:
                msg = f"{self.title}: a batch of {x.shape[0]} after one of {kept[0].shape[0]}; reset_state() first"
                raise ValueError(msg)
            return [] if kept is None else list(kept)
        states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        expected = (x.shape[0], self.units)
        if len(states) != self.states_count or any(tuple(s.shape) != expected for s in states):
            shapes = ", ".join(str(tuple(s.shape)) for s in states)
            msg = f"{self.title}: initial_state has shapes {shapes}; expected {self.states_count} of {expected}"
            raise ValueError(msg)
        return states

    def reset_state(self) -> None:
        """Lets a stateful layer begin again."""
        self._kept = None

    reset_states = reset_state

    def get_config(self) -> dict[str, Any]:
        shared = saving.serialize_arguments(self, self._arguments[RNNLayer])
        return {**shared, **super().get_config()}

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        batch, time = sequences_shape[:2]
        out = (batch, time, self.units) if self.return_sequences else (batch, self.units)
        return [out, *[(batch, self.units)] * self.states_count] if self.return_state else out

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        if isinstance(previous_mask, (list, tuple)):
            previous_mask = previous_mask[0]
        mask = previous_mask if self.return_sequences else None
        return [mask, *[None] * self.states_count] if self.return_state else mask


def _blocks(array: Any, order: Any) -> Any:
    """The rows of an array in blocks, in another order."""
    parts = np.split(np.asarray(array), len(order))
    return np.concatenate([parts[i] for i in order])


def _layout_of(mask: Any) -> tuple[Any, Any, Any]:
    """Of a mask (B, T): how many steps of each sequence count; where those are, if not at its front; and of each step the
    number among those that count, or that of the last before it, -1 for none."""
    if mask is None:
        return None, None, None
    on = np.asarray(mask.detach().numpy() if hasattr(mask, "detach") else mask).astype(bool)
    if on.all():
        return None, None, None
    lengths = on.sum(1).astype(np.int64)
    front = np.arange(on.shape[1]) < lengths[:, None]
    order = None if (front == on).all() else np.argsort(~on, axis=1, kind="stable")
    return lengths, order, np.cumsum(on, axis=1) - 1


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
        return_state: also the last h and c.
        go_backwards: from the last step to the first.
        stateful: start a batch from the states in which the last one ended.
        unroll: accepted for Keras's sake.
        zero_output_for_mask: 0 for steps that a mask hides, not the output of the last before them.
        kwargs: see Layer.

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
        kernel_regularizer: of W to a term of the loss.
        recurrent_regularizer: of U.
        bias_regularizer: of the biases.
        activity_regularizer: of the output.
        kernel_constraint: of W after each step.
        recurrent_constraint: of U.
        bias_constraint: of the biases.
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
                lambda a, b: np.stack([_blocks(a, order), _blocks(b, order)]),
                lambda a: (_blocks(a[0], back), _blocks(a[1], back)),
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
