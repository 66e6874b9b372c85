"""Models and data, made by a library's names only, so that the same case runs here and in keras 3."""

from __future__ import annotations

from typing import Any

import numpy as np


def mlp(k: Any, dtype: str = "float64") -> Any:
    return k.Sequential(
        [
            k.Input(shape=(6,), dtype=dtype),
            k.layers.Dense(8, activation="relu", dtype=dtype, name="hidden"),
            k.layers.BatchNormalization(dtype=dtype, name="norm"),
            k.layers.Dense(3, activation="softmax", dtype=dtype, name="out"),
        ]
    )


def regression(k: Any, dtype: str = "float64") -> Any:
    layers = [
        k.layers.Dense(8, activation="tanh", dtype=dtype, kernel_regularizer="l2", name="hidden"),
        k.layers.Dense(1, dtype=dtype, kernel_constraint=k.constraints.MaxNorm(0.7), name="out"),
    ]
    return k.Sequential([k.Input(shape=(6,), dtype=dtype), *layers])


def cnn(k: Any, dtype: str = "float64") -> Any:
    layers = k.layers
    return k.Sequential(
        [
            k.Input(shape=(8, 8, 1), dtype=dtype),
            layers.Conv2D(4, 3, activation="relu", padding="same", dtype=dtype),
            layers.MaxPooling2D(dtype=dtype),
            layers.Conv2D(3, 3, dtype=dtype),
            layers.GlobalAveragePooling2D(dtype=dtype),
            layers.Dense(3, dtype=dtype),
        ]
    )


def branches(k: Any, dtype: str = "float64") -> Any:
    """Two inputs, a shared layer, two outputs."""
    layers = k.layers
    a, b = k.Input(shape=(6,), dtype=dtype, name="a"), k.Input(shape=(6,), dtype=dtype, name="b")
    shared = layers.Dense(5, activation="tanh", dtype=dtype, name="shared")
    left, right = shared(a), shared(b)
    merged = layers.Concatenate(dtype=dtype, name="both")([left, right])
    merged = layers.Add(dtype=dtype, name="sum")([layers.Dense(10, dtype=dtype, name="mix")(merged), merged])
    kind = layers.Dense(3, activation="softmax", dtype=dtype, name="kind")(merged)
    size = layers.Dense(1, dtype=dtype, name="size")(left)
    return k.Model(inputs=[a, b], outputs=[kind, size], name="branches")


def text(k: Any, dtype: str = "float64") -> Any:
    """Words with padding, whose mask goes through to the loss of each step."""
    layers = k.layers
    ids = k.Input(shape=(None,), dtype="int32", name="ids")
    x = layers.Embedding(12, 5, mask_zero=True, dtype=dtype, name="words")(ids)
    x = layers.LSTM(4, return_sequences=True, dtype=dtype, name="lstm")(x)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True, dtype=dtype), dtype=dtype, name="both")(x)
    return k.Model(ids, layers.Dense(3, activation="softmax", dtype=dtype, name="tag")(x), name="text")


def encoder(k: Any, dtype: str = "float64") -> Any:
    """A layer of a Transformer over words with padding."""
    layers = k.layers
    ids = k.Input(shape=(7,), dtype="int32", name="ids")
    x = layers.Embedding(12, 6, dtype=dtype, name="words")(ids)
    attended = layers.MultiHeadAttention(2, 3, dtype=dtype, name="attention")(x, x)
    x = layers.LayerNormalization(dtype=dtype, name="norm1")(layers.Add(dtype=dtype, name="add1")([x, attended]))
    inner = layers.Dense(10, activation="gelu", dtype=dtype, name="up")(x)
    inner = layers.Dense(6, dtype=dtype, name="down")(inner)
    x = layers.LayerNormalization(dtype=dtype, name="norm2")(layers.Add(dtype=dtype, name="add2")([x, inner]))
    x = layers.GlobalAveragePooling1D(dtype=dtype, name="mean")(x)
    return k.Model(ids, layers.Dense(3, activation="softmax", dtype=dtype, name="kind")(x), name="encoder")


MODELS = {f.__name__: f for f in (mlp, regression, cnn, branches, text, encoder)}


def data(name: str, n: int = 50) -> tuple[Any, Any]:
    """(x, y) for a model."""
    rng = np.random.default_rng(5)
    kinds = rng.integers(0, 3, n)
    if name == "cnn":
        return rng.standard_normal((n, 8, 8, 1)), kinds
    if name in ("text", "encoder"):
        ids = rng.integers(1, 12, (n, 7))
        if name == "text":
            ids[np.arange(7) >= rng.integers(1, 8, n)[:, None]] = 0
            return ids, rng.integers(0, 3, (n, 7))
        return ids, kinds
    x = rng.standard_normal((n, 6))
    if name == "branches":
        return [x, rng.standard_normal((n, 6))], [np.eye(3)[kinds], x[:, :1] ** 2]
    return (x, x[:, 0] - x[:, 1] ** 2) if name == "regression" else (x, kinds)


COMPILE = {
    "mlp": {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
    "regression": {"optimizer": "rmsprop", "loss": "mse", "metrics": ["mae"]},
    "cnn": {"optimizer": "sgd", "loss": "logits", "metrics": ["accuracy"]},
    "branches": {
        "optimizer": "adam",
        "loss": {"kind": "categorical_crossentropy", "size": "mse"},
        "loss_weights": {"kind": 1.0, "size": 0.3},
        "metrics": {"kind": ["accuracy"], "size": ["mae"]},
    },
    "text": {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
    "encoder": {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]},
}


def compiled(k: Any, name: str, dtype: str = "float64") -> Any:
    """A model that is compiled, with weights that do not depend on the library."""
    model = MODELS[name](k, dtype)
    options = dict(COMPILE[name])
    if options["loss"] == "logits":
        options["loss"] = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(**options)
    rng = np.random.default_rng(9)
    shapes = [w.shape for w in model.get_weights()]
    model.set_weights([rng.uniform(0.1, 0.6, shape) for shape in shapes])  # positive, as variances have to be
    return model
