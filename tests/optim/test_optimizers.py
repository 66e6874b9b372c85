"""SGD, Adam and AdamW against torch.optim in float64; groups, states, spellings, errors."""

import copy

import numpy as np
import pytest

import fastattn as fa
from fastattn import optim

SHAPES = [(7, 5), (5,), (), (3, 4, 2)]

OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.05}),
    "momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "dampening": ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    "nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "sgd maximize": ("SGD", {"lr": 1e-3, "maximize": True, "weight_decay": 0.1}),
    "adam": ("Adam", {"lr": 0.01}),
    "adam options": ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    "amsgrad": ("Adam", {"lr": 0.01, "amsgrad": True}),
    "adam maximize": ("Adam", {"lr": 0.01, "maximize": True}),
    "adamw": ("AdamW", {"lr": 0.01}),
    "adamw options": ("AdamW", {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True, "betas": (0.5, 0.9)}),
}


def start():
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in SHAPES]


def loss(params):
    return sum(((p - 0.3) ** 2).sum() * (i + 1) + (p * p * p).sum() * 0.01 for i, p in enumerate(params))


def step(optimizer, params):
    optimizer.zero_grad()
    value = loss(params)
    value.backward()
    optimizer.step()
    return value


@pytest.mark.parity
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_100_steps_are_torchs(name):
    torch = pytest.importorskip("torch")
    kind, options = OPTIMIZERS[name]
    ours = [fa.tensor(x, requires_grad=True) for x in start()]
    theirs = [torch.tensor(x, requires_grad=True) for x in start()]
    a, b = getattr(optim, kind)(ours, **options), getattr(torch.optim, kind)(theirs, **options)
    for _ in range(100):
        step(a, ours)
        step(b, theirs)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["adamw", "momentum"])
def test_groups_and_late_gradients_are_torchs(name):
    # A parameter whose gradient comes later has made fewer steps than the others of its group.
    torch = pytest.importorskip("torch")
    kind, options = OPTIMIZERS[name]
    ours = [fa.tensor(x, requires_grad=True) for x in start()]
    theirs = [torch.tensor(x, requires_grad=True) for x in start()]

    def groups(params):
        return [{"params": params[:2]}, {"params": params[2:], "lr": 0.003, "weight_decay": 0.2}]

    a, b = getattr(optim, kind)(groups(ours), **options), getattr(torch.optim, kind)(groups(theirs), **options)
    for i in range(20):
        for optimizer, params in ((a, ours), (b, theirs)):
            optimizer.zero_grad()
            loss(params if i > 5 else params[1:]).backward()
            optimizer.step()
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resuming_is_exact(name):
    kind, options = OPTIMIZERS[name]
    params = [fa.tensor(x, requires_grad=True) for x in start()]
    optimizer = getattr(optim, kind)(params, **options)
    for _ in range(5):
        step(optimizer, params)
    twins = copy.deepcopy([p.detach().requires_grad_() for p in params])
    other = getattr(optim, kind)(twins, lr=1.0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(5):
        step(optimizer, params)
        step(other, twins)
    for p, q in zip(params, twins, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parity
@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamw options", "momentum"])
def test_states_go_both_ways(name):
    torch = pytest.importorskip("torch")
    kind, options = OPTIMIZERS[name]
    ours = [fa.tensor(x, requires_grad=True) for x in start()]
    theirs = [torch.tensor(x, requires_grad=True) for x in start()]
    a, b = getattr(optim, kind)(ours, **options), getattr(torch.optim, kind)(theirs, **options)
    for _ in range(3):
        step(a, ours)
        step(b, theirs)
    state = b.state_dict()
    assert a.state_dict()["state"].keys() == state["state"].keys()
    for number, values in state["state"].items():
        present = {k for k, v in values.items() if v is not None}
        assert a.state_dict()["state"][number].keys() == present
    a.load_state_dict(state)
    for p, q in zip(ours, theirs, strict=True):
        p.data = q.detach().numpy().copy()
    for _ in range(3):
        step(a, ours)
        step(b, theirs)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_state_dict_form():
    params = [fa.ones(2, requires_grad=True), fa.ones(3, requires_grad=True)]
    optimizer = optim.AdamW([{"params": params[:1], "lr": 0.1}, {"params": params[1:]}], weight_decay=0.5)
    step(optimizer, params)
    state = optimizer.state_dict()
    assert [g["params"] for g in state["param_groups"]] == [[0], [1]]
    assert [g["lr"] for g in state["param_groups"]] == [0.1, 1e-3]
    assert state["param_groups"][0]["weight_decay"] == 0.5
    assert sorted(state["state"]) == [0, 1]
    assert state["state"][1]["step"] == 1
    assert state["state"][1]["exp_avg"].shape == (3,)
    assert repr(optimizer).startswith("AdamW (\nParameter Group 0\n")


def test_keras_spellings():
    p = [fa.ones(1, requires_grad=True)]
    group = optim.Adam(p, learning_rate=0.1, beta_1=0.5, epsilon=1e-7, decay=0.01).param_groups[0]
    assert group["lr"] == 0.1
    assert group["betas"] == (0.5, 0.999)
    assert group["eps"] == 1e-7
    assert optim.SGD(p, learning_rate=0.2).param_groups[0]["lr"] == 0.2
    assert optim.AdamW(p, beta_2=0.9).param_groups[0]["betas"] == (0.9, 0.9)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "learning_rate": 0.1},
        {"eps": 1e-8, "epsilon": 1e-8},
        {"betas": (0.9, 0.9), "beta_1": 0.9},
        {"betas": (0.9, 0.9), "beta_2": 0.9},
    ],
)
def test_both_spellings(options):
    with pytest.raises(TypeError, match=r"^AdamW: .* are the same option; pass one of them"):
        optim.AdamW([fa.ones(1, requires_grad=True)], **options)


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_keras_decay(kind):
    p = fa.zeros(1, dtype=fa.float64, requires_grad=True)
    optimizer = getattr(optim, kind)([p], lr=1.0, decay=0.5)
    moved = []
    for _ in range(3):
        before = p.item()
        p.grad = fa.ones(1, dtype=fa.float64)
        optimizer.step()
        moved.append(before - p.item())
    np.testing.assert_allclose(moved, [1, 1 / 1.5, 1 / 2], rtol=1e-6)


