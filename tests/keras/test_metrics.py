"""Metrics: over several batches beside keras 3, by hand, and the shorthand of compile."""

import numpy as np
import pytest
from keras_oracle import array, keras_may_warn

import fastattn as fa
from fastattn import keras

pytestmark = keras_may_warn

BATCHES = 3


def probabilities(rng, *shape):
    p = rng.random(shape) + 0.05
    return p / p.sum(-1, keepdims=True)


def batch(kind, rng, n):
    """(y_true, y_pred) of a kind of metric."""
    classes = rng.integers(0, 6, n)
    return {
        "real": lambda: (rng.standard_normal((n, 3)), rng.standard_normal((n, 3))),
        "positive": lambda: (rng.random((n, 3)) + 0.1, rng.random((n, 3)) + 0.1),
        "column": lambda: (rng.standard_normal((n, 1)), rng.standard_normal((n, 1))),
        "signs": lambda: (rng.choice([-1.0, 1.0], (n, 3)), rng.standard_normal((n, 3))),
        "equal": lambda: (rng.integers(0, 3, (n, 2)), rng.integers(0, 3, (n, 2))),
        "binary": lambda: (rng.integers(0, 2, (n, 1)), rng.random((n, 1))),
        "binary_flat": lambda: (rng.integers(0, 2, n), rng.random((n, 1))),
        "labels": lambda: (rng.integers(0, 2, (n, 4)), rng.random((n, 4))),
        "logits": lambda: (rng.integers(0, 2, (n, 4)), 3 * rng.standard_normal((n, 4))),
        "coarse": lambda: (rng.integers(0, 2, (n, 4)), rng.integers(0, 5, (n, 4)) / 4),
        "one_hot": lambda: (np.eye(6)[classes], probabilities(rng, n, 6)),
        "classes": lambda: (classes, probabilities(rng, n, 6)),
        "classes_column": lambda: (classes[:, None], probabilities(rng, n, 6)),
        "steps": lambda: (rng.integers(0, 6, (n, 4)), probabilities(rng, n, 4, 6)),
        "ties": lambda: (classes, rng.integers(0, 3, (n, 6)).astype(float)),
    }[kind]()


