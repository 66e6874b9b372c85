"""Losses: by hand, and value and gradient beside keras 3."""

import numpy as np
import pytest
from keras_oracle import array

import fastattn as fa
from fastattn import keras

EPSILON = 1e-7


def probabilities(rng, *shape):
    p = rng.random(shape) + 0.05
    return p / p.sum(-1, keepdims=True)


def one_hot(classes, n):
    return np.eye(n)[classes]


def data(kind, rng, shape=(6, 5)):
    """(y_true, y_pred) of a kind of loss."""
    n = shape[-1]
    classes = rng.integers(0, n, shape[:-1])
    if kind == "real":
        return rng.standard_normal(shape), rng.standard_normal(shape)
    if kind == "positive":
        return rng.random(shape) + 0.1, rng.random(shape) + 0.1
    if kind == "binary":
        return rng.integers(0, 2, shape).astype(float), rng.random(shape)
    if kind == "binary_logits":
        return rng.integers(0, 2, shape).astype(float), 3 * rng.standard_normal(shape)
    if kind == "signs":
        return rng.choice([-1.0, 1.0], shape), rng.standard_normal(shape)
    if kind == "one_hot":
        return one_hot(classes, n), probabilities(rng, *shape)
    if kind == "one_hot_logits":
        return one_hot(classes, n), 3 * rng.standard_normal(shape)
    if kind == "distribution":
        return probabilities(rng, *shape), probabilities(rng, *shape)
    if kind == "classes":
        return classes, probabilities(rng, *shape)
    if kind == "classes_logits":
        return classes, 3 * rng.standard_normal(shape)
    if kind == "column":
        return classes[..., None], probabilities(rng, *shape)
    raise KeyError(kind)


CASES = [
    ("MeanSquaredError", "real", {}),
    ("MeanAbsoluteError", "real", {}),
    ("MeanAbsolutePercentageError", "real", {}),
    ("MeanSquaredLogarithmicError", "positive", {}),
    ("MeanSquaredLogarithmicError", "real", {}),
    ("Huber", "real", {}),
    ("Huber", "real", {"delta": 0.3}),
    ("LogCosh", "real", {}),
    ("Hinge", "signs", {}),
    ("Hinge", "binary_logits", {}),
    ("SquaredHinge", "signs", {}),
    ("SquaredHinge", "binary_logits", {}),
    ("CategoricalHinge", "one_hot", {}),
    ("CosineSimilarity", "real", {}),
    ("CosineSimilarity", "real", {"axis": 0}),
    ("KLDivergence", "distribution", {}),
    ("Poisson", "positive", {}),
    ("Dice", "binary", {}),
    ("Dice", "one_hot", {"axis": -1}),
    ("Tversky", "binary", {}),
    ("Tversky", "one_hot", {"alpha": 0.3, "beta": 0.8, "axis": -1}),
    ("BinaryCrossentropy", "binary", {}),
    ("BinaryCrossentropy", "binary", {"label_smoothing": 0.1}),
    ("BinaryCrossentropy", "binary_logits", {"from_logits": True}),
    ("BinaryFocalCrossentropy", "binary", {}),
    ("BinaryFocalCrossentropy", "binary", {"apply_class_balancing": True, "alpha": 0.4, "gamma": 1.5}),
    ("BinaryFocalCrossentropy", "binary_logits", {"from_logits": True, "label_smoothing": 0.2}),
    ("CategoricalCrossentropy", "one_hot", {}),
    ("CategoricalCrossentropy", "distribution", {"label_smoothing": 0.1}),
    ("CategoricalCrossentropy", "one_hot_logits", {"from_logits": True}),
    ("CategoricalFocalCrossentropy", "one_hot", {}),
    ("CategoricalFocalCrossentropy", "one_hot_logits", {"from_logits": True, "gamma": 1.5, "label_smoothing": 0.1}),
    ("SparseCategoricalCrossentropy", "classes", {}),
    ("SparseCategoricalCrossentropy", "column", {}),
    ("SparseCategoricalCrossentropy", "classes_logits", {"from_logits": True}),
    ("SparseCategoricalCrossentropy", "classes", {"ignore_class": 1}),
    ("SparseCategoricalCrossentropy", "classes_logits", {"ignore_class": 2, "from_logits": True}),
]
IDS = [f"{name}-{kind}-{','.join(f'{k}={v}' for k, v in options.items())}" for name, kind, options in CASES]


