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
        masked: whether the input comes with a mask.
        within: (name, options) of the layer that this one wraps.
    """

    name: str
    shape: Any
    options: dict[str, Any] = field(default_factory=dict)
    high: int = 0
    call: dict[str, Any] = field(default_factory=dict)
    training: bool | None = None
    within: tuple[str, dict[str, Any]] | None = None
    masked: bool = False
    parity: bool = True  # False where keras itself fails, or its torch backend differs from its others

    @property
    def id(self) -> str:
        told = "-".join(f"{k}={v}" for k, v in self.options.items())
        training = "" if self.training is None else f"-training={self.training}"
        return f"{self.name}{self.shape}{told}{training}{'-masked' if self.masked else ''}".replace(" ", "")

    def make(self, layers: Any, dtype: str) -> Any:
        """The layer of a library."""
        options = dict(self.options)
        if self.within is not None:
            name, inner = self.within
            options = {"layer": getattr(layers, name)(**inner, dtype=dtype), **options}
        return getattr(layers, self.name)(**options, dtype=dtype)

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
]
