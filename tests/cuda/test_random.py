"""Random numbers on a device: those of the CPU for the same seed, whether the kernel draws them there or the host does."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn
from fastattn.nn import init


@pytest.fixture
def draws(cuda):
    """The kernel that fills an array with random numbers, where the CUDA library has one."""
    try:
        fa.rand(1, device="cuda")
    except fa.UnsupportedError as error:
        pytest.skip(str(error))


def same(there, host):
    """The same numbers: normal ones to the roundings of another machine's log and cos, all others to the last bit."""
    assert there.device == "cuda:0"
    assert there.dtype == host.dtype
    if host.dtype.kind == "f":
        limit = 8 * np.finfo(host.dtype).eps
        np.testing.assert_allclose(there.detach().cpu().numpy(), host.detach().numpy(), rtol=limit, atol=limit)
    else:
        assert np.array_equal(there.cpu().numpy(), host.numpy())


def pairs(make):
    """What `make(device=)` gives on the device and on the CPU, from the same seed; and both leave the stream alike."""
    found = []
    for device in ("cuda", "cpu"):
        fa.manual_seed(7)
        found.append(make(device=device))
        found.append(fa.rand(3).tolist())
    assert found[1] == found[3]
    return found[0], found[2]


@pytest.mark.smoke
@pytest.mark.parametrize("make", [
    lambda **k: fa.rand(5, 3, **k), lambda **k: fa.randn(5, 3, **k), lambda **k: fa.rand(1000, dtype="float16", **k),
    lambda **k: fa.rand_like(fa.zeros(4), **k), lambda **k: fa.randn_like(fa.zeros(4), **k),
    lambda **k: fa.rand(4, generator=fa.Generator(**k).manual_seed(3), **k),
    lambda **k: fa.normal(fa.arange(3.0, **k), 2.0), lambda **k: fa.zeros(4, **k).normal_(1.0, 2.0),
    lambda **k: fa.zeros(4, **k).uniform_(1.0, 2.0),
], ids=["rand", "randn", "float16", "rand_like", "randn_like", "generator", "normal", "normal_", "uniform_"])  # fmt: skip
def test_drawn_there(make, draws):
    there, host = pairs(make)
    same(there, host)


@pytest.mark.parametrize("make", [
    lambda **k: fa.randint(0, 10, (6, 2), **k), lambda **k: fa.randperm(9, **k),
    lambda **k: fa.randint_like(fa.zeros(4, dtype="int64", **k), 5),
    lambda **k: fa.bernoulli(fa.full((40,), 0.3, **k)), lambda **k: fa.zeros(20, **k).bernoulli_(0.5),
    lambda **k: fa.zeros(20, **k).bernoulli_(fa.full((20,), 0.3, **k)),
    lambda **k: fa.zeros(20, **k).random_(9), lambda **k: fa.zeros(20, **k).exponential_(2.0),
    lambda **k: fa.multinomial(fa.arange(5.0, **k), 3), lambda **k: fa.multinomial(fa.ones(2, 5, **k), 9, True),
], ids=["randint", "randperm", "randint_like", "bernoulli", "bernoulli_", "bernoulli_of", "random_", "exponential_",
        "multinomial", "replaced"])  # fmt: skip
def test_drawn_on_the_host(make):
    there, host = pairs(make)
    same(there, host)


def test_likes_are_where_their_tensor_is(draws):
    x = fa.zeros(4, device="cuda")
    for like in (fa.rand_like(x), fa.randn_like(x), fa.normal(x, 1.0), fa.normal(0.0, x)):
        assert like.device == "cuda:0"
    assert fa.rand_like(x, device="cpu").device == "cpu"


@pytest.mark.parametrize("name", [
    "uniform_", "normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "sparse_",
])  # fmt: skip
def test_init(name, draws):
    fill = getattr(init, name)
    there, host = pairs(lambda device: fill(fa.empty(4, 6, device=device), *([0.5] if name == "sparse_" else [])))
    same(there, host)


@pytest.mark.parametrize("name", ["trunc_normal_", "orthogonal_", "zeros_", "ones_", "eye_"])
def test_init_from_the_host(name):
    there, host = pairs(lambda device: getattr(init, name)(fa.empty(4, 6, device=device)))
    same(there, host)


def test_dirac():
    there, host = pairs(lambda device: init.dirac_(fa.empty(2, 3, 3, device=device)))
    same(there, host)


MODULES = {
    "linear": lambda **k: nn.Linear(6, 4, **k),
    "embedding": lambda **k: nn.Embedding(5, 4, 1, **k),
    "bilinear": lambda **k: nn.Bilinear(2, 3, 4, **k),
    "attention": lambda **k: nn.MultiheadAttention(8, 2, add_bias_kv=True, **k),
    "attention of three": lambda **k: nn.MultiheadAttention(8, 2, kdim=4, vdim=6, **k),
}
CONSTANT = {
    "layer_norm": lambda **k: nn.LayerNorm(8, **k),
    "rms_norm": lambda **k: nn.RMSNorm(8, **k),
    "prelu": lambda **k: nn.PReLU(3, **k),
}


@pytest.mark.parametrize("name", [*MODULES, *CONSTANT])
def test_modules(name, request):
    """Made where they are asked for, with the parameters of those made on the CPU."""
    if name in MODULES:
        request.getfixturevalue("draws")
    there, host = pairs(lambda device: (MODULES | CONSTANT)[name](device=device))
    parameters = dict(there.named_parameters())
    assert parameters.keys() == dict(host.named_parameters()).keys()
    for key, p in host.named_parameters():
        same(parameters[key], p)
        assert parameters[key].requires_grad


def test_copy_moves():
    """copy_ takes its source from anywhere, as torch's does, and its gradient goes back there."""
    x, source = fa.zeros(2, 3, device="cuda"), fa.arange(3.0).requires_grad_()
    x.copy_(source)
    (x * x).sum().backward()
    assert np.array_equal(x.detach().cpu().numpy(), [[0, 1, 2]] * 2)
    assert (source.grad.device, source.grad.tolist()) == ("cpu", [0, 4, 8])
    host = fa.zeros(3).copy_(fa.ones(3, device="cuda"))
    assert (host.device, host.tolist()) == ("cpu", [1, 1, 1])
    assert fa.zeros(2, device="cuda").copy_(np.ones(2)).tolist() == [1, 1]