def close(ours, theirs):
    """Both are float64 computations of a few roundings; sums are of tens of terms."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def beside(oracle, name, options, y_true, y_pred, sample_weight=None, mask=None):
    """Value and gradient, ours and keras's."""
    import torch

    x = fa.tensor(y_pred).requires_grad_()
    loss = getattr(keras.losses, name)(**options)(y_true, x, sample_weight, mask)
    t = torch.tensor(y_pred, requires_grad=True)
    call = getattr(oracle.losses, name)(**options)
    if mask is not None:
        from keras.src import backend

        backend.set_keras_mask(t, torch.tensor(mask))
    wanted = call(y_true, t, sample_weight)
    close(loss.detach().numpy(), array(wanted))
    loss.sum().backward()
    wanted.sum().backward()
    close(x.grad.numpy(), t.grad.numpy())


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 4)])
@pytest.mark.parametrize(("name", "kind", "options"), CASES, ids=IDS)
def test_value_and_gradient(oracle, rng, name, kind, options, shape):
    beside(oracle, name, options, *data(kind, rng, shape))


@pytest.mark.parity
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", "none", None, "mean"])
@pytest.mark.parametrize(
    ("weight_shape", "masked"),
    # keras cannot broadcast a weight per sample to a mask.
    [
        (None, False),
        ((4, 1), False),
        ((4, 3), False),
        ((4, 3, 1), False),
        (None, True),
        ((4, 3), True),
        ((4, 3, 1), True),
    ],
)
def test_reduction_weight_and_mask(oracle, rng, reduction, weight_shape, masked):
    y_true, y_pred = data("real", rng, (4, 3, 2))
    weight = None if weight_shape is None else rng.random(weight_shape)
    mask = rng.random((4, 3)) < 0.6 if masked else None
    beside(oracle, "MeanSquaredError", {"reduction": reduction}, y_true, y_pred, weight, mask)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["MeanSquaredError", "BinaryCrossentropy", "SparseCategoricalCrossentropy"])
def test_weight_per_sample(oracle, rng, name):
    kind = {"MeanSquaredError": "real", "BinaryCrossentropy": "binary"}.get(name, "classes")
    beside(oracle, name, {}, *data(kind, rng), rng.random(6))
    beside(oracle, name, {}, *data(kind, rng), rng.random((6, 1)))


@pytest.mark.parity
@pytest.mark.parametrize("shapes", [((5,), (5, 1)), ((5, 1), (5,)), ((5, 3, 1), (5, 3)), ((5,), (5,))])
@pytest.mark.parametrize("name", ["MeanSquaredError", "MeanAbsoluteError", "Huber"])
def test_shapes_that_differ_by_an_axis(oracle, rng, name, shapes):
    beside(oracle, name, {}, rng.standard_normal(shapes[0]), rng.standard_normal(shapes[1]))


@pytest.mark.parity
def test_probabilities_at_the_ends(oracle):
    """0 and 1 are kept epsilon away, and so are all gradients beyond."""
    y_pred = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [EPSILON / 2, 1 - EPSILON / 2, 0.0]])
    beside(oracle, "BinaryCrossentropy", {}, np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), y_pred)
    beside(oracle, "CategoricalCrossentropy", {}, np.eye(3), y_pred)
    beside(oracle, "SparseCategoricalCrossentropy", {}, np.arange(3), y_pred)


@pytest.mark.parity
def test_classes_in_another_axis(oracle, rng):
    classes, p = rng.integers(0, 4, (2, 3)), rng.random((2, 4, 3)) + 0.1
    for options in ({"axis": 1}, {"axis": 1, "from_logits": True}):
        beside(oracle, "SparseCategoricalCrossentropy", options, classes, p)
        beside(oracle, "CategoricalCrossentropy", options, np.moveaxis(one_hot(classes, 4), -1, 1), p)


@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name in keras.losses.__all__ if name.islower()])
def test_functions_have_keras_names(oracle, name):
    assert hasattr(oracle.losses, name) or name == "resolve"


@pytest.mark.parity
@pytest.mark.parametrize("name", sorted({name for name, _, _ in CASES}))
def test_names_and_configs_are_keras(oracle, name):
    ours, theirs = getattr(keras.losses, name)(), getattr(oracle.losses, name)()
    wanted = theirs.get_config()
    config = ours.get_config()
    assert ours.name == theirs.name
    assert {key: config[key] for key in wanted} == wanted
    assert keras.losses.get({"class_name": name, "config": config}).get_config() == config


@pytest.mark.parity
@pytest.mark.parametrize(
    "shapes", [((8, 1), (8, 1)), ((8,), (8, 3)), ((8, 1), (8, 3)), ((8, 3), (8, 3)), ((8, 4), (8, 4, 3))]
)
def test_crossentropy_is_chosen_by_the_shapes(oracle, rng, shapes):
    from keras.src.trainers.compile_utils import get_loss

    class Shaped:
        def __init__(self, shape):
            self.shape = shape

    wanted = get_loss("crossentropy", *map(Shaped, shapes))
    assert keras.losses.resolve("crossentropy", *shapes).fn.__name__ == wanted.fn.__name__