CASES = [
    ("MeanSquaredError", "real", {}),
    ("RootMeanSquaredError", "real", {}),
    ("RootMeanSquaredError", "column", {}),
    ("MeanAbsoluteError", "real", {}),
    ("MeanAbsolutePercentageError", "real", {}),
    ("MeanSquaredLogarithmicError", "positive", {}),
    ("LogCoshError", "real", {}),
    ("CosineSimilarity", "real", {}),
    ("R2Score", "real", {}),
    ("R2Score", "real", {"class_aggregation": None}),
    ("R2Score", "real", {"class_aggregation": "variance_weighted_average"}),
    ("R2Score", "column", {"num_regressors": 2}),
    ("Hinge", "signs", {}),
    ("SquaredHinge", "signs", {}),
    ("CategoricalHinge", "one_hot", {}),
    ("KLDivergence", "one_hot", {}),
    ("Poisson", "positive", {}),
    ("BinaryCrossentropy", "labels", {}),
    ("BinaryCrossentropy", "logits", {"from_logits": True, "label_smoothing": 0.1}),
    ("CategoricalCrossentropy", "one_hot", {"label_smoothing": 0.1}),
    ("SparseCategoricalCrossentropy", "classes", {}),
    ("SparseCategoricalCrossentropy", "steps", {"from_logits": True}),
    ("SparseCategoricalCrossentropy", "classes", {"ignore_class": 2}),
    ("SparseCategoricalCrossentropy", "classes_column", {"ignore_class": 2}),
    ("Accuracy", "equal", {}),
    ("BinaryAccuracy", "binary", {}),
    ("BinaryAccuracy", "binary_flat", {}),
    ("BinaryAccuracy", "labels", {"threshold": 0.3}),
    ("CategoricalAccuracy", "one_hot", {}),
    ("SparseCategoricalAccuracy", "classes", {}),
    ("SparseCategoricalAccuracy", "classes_column", {}),
    ("SparseCategoricalAccuracy", "steps", {}),
    ("TopKCategoricalAccuracy", "one_hot", {"k": 2}),
    ("SparseTopKCategoricalAccuracy", "classes", {"k": 3}),
    ("SparseTopKCategoricalAccuracy", "ties", {"k": 2}),
    ("SparseTopKCategoricalAccuracy", "steps", {"k": 2}),
    ("TruePositives", "labels", {}),
    ("FalsePositives", "labels", {"thresholds": [0.2, 0.5, 0.9]}),
    ("TrueNegatives", "coarse", {"thresholds": [0.25, 0.5]}),
    ("FalseNegatives", "binary_flat", {}),
    ("Precision", "labels", {}),
    ("Precision", "labels", {"thresholds": [0.1, 0.6]}),
    ("Precision", "labels", {"top_k": 2}),
    ("Precision", "labels", {"top_k": 2, "class_id": 1}),
    ("Recall", "labels", {"class_id": 2}),
    ("Recall", "coarse", {"thresholds": 0.5}),
    ("Recall", "binary", {}),
    ("AUC", "labels", {}),
    ("AUC", "binary_flat", {"curve": "PR"}),
    ("AUC", "coarse", {"num_thresholds": 7}),
    ("AUC", "coarse", {"thresholds": [0.7, 0.25, 0.5], "curve": "PR"}),
    ("AUC", "labels", {"summation_method": "majoring"}),
    ("AUC", "labels", {"summation_method": "minoring", "curve": "PR"}),
    ("AUC", "logits", {"from_logits": True, "multi_label": True}),
    ("AUC", "labels", {"multi_label": True, "curve": "PR", "num_labels": 4}),
    ("AUC", "labels", {"multi_label": True, "label_weights": [0.1, 0.2, 0.3, 0.9]}),
    ("AUC", "labels", {"label_weights": [0.1, 0.2, 0.3, 0.9]}),
    ("SensitivityAtSpecificity", "labels", {"specificity": 0.4}),
    ("SpecificityAtSensitivity", "labels", {"sensitivity": 0.6, "num_thresholds": 11}),
    ("PrecisionAtRecall", "labels", {"recall": 0.5, "class_id": 1}),
    ("RecallAtPrecision", "labels", {"precision": 0.55}),
    ("RecallAtPrecision", "labels", {"precision": 0.55, "num_thresholds": 1}),
    ("F1Score", "one_hot", {}),
    ("F1Score", "one_hot", {"average": "macro"}),
    ("F1Score", "labels", {"average": "micro", "threshold": 0.4}),
    ("FBetaScore", "one_hot", {"average": "weighted", "beta": 2.0}),
]
IDS = [f"{name}-{kind}-{','.join(f'{k}={v}' for k, v in options.items())}" for name, kind, options in CASES]


def weights(name, kind, rng, n):
    return rng.random((n, 4)) if kind == "steps" else rng.random(n)


# Of which keras adds up float32 on torch, whatever it is told.
IN_FLOAT32 = {"AUC", "SensitivityAtSpecificity", "SpecificityAtSensitivity", "PrecisionAtRecall", "RecallAtPrecision"}


