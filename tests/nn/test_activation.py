"""Activations: values, gradients, second arguments and repr() against torch's, in float64."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn
from fastattn.nn import functional as F

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

# Around the bends, and far out, where a formula could overflow.
POINTS = np.array([-800.0, -30, -6.5, -3, -1, -0.5, -0.3, -1e-8, 0, 1e-8, 0.3, 0.5, 0.7, 1, 2.5, 3, 6, 6.5, 25, 800])

LAYERS = {
    "relu6": lambda nn: nn.ReLU6(),
    "leaky relu": lambda nn: nn.LeakyReLU(0.2),
    "elu": lambda nn: nn.ELU(alpha=0.7),
    "celu": lambda nn: nn.CELU(1.3),
    "selu": lambda nn: nn.SELU(),
    "silu": lambda nn: nn.SiLU(inplace=True),
    "mish": lambda nn: nn.Mish(),
    "softplus": lambda nn: nn.Softplus(),
    "softplus steep": lambda nn: nn.Softplus(beta=3.0, threshold=10.0),
    "softsign": lambda nn: nn.Softsign(),
    "tanhshrink": lambda nn: nn.Tanhshrink(),
    "log sigmoid": lambda nn: nn.LogSigmoid(),
    "hardtanh": lambda nn: nn.Hardtanh(-1.0, 2.5),
    "hardsigmoid": lambda nn: nn.Hardsigmoid(),
    "hardswish": lambda nn: nn.Hardswish(),
    "threshold": lambda nn: nn.Threshold(0.5, -7.0),
    "glu": lambda nn: nn.GLU(dim=0),
    "softmin": lambda nn: nn.Softmin(dim=1),
    "prelu": lambda nn: nn.PReLU(),
    "prelu of channels": lambda nn: nn.PReLU(5, init=0.1),
    "unflatten": lambda nn: nn.Unflatten(1, (5, 1)),
    "hardshrink": lambda nn: nn.Hardshrink(0.6),
    "softshrink": lambda nn: nn.Softshrink(0.6),
    "relu": lambda nn: nn.ReLU(inplace=True),
}


# torch rounds the constants of these (1 / 6, 1 / alpha) to float32, in float64 too.
ROUNDED = {"celu": 2e-7, "hardsigmoid": 1e-7, "hardswish": 1e-7}


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_torchs(name):
    found = []
    for library in (fa, torch):
        x = library.tensor(POINTS.reshape(4, 5), requires_grad=True)
        layer = LAYERS[name](library.nn).double()
        y = layer(x * 1)
        (y * y).sum().backward()
        weight = [p.grad.numpy() for p in layer.parameters()]
        found.append([y.detach().numpy(), x.grad.numpy(), *weight])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=ROUNDED.get(name, 1e-11), atol=1e-13)


@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"hardshrink", "softshrink", "threshold", "unflatten"}))
def test_repr_is_torchs(name):
    """But for the four that torch prints without the names of their options."""
    assert repr(LAYERS[name](nn)) == repr(LAYERS[name](torch.nn))


def test_softmax_of_channels():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    expected = torch.nn.Softmax2d()(torch.tensor(x)).numpy()
    np.testing.assert_allclose(nn.Softmax2d()(fa.tensor(x)).numpy(), expected, rtol=1e-12)


def test_gumbel_softmax():
    fa.manual_seed(0)
    logits = fa.tensor([[0.0, 1.0, 2.0]], requires_grad=True).expand(4000, 3)
    hard = F.gumbel_softmax(logits, tau=0.5, hard=True)
    assert set(np.unique(hard.detach().numpy())) == {0.0, 1.0}
    expected = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    np.testing.assert_allclose(hard.detach().numpy().mean(0), expected, atol=0.03)
    soft = F.gumbel_softmax(logits, tau=0.5)
    np.testing.assert_allclose(soft.detach().numpy().sum(1), 1, rtol=1e-5)
    (hard * fa.arange(3)).sum().backward()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.glu(fa.ones(3)), "^glu: axis -1 has length 3; expected an even one"),
        (lambda: F.prelu(fa.ones(2, 3), fa.ones(2)), r"^prelu: weight has shape \(2,\); expected one number"),
        (lambda: nn.Softmax2d()(fa.ones(2, 3)), r"^Softmax2d: input has shape \(2, 3\); expected 3 or 4 axes"),
        (lambda: nn.Dropout2d(2.0), "^Dropout2d: p is 2.0; expected a probability, 0 to 1"),
        (lambda: nn.Dropout2d()(fa.ones(2, 3)), r"^dropout2d: input has shape \(2, 3\); expected 3 or 4 axes"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_dropout_of_channels():
    fa.manual_seed(0)
    out = nn.Dropout2d(0.5)(fa.ones(8, 16, 3, 3)).numpy()
    per_channel = out.reshape(8 * 16, 9)
    assert (per_channel == per_channel[:, :1]).all()
    assert set(np.unique(out)) == {0.0, 2.0}
    x = fa.ones(2, 3, 4)
    assert nn.Dropout1d().eval()(x) is x