def test_parameters_without_a_gradient_stay():
    a, b = fa.ones(2, requires_grad=True), fa.ones(2, requires_grad=True)
    optimizer = optim.AdamW([a, b], lr=0.1)
    a.sum().backward()
    optimizer.step()
    assert b.tolist() == [1, 1]
    assert b not in optimizer.state
    assert a.tolist() != [1, 1]


def test_closure_and_zero_grad():
    p = fa.ones(2, requires_grad=True)
    optimizer = optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        value = (p * p).sum()
        value.backward()
        return value

    with fa.no_grad():
        assert optimizer.step(closure).item() == 2
    assert p.tolist() == pytest.approx([0.8, 0.8])
    held = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert not held.any()
    optimizer.zero_grad()
    assert p.grad is None


def test_a_gradient_of_any_strides():
    p = fa.ones(2, 3, requires_grad=True)
    p.grad = fa.arange(6, dtype=fa.float32).reshape(3, 2).T
    optim.SGD([p], lr=1.0).step()
    np.testing.assert_array_equal(p.detach().numpy(), 1 - np.arange(6.0).reshape(3, 2).T)


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_clip_and_step_has_the_bits_of_the_two_calls(name, dtype, max_norm):
    kind, options = OPTIMIZERS[name]
    ours, theirs = ([fa.tensor(x, fa.dtype(dtype), requires_grad=True) for x in start()] for _ in range(2))
    # Groups of their own: the norm is that of all of them.
    a, b = (getattr(optim, kind)([{"params": p[:2]}, {"params": p[2:], "lr": 0.02}], **options) for p in (ours, theirs))
    for _ in range(3):
        for optimizer, params in ((a, ours), (b, theirs)):
            optimizer.zero_grad()
            loss(params).backward()
        norm = a.clip_and_step(max_norm)
        assert norm == float(fa.nn.utils.clip_grad_norm_(theirs, max_norm))
        b.step()
    assert norm > 0.5
    for p, q in zip(ours, theirs, strict=True):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_clip_and_step_does_not_round_scaled_gradients(kind):
    """Masters of 16-bit parameters have the bits of float32 parameters with the same gradients."""
    grads = [np.asarray(x).astype(fa.bfloat16) for x in start()]
    params = {
        dtype: [fa.tensor(np.zeros(g.shape, dtype), requires_grad=True) for g in grads]
        for dtype in (fa.bfloat16, fa.float32)
    }
    found = {}
    for dtype, tensors in params.items():
        optimizer = getattr(optim, kind)(tensors, lr=0.1)
        for p, g in zip(tensors, grads, strict=True):
            p.grad = fa.tensor(g.astype(dtype))
        optimizer.clip_and_step(0.3)
        found[dtype] = [optimizer.state[p].get("master", p).detach().numpy() for p in tensors]
    for a, b in zip(*found.values(), strict=True):
        assert a.dtype == b.dtype == np.float32
        assert np.array_equal(a, b)
        assert a.any()


