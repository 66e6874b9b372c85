"""What recurrent layers share: weights, masks, states, and the two ways to run."""

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
            lambda a: blocks(a, order).T,
            lambda a: (blocks(a.T, back),),
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
            Layout(lambda a: blocks(a, order), lambda a: (blocks(a, back),)),
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


def blocks(array: Any, order: Any) -> Any:
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
