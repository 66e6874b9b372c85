"""The tensor as an object: conversions, dunders, copies, creation."""

import copy
import pickle

import numpy as np
import pytest

import fastattn as fa


def test_dtypes_of_python_numbers():
    assert fa.tensor(1.5).dtype == np.float32
    assert fa.tensor([1, 2]).dtype == np.int64
    assert fa.tensor([True]).dtype == np.bool_
    assert fa.tensor([[1, 2.5]]).dtype == np.float32
    assert fa.tensor(np.float64(1)).dtype == np.float64
    assert fa.tensor([np.float64(1)]).dtype == np.float64
    assert fa.tensor(np.zeros(2)).dtype == np.float64
    assert fa.tensor([fa.tensor(1.0), fa.tensor(2.0)]).tolist() == [1, 2]
    assert fa.tensor([1, 2], dtype=fa.float64).dtype == fa.float64


def test_tensor_copies_and_the_constructor_shares():
    x = np.zeros(2)
    assert not np.shares_memory(fa.tensor(x).numpy(), x)
    assert fa.Tensor(x).numpy() is x
    assert fa.from_numpy(x).numpy() is x
    t = fa.ones(2)
    assert fa.as_tensor(t) is t
    assert fa.tensor(t).numpy() is not t.numpy()


def test_attributes():
    x = fa.zeros(2, 3)
    assert x.shape == x.size() == (2, 3)
    assert x.size(-1) == 3
    assert x.ndim == x.dim() == 2
    assert x.numel() == 6
    assert x.dtype == fa.float32
    assert x.stride() == (3, 1)
    assert x.stride(0) == 3
    assert x.element_size() == x.itemsize == 4
    assert x.nbytes == 24
    assert x.device == "cpu"
    assert x.data_ptr() == x.numpy().ctypes.data
    assert x.is_floating_point()
    assert not x.long().is_floating_point()
    assert len(x) == 2


def test_numbers():
    x = fa.tensor(2.5)
    assert float(x) == 2.5
    assert int(x) == 2
    assert x.item() == 2.5
    assert f"{x:.2f}" == "2.50"
    assert f"{fa.ones(2)}" == "tensor([1., 1.])"
    assert bool(fa.tensor([1]))
    assert not fa.tensor(0.0)
    assert [10, 20, 30][fa.tensor(1)] == 20
    assert 3 in fa.arange(5)
    assert 7 not in fa.arange(5)
    with pytest.raises(ValueError, match=r"^item: a tensor of shape \(2,\) has 2 elements; expected one"):
        bool(fa.ones(2))
    with pytest.raises(TypeError, match=r"a tensor of float32 as an index; expected integers"):
        range(3)[x]
    with pytest.raises(TypeError, match=r"len\(\) of a tensor without axes"):
        len(x)


def test_identity_is_the_key():
    a, b = fa.ones(2), fa.ones(2)
    assert len({a, b, a}) == 2
    assert {a: 1}[a] == 1


def test_numpy_and_arrays():
    x = fa.tensor([1.0, 2.0])
    assert np.asarray(x).tolist() == [1, 2]
    assert np.array(x, dtype=np.int64).dtype == np.int64
    assert isinstance(np.ones(2) + x, fa.Tensor)
    assert isinstance(np.ones((2, 2)) @ x.double(), fa.Tensor)
    np.testing.assert_array_equal(np.exp(x), np.exp(x.numpy()))
    assert np.from_dlpack(x).tolist() == [1, 2]
    y = x.requires_grad_()
    with pytest.raises(RuntimeError, match=r"^numpy: this tensor requires a gradient.*use detach\(\).numpy\(\)"):
        np.asarray(y)
    with pytest.raises(BufferError, match=r"^__dlpack__: this tensor requires a gradient"):
        np.from_dlpack(y)


