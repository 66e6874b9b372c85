"""Activations, initializers, regularizers and constraints: beside keras 3, by hand, and what names give."""

import math

import numpy as np
import pytest
from keras_oracle import array, keras_may_warn

import fastattn as fa
from fastattn import keras

pytestmark = keras_may_warn

# Activations ---------------------------------------------------------------------------------------------------------

ACTIVATIONS = [
    *((name, {}) for name in keras.activations.__all__ if name not in ("get", "deserialize", "serialize", "threshold")),
    ("relu", {"negative_slope": 0.1}),
    ("relu", {"max_value": 1.0}),
    ("relu", {"threshold": 0.5}),
    ("relu", {"threshold": 0.5, "negative_slope": 0.2, "max_value": 0.9}),
    ("relu", {"max_value": 6.0, "negative_slope": 0.2}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {"alpha": 0.5}),
    ("celu", {"alpha": 0.5}),
    ("gelu", {"approximate": True}),
    ("softmax", {"axis": 0}),
    ("log_softmax", {"axis": 0}),
    ("sparsemax", {"axis": 0}),
    ("squareplus", {"b": 1}),
    ("soft_shrink", {"threshold": 0.3}),
    ("hard_shrink", {"threshold": 0.3}),
    ("threshold", {"threshold": 0.2, "default_value": -3.0}),
    ("glu", {"axis": 0}),
]


@pytest.mark.parity  # keras's sparsemax adds sums of sums: its results do not add up to 1
@pytest.mark.parametrize(("name", "options"), [case for case in ACTIVATIONS if case[0] != "sparsemax"])
def test_activations(oracle, rng, name, options):
    """Value and gradient at float64; functions are within a few roundings."""
    import torch

    if name in ("swish", "hard_swish"):
        their = {"swish": oracle.activations.silu, "hard_swish": oracle.activations.hard_silu}[name]
    else:
        their = getattr(oracle.activations, name)
    x = 2 * rng.standard_normal((4, 6))
    ours, theirs = fa.tensor(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y, wanted = getattr(keras.activations, name)(ours, **options), their(theirs, **options)
    np.testing.assert_allclose(y.detach().numpy(), array(wanted), rtol=1e-12, atol=1e-14)
    weight = rng.standard_normal(y.shape)
    (y * fa.tensor(weight)).sum().backward()
    (wanted * torch.tensor(weight)).sum().backward()
    # torch has the 1/6 of this gradient in float32.
    rtol = np.finfo(np.float32).eps if name == "hard_sigmoid" else 1e-11
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=rtol, atol=1e-13)


@pytest.mark.parity
def test_activations_by_keras_names(oracle):
    from keras.src.activations import ALL_OBJECTS_DICT

    for name in ALL_OBJECTS_DICT:
        assert callable(keras.activations.get(name)), name


@pytest.mark.parametrize(("name", "options"), ACTIVATIONS)
def test_gradients_of_activations(rng, name, options):
    x = fa.tensor(2 * rng.standard_normal((4, 6))).requires_grad_()
    assert fa.gradcheck(lambda x: getattr(keras.activations, name)(x, **options) * 1.0, [x])


def test_activations_by_name():
    assert keras.activations.get(None) is keras.activations.linear
    assert keras.activations.get("swish") is keras.activations.silu
    assert keras.activations.get("hardSigmoid") is keras.activations.hard_sigmoid
    assert keras.activations.serialize(keras.activations.relu) == "relu"
    assert keras.activations.get(math.sin) is math.sin


def test_sparsemax_is_the_nearest_point(rng):
    """Of the simplex: x - p is the same number where p is above 0, and at most that where it is 0."""
    x = rng.standard_normal((20, 7))
    for axis in (0, 1):
        p = keras.activations.sparsemax(fa.tensor(x), axis=axis).numpy()
        np.testing.assert_allclose(p.sum(axis), 1.0, rtol=1e-14)
        cut = np.max(np.where(p > 0, x - p, -np.inf), axis, keepdims=True)
        np.testing.assert_allclose(np.maximum(x - cut, 0), p, atol=1e-14)


