"""The tape: what is recorded, in which order it is walked, what it frees, and what it refuses."""

import threading
import weakref

import numpy as np
import pytest

import fastattn as fa
from fastattn.autograd.node import Node, Slot


def leaf(*shape):
    return fa.ones(*shape, dtype=fa.float64, requires_grad=True)


# Recording -----------------------------------------------------------------------------------------------------------


def test_only_what_needs_a_gradient_is_recorded():
    x, c = leaf(2), fa.ones(2, dtype=fa.float64)
    assert (x + c).grad_fn.name == "add"
    assert (c + c).grad_fn is None
    assert not (c + c).requires_grad
    assert x.is_leaf
    assert not (x + c).is_leaf
    assert repr((x * c).grad_fn) == "<mul backward>"
    assert repr(x.split(1)[1].grad_fn) == "<split backward, output 1>"


def test_grad_mode_is_a_context_and_a_decorator():
    x = leaf(1)

    @fa.no_grad()
    def double(x):
        """Twice."""
        return x * 2

    assert not double(x).requires_grad
    assert double.__doc__ == "Twice."
    with fa.no_grad():
        assert not fa.is_grad_enabled()
        with fa.enable_grad():
            assert (x * 2).requires_grad
        with fa.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert fa.is_grad_enabled()


def test_grad_mode_survives_an_exception_and_is_of_the_thread():
    with pytest.raises(KeyError), fa.no_grad():
        raise KeyError
    assert fa.is_grad_enabled()
    seen = []
    with fa.no_grad():
        thread = threading.Thread(target=lambda: seen.append(fa.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_requires_grad():
    x = fa.ones(2)
    assert x.requires_grad_() is x
    assert x.requires_grad
    with pytest.raises(RuntimeError, match=r"only a leaf's can be turned off"):
        (x * 2).requires_grad = False
    with pytest.raises(TypeError, match=r"requires_grad: dtype is int64; expected floats"):
        fa.arange(2).requires_grad_()
    with pytest.raises(TypeError, match=r"requires_grad: dtype is int64"):
        fa.tensor([1], requires_grad=True)


def test_detach():
    x = leaf(2)
    y = (x * 2).detach()
    assert not y.requires_grad
    assert y.is_leaf
    z = x * 2
    assert z.detach_() is z
    assert not z.requires_grad


# Accumulation --------------------------------------------------------------------------------------------------------


def test_gradients_add_up_over_uses_and_walks():
    x = leaf(2)
    (x * 2 + x * x).sum().backward()
    assert x.grad.tolist() == [4, 4]
    (x * 3).sum().backward()
    assert x.grad.tolist() == [7, 7]


def test_accumulation_changes_no_array_of_others():
    # The backward of add hands the same array to both inputs, and the caller holds it as well.
    x, y = leaf(2), leaf(2)
    dout = fa.ones(2, dtype=fa.float64)
    (x + y).backward(dout)
    (x + y).backward(dout)
    x.grad += 10
    assert dout.tolist() == [1, 1]
    assert y.grad.tolist() == [2, 2]
    z = leaf(2)
    kept = z * 1
    kept.retain_grad()
    out = kept + 0
    (out + out).sum().backward()
    kept.grad *= 0
    assert z.grad.tolist() == [2, 2]


def test_a_leaf_is_its_own_loss():
    x = fa.tensor(2.0, requires_grad=True)
    dout = fa.tensor(3.0)
    x.backward(dout)
    x.grad += 1
    assert dout.item() == 3


def test_gradients_of_leaves_are_their_own_contiguous_arrays():
    x, y = leaf(3, 2), leaf(2, 3)
    (x.T + y).sum().backward()
    assert x.grad.numpy().flags.c_contiguous
    assert not np.shares_memory(x.grad.numpy(), y.grad.numpy())
    w = leaf(3)
    w.expand(4, 3).sum().backward()
    assert w.grad.numpy().flags.writeable


def test_several_outputs():
    x = leaf(4)
    a, b, c, d = x.unbind()
    (a * 2 + d * d * 5 + a).backward()
    assert x.grad.tolist() == [3, 0, 0, 10]
    assert isinstance(b.grad_fn, Slot)
    assert c.grad_fn.node is b.grad_fn.node


# Order and depth -----------------------------------------------------------------------------------------------------


def test_the_order_is_that_of_the_ops_backwards(monkeypatch):
    seen = []
    original = Node.__init__

    def spying(self, name, edges, backward, saved, checks, outputs=1):
        def spy(node, dout):
            seen.append(name)
            return backward(node, dout)

        original(self, name, edges, spy, saved, checks, outputs)

    monkeypatch.setattr(Node, "__init__", spying)
    x = leaf(2)
    a = x * 2
    b = x.sqrt()
    ((b - 1) + a).sum().backward()
    assert seen == ["sum", "add", "sub", "sqrt", "mul"]


def test_a_node_waits_for_all_that_flows_into_it():
    # A diamond whose sides differ in length: the shared node is walked once, with the whole gradient.
    x = leaf(1)
    shared = x * 3
    long = shared
    for _ in range(5):
        long = long * 2
    (long + shared).sum().backward()
    assert x.grad.item() == 3 * 33


def test_depth_is_not_limited_by_recursion():
    x = leaf(1)
    y = x
    for _ in range(50_000):
        y = y + 1
    y.sum().backward()
    assert x.grad.item() == 1
    y = x
    for _ in range(50_000):
        y = y + 1
    del y  # freeing a graph that was not walked does not recurse either


# Memory --------------------------------------------------------------------------------------------------------------


def test_dropping_the_result_frees_the_graph(no_gc):
    x = leaf(10)
    y = (x * 2).exp()
    node, data = weakref.ref(y.grad_fn), weakref.ref(y.detach().numpy())
    z = (y + y.softmax(0) @ y).sum()
    del y
    assert node() is not None
    del z
    assert node() is None
    assert data() is None


def test_the_walk_frees_the_graph_though_the_loss_lives(no_gc):
    x = leaf(10)
    y = x.exp()
    data, node = weakref.ref(y.detach().numpy()), weakref.ref(y.grad_fn)
    loss = (y * y).sum()
    del y
    loss.backward()
    assert data() is None
    assert node() is None
    assert loss.grad_fn is not None


def test_each_node_is_freed_when_it_has_been_walked(no_gc):
    x = leaf(10)
    alive = []
    y = x
    refs = []
    for _ in range(4):
        y = y.exp()
        refs.append(weakref.ref(y.detach().numpy()))

    class Probe:
        """Counts the saved arrays that live while the gradient passes."""

        def __init__(self, tensor):
            node = tensor.grad_fn
            backward = node.backward
            node.backward = lambda n, d: (alive.append(sum(r() is not None for r in refs)), backward(n, d))[1]

    z = y * 1
    first = x.grad_fn
    assert first is None
    Probe(y)
    loss = z.sum()
    del y, z
    loss.backward()
    assert alive == [4]
    assert [r() for r in refs] == [None] * 4


def test_retaining_keeps_it(no_gc):
    x = leaf(3)
    y = x.exp()
    loss = y.sum()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp(1))


def test_a_training_step_leaves_nothing_behind(no_gc):
    model = fa.nn.Sequential(fa.nn.Linear(4, 8), fa.nn.GELU(), fa.nn.LayerNorm(8), fa.nn.Linear(8, 2))
    optimizer = fa.optim.AdamW(model.parameters())
    refs = []
    for _ in range(2):
        hidden = model[:3](fa.randn(5, 4))
        refs += [weakref.ref(hidden.detach().numpy()), weakref.ref(hidden.grad_fn)]
        loss = model[3](hidden).square().mean()
        del hidden
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        del loss
    assert [r() for r in refs] == [None] * 4


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_second_walk():
    x = leaf(2)
    loss = x.exp().sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"^sum: the graph was already walked and freed; pass retain_graph=True"):
        loss.backward()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda x, y: (x.exp(), "out"), "exp"),
        (lambda x, y: (y * x, "y"), "mul"),
        (lambda x, y: (x @ y, "y"), "matmul"),
        (lambda x, y: (x / y, "y"), "div"),
        (lambda x, y: (x.softmax(0), "out"), "softmax"),
        (lambda x, y: (x.sqrt(), "out"), "sqrt"),
    ],
)
def test_changing_what_a_gradient_needs(make, name):
    x, y = leaf(3), fa.ones(3, dtype=fa.float64)
    out, which = make(x, y)
    (out if which == "out" else y).mul_(2)
    with pytest.raises(RuntimeError, match=f"^{name}: a tensor that its gradient needs was changed in place"):
        out.sum().backward()