def test_repr():
    assert repr(fa.tensor([1.0])) == "tensor([1.])"
    assert repr(fa.tensor([1.0], fa.float64)) == "tensor([1.], dtype=float64)"
    assert repr(fa.ones(1, requires_grad=True)) == "tensor([1.], requires_grad=True)"
    assert repr(fa.ones(1, requires_grad=True) * 2) == "tensor([2.], grad_fn=<mul backward>)"
    assert repr(fa.nn.Parameter(fa.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"
    assert repr(fa.ones(0)) == "tensor([], dtype=float32)"


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies(duplicate):
    x = fa.nn.Parameter(fa.tensor([1.0, 2.0]))
    x.note = "kept"
    y = duplicate(x)
    assert type(y) is fa.nn.Parameter
    assert y.requires_grad
    assert y.note == "kept"
    with fa.no_grad():
        y += 1
    assert x.tolist() == [1, 2]
    with pytest.raises(RuntimeError, match=r"only leaves can be pickled or deep-copied"):
        duplicate(x * 2)


def test_deepcopy_keeps_the_gradient_and_shared_tensors():
    x = fa.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    a, b = copy.deepcopy([x, x])
    assert a is b
    assert a.grad.tolist() == [3, 3]
    assert a.grad is not x.grad


def test_casts():
    x = fa.tensor([0.0, 1.5])
    assert x.double().dtype == np.float64
    assert x.long().tolist() == [0, 1]
    assert x.int().dtype == np.int32
    assert x.bool().tolist() == [False, True]
    assert x.float() is x
    assert x.to(fa.float64).dtype == np.float64
    assert x.to("cpu") is x
    assert x.to(fa.arange(1)).dtype == np.int64
    assert x.to(fa.float32, copy=True) is not x
    assert x.type(fa.float64).dtype == x.type_as(x.double()).dtype == np.float64
    assert x.cpu() is x
    with pytest.raises(ValueError, match=r"^to: there is no device 'cuda:0'"):
        x.to("cuda:0")
    y = x.requires_grad_()
    assert not y.long().requires_grad or y.long().sum().requires_grad


def test_data_is_shared_and_unrecorded():
    x = fa.ones(2, requires_grad=True)
    x.data[0] = 5
    assert x.tolist() == [5, 1]
    x.data = fa.zeros(3)
    assert x.shape == (3,)
    assert x.requires_grad


def test_creation():
    assert fa.zeros((2, 3)).shape == fa.empty(2, 3).shape == fa.ones([2, 3]).shape == (2, 3)
    assert fa.zeros().shape == ()
    assert fa.full((2,), 1.5).dtype == np.float32
    assert fa.full((2,), True).dtype == np.bool_
    assert fa.arange(1, 2, 0.5).tolist() == [1, 1.5]
    assert fa.arange(5, dtype=np.int32).dtype == np.int32
    assert fa.linspace(0, 1, 5).dtype == np.float32
    assert fa.eye(2, 3).shape == (2, 3)
    x = fa.ones(2, 2, dtype=fa.float64)
    for y in (
        fa.zeros_like(x),
        fa.ones_like(x),
        fa.full_like(x, 2),
        fa.empty_like(x),
        fa.rand_like(x),
        fa.randn_like(x),
    ):
        assert y.shape == x.shape
        assert y.dtype == x.dtype
    assert x.new_zeros(3).dtype == x.new_ones((2,)).dtype == np.float64
    assert fa.ones(2, requires_grad=True).is_leaf


def test_random_numbers_follow_the_seed():
    fa.manual_seed(3)
    a, b = fa.randn(1000), fa.rand(1000)
    fa.manual_seed(3)
    assert (fa.randn(1000) == a).all()
    assert (fa.rand(1000) == b).all()
    assert abs(a.mean().item()) < 0.2
    assert 0 <= b.min().item() <= b.max().item() < 1
    order = fa.randperm(100)
    assert sorted(order.tolist()) == list(range(100))
    draws = fa.randint(2, 5, (1000,))
    assert set(draws.tolist()) == {2, 3, 4}
    with pytest.raises(ValueError, match=r"^randint: low is 3 and high 3; expected low < high"):
        fa.randint(3, 3)


def test_in_place_fills():
    x = fa.zeros(3)
    assert x.fill_(2).tolist() == [2, 2, 2]
    assert x.zero_().tolist() == [0, 0, 0]
    assert x.copy_(fa.tensor([1, 2, 3])).tolist() == [1, 2, 3]
    assert x.add_(1, alpha=2).tolist() == [3, 4, 5]
    assert x.sub_(1).mul_(2).div_(4).tolist() == [1, 1.5, 2]
    assert x.clamp_(max=1.5).tolist() == [1, 1.5, 1.5]
    assert x.masked_fill_(x > 1, 0).tolist() == [1, 0, 0]
    assert x.uniform_(2, 3).min().item() >= 2
    assert x.normal_(5, 0).tolist() == [5, 5, 5]