# Initializers --------------------------------------------------------------------------------------------------------

RANDOM = [
    ("RandomNormal", {"mean": 0.5, "stddev": 2.0}),
    ("TruncatedNormal", {"mean": 0.5, "stddev": 2.0}),
    ("RandomUniform", {"minval": -1.0, "maxval": 3.0}),
    ("VarianceScaling", {"scale": 3.0, "mode": "fan_out", "distribution": "untruncated_normal"}),
    ("VarianceScaling", {"mode": "fan_avg", "distribution": "truncated_normal"}),
    ("VarianceScaling", {"distribution": "uniform", "input_axes": (1,), "output_axes": (0,)}),
    ("GlorotUniform", {}),
    ("GlorotNormal", {}),
    ("HeUniform", {}),
    ("HeNormal", {}),
    ("LecunUniform", {}),
    ("LecunNormal", {}),
]


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(200, 300), (3, 3, 40, 150)])
@pytest.mark.parametrize(("name", "options"), RANDOM)
def test_random_initializers(oracle, name, options, shape):
    """Mean, deviation and ends of 54000 numbers or more are those of keras's: within 5 standard errors of a difference,
    0.02 deviations; the ends of what is bounded within a thousandth of them."""
    n = math.prod(shape)
    ours = getattr(keras.initializers, name)(**options, seed=1)(shape, "float64")
    theirs = array(getattr(oracle.initializers, name)(**options, seed=1)(shape, "float64"))
    std = theirs.std()
    assert ours.shape == shape
    assert abs(ours.mean() - theirs.mean()) < 5 * std * math.sqrt(2 / n)
    assert abs(ours.std() - std) < 5 * std * math.sqrt(2 / n)  # kurtosis is at most 3
    if "untruncated" not in str(options) and name != "RandomNormal":
        assert ours.max() == pytest.approx(theirs.max(), abs=5e-3 * std)
        assert ours.min() == pytest.approx(theirs.min(), abs=5e-3 * std)


@pytest.mark.parity
@pytest.mark.parametrize(("name", "options"), [*RANDOM, ("Orthogonal", {"gain": 2.0}), ("Constant", {"value": 2.0})])
def test_configs_of_initializers(oracle, name, options):
    ours, theirs = getattr(keras.initializers, name)(**options), getattr(oracle.initializers, name)(**options)
    assert ours.get_config() == theirs.get_config()
    assert keras.initializers.get(keras.initializers.serialize(ours)).get_config() == ours.get_config()


@pytest.mark.parametrize(("name", "options"), [*RANDOM, ("Orthogonal", {})])
def test_seeds(name, options):
    """One of its own gives the same numbers each time; without, they follow the global stream."""
    made = getattr(keras.initializers, name)
    np.testing.assert_array_equal(made(**options, seed=3)((8, 6)), made(**options, seed=3)((8, 6)))
    fa.manual_seed(5)
    first, second = made(**options)((8, 6)), made(**options)((8, 6))
    assert (first != second).any()
    fa.manual_seed(5)
    np.testing.assert_array_equal(made(**options)((8, 6)), first)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize(
    "name", ["zeros", "ones", "constant", "glorot_uniform", "he_normal", "orthogonal", "random_normal"]
)
def test_dtypes_of_initializers(name, dtype):
    values = keras.initializers.get(name)((6, 5), dtype)
    assert values.dtype == dtype
    assert values.shape == (6, 5)


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (3, 3, 2, 5)])
def test_orthogonal(shape):
    values = keras.initializers.Orthogonal(gain=2.0)(shape, "float64").reshape(-1, shape[-1])
    gram = values.T @ values if values.shape[0] >= values.shape[1] else values @ values.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-13)


def test_fixed_initializers():
    assert keras.initializers.Identity(gain=2.0)((2, 3)).tolist() == [[2, 0, 0], [0, 2, 0]]
    assert keras.initializers.get(0.5)((2,)).tolist() == [0.5, 0.5]
    assert keras.initializers.Constant([1, 2])((3, 2)).tolist() == [[1, 2]] * 3
    assert keras.initializers.get(None) is None
    assert keras.initializers.TruncatedNormal(1.0, stddev=0.0)((2,)).tolist() == [1.0, 1.0]


