"""Hooks of modules: order, what they may replace, handles; against torch where it has the same."""

import copy
import pickle

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn


def watching(library, log):
    """A net of `library` whose hooks write to `log` what they see."""
    net = library.nn.Sequential(library.nn.Linear(2, 3), library.nn.Tanh(), library.nn.Linear(3, 1)).double()
    for name, layer in net.named_children():
        layer.register_forward_pre_hook(lambda m, args, name=name: log.append(("pre", name, args[0])))
        layer.register_forward_hook(lambda m, args, out, name=name: log.append(("post", name, out)))
        layer.register_full_backward_pre_hook(lambda m, dout, name=name: log.append(("bpre", name, *dout)))
        layer.register_full_backward_hook(lambda m, dx, dout, name=name: log.append(("back", name, *dx, *dout)))
    return net


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("requires_grad", [True, False])
def test_what_hooks_see_is_torchs(requires_grad):
    torch = pytest.importorskip("torch")
    logs = [], []
    theirs, ours = watching(torch, logs[0]), watching(fa, logs[1])
    ours.load_state_dict(theirs.state_dict())
    data = np.random.default_rng(0).standard_normal((4, 2))
    for library, net in ((torch, theirs), (fa, ours)):
        net(library.tensor(data, requires_grad=requires_grad)).sum().backward()
    assert [entry[:2] for entry in logs[1]] == [entry[:2] for entry in logs[0]]
    for left, right in zip(*logs, strict=True):
        for x, y in zip(left[2:], right[2:], strict=True):
            assert (x is None) == (y is None)
            if x is not None:
                np.testing.assert_allclose(y.detach().numpy(), x.detach().numpy(), rtol=1e-12)


def test_forward_hooks_replace():
    layer = nn.Identity()
    handles = [
        layer.register_forward_pre_hook(lambda m, args: args[0] + 1),
        layer.register_forward_pre_hook(lambda m, args: (args[0] * 10,)),
        layer.register_forward_hook(lambda m, args, out: out - 1),
        layer.register_forward_hook(lambda m, args, out: out / 2, prepend=True),
    ]
    assert layer(fa.tensor([1.0])).item() == 9
    handles[1].remove()
    handles[1].remove()
    assert layer(fa.tensor([1.0])).item() == 0
    for handle in handles:
        handle.remove()
    assert layer(fa.tensor([1.0])).item() == 1
    with layer.register_forward_pre_hook(lambda m, args: args[0] + 1):
        assert layer(fa.tensor([1.0])).item() == 2
    assert layer(fa.tensor([1.0])).item() == 1


def test_hooks_with_keyword_arguments():
    class Scale(nn.Module):
        def forward(self, x, *, by=1.0):
            return x * by

    layer, seen = Scale(), []
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"by": kwargs["by"] + 1}), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, kwargs, out: seen.append(kwargs["by"]), with_kwargs=True)
    assert layer(fa.tensor([2.0]), by=2.0).item() == 6
    assert seen == [3.0]
    layer.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(
        RuntimeError, match=r"^register_forward_pre_hook: the hook returned int; expected None or \(args"
    ):
        layer(fa.ones(1), by=1.0)


def test_hooks_that_are_always_called():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    layer, seen = Broken(), []
    layer.register_forward_hook(lambda m, args, out: seen.append("never"))
    layer.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(ValueError, match="broken"):
        layer(1)
    assert seen == [None]
    layer.register_forward_hook(lambda m, args, out: 1 / 0, always_call=True)
    with pytest.warns(UserWarning, match="always_call raised as well"), pytest.raises(ValueError, match="broken"):
        layer(1)


