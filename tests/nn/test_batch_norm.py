"""BatchNorm1d and BatchNorm2d: training, evaluation, state and errors against torch's."""

import copy
import pickle

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn

FORMS = {
    "plain": {},
    "momentum": {"momentum": 0.3, "eps": 1e-3},
    "cumulative": {"momentum": None},
    "not affine": {"affine": False},
    "without bias": {"bias": False},
    "untracked": {"track_running_stats": False},
}
INPUTS = [("BatchNorm1d", (6, 3)), ("BatchNorm1d", (4, 3, 5)), ("BatchNorm2d", (2, 3, 4, 5))]


def numbers(state):
    return {name: np.asarray(value.numpy() if hasattr(value, "numpy") else value) for name, value in state.items()}


@pytest.mark.parity
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("layer", "shape"), INPUTS)
def test_three_batches_and_an_evaluation_are_torchs(form, layer, shape):
    torch = pytest.importorskip("torch")
    ours = getattr(nn, layer)(3, **FORMS[form]).double()
    theirs = getattr(torch.nn, layer)(3, **FORMS[form]).double()
    assert repr(ours) == repr(theirs)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.randn_like(p))
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(0)
    for step in range(4):
        if step == 3:
            ours.eval(), theirs.eval()
        data = rng.standard_normal(shape) * 2 + 1
        x, tx = fa.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        y, ty = ours(x), theirs(tx)
        np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-10, atol=1e-12)
        (y * y * y).sum().backward()
        (ty * ty * ty).sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-9, atol=1e-10)
        state, expected = numbers(ours.state_dict()), numbers(theirs.state_dict())
        assert list(state) == list(expected)
        for name in state:
            assert state[name].dtype == expected[name].dtype
            np.testing.assert_allclose(state[name], expected[name], rtol=1e-12, err_msg=name)
    for (name, p), (_, tp) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), tp.grad.numpy(), rtol=1e-9, atol=1e-10, err_msg=name)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in numbers(ours.state_dict()).items()})


def test_a_state_without_a_count_loads():
    layer = nn.BatchNorm1d(2)
    layer(fa.randn(5, 2))
    state = layer.state_dict()
    del state["num_batches_tracked"]
    other = nn.Sequential(nn.BatchNorm1d(2))
    other.load_state_dict({f"0.{name}": value for name, value in state.items()})
    assert other[0].num_batches_tracked.item() == 0
    np.testing.assert_array_equal(other[0].running_mean.numpy(), layer.running_mean.numpy())


def test_copies_and_pickles():
    layer = nn.BatchNorm2d(2)
    layer(fa.randn(2, 2, 3, 3))
    x = fa.randn(2, 2, 3, 3)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other.eval()(x).detach().numpy(), layer.eval()(x).detach().numpy())
        layer.train()
        assert other.running_mean is not layer.running_mean


def test_reset():
    layer = nn.BatchNorm1d(2)
    layer(fa.randn(5, 2) + 3.0)
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0, 0]
    assert layer.running_var.tolist() == [1, 1]
    assert layer.num_batches_tracked.item() == 0


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (nn.BatchNorm1d, (3,), r"expected 2D or 3D input \(got 1D input\)"),
        (nn.BatchNorm1d, (2, 3, 4, 5), r"expected 2D or 3D input \(got 4D input\)"),
        (nn.BatchNorm2d, (2, 3, 4), r"expected 4D input \(got 3D input\)"),
        (nn.BatchNorm1d, (1, 3), "one value per channel, expected more when training"),
        (nn.BatchNorm1d, (2, 4), r"weight has shape \(3,\); expected \(4,\)"),
    ],
)
def test_errors(layer, shape, text):
    with pytest.raises(ValueError, match=text):
        layer(3)(fa.zeros(*shape))