def test_floatx_is_the_default():
    keras.config.set_floatx("float64")
    try:
        assert keras.initializers.Zeros()((2,)).dtype == "float64"
    finally:
        keras.config.set_floatx("float32")
    assert keras.initializers.Zeros()((2,)).dtype == "float32"


# Regularizers --------------------------------------------------------------------------------------------------------

REGULARIZERS = [
    ("L1", {"l1": 0.3}),
    ("L2", {}),
    ("L1L2", {"l1": 0.1, "l2": 0.2}),
    ("L1L2", {}),
    ("OrthogonalRegularizer", {"factor": 0.5}),
    ("OrthogonalRegularizer", {"mode": "columns"}),
]


@pytest.mark.parity
@pytest.mark.parametrize(("name", "options"), REGULARIZERS)
def test_regularizers(oracle, rng, name, options):
    import torch

    x = rng.standard_normal((4, 3))
    ours, theirs = fa.tensor(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    regularizer, their = getattr(keras.regularizers, name)(**options), getattr(oracle.regularizers, name)(**options)
    penalty, wanted = regularizer(ours), their(theirs)
    assert penalty.item() == pytest.approx(array(wanted).item(), rel=1e-12)
    if wanted.requires_grad:
        penalty.backward()
        wanted.backward()
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-11, atol=1e-14)
    assert regularizer.get_config() == pytest.approx(their.get_config())


def test_regularizers_by_name():
    for identifier in ("l2", "L2", {"class_name": "L2", "config": {"l2": 0.01}}, keras.regularizers.L2):
        assert keras.regularizers.get(identifier)(fa.tensor([3.0])).item() == pytest.approx(0.09)
    assert keras.regularizers.get("l1_l2")(fa.tensor([3.0])).item() == 0.0
    assert keras.regularizers.get(None) is None
    assert keras.regularizers.get("orthogonal_regularizer")(fa.eye(3)).item() == 0.0


# Constraints ---------------------------------------------------------------------------------------------------------

CONSTRAINTS = [
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 1.5, "axis": 1}),
    ("NonNeg", {}),
    ("UnitNorm", {}),
    ("UnitNorm", {"axis": [0, 1]}),
    ("MinMaxNorm", {"min_value": 1.0, "max_value": 1.2}),
    ("MinMaxNorm", {"min_value": 1.0, "max_value": 1.2, "rate": 0.3, "axis": 1}),
]


@pytest.mark.parity
@pytest.mark.parametrize(("name", "options"), CONSTRAINTS)
def test_constraints(oracle, rng, name, options):
    w = rng.standard_normal((5, 4))
    ours, theirs = getattr(keras.constraints, name)(**options), getattr(oracle.constraints, name)(**options)
    np.testing.assert_allclose(ours(w), array(theirs(w)), rtol=1e-12)
    assert ours.get_config() == theirs.get_config()
    assert keras.constraints.get(keras.constraints.serialize(ours)).get_config() == ours.get_config()


def test_constraints_by_name():
    w = np.array([[3.0, -4.0]], np.float32)
    assert keras.constraints.get("non_neg")(w).tolist() == [[3.0, 0.0]]
    np.testing.assert_allclose(keras.constraints.UnitNorm(axis=1)(w), [[0.6, -0.8]], rtol=1e-6)
    assert keras.constraints.get("max_norm")(w).dtype == "float32"
    assert keras.constraints.get(None) is None


