"""What keras 3 refuses is refused here."""

import numpy as np
import pytest

from fastattn import keras

REFUSED = {
    "units": lambda k: k.layers.Dense(0),
    "unknown argument": lambda k: k.layers.Dense(3, what=1),
    "no units": lambda k: k.layers.Dense(),
    "one axis": lambda k: k.layers.Dense(3)(k.Input(batch_shape=(3,))),
    "other length": lambda k: [d(k.Input((n,))) for d in [k.layers.Dense(3)] for n in (2, 3)],
    "conv of two axes": lambda k: k.layers.Conv2D(3, 2)(k.Input((3,))),
    "kernel too large": lambda k: k.layers.Conv2D(3, 5)(k.Input((4, 4, 1))),
    "causal images": lambda k: k.layers.Conv2D(3, 2, padding="causal"),
    "strides and dilation": lambda k: k.layers.Conv2D(3, 2, strides=2, dilation_rate=2),
    "kernel of three axes": lambda k: k.layers.Conv2D(3, (2, 2, 2)),
    "groups": lambda k: k.layers.Conv2D(3, 2, groups=2),
    "rate": lambda k: k.layers.Dropout(1.5),
    "target shape": lambda k: k.layers.Reshape((4,))(k.Input((6,))),
    "dims": lambda k: k.layers.Permute((0, 1)),
    "one to add": lambda k: k.layers.Add()(k.Input((2,))),
    "shapes to add": lambda k: k.layers.Add()([k.Input((2,)), k.Input((3,))]),
    "three to subtract": lambda k: k.layers.Subtract()([k.Input((2,))] * 3),
    "shapes to concatenate": lambda k: k.layers.Concatenate()([k.Input((2, 1)), k.Input((3, 1))]),
    "bidirectional dense": lambda k: k.layers.Bidirectional(k.layers.Dense(3)),
    "merge mode": lambda k: k.layers.Bidirectional(k.layers.LSTM(3), merge_mode="max"),
    "lstm of two axes": lambda k: k.layers.LSTM(3)(k.Input((3,))),
    "key dim": lambda k: k.layers.MultiHeadAttention(2, 0),
    "activation": lambda k: k.layers.Dense(3, activation="no_such"),
    "initializer": lambda k: k.layers.Dense(3, kernel_initializer="no_such"),
    "input without shape": lambda k: k.Input(),
    "no layer": lambda k: k.Sequential([3]),
    "one name": lambda k: k.Sequential([k.layers.Dense(1, name="a"), k.layers.Dense(1, name="a")]),
    "nothing to pop": lambda k: k.Sequential().pop(),
    "disconnected": lambda k: k.Model(k.Input((2,)), k.layers.Dense(1)(k.Input((2,)))),
    "layer by name": lambda k: k.Sequential([k.layers.Dense(1)]).get_layer("no"),
    "not compiled": lambda k: k.Sequential([k.layers.Dense(1)]).fit(np.ones((2, 1)), np.ones(2), verbose=0),
    "samples": lambda k: built(k).fit(np.ones((2, 3)), np.ones(3), verbose=0),
    "shape of data": lambda k: built(k).fit(np.ones((2, 4)), np.ones(2), verbose=0),
    "metrics": lambda k: built(k).compile("sgd", "mse", metrics="mae"),
    "optimizer": lambda k: built(k).compile("no_such", "mse"),
    "weights": lambda k: built(k).set_weights([np.ones((3, 1))]),
    "shape of weights": lambda k: built(k).set_weights([np.ones((2, 1)), np.ones(1)]),
    "both weights": lambda k: built(k).fit(
        np.ones((2, 3)), np.ones(2), class_weight={0: 1}, sample_weight=np.ones(2), verbose=0
    ),
    "no file": lambda k: k.models.load_model("no_such_model.keras"),
}
KINDS = (ValueError, TypeError, AttributeError, KeyError, IndexError, OSError)


def built(k):
    model = k.Sequential([k.Input((3,)), k.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    with pytest.raises(KINDS):
        REFUSED[name](keras)


@pytest.mark.parity
@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_keras(name, oracle):
    with pytest.raises(KINDS):
        REFUSED[name](oracle)


@pytest.mark.parametrize(
    ("loss", "metrics", "text"),
    [
        ("categorical_crosentropy", None, "loss: there is none named 'categorical_crosentropy'; did you mean"),
        ({"dense": "msee"}, None, "loss: there is none named 'msee'"),
        ("mse", ["acuracy"], "metric: there is none named 'acuracy'"),
        ("mse", {"dense": ["mae", "mea"]}, "metric: there is none named 'mea'"),
    ],
)
def test_names_are_looked_up_by_compile(loss, metrics, text):
    """Keras does with the first batch. The model stays as it was compiled before."""
    model = built(keras)
    before = model.optimizer
    with pytest.raises(ValueError, match=text):
        model.compile("adam", loss, metrics=metrics)
    assert model.optimizer is before
    model.compile("adam", "ce", metrics=["acc", "ce"])
