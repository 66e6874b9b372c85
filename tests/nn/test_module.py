"""Module: registration, walks, state_dict, modes, repr; against torch.nn.Module where it says so."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn


class Block(nn.Module):
    """A module with a parameter, two buffers, a child, and a name for nothing."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(fa.ones(2))
        self.register_parameter("absent", None)
        self.register_buffer("count", fa.zeros(1))
        self.register_buffer("cache", fa.zeros(3), persistent=False)
        self.linear = nn.Linear(2, 2)
        self.width = 2

    def forward(self, x):
        return self.linear(x) * self.scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Block()
        self.rest = nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 2, bias=False))

    def forward(self, x):
        return self.rest(self.first(x))


NAMES = [
    "first.scale",
    "first.linear.weight",
    "first.linear.bias",
    "rest.0.weight",
    "rest.0.bias",
    "rest.2.weight",
]


def test_walks():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_parameters(recurse=False)] == []
    assert [name for name, _ in net.first.named_parameters("p", recurse=False)] == ["p.scale"]
    assert [name for name, _ in net.named_buffers()] == ["first.count", "first.cache"]
    assert [name for name, _ in net.named_modules()] == [
        "",
        "first",
        "first.linear",
        "rest",
        "rest.0",
        "rest.1",
        "rest.2",
    ]
    assert [name for name, _ in net.named_children()] == ["first", "rest"]
    assert len(list(net.modules())) == 7
    assert len(list(net.children())) == 2
    assert len(list(net.buffers())) == 2
    assert net.get_submodule("rest.2") is net.rest[2]
    assert net.get_submodule("") is net
    assert net.get_parameter("first.linear.bias") is net.first.linear.bias
    with pytest.raises(AttributeError, match=r"Net has no module 'rest.7': Sequential has no '7'"):
        net.get_submodule("rest.7")
    with pytest.raises(AttributeError, match=r"Net has no parameter 'first.nothing'"):
        net.get_parameter("first.nothing")


def test_shared_parameters_and_modules_are_one():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert len(list(net.parameters())) == 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    layer = nn.Linear(2, 2)
    both = nn.ModuleList([layer, layer])
    assert len(list(both.parameters())) == 2
    assert len(list(both.modules())) == 2


def test_attributes():
    block = Block()
    assert block.absent is None
    assert block.width == 2
    assert "scale" in dir(block)
    block.count = fa.ones(1)
    assert block._buffers["count"].item() == 1
    block.absent = nn.Parameter(fa.ones(1))
    assert "absent" in dict(block.named_parameters())
    block.absent = None
    assert "absent" not in dict(block.named_parameters())
    del block.linear
    with pytest.raises(AttributeError, match=r"Block has no attribute 'linear'"):
        block.linear  # noqa: B018
    block.width = nn.Linear(1, 1)
    assert "width" in dict(block.named_children())


def test_tables_and_attributes_are_one():
    block, other = Block(), nn.Linear(2, 2)
    block._modules["linear"] = other
    assert block.linear is other
    block._parameters.update(scale=None)
    assert block.scale is None
    assert block._buffers.pop("count").item() == 0
    assert block._buffers.pop("count", 3) == 3
    with pytest.raises(KeyError):
        block._buffers.pop("count")
    assert not hasattr(block, "count")
    block._modules |= {"more": other}
    assert block.more is other
    block._modules = {"last": other}
    assert list(block._modules) == ["last"]
    assert block.last is other
    assert not hasattr(block, "linear")
    block._modules.clear()
    assert not hasattr(block, "last")


def test_a_part_does_not_take_the_name_of_what_is_there():
    block = Block()
    part = nn.Linear(1, 1)
    for name in ("width", "forward"):
        block._modules[name] = part
    assert block.width == 2
    assert block(fa.ones(1, 2)).shape == (1, 2)
    for name in ("width", "forward"):
        assert block._modules.pop(name) is part
    assert block.width == 2


def test_a_module_is_gone_with_its_last_name():
    block = Block()
    gone = weakref.ref(block.linear.weight), weakref.ref(block)
    gc.disable()
    try:
        del block
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (lambda b: setattr(b, "scale", 3), TypeError, r"^Block.scale is int; expected a Parameter or None"),
        (lambda b: setattr(b, "linear", 3), TypeError, r"^Block.linear is int; expected a Module or None"),
        (lambda b: setattr(b, "count", 3), TypeError, r"^Block.count is int; expected a Tensor or None"),
        (lambda b: b.register_buffer("a.b", None), KeyError, "is not a name; expected one without dots"),
        (lambda b: b.register_buffer("width", None), KeyError, "'width' is already an attribute"),
        (lambda b: nn.Module()(1), NotImplementedError, r"Module defines no forward\(\)"),
    ],
)
def test_errors(do, error, message):
    with pytest.raises(error, match=message):
        do(Block())