# Lookup --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: keras.initializers.get("glorot_unifrom"),
            ValueError,
            "initializer: there is none named 'glorot_unifrom'",
        ),
        (lambda: keras.initializers.get("glorot_unifrom"), ValueError, "did you mean 'GlorotUniform'"),
        (lambda: keras.regularizers.get("l3"), ValueError, "regularizer: there is none named 'l3'; known: L1, L1L2"),
        (lambda: keras.constraints.get("zzz"), ValueError, "constraint: there is none named 'zzz'; known: MaxNorm"),
        (
            lambda: keras.activations.get("rellu"),
            ValueError,
            "activation: there is none named 'rellu'; did you mean 'relu'",
        ),
        (lambda: keras.activations.get(3.5), TypeError, "activation: got a float; expected a name, a config"),
        (
            lambda: keras.initializers.VarianceScaling(scale=0),
            ValueError,
            "VarianceScaling: scale is 0; expected above 0",
        ),
        (lambda: keras.initializers.VarianceScaling(mode="fan"), ValueError, "VarianceScaling: mode is 'fan'"),
        (
            lambda: keras.initializers.VarianceScaling(distribution="x"),
            ValueError,
            "VarianceScaling: distribution is 'x'",
        ),
        (
            lambda: keras.initializers.GlorotUniform(seed="x"),
            TypeError,
            "GlorotUniform: seed is 'x'; expected an integer",
        ),
        (
            lambda: keras.initializers.Orthogonal()((3,)),
            ValueError,
            r"Orthogonal: shape is \(3,\); expected at least 2",
        ),
        (lambda: keras.initializers.Identity()((3,)), ValueError, r"Identity: shape is \(3,\); expected 2 axes"),
        (lambda: keras.initializers.Initializer()((3,)), NotImplementedError, "Initializer defines no __call__"),
        (lambda: keras.regularizers.L2(-1.0), ValueError, "L2: l2 is -1.0; expected a finite number of at least 0"),
        (lambda: keras.regularizers.L1(math.nan), ValueError, "L1: l1 is nan; expected a finite number"),
        (lambda: keras.regularizers.OrthogonalRegularizer(mode="x"), ValueError, "OrthogonalRegularizer: mode is 'x'"),
        (
            lambda: keras.regularizers.OrthogonalRegularizer()(fa.ones(3)),
            ValueError,
            r"OrthogonalRegularizer: the weight has shape \(3,\); expected 2 axes",
        ),
        (lambda: keras.regularizers.Regularizer()(fa.ones(3)), NotImplementedError, "Regularizer defines no __call__"),
        (lambda: keras.config.set_floatx("int8"), ValueError, "set_floatx: value is 'int8'; expected"),
        (lambda: keras.utils.register_keras_serializable()(int), ValueError, "int has no get_config"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_other_spellings():
    assert keras.initializers.he_normal(seed=1)((2, 3)).shape == (2, 3)
    assert keras.regularizers.l2(0.5).get_config() == {"l2": 0.5}
    assert keras.constraints.max_norm(3).max_value == 3


def test_registered_objects_are_known():
    @keras.utils.register_keras_serializable(package="mine", name="Thirds")
    class Thirds(keras.initializers.Initializer):
        def __init__(self, count=1):
            self.count = count

        def __call__(self, shape, dtype=None):
            return np.full(shape, self.count / 3, dtype or "float32")

    config = keras.initializers.serialize(Thirds(2))
    assert config == {"class_name": "Thirds", "config": {"count": 2}, "registered_name": "mine>Thirds"}
    assert keras.initializers.get(config).count == 2
    assert keras.initializers.get("Thirds").count == 1
    assert keras.utils.get_registered_object("mine>Thirds") is Thirds
    del keras.utils.get_custom_objects()["mine>Thirds"]
    with pytest.raises(ValueError, match="none named"):
        keras.initializers.get("Thirds")


def test_custom_objects_of_a_scope():
    def cube(x):
        return x**3

    with keras.utils.custom_object_scope({"cube": cube}):
        assert keras.activations.get("cube") is cube
    with pytest.raises(ValueError, match="none named 'cube'"):
        keras.activations.get("cube")
    assert keras.activations.deserialize("cube", {"cube": cube}) is cube


def test_keras_is_imported_when_it_is_used():
    import subprocess
    import sys

    code = "import sys, fastattn; assert 'fastattn.keras' not in sys.modules; fastattn.keras.losses.mean_squared_error"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_name_is_named():
    with pytest.raises(AttributeError, match=r"^fastattn.keras has no 'Foo'; what of Keras is covered: docs/keras.md$"):
        keras.Foo  # noqa: B018
