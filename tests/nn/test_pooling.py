"""The pooling layers: values, gradients and repr() against torch's."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn

LAYERS = {
    "max 1d": (lambda nn: nn.MaxPool1d(3, 2, 1), (2, 3, 9)),
    "max 2d": (lambda nn: nn.MaxPool2d(2), (2, 3, 8, 9)),
    "max 2d with everything": (lambda nn: nn.MaxPool2d((3, 2), (2, 1), 1, (1, 2), False, True), (2, 3, 8, 9)),
    "max 2d without a batch": (lambda nn: nn.MaxPool2d(3, stride=2, padding=1), (3, 8, 9)),
    "avg 1d": (lambda nn: nn.AvgPool1d(3, 2, 1, count_include_pad=False), (2, 3, 9)),
    "avg 2d": (lambda nn: nn.AvgPool2d(2), (2, 3, 8, 9)),
    "avg 2d with everything": (lambda nn: nn.AvgPool2d((3, 2), 2, (1, 0), True, False, 5), (2, 3, 8, 9)),
    "adaptive max 1d": (lambda nn: nn.AdaptiveMaxPool1d(4), (2, 3, 9)),
    "adaptive max 2d": (lambda nn: nn.AdaptiveMaxPool2d((None, 4)), (2, 3, 8, 9)),
    "adaptive avg 1d": (lambda nn: nn.AdaptiveAvgPool1d(4), (2, 3, 9)),
    "adaptive avg 2d": (lambda nn: nn.AdaptiveAvgPool2d(1), (2, 3, 8, 9)),
    "adaptive avg 2d of one axis": (lambda nn: nn.AdaptiveAvgPool2d((5, None)), (3, 8, 9)),
}


@pytest.mark.parity
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_torchs(name):
    torch = pytest.importorskip("torch")
    build, shape = LAYERS[name]
    ours, theirs = build(nn), build(torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == []
    data = np.random.default_rng(0).standard_normal(shape)
    x, tx = fa.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, ty = ours(x), theirs(tx)
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-12, atol=1e-13)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parity
def test_indices_are_torchs():
    torch = pytest.importorskip("torch")
    data = np.random.default_rng(0).standard_normal((2, 3, 8, 9))
    for build in (lambda nn: nn.MaxPool2d(3, 2, 1, return_indices=True), lambda nn: nn.AdaptiveMaxPool2d(3, True)):
        (y, at), (ty, tat) = build(nn)(fa.tensor(data, requires_grad=True)), build(torch.nn)(torch.tensor(data))
        np.testing.assert_array_equal(y.detach().numpy(), ty.numpy())
        np.testing.assert_array_equal(at.numpy(), tat.numpy())
        assert not at.requires_grad


def test_a_model_of_pools_trains():
    model = nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    x = fa.randn(4, 3, 8, 8)
    target = fa.tensor([0, 1, 0, 1])
    optimizer = fa.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_autocast_runs_them_in_the_dtype_of_their_input():
    x = fa.randn(1, 2, 4, 4)
    with fa.autocast("cpu", dtype=fa.bfloat16):
        assert nn.MaxPool2d(2)(x.bfloat16()).dtype == fa.bfloat16
        assert nn.BatchNorm2d(2)(x.bfloat16()).dtype == fa.bfloat16