def test_assigning_before_init():
    class Early(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(fa.ones(1))

    with pytest.raises(AttributeError, match=r"Early: call super\(\).__init__\(\) before assigning 'weight'"):
        Early()


def test_state_dict():
    net = Net()
    state = net.state_dict()
    assert list(state) == ["first.scale", "first.count", *NAMES[1:]]
    assert not state["first.scale"].requires_grad
    assert np.shares_memory(state["first.scale"].numpy(), net.first.scale.detach().numpy())
    assert net.state_dict(keep_vars=True)["first.scale"] is net.first.scale
    assert next(iter(net.first.state_dict(prefix="p."))) == "p.scale"


def test_loading():
    a, b = Net(), Net()
    with fa.no_grad():
        a.first.count.fill_(7)
    held = b.first.linear.weight
    assert b.load_state_dict(a.state_dict()) == ([], [])
    assert b.first.linear.weight is held
    for (_, x), (_, y) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        assert (x == y).all()
    assert not np.shares_memory(held.detach().numpy(), a.first.linear.weight.detach().numpy())
    assert b.load_state_dict({k: v.double().numpy() for k, v in a.state_dict().items()}).missing_keys == []
    assert held.dtype == np.float32


def test_loading_lists_everything_and_changes_nothing():
    net = Net()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = {k: v + 1 for k, v in net.state_dict().items()}
    del state["first.scale"], state["rest.0.bias"]
    state["extra"], state["rest.9.weight"] = fa.ones(1), fa.ones(1)
    state["rest.2.weight"] = fa.ones(9)
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    assert message == (
        "Net.load_state_dict: nothing was loaded; missing: first.scale, rest.0.bias; unexpected: extra, rest.9.weight; "
        "shape of rest.2.weight: (9,), expected (2, 3)"
    )
    assert all((v == before[k]).all() for k, v in net.state_dict().items())
    with pytest.raises(RuntimeError, match=r"nothing was loaded; shape of rest.2.weight"):
        net.load_state_dict(state, strict=False)
    del state["rest.2.weight"]
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert missing == ["first.scale", "rest.0.bias", "rest.2.weight"]
    assert unexpected == ["extra", "rest.9.weight"]


def test_loading_tied_parameters():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    assert net.load_state_dict({"1.weight": fa.ones(2, 2)}) == ([], [])
    assert (net[0].weight == 1).all()
    with pytest.raises(RuntimeError, match=r"0.weight and 1.weight differ, but are one parameter here"):
        net.load_state_dict({"0.weight": fa.ones(2, 2), "1.weight": fa.zeros(2, 2)})


@pytest.mark.parity
def test_loading_from_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3), torch.nn.Embedding(4, 3))
    ours = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Embedding(4, 3))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), tensor.numpy())


def test_modes():
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(fa.ones(1, 2)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    held = net.first.scale.grad
    net.zero_grad(set_to_none=False)
    assert not held.any()
    assert net.first.scale.grad is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_apply_is_depth_first():
    seen = []
    net = Net()
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "Block", "Linear", "GELU", "Linear", "Sequential", "Net"]


def test_to():
    net = Net()
    held = net.first.scale
    net(fa.ones(1, 2)).sum().backward()
    assert net.double() is net
    assert net.first.scale is held
    assert held.dtype == held.grad.dtype == net.first.count.dtype == np.float64
    assert net(fa.ones(1, 2, dtype=fa.float64)).dtype == np.float64
    assert net.to("cpu").float().cpu().first.scale.dtype == np.float32
    assert net.to(fa.ones(1, dtype=fa.float64)).first.scale.dtype == np.float64
    assert net.to("cpu", dtype=fa.float32).first.scale.dtype == np.float32
    with pytest.raises(TypeError, match=r"^to: dtype is int64; expected floats"):
        net.to(fa.int64)
    with pytest.raises(ValueError, match=r"^to: there is no device 'cuda'"):
        net.to("cuda")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(duplicate):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    twin = duplicate(net)
    assert twin[1].weight is twin[0].weight
    assert twin[0].weight is not net[0].weight
    assert (twin(fa.ones(1, 2)) == net(fa.ones(1, 2))).all()
    twin[0]._parameters["bias"] = None
    assert twin[0].bias is None
    assert net[0].bias is not None


REPR = """Net(
  (first): Block(
    (linear): Linear(in_features=2, out_features=2, bias=True)
  )
  (rest): Sequential(
    (0): Linear(in_features=2, out_features=3, bias=True)
    (1): GELU(approximate='none')
    (2): Linear(in_features=3, out_features=2, bias=False)
  )
)"""


def test_repr():
    assert repr(Net()) == REPR


@pytest.mark.parity
def test_repr_is_torchs():
    torch = pytest.importorskip("torch")

    def build(nn):
        layers = [nn.Linear(2, 2) for _ in range(3)]
        parts = [
            nn.Embedding(4, 2, padding_idx=1),
            nn.LayerNorm(2),
            nn.Dropout(0.1),
            nn.GELU("tanh"),
            nn.Softmax(dim=1),
        ]
        nested = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(2)])
        return nn.Sequential(nn.ModuleList([*layers, nn.Linear(2, 3)]), *parts, nested, nn.Flatten(), nn.ModuleList())

    assert repr(build(nn)) == repr(build(torch.nn))


def test_containers():
    a, b, c = nn.Linear(1, 1), nn.GELU(), nn.Linear(1, 2)
    net = nn.Sequential(a, b)
    assert net.append(c) is net
    assert len(net) == 3
    assert list(net) == [a, b, c]
    assert net[-1] is c
    assert list(net[:2]) == [a, b]
    assert isinstance(net[:2], nn.Sequential)
    net.insert(1, c)
    assert list(net) == [a, c, b, c]
    del net[1]
    assert list(net._modules) == ["0", "1", "2"]
    net[0] = b
    assert net[0] is b
    with pytest.raises(IndexError, match=r"Sequential: index 3 is outside its 3 modules"):
        net[3]
    assert list(nn.Sequential({"x": a, "y": b}).state_dict()) == ["x.weight", "x.bias"]
    listed = nn.ModuleList([a]).extend([b, c])
    assert list(listed[1:]) == [b, c]
    named = nn.ModuleDict({"a": a})
    named["b"] = b
    named["a"] = c
    assert "a" in named
    assert dict(named.items()) == {"a": c, "b": b}
    assert list(named) == list(named.keys())
    assert list(named.values()) == [c, b]
    del named["a"]
    assert len(named) == 1
