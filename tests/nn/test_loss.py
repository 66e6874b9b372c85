"""Losses: values and gradients against torch's in float64, every option; errors."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn
from fastattn.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 6, 5))
P, Q = RNG.uniform(0.05, 0.95, (2, 6, 5))
SIGNS = np.sign(RNG.standard_normal((6, 5)))
IDS = np.array([0, 4, 2, -100, 1, 1])
W = RNG.uniform(0.5, 2, 5)
MAPS, MAP_IDS = RNG.standard_normal((2, 5, 3, 4)), RNG.integers(0, 5, (2, 3, 4))

# name: (loss of (library, F, reduction, tensors), its arrays)
LOSSES = {
    "mse": (lambda t, F, r, a, b: F.mse_loss(a, b, reduction=r), (X, Y)),
    "l1": (lambda t, F, r, a, b: F.l1_loss(a, b, reduction=r), (X, Y)),
    "smooth l1": (lambda t, F, r, a, b: F.smooth_l1_loss(a, b, reduction=r, beta=0.7), (X, Y)),
    "smooth l1 of beta 0": (lambda t, F, r, a, b: F.smooth_l1_loss(a, b, reduction=r, beta=0), (X, Y)),
    "huber": (lambda t, F, r, a, b: F.huber_loss(a, b, reduction=r, delta=0.7), (X, Y)),
    "bce": (lambda t, F, r, a, b: F.binary_cross_entropy(a, b.detach(), reduction=r), (P, Q)),
    "bce weighted": (lambda t, F, r, a, b, w: F.binary_cross_entropy(a, b.detach(), w.detach(), reduction=r), (P, Q, W)),
    "bce at the ends": (
        lambda t, F, r, a: F.binary_cross_entropy(a, t.tensor([1.0, 0, 0.5, 1], dtype=t.float64), reduction=r),
        (np.array([0.0, 1, 0, 1]),),
    ),
    "bce of logits": (lambda t, F, r, a, b: F.binary_cross_entropy_with_logits(a, b, reduction=r), (X * 50, Q)),
    "bce of logits, pos_weight": (
        lambda t, F, r, a, b, w: F.binary_cross_entropy_with_logits(a, b, w.detach(), reduction=r, pos_weight=w.detach()),
        (X, Q, W),
    ),
    "kl": (lambda t, F, r, a, b: F.kl_div(F.log_softmax(a, dim=1), b, reduction=r), (X, Q)),
    "kl of logs": (lambda t, F, r, a, b: F.kl_div(a, b, reduction=r, log_target=True), (X, Y)),
    "kl of 0": (lambda t, F, r, a: F.kl_div(a, t.zeros(6, 5, dtype=t.float64), reduction=r), (X,)),
    "nll": (lambda t, F, r, a, i: F.nll_loss(F.log_softmax(a, dim=1), i, reduction=r), (X, IDS)),
    "nll weighted": (lambda t, F, r, a, i, w: F.nll_loss(a, i, w.detach(), ignore_index=1, reduction=r), (X, IDS % 5, W)),
    "nll of maps": (lambda t, F, r, a, i: F.nll_loss(a, i, reduction=r), (MAPS, MAP_IDS)),
    "nll of one": (lambda t, F, r, a: F.nll_loss(a[0], t.tensor(3), reduction=r), (X,)),
    "ce weighted": (lambda t, F, r, a, i, w: F.cross_entropy(a, i, w.detach(), reduction=r), (X, IDS, W)),
    "ce smoothed": (lambda t, F, r, a, i: F.cross_entropy(a, i, label_smoothing=0.2, reduction=r), (X, IDS)),
    "ce weighted and smoothed": (
        lambda t, F, r, a, i, w: F.cross_entropy(a, i, w.detach(), label_smoothing=0.2, reduction=r),
        (X, IDS, W),
    ),
    "ce of maps, weighted": (lambda t, F, r, a, i, w: F.cross_entropy(a, i, w.detach(), reduction=r), (MAPS, MAP_IDS, W)),
    "ce of probabilities": (lambda t, F, r, a, b: F.cross_entropy(a, b, reduction=r), (X, Q)),
    "ce of probabilities, smoothed": (
        lambda t, F, r, a, b, w: F.cross_entropy(a, b, w.detach(), label_smoothing=0.3, reduction=r),
        (X, Q, W),
    ),
    "ce of maps of probabilities": (lambda t, F, r, a, b: F.cross_entropy(a, b, reduction=r), (MAPS, MAPS**2)),
    "gaussian": (lambda t, F, r, a, b, v: F.gaussian_nll_loss(a, b, v, full=True, reduction=r), (X, Y, P)),
    "gaussian of small variances": (lambda t, F, r, a, b, v: F.gaussian_nll_loss(a, b, v, eps=0.5, reduction=r), (X, Y, P)),
    "poisson": (lambda t, F, r, a, b: F.poisson_nll_loss(a, b, full=True, reduction=r), (X, 5 * P)),
    "poisson of rates": (lambda t, F, r, a, b: F.poisson_nll_loss(a, b, log_input=False, reduction=r), (P, Q)),
    "soft margin": (lambda t, F, r, a, b: F.soft_margin_loss(a, b.detach(), reduction=r), (X * 50, SIGNS)),
    "multilabel": (lambda t, F, r, a, b: F.multilabel_soft_margin_loss(a, b.detach(), reduction=r), (X, (SIGNS + 1) / 2)),
    "multi margin": (lambda t, F, r, a, i: F.multi_margin_loss(a, i, reduction=r), (X, IDS % 5)),
    "multi margin, squared": (
        lambda t, F, r, a, i, w: F.multi_margin_loss(a, i, p=2, margin=0.5, weight=w.detach(), reduction=r),
        (X, IDS % 5, W),
    ),
    "hinge": (lambda t, F, r, a, b: F.hinge_embedding_loss(a, b.detach(), margin=0.5, reduction=r), (X, SIGNS)),
    "ranking": (lambda t, F, r, a, b, s: F.margin_ranking_loss(a, b, s.detach(), margin=0.2, reduction=r), (X, Y, SIGNS)),
    "cosine": (
        lambda t, F, r, a, b, s: F.cosine_embedding_loss(a, b, s.detach()[:, 0], margin=-0.2, reduction=r),
        (X, Y, SIGNS),
    ),
    "triplet": (lambda t, F, r, a, b, c: F.triplet_margin_loss(a, b, c, reduction=r), (X, Y, P)),
    "triplet, swapped": (lambda t, F, r, a, b, c: F.triplet_margin_loss(a, b, c, p=3, swap=True, reduction=r), (X, Y, P)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_torchs(name, reduction):
    loss, arrays = LOSSES[name]
    found = []
    for library in (fa, torch):
        given = [library.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        out = loss(library, library.nn.functional, reduction, *given)
        (out * out).sum().backward()
        found.append([out.detach().numpy(), *[None if g.grad is None else g.grad.numpy() for g in given]])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.shape == theirs.shape
            # Where a probability is 0 or 1 torch's bound on the gradient, 1e-12, is one of float32.
            np.testing.assert_allclose(ours, theirs, rtol=1e-8 if "ends" in name else 1e-9, atol=1e-12)


MODULES = {
    "L1Loss": ({}, (X, Y)),
    "MSELoss": ({"reduction": "sum"}, (X, Y)),
    "SmoothL1Loss": ({"beta": 0.5}, (X, Y)),
    "HuberLoss": ({"delta": 0.5}, (X, Y)),
    "BCELoss": ({}, (P, Q)),
    "BCEWithLogitsLoss": ({"pos_weight": W}, (X, Q)),
    "NLLLoss": ({"weight": W, "ignore_index": 2}, (X, IDS % 5)),
    "KLDivLoss": ({"reduction": "batchmean"}, (X, Q)),
    "CrossEntropyLoss": ({"weight": W, "label_smoothing": 0.1}, (X, IDS)),
    "GaussianNLLLoss": ({"full": True}, (X, Y, P)),
    "PoissonNLLLoss": ({"full": True}, (X, P)),
    "SoftMarginLoss": ({}, (X, SIGNS)),
    "MultiLabelSoftMarginLoss": ({}, (X, (SIGNS + 1) / 2)),
    "MultiMarginLoss": ({"margin": 0.3}, (X, IDS % 5)),
    "HingeEmbeddingLoss": ({"margin": 0.3}, (X, SIGNS)),
    "MarginRankingLoss": ({"margin": 0.3}, (X, Y, SIGNS)),
    "CosineEmbeddingLoss": ({"margin": 0.3}, (X, Y, SIGNS[:, 0])),
    "TripletMarginLoss": ({"margin": 0.3, "p": 1}, (X, Y, P)),
}


def test_every_loss_is_compared():
    from fastattn.nn import loss

    assert set(loss.__all__) == MODULES.keys()


@pytest.mark.parametrize("name", MODULES)
def test_layers_are_torchs(name):
    options, arrays = MODULES[name]
    found = []
    for library in (fa, torch):
        own = {k: library.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        layer = getattr(library.nn, name)(**own)
        found.append((layer(*[library.tensor(a) for a in arrays]).item(), list(layer.state_dict())))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    assert found[0][1] == found[1][1]


def test_a_batchs_divergence():
    x, y = fa.tensor(X), fa.tensor(Q)
    assert F.kl_div(x, y, reduction="batchmean").item() == pytest.approx(F.kl_div(x, y, reduction="sum").item() / 6)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"])
def test_shapes_that_broadcast_are_warned_of(name):
    with pytest.warns(UserWarning, match=rf"^{name}: target is \(3, 1\) and input \(3,\); they are broadcast"):
        getattr(F, name)(fa.ones(3), fa.ones(3, 1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.mse_loss(fa.ones(2), fa.ones(2), "max"), ValueError, "^mse_loss: reduction is 'max'; expected"),
        (lambda: F.huber_loss(fa.ones(2), fa.ones(2), delta=0), ValueError, "^huber_loss: delta is 0; expected"),
        (
            lambda: F.smooth_l1_loss(fa.ones(2), fa.ones(2), beta=-1),
            ValueError,
            "^smooth_l1_loss: beta is -1; expected",
        ),
        (
            lambda: F.binary_cross_entropy(fa.ones(2) * 2, fa.ones(2)),
            ValueError,
            "^binary_.*: input has elements outside",
        ),
        (
            lambda: F.binary_cross_entropy(fa.ones(2), fa.ones(3)),
            ValueError,
            r"^binary_.*: target has shape \(3,\); expec",
        ),
        (
            lambda: F.nll_loss(fa.ones(2, 3), fa.tensor([0, 3])),
            IndexError,
            "^nll_loss: target 3 is outside the 3 classes",
        ),
        (lambda: F.nll_loss(fa.ones(2, 3), fa.tensor([0, -1])), IndexError, "^nll_loss: target -1 is outside the 3"),
        (lambda: F.nll_loss(fa.ones(2, 3), fa.ones(2)), TypeError, "^nll_loss: target is float32; expected class ids"),
        (lambda: F.nll_loss(fa.ones(2, 3), fa.tensor([0])), ValueError, r"^nll_loss: target has shape \(1,\) for an"),
        (
            lambda: F.cross_entropy(fa.ones(2, 3), fa.tensor([0, 1]), fa.ones(2)),
            ValueError,
            r"^cross_entropy: weight has shape \(2,\); expected \(3,\)",
        ),
        (
            lambda: F.cross_entropy(fa.ones(2, 3), fa.tensor([0, 1]), label_smoothing=2.0),
            ValueError,
            "^cross_entropy: label_smoothing is 2.0; expected 0 to 1",
        ),
        (
            lambda: F.cross_entropy(fa.ones(2, 3), fa.ones(2, 2)),
            ValueError,
            "^cross_entropy: a target of probabilities",
        ),
        (lambda: F.gaussian_nll_loss(fa.ones(2), fa.ones(2), -1.0), ValueError, "^gaussian_nll_loss: var has elements"),
        (lambda: F.multi_margin_loss(fa.ones(2, 3), fa.arange(2), p=3), ValueError, "^multi_margin_loss: p is 3"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_fused_where_it_can_be():
    nn.CrossEntropyLoss()(fa.ones(2, 3), fa.tensor([0, 1]))
    assert fa.last_kernel().startswith("cross_entropy")