@pytest.mark.parametrize("alias", ["view", "detach", "slice"])
def test_changing_it_through_an_alias(alias):
    x, y = leaf(4), fa.ones(4, dtype=fa.float64)
    out = x * y
    other = {"view": y.view(2, 2), "detach": y.detach(), "slice": y[:2]}[alias]
    other.zero_()
    with pytest.raises(RuntimeError, match=r"^mul: .* changed in place after the op \(version 1, expected 0\)"):
        out.sum().backward()


def test_changing_what_no_gradient_needs():
    x, y = leaf(3), fa.ones(3, dtype=fa.float64)
    out = x + y
    y.zero_()
    out2 = x * 2
    out2.add_(1)
    (out + out2).sum().backward()
    assert x.grad.tolist() == [3, 3, 3]


def test_an_optimizer_step_between_counts_as_a_change():
    w = leaf(3)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    fa.optim.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match=r"^mul: a tensor that its gradient needs was changed in place"):
        loss.backward()


def test_leaves_cannot_be_changed_in_place():
    x = leaf(2)
    for change in (
        lambda: x.add_(1),
        lambda: x.zero_(),
        lambda: x.copy_(fa.zeros(2)),
        lambda: x.clamp_(0, 1),
        lambda: x.normal_(),
        lambda: x.masked_fill_(x > 0, 1.0),
        lambda: x.__imul__(2),
    ):
        with pytest.raises(RuntimeError, match=r"a leaf that requires a gradient cannot be changed in place"):
            change()
    assert x.tolist() == [1, 1]
    with fa.no_grad():
        x += 1
        x.uniform_()
    assert x.requires_grad
    assert x.version == 2


