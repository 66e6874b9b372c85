"""Conv1d and Conv2d: values, gradients and state_dict against torch's, first weights, errors."""

import math
import re

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn

LAYERS = {
    "1d": (lambda nn: nn.Conv1d(4, 6, 3), (2, 4, 9)),
    "1d, all options": (
        lambda nn: nn.Conv1d(4, 6, 3, 2, 2, 2, 2, padding_mode="circular", bias=False),
        (2, 4, 9),
    ),
    "1d, valid": (lambda nn: nn.Conv1d(4, 6, (3,), padding="valid"), (4, 9)),
    "2d": (lambda nn: nn.Conv2d(1, 8, 3, padding=1), (2, 1, 6, 7)),
    "2d without a batch": (lambda nn: nn.Conv2d(3, 8, (3, 2), bias=False), (3, 6, 7)),
    "2d, same": (lambda nn: nn.Conv2d(3, 5, (3, 5), padding="same"), (2, 3, 6, 7)),
    "2d, same, reflected": (lambda nn: nn.Conv2d(3, 5, (3, 5), padding="same", padding_mode="reflect"), (2, 3, 6, 7)),
    "2d, replicated": (lambda nn: nn.Conv2d(3, 5, 3, padding=(2, 1), padding_mode="replicate"), (2, 3, 6, 7)),
    "2d, stride, dilation, groups": (
        lambda nn: nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(1, 2), dilation=2, groups=2),
        (2, 4, 9, 8),
    ),
    "depthwise": (lambda nn: nn.Conv2d(5, 10, 3, padding=1, groups=5), (2, 5, 6, 7)),
    "network": (
        lambda nn: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, stride=2), nn.Flatten(), nn.Linear(8, 3)),
        (2, 1, 7, 8),
    ),
}  # fmt: skip


@pytest.mark.parity
@pytest.mark.parametrize("name", LAYERS)
def test_values_gradients_and_state_are_torchs(name):
    torch = pytest.importorskip("torch")
    build, shape = LAYERS[name]
    ours, theirs = build(nn).double(), build(torch.nn).double()
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in ours.state_dict().items()})
    ours.load_state_dict(theirs.state_dict())
    data = np.random.default_rng(0).standard_normal(shape)
    x, tx = fa.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, ty = ours(x), theirs(tx)
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-12, atol=1e-13)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-10, atol=1e-12)
    for (name, p), (_, tp) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), tp.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("build", [lambda **o: nn.Conv1d(8, 64, 5, **o), lambda **o: nn.Conv2d(8, 64, (3, 5), **o)])
def test_first_weights(build):
    layer = build(groups=2)
    bound = 1 / math.sqrt(math.prod(layer.weight.shape[1:]))
    for p in layer.parameters():
        values = p.detach().numpy()
        assert np.abs(values).max() <= bound
        assert abs(values.mean()) < bound / 4
        assert values.std() > bound / 2.5
    assert build(dtype=fa.float64, device="cpu").weight.dtype == fa.float64
    assert [name for name, _ in build(bias=False).named_parameters()] == ["weight"]


def test_a_small_network_learns():
    """Bars that lie or stand, at any place."""
    fa.manual_seed(0)
    rng = np.random.default_rng(0)
    x, y = np.zeros((64, 1, 8, 8), np.float32), np.arange(64) % 2
    for image, lies in zip(x[:, 0], y, strict=True):
        at = rng.integers(0, 8)
        image[(at, slice(None)) if lies else (slice(None), at)] = 1
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten()
    )
    model.append(nn.Linear(72, 2))
    optimizer = fa.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(fa.tensor(x)), fa.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]


ERRORS = [
    (lambda: nn.Conv2d(4, 6, 3, groups=4), "Conv2d: groups 4 does not divide 4 input and 6 output channels"),
    (lambda: nn.Conv2d(4, 6, 3, groups=0), "Conv2d: groups 0 does not divide"),
    (lambda: nn.Conv2d(4, 6, (3, 3, 3)), "Conv2d: kernel_size is (3, 3, 3); expected 2 numbers"),
    (lambda: nn.Conv1d(4, 6, 3, stride=(1, 2)), "Conv1d: stride is (1, 2); expected 1 numbers"),
    (lambda: nn.Conv1d(4, 6, 3, padding="full"), 'Conv1d: padding is \'full\'; expected "same", "valid" or numbers'),
    (lambda: nn.Conv1d(4, 6, 3, 2, padding="same"), 'Conv1d: padding is "same" and stride is 2'),
    (lambda: nn.Conv1d(4, 6, 3, padding_mode="edge"), "Conv1d: padding_mode is 'edge'; expected one of zeros, reflect"),
]


@pytest.mark.parametrize(("build", "text"), ERRORS, ids=[e[1][:40] for e in ERRORS])
def test_errors(build, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        build()
