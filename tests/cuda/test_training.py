"""Models on a device: layers, optimizers, a GPT that trains as it does on the CPU."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn
from fastattn.models import GPT, GPTConfig, LeNet, LeNetConfig, LSTMClassifier, LSTMClassifierConfig

LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (3, 6)),
    "layer_norm": (lambda: nn.LayerNorm(8), (3, 8)),
    "rms_norm": (lambda: nn.RMSNorm(8), (3, 8)),
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 2)), (3, 6)),
    "batch_norm": (lambda: nn.BatchNorm1d(8), (5, 8)),
    "images": (
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.BatchNorm2d(3), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)),
        (2, 3, 9, 9),
    ),
    "attention": (lambda: _SelfAttention(8, 2), (2, 5, 8)),
    "convolutions": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, (2, 3), (2, 1), groups=2)),
        (2, 3, 7, 6),
    ),
    "convolutions of one axis": (lambda: nn.Sequential(nn.Conv1d(4, 4, 3, groups=4), nn.Conv1d(4, 5, 2, 2)), (2, 4, 9)),
}


class _SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, here):
    """The same outputs and gradients as on the CPU, from the same state."""
    make, shape = LAYERS[name]
    fa.manual_seed(0)
    host, there = make(), make()
    there.load_state_dict(host.state_dict())
    there.to("cuda")
    assert {p.device for p in there.parameters()} == {"cuda:0"}
    x, x_there = here(*shape)
    for module, value in ((host, x), (there, x_there)):
        (module(value) ** 2).sum().backward()
    pairs = [
        (x.grad, x_there.grad),
        *((a.grad, b.grad) for a, b in zip(host.parameters(), there.parameters(), strict=True)),
    ]
    for a, b in pairs:
        assert b.device == "cuda:0"
        scale = max(1.0, float(np.abs(a.numpy()).max()))
        np.testing.assert_allclose(b.cpu().numpy(), a.numpy(), rtol=0, atol=64 * np.finfo(np.float32).eps * scale)
    there.cpu()
    assert {p.device for p in there.parameters()} == {"cpu"}


@pytest.mark.parametrize("make", [
    lambda p: fa.optim.SGD(p, 0.1, momentum=0.9), lambda p: fa.optim.Adam(p, 0.1),
    lambda p: fa.optim.AdamW(p, 0.1, amsgrad=True),
], ids=["sgd", "adam", "adamw"])  # fmt: skip
@pytest.mark.parametrize("together", [False, True])
def test_optimizers(make, together, here):
    x, x_there = here(7, 3)
    for p in (x, x_there):
        optimizer = make([p])
        for _ in range(3):
            (p * p).sum().backward()
            if together:
                norm = optimizer.clip_and_step(1.0)
            else:
                norm = float(fa.nn.utils.clip_grad_norm_([p], 1.0))
                optimizer.step()
            assert norm > 1
            optimizer.zero_grad()
    np.testing.assert_allclose(x_there.detach().cpu().numpy(), x.detach().numpy(), rtol=0, atol=1e-6)


def test_adam_reads_its_numbers_on_the_device(here):
    """lr, step and grad_scale that are written between the steps, as a graph would."""
    host, there = (x.detach() for x in here(300))
    g, g_there = here(300)
    states, states_there = ([fa.zeros(300, device=d) for _ in range(2)] for d in ("cpu", "cuda"))
    step, lr, scale = fa.tensor(0, device="cuda"), fa.tensor(0.5, device="cuda"), fa.tensor(2.0, device="cuda")
    plan = fa.AdamPlan([there], [g_there], *([s] for s in states_there))
    for count in (1, 2, 3):
        step += 1
        lr *= 0.5
        found = fa.adam_step(
            [host], [g], *([s] for s in states), step=count, lr=0.5 ** (count + 1), grad_scale=2.0, max_norm=1.0
        )
        norm = plan.step(step=step, lr=lr, grad_scale=scale, max_norm=1.0)
        assert float(norm) == pytest.approx(found, rel=1e-6)
    np.testing.assert_allclose(there.cpu().numpy(), host.numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="adam_step: lr needs one element; lr \\(2,\\)"):
        plan.step(step=step, lr=fa.ones(2, device="cuda"))
    with pytest.raises(TypeError, match="adam_step: lr has dtype bool; expected floating numbers or int64"):
        plan.step(step=step, lr=fa.tensor(True, device="cuda"))


def test_a_plan_has_room_for_a_norm_from_its_first_clip_on(here, arrays_bytes):
    """On a device a kernel writes the norm; a plan whose steps do not clip needs no room for it."""
    _, p = here(5)
    g, m, v = (fa.zeros(5, device="cuda") for _ in range(3))
    plan = fa.AdamPlan([p.detach()], [g], [m], [v])
    before, room = arrays_bytes.count(), max(8, arrays_bytes.unit)
    assert plan.step(step=1, lr=0.1) is None
    assert arrays_bytes.count() == before
    assert plan.step(step=2, lr=0.1, max_norm=1.0) == 0
    assert arrays_bytes.count() == before + room
    assert plan.step(step=3, lr=0.1, max_norm=1.0) == 0
    assert arrays_bytes.count() == before + room


def gpt():
    """A small GPT over random tokens."""
    model = GPT(GPTConfig(vocab_size=24, n_positions=8, n_embd=16, n_layer=2, n_head=2, attn_pdrop=0.1))

    def loss(rng):
        ids = rng.integers(0, 24, (2, 9))
        return model.loss(ids[:, :-1], ids[:, 1:])

    return model, loss


def lstm():
    """Two layers in both directions over texts of random lengths, one of them empty."""
    config = LSTMClassifierConfig(
        vocab_size=24, embedding_size=6, hidden_size=9, num_hidden_layers=2, num_labels=3, dropout=0.0
    )
    model = LSTMClassifier(config)

    def loss(rng):
        ids = rng.integers(1, 24, (4, 5))
        return model(ids, np.array([5, 0, *rng.integers(1, 6, 2)]), labels=rng.integers(0, 3, 4))[1]

    return model, loss


def losses(make, device, steps):
    fa.manual_seed(0)
    model, loss_of = make()
    model.to(device)
    optimizer = fa.optim.AdamW(model.parameters(), lr=1e-2)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(steps):
        loss = loss_of(rng)
        loss.backward()
        fa.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return np.array(found)


@pytest.mark.smoke
@pytest.mark.parametrize(("make", "steps"), [(gpt, 20), (lstm, 10)])
def test_a_model_trains_with_the_losses_of_the_cpu(make, steps):
    """Each op agrees with the CPU's to a few roundings of float32, and a step's changes by Adam are at most lr in size
    whatever the gradient: what a rounding grows to in 20 steps is bounded by 20 steps of 20 roundings each, times the
    model's conditioning, taken as 10: 20 * 20 * 10 eps of a loss near 3."""
    expected, found = losses(make, "cpu", steps), losses(make, "cuda", steps)
    assert expected[-1] < expected[0] + 0.5
    limit = steps * 20 * 10 * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


def lenet_losses(device, steps=10):
    """Of a small LeNet that learns four images by heart."""
    fa.manual_seed(0)
    model = LeNet(LeNetConfig(image_size=8, channels=(4, 8), kernel_size=3, hidden_size=12, num_labels=4)).to(device)
    optimizer = fa.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    images = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32)
    found = []
    for _ in range(steps):
        _, loss = model(images, np.arange(4))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return np.array(found)


def test_lenet_trains_with_the_losses_of_the_cpu():
    """10 steps with SGD, of 20 roundings each, times the model's conditioning, taken as 10."""
    expected, found = lenet_losses("cpu"), lenet_losses("cuda")
    assert expected[-1] < 0.5 * expected[0]
    limit = 10 * 20 * 10 * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)