def test_backward_hooks_replace_gradients():
    layer = nn.Linear(2, 2, bias=False).double()
    layer.register_full_backward_pre_hook(lambda m, dout: (dout[0] * 2,))
    layer.register_full_backward_hook(lambda m, dx, dout: (dx[0] * 5,))
    x = fa.ones(1, 2, dtype=fa.float64, requires_grad=True)
    layer(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 10 * layer.weight.detach().numpy().sum(0, keepdims=True))
    assert layer.weight.grad.tolist() == [[2, 2], [2, 2]]
    layer.register_full_backward_hook(lambda m, dx, dout: (None, None))
    with pytest.raises(RuntimeError, match=r"^a full backward hook returned 2 gradients; expected 1"):
        layer(x).sum().backward()


def test_backward_hooks_of_several_arguments_and_outputs():
    class Two(nn.Module):
        def forward(self, a, b, note):
            return a * b, note, a + b

    layer, seen = Two(), []
    layer.register_full_backward_hook(lambda m, dx, dout: seen.append((dx, dout)))
    a, b = (fa.tensor([v], requires_grad=True) for v in (2.0, 3.0))
    product, note, total = layer(a, b, "note")
    assert note == "note"
    (product + 2 * total).sum().backward()
    ((dx, dout),) = seen
    assert [d.item() for d in dx[:2]] == [5, 4]
    assert dx[2] is None
    assert [None if d is None else d.item() for d in dout] == [1, None, 2]
    assert (a.grad.item(), b.grad.item()) == (5, 4)
    seen.clear()
    with fa.no_grad():
        layer(a, b, "note")
    layer(a, fa.ones(1), "")[2].sum().backward()
    assert [None if d is None else d.item() for d in seen[0][0]] == [1, None, None]


def test_state_dict_hooks():
    net, log = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), []
    net[0].register_state_dict_pre_hook(lambda m, prefix, keep_vars: log.append((prefix, keep_vars)))
    net[0].register_state_dict_post_hook(lambda m, state, prefix, _: state.update({f"{prefix}note": fa.ones(1)}))
    state = net.state_dict()
    assert list(state) == ["0.weight", "0.bias", "0.note", "1.weight", "1.bias"]
    assert log == [("0.", False)]

    def rename(module, state, prefix, metadata, strict, missing, unexpected, errors):
        state[prefix + "bias"] = state.pop(prefix + "offset")

    given = dict(state)
    del given["0.note"]
    given["1.offset"] = given.pop("1.bias")
    net[1].register_load_state_dict_pre_hook(rename)
    net.register_load_state_dict_post_hook(lambda m, keys: log.append(keys.missing_keys))
    assert net.load_state_dict(given) == ([], [])
    assert "1.offset" in given, "the caller's dict is left alone"
    assert log[-1] == []
    net[1].register_load_state_dict_pre_hook(lambda *args: args[-1].append("no"))
    with pytest.raises(RuntimeError, match=r"^Sequential.load_state_dict: nothing was loaded; no"):
        net.load_state_dict(given)


def test_extra_state():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.n = 0

        def get_extra_state(self):
            return {"n": self.n}

        def set_extra_state(self, state):
            self.n = state["n"]

    a, b = nn.Sequential(Counter(), nn.Linear(1, 1)), nn.Sequential(Counter(), nn.Linear(1, 1))
    a[0].n = 3
    assert list(a.state_dict()) == ["0._extra_state", "1.weight", "1.bias"]
    assert b.load_state_dict(a.state_dict()) == ([], [])
    assert b[0].n == 3


def test_loading_by_assignment():
    layer = nn.Linear(2, 2)
    weight = np.ones((2, 2))
    held = layer.weight
    layer.load_state_dict({"weight": weight, "bias": np.zeros(2)}, assign=True)
    assert layer.weight is held
    assert np.shares_memory(held.detach().numpy(), weight)
    assert held.dtype == np.float64


def double(module, args, out):
    return out * 2


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_hooks_are_copied_with_the_module(duplicate):
    layer = nn.Identity()
    handle = layer.register_forward_hook(double)
    twin = duplicate(layer)
    handle.remove()
    assert layer(fa.ones(1)).item() == 1
    assert twin(fa.ones(1)).item() == 2
