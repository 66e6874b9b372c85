"""Tensors on a device: where they are, how they get there, that they do not mix, and their gradients."""

import numpy as np
import pytest

import fastattn as fa


def same(host, there, scale=1.0):
    """Values of a tensor on the device against one on the CPU: a few roundings of float32."""
    expected = host.detach().numpy()
    assert there.is_cuda
    limit = 16 * np.finfo(np.float32).eps * max(1.0, float(np.abs(expected).max(initial=0))) * scale
    np.testing.assert_allclose(there.detach().cpu().numpy(), expected, rtol=0, atol=limit)


@pytest.mark.smoke
def test_there_and_back(randn):
    x = fa.Tensor(randn(3, 4))
    y = x.to("cuda")
    assert (y.device, y.is_cuda, y.get_device()) == ("cuda:0", True, 0)
    assert y.to("cuda:0") is y
    assert y.cuda() is y
    back = y.cpu()
    assert back.device == "cpu"
    assert np.array_equal(back.numpy(), x.numpy())
    assert np.array_equal(y.to("cpu", fa.float32).numpy(), x.numpy().astype(np.float32))
    assert np.array_equal(np.asarray(y), x.numpy())
    assert repr(fa.ones(2, device="cuda")) == "tensor([1., 1.])"


def test_moving_has_a_gradient(randn):
    x = fa.Tensor(randn(3), requires_grad=True)
    (x.to("cuda") * 3.0).to("cpu").sum().backward()
    assert x.grad.device == "cpu"
    assert np.array_equal(x.grad.numpy(), np.full(3, 3.0))


def test_creation():
    """Made where they are asked for; those like another where that is."""
    makers = [
        lambda **k: fa.zeros(2, 3, **k), lambda **k: fa.ones(2, **k), lambda **k: fa.full((2,), 7, **k),
        lambda **k: fa.arange(5, **k), lambda **k: fa.linspace(0, 1, 3, **k), lambda **k: fa.eye(3, **k),
        lambda **k: fa.tensor([[1, 2], [3, 4]], **k), lambda **k: fa.as_tensor(np.ones(2), **k),
        lambda **k: fa.tril_indices(3, 3, **k), lambda **k: fa.randperm(5, **k) * 0,
    ]  # fmt: skip
    for make in makers:
        there, host = make(device="cuda"), make()
        assert there.device == "cuda:0"
        assert there.dtype == host.dtype
        assert np.array_equal(there.cpu().numpy(), host.numpy())
    x = fa.zeros(2, device="cuda")
    for like in (fa.zeros_like(x), fa.ones_like(x), fa.full_like(x, 2.0), x.new_zeros(3), x.new_full((2,), 1)):
        assert like.device == "cuda:0"
    assert fa.zeros_like(x, device="cpu").device == "cpu"


ARITHMETIC = {
    "sums": lambda x, y: (x + y) - 0.5 * x + 2.0,
    "products": lambda x, y: x * y / (y * y + 1.0),
    "extremes": lambda x, y: fa.maximum(x, y) + fa.minimum(x, y * 2),
    "functions": lambda x, y: fa.exp(x) + fa.tanh(y) + fa.log(x * x + 1.0) + fa.sqrt(y * y + 1.0),
    "reductions": lambda x, y: x.sum(0) + y.mean(0) + x.var(0) + x.amax(0),
    "matmul": lambda x, y: x @ y.T,
    "views": lambda x, y: x.reshape(-1)[2:6] + y[1:, ::2].reshape(-1)[:4],
    "joining": lambda x, y: fa.cat([x, y], 1).transpose(0, 1),
    "where": lambda x, y: fa.where(x > 0, x, y),
    "masked": lambda x, y: x.masked_fill(y > 0, 0.0),
    "indexing": lambda x, y: x[fa.tensor([0, 2, 0]).to(x.device)],
    "split": lambda x, y: x.split(2, 1)[1] * y.split(2, 1)[0],
    "softmax": lambda x, y: fa.softmax(x, -1) * y,
    "gelu": lambda x, y: fa.gelu(x) + fa.silu(y),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name, here):
    (x, x_there), (y, y_there) = here(4, 4), here(4, 4)
    host, there = ARITHMETIC[name](x, y), ARITHMETIC[name](x_there, y_there)
    same(host, there)
    (host * host).sum().backward()
    (there * there).sum().backward()
    for a, b in ((x, x_there), (y, y_there)):
        if a.grad is None:
            assert b.grad is None
        else:
            same(a.grad, b.grad, 8.0)


def test_nothing_mixes(randn, cuda):
    host, there = fa.Tensor(randn(2, 2).astype(np.float32)), fa.ones(2, 2, device="cuda")
    for mix in (lambda: fa.matmul(host, there), lambda: fa.matmul(there, host)):
        with pytest.raises(TypeError, match=r"^matmul: (a|b) is on (cpu|cuda:0) and (a|b) on (cpu|cuda:0); move one"):
            mix()
    with pytest.raises(TypeError):
        host + there
    with pytest.raises(
        TypeError, match=r"^adam_step: params\[0\] is on cuda:0 and grads\[0\] on cpu; move one of them"
    ):
        fa.adam_step([there], [host], [there], [there], step=1, lr=0.1)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(cuda.zeros((2,)))


def test_no_such_device():
    with pytest.raises(ValueError, match=r"^to: there is no device 'cuda:1': there are 1, counted from 0$"):
        fa.ones(1).to("cuda:1")
    with pytest.raises(ValueError, match=r"^to: there is no device 'cuda:-1': there are 1, counted from 0$"):
        fa.ones(1).to("cuda:-1")
    with pytest.raises(ValueError, match=r"^to: there is no device 'cuda:x'; expected"):
        fa.ones(1).to("cuda:x")
    with pytest.raises(ValueError, match=r"^zeros?|full: there is no device 'tpu'; expected"):
        fa.zeros(1, device="tpu")


def test_cupy_arrays_are_taken_and_returned(randn, cuda):
    """The ops by themselves: CuPy in, CuPy out."""
    x = randn(3, 5).astype(np.float32)
    out = fa.softmax(cuda.asarray(x))
    assert type(out) is cuda.ndarray
    np.testing.assert_allclose(out.get(), fa.softmax(x), rtol=1e-5)
    given = cuda.empty((3, 5), np.float32)
    assert fa.softmax(cuda.asarray(x), out=given) is given
    np.testing.assert_allclose(given.get(), fa.softmax(x), rtol=1e-5)
    transposed = cuda.asarray(x).T  # strides are read
    np.testing.assert_allclose(fa.gelu(transposed).get(), fa.gelu(x.T), rtol=1e-5, atol=1e-6)


def test_overlap_is_refused(cuda):
    x = cuda.asarray(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="overlaps"):
        fa.softmax(x[:2], out=x[1:3])
    fa.softmax(x[:2], out=x[2:])


def test_runtime(device_name):
    assert fa.cuda.is_available()
    assert fa.cuda.unavailable() is None
    assert fa.cuda.device_count() == 1
    assert fa.cuda.get_device_name() == device_name
    fa.cuda.synchronize()
    fa.cuda.synchronize("cuda:0")
    fa.cuda.empty_cache()
    assert fa.cuda.memory_allocated() <= fa.cuda.memory_reserved()
    assert len(fa.cuda.mem_get_info()) == 2
    for call in (fa.cuda.synchronize, fa.cuda.get_device_name, fa.cuda.mem_get_info):
        with pytest.raises(ValueError, match="no device"):
            call(3)
        with pytest.raises(ValueError, match="expected a GPU"):
            call("cpu")