def test_clip_and_step_without_a_finite_norm_changes_nothing():
    p = fa.ones(2, requires_grad=True)
    optimizer = optim.Adam([p], lr=0.1)
    p.grad = fa.tensor([float("inf"), 1.0])
    assert optimizer.clip_and_step(1.0) == np.inf
    assert (p.tolist(), p.grad.tolist(), dict(optimizer.state)) == ([1, 1], [np.inf, 1], {})
    p.grad = None
    assert optimizer.clip_and_step(1.0) == 0
    assert p.tolist() == [1, 1]


def test_clip_and_step_of_an_optimizer_that_knows_nothing_of_it():
    class Descent(optim.Optimizer):
        def _update(self, group, params, grads):
            with fa.no_grad():
                for p, g in zip(params, grads, strict=True):
                    p -= g

    p = fa.zeros(2, requires_grad=True)
    p.grad = fa.tensor([3.0, 4.0])
    assert Descent([p], {}).clip_and_step(1.0) == 5
    np.testing.assert_allclose(p.detach().numpy(), [-0.6, -0.8], rtol=1e-6)


def leaves(n=2):
    return [fa.ones(2, requires_grad=True) for _ in range(n)]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: optim.SGD([]), ValueError, "^SGD: params is empty"),
        (lambda: optim.SGD(fa.ones(1)), TypeError, r"^SGD: params is one tensor; expected a list. Pass \[tensor\]"),
        (lambda: optim.SGD([np.ones(1)]), TypeError, "^SGD: parameter 0 is a ndarray; expected a Tensor"),
        (lambda: optim.SGD([leaves()[0] * 2]), ValueError, "^SGD: parameter 0 is the result of an op; expected a leaf"),
        (lambda: optim.Adam(leaves(1) * 2), ValueError, "^Adam: parameter 1 of the group is there already"),
        (lambda: optim.Adam(leaves(), lr=-1), ValueError, "^Adam: lr is -1; expected at least 0"),
        (lambda: optim.AdamW(leaves(), betas=(0.9, 1.0)), ValueError, "^AdamW: beta2 is 1.0; expected at least 0"),
        (lambda: optim.AdamW(leaves(), eps=float("nan")), ValueError, "^AdamW: eps is nan"),
        (lambda: optim.SGD(leaves(), nesterov=True), ValueError, "^SGD: nesterov needs a momentum"),
        (lambda: optim.SGD([{"params": leaves(), "lrr": 1}]), TypeError, "^SGD: unknown option 'lrr' of a group"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_states_that_do_not_fit_change_nothing():
    params = leaves()
    optimizer = optim.Adam(params)
    step(optimizer, params)
    state = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"^Adam.load_state_dict: groups of \[1\] parameters; expected \[2\]"):
        optimizer.load_state_dict({"state": {}, "param_groups": [{"params": [0]}]})
    state["state"][1]["exp_avg"] = fa.ones(5)
    with pytest.raises(ValueError, match=r"exp_avg of parameter 1 has shape \(5,\); expected \(2,\)"):
        optimizer.load_state_dict(state)
    assert optimizer.state[params[1]]["exp_avg"].shape == (2,)
    state["state"][7] = {}
    with pytest.raises(ValueError, match=r"state of parameter 7, which no group has|has shape"):
        optimizer.load_state_dict(state)