def test_in_place_arithmetic_is_recorded(normal):
    def f(a, b):
        x = a * 2
        x += b
        x *= b
        x -= 1
        x /= b
        x *= x
        x **= 2
        x.masked_fill_(x > 100, 0.0)
        return x.clamp_(-50, 50)

    assert fa.gradcheck(f, [normal(3), normal(3)])


def test_in_place_on_a_view_is_refused_where_its_gradient_would_be_lost():
    x = leaf(4) * 1
    row = x[:2]
    with pytest.raises(RuntimeError, match=r"^mul_: this tensor shares its memory with a view"):
        row *= 2
    with pytest.raises(RuntimeError, match=r"^setitem: this tensor shares its memory with a view"):
        x[0] = 3.0
    assert x.tolist() == [1, 1, 1, 1]


def test_in_place_results_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"^add_: the result has shape \(2, 2\); it does not fit this tensor of \(2,\)"
    ):
        fa.ones(2).add_(fa.ones(2, 2))
    with pytest.raises(TypeError, match=r"^mul_: the result is float32; it cannot be written to this tensor of int64"):
        fa.arange(2).mul_(1.5)


def test_backward_of_what_has_no_gradient():
    with pytest.raises(RuntimeError, match=r"^backward: the tensor does not require a gradient"):
        fa.ones(1).backward()
    x = leaf(2)
    with pytest.raises(RuntimeError, match=r"^backward: the gradient of a tensor of shape \(2,\) has to be given"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match=r"^backward: the gradient has shape \(3,\); expected \(2,\)"):
        (x * 2).backward(fa.ones(3, dtype=fa.float64))
    with pytest.raises(TypeError, match=r"^backward: the gradient has dtype float32; expected float64"):
        (x * 2).backward(fa.ones(2))


# fa.grad, retain_grad ------------------------------------------------------------------------------------------------


def test_grad_touches_no_leaf():
    x, w = leaf(2), leaf(2)
    y = x * w * 3
    (gx,) = fa.grad(y.sum(), x, retain_graph=True)
    assert gx.tolist() == [3, 3]
    assert x.grad is None
    assert w.grad is None
    gw, gy = fa.grad([y.sum()], [w, y])
    assert gw.tolist() == [3, 3]
    assert gy.tolist() == [1, 1]


def test_grad_of_outputs_of_a_split():
    x = leaf(4)
    a, b = (x * 2).split(2)
    ga, gb, gx = fa.grad((a * 3 + b * b).sum(), [a, b, x])
    assert ga.tolist() == [3, 3]
    assert gb.tolist() == [4, 4]
    assert gx.tolist() == [6, 6, 8, 8]


def test_grad_with_grad_outputs():
    x = leaf(2)
    (g,) = fa.grad([x * 2, x * 3], [x], grad_outputs=[fa.tensor([1.0, 0.0], fa.float64), fa.ones(2, dtype=fa.float64)])
    assert g.tolist() == [5, 3]


def test_grad_errors():
    x, unused = leaf(2), leaf(2)
    with pytest.raises(RuntimeError, match=r"^grad: the outputs do not depend on input 1"):
        fa.grad((x * 2).sum(), [x, unused])
    assert fa.grad((x * 2).sum(), [x, unused], allow_unused=True)[1] is None
    with pytest.raises(RuntimeError, match=r"^grad: input 0 does not require a gradient"):
        fa.grad((x * 2).sum(), [fa.ones(2)])
    with pytest.raises(NotImplementedError, match=r"^grad: create_graph=True is not supported"):
        fa.grad((x * 2).sum(), x, create_graph=True)


def test_retain_grad():
    x = leaf(2)
    y = x * 2
    a, b = y.split(1)
    for t in (x, y, a):
        t.retain_grad()
    (a * 3 + b).sum().backward()
    assert y.grad.tolist() == [3, 1]
    assert a.grad.tolist() == [3]
    assert b.grad is None
    assert x.grad.tolist() == [6, 2]


def test_backward_of_some_inputs():
    x, w = leaf(2), leaf(2)
    (x * w).sum().backward(inputs=[w])
    assert x.grad is None
    assert w.grad.tolist() == [1, 1]


def test_gradcheck_finds_a_wrong_gradient():
    def wrong(x):
        return x.detach() * x  # half of the gradient of a square

    with pytest.raises(AssertionError, match=r"^gradcheck: input 0 at \(0,\)"):
        fa.gradcheck(wrong, [leaf(2)])
    with pytest.raises(TypeError, match=r"^gradcheck: input 0 is float32; expected float64"):
        fa.gradcheck(wrong, [fa.ones(2, requires_grad=True)])
    with pytest.raises(ValueError, match=r"^gradcheck: no input requires a gradient"):
        fa.gradcheck(wrong, [fa.ones(2)])
