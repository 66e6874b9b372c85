"""One case for each layer and option: what makes it, what goes in; both sides of the contract walk this table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Case:
    """A layer and its inputs.

    Args:
        name: of the class.
        shape: of the input, or a list of shapes.
        options: arguments.
        high: inputs are integers below this.
        call: keyword arguments of the call.
        training: whether it is called in training.
        masked: "right" or "holes": the call gets such a mask (B, T).
        spread: the inputs are arguments of their own, not a list.
        within: (name, options) of the layer that this one wraps.
    """

    name: str
    shape: Any
    options: dict[str, Any] = field(default_factory=dict)
    high: int = 0
    call: dict[str, Any] = field(default_factory=dict)
    training: bool | None = None
    within: tuple[str, dict[str, Any]] | None = None
    masked: str | None = None
    spread: bool = False
    parity: bool = True  # False where keras itself fails, or its torch backend differs from its others

    @property
    def id(self) -> str:
        told = "-".join(f"{k}={v}" for k, v in self.options.items())
        training = "" if self.training is None else f"-training={self.training}"
        within = "" if self.within is None else self.within[0]
        return f"{self.name}{within}{self.shape}{told}{training}-{self.masked or ''}".replace(" ", "")

    def make(self, layers: Any, dtype: str) -> Any:
        """The layer of a library."""
        options = dict(self.options)
        if self.within is not None:
            name, inner = self.within
            options = {"layer": getattr(layers, name)(**inner, dtype=dtype), **options}
        return getattr(layers, self.name)(**options, dtype=dtype)

    def mask(self) -> Any:
        """The mask, or None."""
        if self.masked is None:
            return None
        batch, time = self.shape[:2]
        mask = np.arange(time) < np.arange(time, time - 2 * batch, -2)[:, None]
        if self.masked == "holes":
            mask = np.random.default_rng(1).random((batch, time)) < 0.6
            mask[0, 0] = False
            mask[:, 2] = True
        return mask

    def inputs(self, dtype: str) -> Any:
        """The data."""
        rng = np.random.default_rng(3)

        def one(shape: tuple[int, ...]) -> Any:
            if self.high:
                return rng.integers(0, self.high, shape).astype("int32")
            return rng.standard_normal(shape).astype(dtype)

        return [one(s) for s in self.shape] if isinstance(self.shape, list) else one(self.shape)


CASES = [
    Case("Dense", (5, 3), {"units": 4}),
    Case("Dense", (5, 3), {"units": 4, "activation": "relu", "use_bias": False}),
    Case("Dense", (2, 5, 3), {"units": 1, "activation": "tanh", "kernel_initializer": "he_normal"}),
    Case("Dense", (5, 3), {"units": 4, "kernel_regularizer": "l2", "bias_regularizer": "l1"}),
    Case("Dense", (5, 3), {"units": 4, "activity_regularizer": "l2"}),
    Case("Embedding", (4, 6), {"input_dim": 9, "output_dim": 5}, high=9),
    Case("Activation", (4, 6), {"activation": "sigmoid"}),
    Case("Dropout", (4, 6), {"rate": 0.5}),
    Case("Flatten", (4, 6, 2)),
    Case("Flatten", (4,)),
    Case("Reshape", (4, 6, 2), {"target_shape": (3, -1)}),
    Case("Permute", (4, 6, 2, 3), {"dims": (3, 1, 2)}),
    Case("RepeatVector", (4, 6), {"n": 3}),
    Case("Masking", (4, 6, 2), {"mask_value": 0.0}),
    Case("ActivityRegularization", (4, 6), {"l1": 0.1, "l2": 0.2}),
    Case("ReLU", (4, 6), {"max_value": 0.9, "negative_slope": 0.1, "threshold": 0.2}),
    Case("LeakyReLU", (4, 6)),
    Case("LeakyReLU", (4, 6), {"negative_slope": 0.2}),
    Case("ELU", (4, 6), {"alpha": 0.7}),
    Case("PReLU", (4, 5, 3), {"alpha_initializer": "ones"}),
    Case("PReLU", (4, 5, 3), {"shared_axes": [1], "alpha_initializer": "glorot_uniform"}),
    Case("Softmax", (4, 6)),
    Case("Softmax", (4, 3, 2), {"axis": (1, 2)}),
    Case("Conv1D", (2, 9, 3), {"filters": 4, "kernel_size": 3}),
    Case("Conv1D", (2, 9, 3), {"filters": 4, "kernel_size": 4, "strides": 2, "padding": "same"}),
    Case("Conv1D", (2, 9, 3), {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}),
    Case("Conv2D", (2, 7, 6, 3), {"filters": 4, "kernel_size": 3, "activation": "relu"}),
    Case("Conv2D", (2, 7, 6, 3), {"filters": 4, "kernel_size": (2, 3), "strides": 2, "padding": "same"}),
    Case("Conv2D", (2, 8, 6, 3), {"filters": 4, "kernel_size": 4, "padding": "same", "use_bias": False}),
    Case("Conv2D", (2, 9, 8, 4), {"filters": 6, "kernel_size": 3, "groups": 2, "dilation_rate": (2, 1)}),
    *[
        # Where the padding of an average is odd, keras on torch repeats the edge; elsewhere padding does not count.
        Case(f"{kind}Pooling{n}D", shape, options, parity=kind == "Max" or n == 1 or options.get("strides") != 2)
        for kind in ("Max", "Average")
        for n, shape in ((1, (2, 9, 3)), (2, (2, 7, 8, 3)))
        for options in (
            {"pool_size": 2},
            {"pool_size": 3, "strides": 2, "padding": "same"},
            {"pool_size": 3, "strides": 1},
        )
    ],
    Case("MaxPooling2D", (2, 7, 8, 3), {"pool_size": 2, "strides": 1, "padding": "same"}),
    Case("AveragePooling1D", (2, 8, 3), {"pool_size": 2, "strides": 1, "padding": "same"}, parity=False),
    Case("AveragePooling2D", (2, 7, 8, 3), {"pool_size": (3, 2), "strides": (1, 3), "padding": "same"}, parity=False),
    Case("GlobalAveragePooling1D", (2, 7, 3)),
    Case("GlobalAveragePooling2D", (2, 7, 4, 3), {"keepdims": True}),
    Case("GlobalMaxPooling1D", (2, 7, 3), {"keepdims": True}),
    Case("GlobalMaxPooling2D", (2, 7, 4, 3)),
    Case("BatchNormalization", (6, 5), training=True),
    Case("BatchNormalization", (6, 5), training=False),
    Case("BatchNormalization", (1, 5), training=True),
    Case("BatchNormalization", (3, 4, 4, 2), {"momentum": 0.7, "epsilon": 1e-2, "scale": False}, training=True),
    Case("BatchNormalization", (3, 4, 5, 2), {"axis": 1, "center": False}, training=True),
    Case("BatchNormalization", (3, 4, 5, 2), {"axis": 2}, training=True),
    Case("LayerNormalization", (6, 5)),
    Case("LayerNormalization", (3, 4, 5), {"axis": [1, 2], "scale": False}),
    Case("LayerNormalization", (3, 4, 5), {"axis": 1, "epsilon": 1e-5}, parity=False),
    *[Case(name, [(3, 4), (3, 4), (3, 4)]) for name in ("Add", "Multiply", "Average", "Maximum", "Minimum")],
    Case("Subtract", [(3, 4), (3, 4)]),
    Case("Add", [(3, 4, 5), (3, 1, 5)]),
    Case("Concatenate", [(3, 4), (3, 2)]),
    Case("Concatenate", [(3, 4, 2), (3, 1, 2)], {"axis": 1}),
    Case("Dot", [(3, 4), (3, 4)], {"axes": 1}),
    Case("Dot", [(3, 4, 2), (3, 5, 4)], {"axes": (1, 2)}),
    Case("Dot", [(3, 4), (3, 4)], {"axes": -1, "normalize": True}),
    *[
        Case(name, (3, 6, 4), options)
        for name in ("LSTM", "GRU", "SimpleRNN")
        for options in (
            {"units": 5},
            {"units": 5, "return_sequences": True},
            {"units": 5, "return_sequences": True, "return_state": True, "go_backwards": True},
            {"units": 5, "use_bias": False},
            {"units": 5, "activation": "relu", "return_state": True},
        )
    ],
    *[
        Case(name, (3, 6, 4), options, masked=masked)
        for name in ("LSTM", "GRU", "SimpleRNN")
        for masked in ("right", "holes")
        for options in (
            {"units": 5},
            {"units": 5, "return_sequences": True},
            {"units": 5, "return_sequences": True, "return_state": True, "go_backwards": True, "activation": "sigmoid"},
        )
    ],
    Case("LSTM", (3, 6, 4), {"units": 5, "recurrent_activation": "softsign", "unit_forget_bias": False}),
    Case("GRU", (3, 6, 4), {"units": 5, "reset_after": False, "return_sequences": True}),
    Case("GRU", (3, 6, 4), {"units": 5, "reset_after": False, "use_bias": False}),
    *[
        Case("Bidirectional", (3, 6, 4), options, within=within, masked=masked)
        for within in (("LSTM", {"units": 5, "return_sequences": True}), ("GRU", {"units": 5}))
        for masked in (None, "right")
        for options in ({}, {"merge_mode": "sum"})
    ],
    Case("Bidirectional", (3, 6, 4), {"merge_mode": "ave"}, within=("LSTM", {"units": 5, "return_state": True})),
    Case("Bidirectional", (3, 6, 4), {"merge_mode": "mul"}, within=("SimpleRNN", {"units": 5})),
    Case("TimeDistributed", (3, 6, 4), within=("Dense", {"units": 5})),
    Case("TimeDistributed", (2, 3, 6, 5, 2), within=("Conv2D", {"filters": 3, "kernel_size": 2})),
    Case("TimeDistributed", (5, 3, 4), within=("BatchNormalization", {}), training=True),
    Case("MultiHeadAttention", [(2, 5, 6), (2, 4, 7)], {"num_heads": 2, "key_dim": 3}, spread=True),
    Case(
        "MultiHeadAttention",
        [(2, 5, 6), (2, 4, 7), (2, 4, 3)],
        {"num_heads": 2, "key_dim": 3, "value_dim": 5},
        spread=True,
    ),
    Case(
        "MultiHeadAttention",
        [(2, 5, 6), (2, 5, 6)],
        {"num_heads": 3, "key_dim": 2, "use_bias": False, "output_shape": 4},
        call={"use_causal_mask": True},
        spread=True,
    ),
    Case(
        "MultiHeadAttention",
        [(2, 5, 6), (2, 4, 6)],
        {"num_heads": 2, "key_dim": 4},
        call={"return_attention_scores": True},
        spread=True,
    ),
    Case("GlobalAveragePooling1D", (3, 6, 4), masked="right"),
    Case("BatchNormalization", (3, 6, 4), masked="holes", training=True),
    Case("Rescaling", (3, 4), {"scale": 0.5, "offset": -1.0}),
    Case("ZeroPadding1D", (2, 4, 3), {"padding": (1, 2)}),
    Case("ZeroPadding2D", (2, 4, 5, 3), {"padding": ((1, 0), (2, 3))}),
    Case("Cropping1D", (2, 6, 3), {"cropping": (1, 2)}),
    Case("Cropping2D", (2, 5, 6, 3), {"cropping": ((1, 0), (2, 1))}),
    Case("UpSampling1D", (2, 4, 3), {"size": 3}),
    Case("UpSampling2D", (2, 4, 5, 3), {"size": (2, 3)}),
    Case("GaussianNoise", (3, 4), {"stddev": 0.3}),
    Case("GaussianDropout", (3, 4), {"rate": 0.3}),
    Case("SpatialDropout1D", (3, 4, 2), {"rate": 0.3}),
    Case("RandomFlip", (3, 4, 4, 2), training=False),
    Case("RandomContrast", (3, 4, 4, 2), {"factor": 0.3}, training=False),
    Case("CenterCrop", (2, 7, 6, 2), {"height": 4, "width": 3}),
]