# Without keras -------------------------------------------------------------------------------------------------------


def test_values_by_hand():
    p = fa.tensor([[0.25, 0.75]])
    assert keras.losses.SparseCategoricalCrossentropy()([1], p).item() == pytest.approx(-np.log(0.75), rel=1e-6)
    assert keras.losses.CategoricalCrossentropy()([[1, 0]], p).item() == pytest.approx(-np.log(0.25), rel=1e-6)
    assert keras.losses.BinaryCrossentropy()([[0, 1]], p).item() == pytest.approx(-np.log(0.75), rel=1e-6)
    assert keras.losses.MeanSquaredError(reduction="sum")([[1.0], [3.0]], fa.tensor([[0.0], [1.0]])).item() == 5.0


@pytest.mark.parametrize(("name", "kind", "options"), CASES, ids=IDS)
def test_gradients(rng, name, kind, options):
    y_true, y_pred = data(kind, rng)
    loss = getattr(keras.losses, name)(**options)
    assert fa.gradcheck(lambda x: loss(y_true, x), [fa.tensor(y_pred).requires_grad_()])


@pytest.mark.parametrize(
    "name", ["mse", "MSE", "mean_squared_error", "MeanSquaredError", keras.losses.MeanSquaredError()]
)
def test_one_loss_by_many_names(name, rng):
    y_true, y_pred = data("real", rng)
    value = keras.losses.resolve(name, y_true.shape, y_pred.shape)(y_true, fa.tensor(y_pred)).item()
    assert value == pytest.approx(((y_true - y_pred) ** 2).mean())


def test_a_function_is_a_loss():
    def worst(y_true, y_pred):
        return (y_true - y_pred).abs().amax(-1)

    loss = keras.losses.resolve(worst, (2, 2), (2, 2))
    assert loss.name == "worst"
    assert loss([[0, 1], [0, 4]], fa.zeros(2, 2)).item() == 2.5


def test_a_function_on_disk():
    loss = keras.losses.LossFunctionWrapper(keras.losses.huber, "sum", delta=0.5)
    again = keras.losses.get(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    assert again([[0.0], [0.0]], fa.tensor([[2.0], [1.0]])).item() == 0.875 + 0.375


def test_16_bits_stay(rng):
    y_true, y_pred = data("classes", rng)
    for dtype in ("bfloat16", "float16"):
        loss = keras.losses.SparseCategoricalCrossentropy()(y_true, fa.tensor(y_pred).to(dtype))
        assert loss.dtype == dtype


def test_dtype_casts(rng):
    y_true, y_pred = data("real", rng)
    assert keras.losses.MeanSquaredError(dtype="float64")(y_true, fa.tensor(y_pred).float()).dtype == "float64"


def test_all_ignored_is_0():
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=0)
    assert loss([0, 0], fa.ones(2, 3)).item() == 0.0
    assert keras.losses.MeanSquaredError()([[1.0]], fa.zeros(1, 1), mask=[False]).item() == 0.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: keras.losses.get("mean_sqared_error"), ValueError, "did you mean 'mean_squared_error'"),
        (lambda: keras.losses.get(3), TypeError, "loss: got a int; expected a name"),
        (lambda: keras.losses.get({"name": "mse"}), ValueError, "loss: the config has 'name'; expected 'class_name'"),
        (lambda: keras.losses.Loss(reduction="average"), ValueError, "Loss: reduction is 'average'; expected one of"),
        (lambda: keras.losses.Loss()([1], fa.ones(1)), NotImplementedError, "Loss defines no call"),
        (
            lambda: keras.losses.binary_crossentropy([1.0], fa.ones(2)),
            ValueError,
            r"binary_crossentropy: y_true has shape \(1,\) and y_pred \(2,\); expected the same",
        ),
        (
            lambda: keras.losses.sparse_categorical_crossentropy([1, 2], fa.ones(3, 4)),
            ValueError,
            r"sparse_categorical_crossentropy: y_true has shape \(2,\) and y_pred \(3, 4\)",
        ),
        (
            lambda: keras.losses.sparse_categorical_crossentropy([1, 4], fa.ones(2, 4)),
            ValueError,
            "y_true has classes 1 to 4; expected 0 to 3",
        ),
        (
            lambda: keras.losses.MeanSquaredError()([[1.0], [2.0]], fa.ones(2, 1), [1.0, 2.0, 3.0]),
            ValueError,
            r"mean_squared_error: sample_weight has shape \(3,\) and the losses \(2,\)",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_one_class_is_warned_of():
    with pytest.warns(SyntaxWarning, match="one class; binary_crossentropy is the loss of two classes"):
        keras.losses.categorical_crossentropy([[1.0]], fa.ones(1, 1))
