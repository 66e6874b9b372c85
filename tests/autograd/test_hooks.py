"""Hooks of tensors: when they are called, what they see and replace."""

import numpy as np
import pytest

import fastattn as fa


@pytest.fixture(params=["leaf", "result", "output of several"])
def tensor(request):
    """A leaf, and the tensor computed from it that gets the hooks."""
    x = fa.ones(3, dtype=fa.float64, requires_grad=True)
    if request.param == "leaf":
        return x, x
    return x, x * 2 if request.param == "result" else (x * 2).unbind()[1]


def test_a_hook_sees_the_whole_gradient_once(tensor):
    _, y = tensor
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    (y.sum() + (y * y).sum() + y.exp().sum() * 0).backward()
    assert len(seen) == 1
    np.testing.assert_allclose(seen[0], 1 + 2 * y.detach().numpy())


def test_a_hook_replaces_the_gradient(tensor):
    x, y = tensor
    before = fa.grad(y.sum(), x, retain_graph=True)[0]
    handles = [y.register_hook(lambda g: g * 3), y.register_hook(lambda g: g + 1)]
    y.sum().backward(retain_graph=True)
    assert x.grad.tolist() == (before * 4).tolist()
    assert fa.grad(y.sum(), x, retain_graph=True)[0].tolist() == (before * 4).tolist()
    for handle in handles:
        handle.remove()
    x.grad = None
    y.sum().backward()
    assert x.grad.tolist() == before.tolist()


def test_hooks_and_retained_gradients():
    x = fa.ones(2, requires_grad=True)
    y = x * 2
    assert not y.retains_grad
    y.retain_grad()
    assert y.retains_grad
    assert not x.retains_grad
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert y.grad.tolist() == [10, 10]


def test_hooks_after_accumulation():
    x, y = fa.ones(2, requires_grad=True), fa.ones(2, requires_grad=True)
    seen = []

    def step(p):
        seen.append(p.grad.tolist())
        with fa.no_grad():
            p -= p.grad
        p.grad = None

    handle = x.register_post_accumulate_grad_hook(step)
    x.register_hook(lambda g: g * 2)
    for _ in range(2):
        (x * 3 + x * y).sum().backward()
    assert seen == [[8, 8], [8, 8]]
    assert x.grad is None
    assert y.grad.tolist() == [-6, -6]
    (x * 3).sum().backward(inputs=[x])
    assert seen[2:] == [[6, 6]]
    fa.grad((x * 3).sum(), x)
    assert len(seen) == 3
    handle.remove()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [6, 6]


def test_hooks_do_not_record():
    x = fa.ones(2, requires_grad=True)
    w = fa.ones(2, requires_grad=True)
    kept = []
    x.register_hook(lambda g: kept.append((g * w).requires_grad))
    x.sum().backward()
    assert kept == [False]


def test_an_accumulated_gradient_with_a_hook_is_the_one_without():
    def run(hook):
        x = fa.full((4,), 0.1, requires_grad=True)
        if hook:
            x.register_hook(lambda g: None)
        (x.exp() * x + x.sin() * x.cos()).sum().backward()
        return x.grad.tolist()

    assert run(True) == run(False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.detach().register_hook(print), "^register_hook: the tensor requires no gradient"),
        (
            lambda x: (x * 2).register_post_accumulate_grad_hook(print),
            "^register_post_.*: expected a leaf that requires",
        ),
        (
            lambda x: x.register_hook(lambda g: g[:1]),
            r"^register_hook: the hook returned float32 of shape \(1,\); expected",
        ),
        (
            lambda x: x.register_hook(lambda g: 3),
            r"^register_hook: the hook returned int; expected None, or float32 of",
        ),
    ],
)
def test_errors(call, message):
    x = fa.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=message):
        call(x) and x.sum().backward()
    assert x.grad is None