@pytest.mark.parity
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "kind", "options"), CASES, ids=IDS)
def test_batches(oracle, rng, name, kind, options, weighted):
    """Over batches of different sizes, and again after reset_state. float64; sums of some tens of terms."""
    if name in IN_FLOAT32:
        import torch

        torch.set_default_dtype(torch.float32)
    # Counts are exact in float32; sums of up to 200 weights are not.
    exact = name not in IN_FLOAT32 or not (weighted or options.get("label_weights"))
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if exact else {"rtol": 200 * np.finfo(np.float32).eps}
    ours, theirs = getattr(keras.metrics, name)(**options), getattr(oracle.metrics, name)(**options)
    for _ in range(2):
        for i in range(BATCHES):
            y_true, y_pred = batch(kind, rng, 11 + i)
            weight = weights(name, kind, rng, 11 + i) if weighted else None
            ours.update_state(y_true, fa.tensor(y_pred), weight)
            theirs.update_state(y_true, y_pred, weight)
            np.testing.assert_allclose(ours.result(), array(theirs.result()), **tolerance)
        ours.reset_state()
        theirs.reset_state()


@pytest.mark.parity
@pytest.mark.parametrize(("name", "kind", "options"), CASES, ids=IDS)
def test_names_and_configs_are_keras(oracle, name, kind, options):
    ours, theirs = getattr(keras.metrics, name)(**options), getattr(oracle.metrics, name)(**options)
    wanted, config = theirs.get_config(), ours.get_config()
    assert snake(ours.name) == snake(theirs.name)
    skipped = {"name", "dtype", "label_weights", "thresholds"}
    kept = {key: value for key, value in wanted.items() if key not in skipped}
    assert {key: config[key] for key in kept} == kept
    again = keras.metrics.get(keras.metrics.serialize(ours))
    assert again.get_config() == config
    assert getattr(ours, "_direction", None) == getattr(theirs, "_direction", None)


def snake(name):
    """keras numbers the names of metrics that it makes itself: auc, auc_1."""
    return name.rstrip("0123456789").rstrip("_")


@pytest.mark.parity
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_masked_steps(oracle, rng, weighted, masked):
    from keras.src import backend

    ours, theirs = keras.metrics.SparseCategoricalAccuracy(), oracle.metrics.SparseCategoricalAccuracy()
    for _ in range(BATCHES):
        y_true, y_pred = batch("steps", rng, 7)
        weight = rng.random((7, 4)) if weighted else None
        mask = rng.random((7, 4)) < 0.7 if masked else None
        tensor = backend.convert_to_tensor(y_pred)
        if masked:
            backend.set_keras_mask(tensor, backend.convert_to_tensor(mask))
        theirs.update_state(y_true, tensor, weight)
        ours.update_state(y_true, y_pred, weight, mask=mask)
    assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["Mean", "Sum"])
@pytest.mark.parametrize("shape", [(), (5,), (5, 3)])
def test_mean_and_sum(oracle, rng, name, shape):
    ours, theirs = getattr(keras.metrics, name)(), getattr(oracle.metrics, name)()
    for _ in range(BATCHES):
        values = rng.standard_normal(shape)
        weight = rng.random(shape[:1]) if shape else None
        for metric in (ours, theirs):
            metric.update_state(values, weight)
        assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-12)


SHAPES = [((8, 1), (8, 1)), ((8,), (8, 3)), ((8, 1), (8, 3)), ((8, 3), (8, 3)), ((8, 4), (8, 4, 3))]


@pytest.mark.parity
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("name", ["accuracy", "acc", "mse", "AUC", "categorical_accuracy"])
def test_resolve_is_keras(oracle, name, shapes):
    from keras.src.trainers.compile_utils import get_metric

    class Shaped:
        def __init__(self, shape):
            self.shape = shape

    wanted = get_metric(name, *map(Shaped, shapes))
    ours = keras.metrics.resolve(name, *shapes)
    assert (type(ours).__name__, ours.name) == (type(wanted).__name__, wanted.name)


# Without keras -------------------------------------------------------------------------------------------------------


