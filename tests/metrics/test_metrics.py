"""Measures in batches are those of everything at once, and scikit-learn's."""

import math

import numpy as np
import pytest

import fastattn as fa
from fastattn import metrics


@pytest.fixture
def scores(rng):
    """Scores of 4 classes and the true ones; class 3 is never predicted, and never true in the first batch."""
    scores = rng.standard_normal((60, 4))
    scores[:, 3] -= 10
    return scores, rng.integers(0, 4, 60)


MAKE = {
    "accuracy": lambda: metrics.Accuracy(),
    "top2": lambda: metrics.TopKAccuracy(2),
    "confusion": lambda: metrics.ConfusionMatrix(),
    **{
        f"{kind.__name__}-{average}": lambda kind=kind, average=average: kind(average)
        for kind in (metrics.Precision, metrics.Recall, metrics.FScore)
        for average in ("micro", "macro", "weighted", None)
    },
}


@pytest.mark.parametrize("name", MAKE)
def test_batches_are_the_whole(name, scores):
    x, y = scores
    whole, batches = MAKE[name](), MAKE[name]()
    whole.update(x, y)
    for i in range(0, 60, 17):
        batches.update(fa.tensor(x[i : i + 17]), y[i : i + 17])
    np.testing.assert_array_equal(batches.compute(), whole.compute())
    batches.reset()
    batches.update(x, y)
    np.testing.assert_array_equal(batches.compute(), whole.compute())


@pytest.mark.parametrize("name", [name for name in MAKE if "-" in name])
def test_scikit_learn(name, scores):
    sklearn = pytest.importorskip("sklearn.metrics")
    x, y = scores
    kind, _, average = name.partition("-")
    function = {"Precision": "precision_score", "Recall": "recall_score", "FScore": "f1_score"}[kind]
    average = None if average == "None" else average
    metric = MAKE[name]()
    metric.update(x, y)
    expected = getattr(sklearn, function)(y, x.argmax(1), average=average, zero_division=0)
    np.testing.assert_allclose(metric.compute(), expected, rtol=1e-12)


def test_scikit_learn_of_the_others(scores):
    sklearn = pytest.importorskip("sklearn.metrics")
    x, y = scores
    top, matrix = metrics.TopKAccuracy(2), metrics.ConfusionMatrix(4)
    top.update(x, y)
    matrix.update(x, y)
    assert top.compute() == pytest.approx(sklearn.top_k_accuracy_score(y, x, k=2))
    np.testing.assert_array_equal(matrix.compute(), sklearn.confusion_matrix(y, x.argmax(1)))
    assert matrix.accuracy() == pytest.approx(sklearn.accuracy_score(y, x.argmax(1)))


def test_by_hand():
    """predicted 0 1 1 2, true 0 0 1 1: right 1 of 2, 1 of 2, 0 of 0."""
    matrix = metrics.ConfusionMatrix()
    matrix.update([0, 1, 1, 2], [0, 0, 1, 1])
    assert matrix.compute().tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert matrix.precision(None).tolist() == [1.0, 0.5, 0.0]
    assert matrix.recall(None).tolist() == [0.5, 0.5, 0.0]
    assert matrix.precision("macro") == 0.5
    assert matrix.recall("weighted") == 0.5
    assert matrix.f1("micro") == matrix.accuracy() == 0.5


@pytest.mark.parametrize("name", MAKE)
def test_nothing_yet(name):
    value = np.asarray(MAKE[name]().compute(), float)
    assert value.size == 0 or np.isnan(value).all()


def test_perplexity_is_of_all_tokens():
    perplexity = metrics.Perplexity()
    assert math.isnan(perplexity.compute())
    perplexity.update(1.0, 30)
    perplexity.update(2.0, 10)
    assert perplexity.loss == 1.25
    assert perplexity.compute() == pytest.approx(math.exp(1.25))
    perplexity.reset()
    perplexity.update(1e4, 1)
    assert perplexity.compute() == math.inf


def test_bleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    written, wanted = ["the cat sat on a mat", "a dog barked"], ["the cat sat on the mat", "a dog barked loudly"]
    bleu = metrics.BLEU()
    for one, other in zip(written, wanted, strict=True):
        bleu.update([one], [other])
    assert bleu.compute() == pytest.approx(sacrebleu.corpus_bleu(written, [wanted]).score)
    with pytest.raises(ValueError, match="BLEU: 1 hypotheses and 2 references; expected as many"):
        bleu.update(["a"], ["a", "b"])
    bleu.reset()
    assert math.isnan(bleu.compute())


def test_bleu_without_sacrebleu(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(ImportError, match=r"^BLEU needs sacrebleu: pip install 'fastattn\[text\]'$"):
        metrics.BLEU()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: metrics.TopKAccuracy(0), "TopKAccuracy: k is 0; expected a positive integer"),
        (
            lambda: metrics.Precision("mean"),
            "Precision: average is 'mean'; expected 'micro', 'macro', 'weighted' or None",
        ),
        (lambda: metrics.Accuracy().update([0, 1], [0]), "Accuracy: predictions has shape (2,), targets (1,) of int"),
        (
            lambda: metrics.Accuracy().update([0], [0.5]),
            "Accuracy: predictions has shape (1,), targets (1,) of float64",
        ),
        (lambda: metrics.ConfusionMatrix(2).update([2], [0]), "ConfusionMatrix: classes are 0 to 2; expected 0 to 1"),
        (lambda: metrics.TopKAccuracy().update([1, 2], [0, 1]), "TopKAccuracy: scores has shape (2,), targets (2,)"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below)
        call()
    assert text in str(caught.value)
