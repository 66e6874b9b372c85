"""Layers around a layer: Bidirectional and TimeDistributed."""

from __future__ import annotations

from typing import Any, Self

import fastattn as fa
from fastattn.autograd.tensor import Tensor
from fastattn.keras.engine import saving
from fastattn.keras.engine.layer import Layer
from fastattn.keras.engine.signature import call_spec

from .normalization import BatchNormalization
from .recurrent_base import RNNLayer


class _Wrapper(Layer):
    """A layer whose config holds others."""

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """A layer of what get_config() gave."""
        return cls(**{name: saving.deserialize_object(value, custom_objects) for name, value in config.items()})

    def _inner(self, layer: Any) -> Layer:
        if not isinstance(layer, Layer):
            msg = f"{self.title}: layer is a {type(layer).__name__}; expected a Layer"
            raise TypeError(msg)
        return layer


class TimeDistributed(_Wrapper):
    """A layer on each step of a sequence.

    Args:
        layer: of one step.
        kwargs: see Layer.

    Shape:
        (B, T, ...) to (B, T, ...), as `layer` goes from (B, ...) to (B, ...). Batch normalisation sees one step at a time.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.TimeDistributed(keras.layers.Dense(4))(np.ones((2, 5, 3))).shape
        (2, 5, 4)
    """

    integers = True
    supports_masking = True
    expected_min_ndim = 3

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = self._inner(layer)

    def build(self, input_shape: Any) -> None:
        self.layer._maybe_build({"inputs_shape": (input_shape[0], *input_shape[2:])})
        self.built = True

    def call(self, inputs: Tensor, training: bool = False, mask: Any = None) -> Any:
        spec = call_spec(type(self.layer).call)
        if any(isinstance(layer, BatchNormalization) for layer in self.layer._flatten_layers()):
            return fa.stack([self.layer(inputs[:, t], training=training) for t in range(inputs.shape[1])], 1)
        options = {"training": training} if spec.training else {}
        if "mask" in spec.names and mask is not None and mask.ndim > 2:
            options["mask"] = mask.flatten(0, 1)
        out = self.layer(inputs.flatten(0, 1), **options)
        return out.reshape(inputs.shape[0], inputs.shape[1], *out.shape[1:])

    def compute_output_shape(self, input_shape: Any) -> Any:
        below = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (below[0], input_shape[1], *below[1:])


class Bidirectional(_Wrapper):
    """A recurrent layer from front to back, and one from back to front.

    Args:
        layer: the recurrent layer; two new ones are made from its config.
        merge_mode: "concat" of the two outputs, "sum", "mul", "ave", or None for both.
        backward_layer: the one from back to front, if it is another; it has `go_backwards=True`.
        kwargs: see Layer.

    Shape:
        (B, T, n) to what `layer` gives, with twice the units for "concat"; weights of the one, then of the other.

    Raises:
        ValueError: an unknown `merge_mode`, or two layers that do not belong together.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Bidirectional(keras.layers.LSTM(4))(np.ones((2, 5, 3))).shape
        (2, 8)

    Source: Schuster and Paliwal, "Bidirectional recurrent neural networks" (1997).
    """

    supports_masking = True
    expected_ndim = 3

    def __init__(
        self, layer: Any, merge_mode: str | None = "concat", backward_layer: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(layer, RNNLayer):
            msg = f"{self.title}: layer is a {type(layer).__name__}; expected an LSTM, a GRU or a SimpleRNN"
            raise TypeError(msg)
        if merge_mode not in ("sum", "mul", "ave", "concat", None):
            msg = f"{self.title}: merge_mode is {merge_mode!r}; expected 'concat', 'sum', 'mul', 'ave' or None"
            raise ValueError(msg)
        self.merge_mode = merge_mode
        self.forward_layer = _renamed(layer, "forward", layer.go_backwards)
        if backward_layer is None:
            backward_layer = _renamed(layer, "backward", not layer.go_backwards)
        self.backward_layer = backward_layer
        first, second = self.forward_layer, self.backward_layer
        for name in ("return_sequences", "return_state", "stateful"):
            if getattr(first, name) != getattr(second, name):
                msg = f"{self.title}: {name} is {getattr(first, name)} of one layer and {getattr(second, name)} of the other"
                raise ValueError(msg)
        if first.go_backwards == second.go_backwards:
            msg = f"{self.title}: both layers have go_backwards={first.go_backwards}; expected one of each"
            raise ValueError(msg)
        self.return_sequences, self.return_state = first.return_sequences, first.return_state
        for inner in (first, second):
            inner.zero_output_for_mask = self.return_sequences

    def build(self, input_shape: Any) -> None:
        for inner in (self.forward_layer, self.backward_layer):
            inner._maybe_build({"sequences_shape": input_shape})
        self.built = True

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        """Args: sequences (B, T, n); initial_state: the states of both; mask (B, T); training."""
        half = self.forward_layer.states_count
        states = (None, None) if initial_state is None else (list(initial_state[:half]), list(initial_state[half:]))
        both = [
            inner(sequences, initial_state=state, mask=mask, training=training)
            for inner, state in zip((self.forward_layer, self.backward_layer), states, strict=True)
        ]
        last: list[Any] = []
        if self.return_state:
            last = [*both[0][1:], *both[1][1:]]
            both = [both[0][0], both[1][0]]
        y, back = both
        if self.return_sequences:
            back = back.flip(1)
        if self.merge_mode is None:
            return [y, back, *last]
        merged = {
            "concat": lambda: fa.cat([y, back], -1),
            "sum": lambda: y + back,
            "ave": lambda: (y + back) / 2,
            "mul": lambda: y * back,
        }[self.merge_mode]()
        return [merged, *last] if self.return_state else merged

    def reset_state(self) -> None:
        """Lets stateful layers begin again."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        shape = self.forward_layer.compute_output_shape(sequences_shape)
        states: list[Any] = []
        if self.return_state:
            shape, *states = shape
            states = [*states, *states]
        if self.merge_mode is None:
            return [shape, shape, *states]
        if self.merge_mode == "concat":
            shape = (*shape[:-1], 2 * shape[-1])
        return [shape, *states] if self.return_state else shape

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        mask = previous_mask if self.return_sequences else None
        both = [mask, mask] if self.merge_mode is None else mask
        if not self.return_state:
            return both
        states = [None] * (2 * self.forward_layer.states_count)
        return [*both, *states] if isinstance(both, list) else [both, *states]


def _renamed(layer: RNNLayer, prefix: str, backwards: bool) -> Any:
    """A new layer of the same config, in a direction."""
    config = layer.get_config()
    name = config["name"].removeprefix(f"{prefix}_")
    return type(layer).from_config({**config, "name": f"{prefix}_{name}", "go_backwards": backwards})