def test_by_hand():
    metric = keras.metrics.AUC()
    metric.update_state([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    assert metric.result() == pytest.approx(0.75)  # 3 of the 4 pairs are in order
    metric = keras.metrics.F1Score(average="macro", threshold=0.5)
    metric.update_state([[1, 0], [1, 1]], [[0.9, 0.1], [0.2, 0.8]])
    assert metric.result() == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)
    metric = keras.metrics.Precision(top_k=1)
    metric.update_state([[0, 1, 0]], [[0.1, 0.2, 0.3]])
    assert metric.result() == 0.0


@pytest.mark.parametrize(("name", "kind", "options"), CASES, ids=IDS)
def test_two_halves_are_one_batch(rng, name, kind, options):
    """However data are split in batches; and what there is no data of is 0."""
    whole, halves = getattr(keras.metrics, name)(**options), getattr(keras.metrics, name)(**options)
    assert np.all(np.asarray(whole.result()) == 0)
    y_true, y_pred = batch(kind, rng, 20)
    whole.update_state(y_true, y_pred)
    for part in (slice(8), slice(8, 20)):
        halves.update_state(y_true[part], y_pred[part])
    np.testing.assert_allclose(halves.result(), whole.result(), rtol=1e-10)


@pytest.mark.parametrize("shapes", SHAPES)
def test_accuracy_is_chosen_by_the_shapes(shapes):
    kind = {0: "BinaryAccuracy", 3: "CategoricalAccuracy"}.get(SHAPES.index(shapes), "SparseCategoricalAccuracy")
    assert type(keras.metrics.resolve("accuracy", *shapes)).__name__ == kind
    assert type(keras.metrics.resolve("ce", *shapes)).__name__ == kind.replace("Accuracy", "Crossentropy")


def test_functions_and_losses_are_metrics(rng):
    def worst(y_true, y_pred):
        return (y_true - y_pred).abs().amax(-1)

    y_true, y_pred = fa.tensor(rng.random((4, 2))), fa.tensor(rng.random((4, 2)))
    metric = keras.metrics.resolve(worst, (4, 2), (4, 2))
    metric.update_state(y_true, y_pred)
    assert metric.name == "worst"
    assert metric.result() == pytest.approx(float((y_true - y_pred).abs().amax(-1).mean()))
    for identifier in (keras.losses.Huber(), keras.losses.huber):
        metric = keras.metrics.resolve(identifier, (4, 2), (4, 2))
        metric.update_state(y_true, y_pred)
        assert metric.result() == pytest.approx(float(keras.losses.Huber()(y_true, y_pred)))
        assert metric._direction == "down"


@pytest.mark.parametrize("fn", [keras.metrics.binary_accuracy, keras.losses.huber, keras.losses.Huber(0.5)])
def test_a_mean_of_a_function_on_disk(fn):
    metric = keras.metrics.MeanMetricWrapper(fn, name="mine")
    again = keras.metrics.get(keras.metrics.serialize(metric))
    assert again.get_config() == metric.get_config()
    for one in (metric, again):
        one.update_state(np.array([[1.0], [0.0]]), np.array([[0.75], [0.75]]))
    assert again.result() == metric.result() > 0


def test_a_metric_of_ones_own():
    class Count(keras.metrics.Metric):
        def __init__(self, name="count"):
            super().__init__(name=name)
            self.n = self.add_weight(name="n", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.n.assign_add(len(y_pred))

        def result(self):
            return self.n

    metric = Count()
    metric.update_state(None, np.ones(3))
    metric.update_state(None, np.ones(4))
    assert float(metric.result()) == 7.0
    metric.reset_state()
    assert float(metric.result()) == 0.0
    assert len(metric.variables) == 1


def test_no_gradient_is_kept():
    x = fa.ones(2, 1, requires_grad=True)
    metric = keras.metrics.MeanSquaredError()
    metric.update_state(fa.zeros(2, 1), x * 2)
    assert metric.result() == 4.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: keras.metrics.get("acuracy"), ValueError, "metric: there is none named 'acuracy'; did you mean"),
        (lambda: keras.metrics.Precision(thresholds=[0.5, 2]), ValueError, r"Precision: thresholds are \[0.5, 2.0\]"),
        (lambda: keras.metrics.AUC(curve="PRR"), ValueError, "AUC: curve is 'PRR'; expected 'ROC' or 'PR'"),
        (lambda: keras.metrics.AUC(num_thresholds=1), ValueError, "AUC: num_thresholds is 1; expected at least 2"),
        (lambda: keras.metrics.AUC(summation_method="x"), ValueError, "AUC: summation_method is 'x'"),
        (lambda: keras.metrics.AUC(num_labels=2), ValueError, "AUC: num_labels is for multi_label=True"),
        (
            lambda: keras.metrics.AUC(multi_label=True, num_labels=3).update_state(np.ones((2, 2)), np.ones((2, 2))),
            ValueError,
            r"AUC: y_pred has shape \(2, 2\); expected \(samples, 3\)",
        ),
        (lambda: keras.metrics.PrecisionAtRecall(2.0), ValueError, "PrecisionAtRecall: recall is 2.0; expected 0 to 1"),
        (lambda: keras.metrics.PrecisionAtRecall(0.5, 0), ValueError, "num_thresholds is 0; expected above 0"),
        (
            lambda: keras.metrics.BinaryAccuracy(threshold=1.5),
            ValueError,
            "BinaryAccuracy: threshold is 1.5; expected",
        ),
        (lambda: keras.metrics.F1Score(average="mean"), ValueError, "F1Score: average is 'mean'; expected None"),
        (lambda: keras.metrics.FBetaScore(beta=0.0), ValueError, "FBetaScore: beta is 0.0; expected a float above 0"),
        (
            lambda: keras.metrics.F1Score(threshold=2.0),
            ValueError,
            "F1Score: threshold is 2.0; expected a float above 0",
        ),
        (
            lambda: keras.metrics.F1Score().update_state([1.0], [1.0]),
            ValueError,
            r"F1Score: y_true has shape \(1,\) and y_pred has shape \(1,\); expected \(samples, classes\)",
        ),
        (lambda: keras.metrics.R2Score("mean"), ValueError, "R2Score: class_aggregation is 'mean'"),
        (lambda: keras.metrics.R2Score(num_regressors=-1), ValueError, "R2Score: num_regressors is -1"),
        (
            lambda: keras.metrics.R2Score().update_state([1.0], [1.0]),
            ValueError,
            r"R2Score: y_true has shape \(1,\) and y_pred has shape \(1,\); expected \(samples, outputs\)",
        ),
        (
            lambda: keras.metrics.Recall().update_state([1, 0, 1], [0.1, 0.2]),
            ValueError,
            r"y_true has shape \(3,\) and y_pred has shape \(2,\); expected the same",
        ),
        (
            lambda: keras.metrics.Recall(class_id=1).update_state([1, 0], [0.1, 0.2]),
            ValueError,
            r"class_id is 1 and y_pred has shape \(2,\); expected \(samples, classes\)",
        ),
        (
            lambda: keras.metrics.SparseCategoricalAccuracy().update_state([1, 0, 1], np.ones((2, 4))),
            ValueError,
            r"y_true has shape \(3,\) and y_pred has shape \(2, 4\); expected classes",
        ),
        (
            lambda: keras.metrics.Mean().update_state([1.0, 2.0], [1.0, 2.0, 3.0]),
            ValueError,
            r"sample_weight has shape \(3,\) and the values \(2,\); they do not fit",
        ),
        (lambda: keras.metrics.Metric().update_state(), NotImplementedError, "Metric defines no update_state"),
        (lambda: keras.metrics.Metric().result(), NotImplementedError, r"Metric defines no result\(\)"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_too_few_samples_for_an_adjustment():
    metric = keras.metrics.R2Score(num_regressors=5)
    metric.update_state([[1.0], [2.0]], [[1.0], [2.5]])
    with pytest.warns(UserWarning, match="R2Score: 2 values do not suffice to adjust for 5 regressors"):
        assert metric.result() == pytest.approx(0.5)
