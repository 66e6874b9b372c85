"""Reading and writing parts: values are NumPy's for every index, and gradients flow to what was read or written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices, integer_array_indices

import fastattn as fa

INDICES = {
    "int": (1,),
    "negative": (-1, -2),
    "slice": (slice(1, None), slice(None, None, 2)),
    "backwards": (slice(None, None, -1),),
    "None and ...": (None, ..., 1),
    "everything": (..., 0, 1, 2),
    "list": ([0, 1, 1],),
    "array": (np.array([1, 0]),),
    "repeats": (np.array([1, -1, 1]),),
    "two arrays": (np.array([0, 1, 1]), np.array([2, 2, 2])),
    "array and slice": (slice(None), np.array([[0, 2], [2, 1]]), slice(1, 3)),
    "mask": (np.array([[True, False, True], [False, False, True]]),),
    "full mask": (np.arange(24).reshape(2, 3, 4) % 3 == 0,),
    "tensor": (fa.tensor([1, 1]),),
    "0-d tensor": (fa.tensor(1), fa.tensor(2)),
}

REPEATING = {"repeats", "two arrays", "array and slice"}  # what is written twice has no one gradient


def plain(index):
    return tuple(p.numpy() if isinstance(p, fa.Tensor) else p for p in index)


@pytest.mark.parametrize("name", INDICES)
def test_reading(name, normal):
    a = normal(2, 3, 4)
    index = INDICES[name]
    np.testing.assert_array_equal(a[index].detach().numpy(), a.detach().numpy()[plain(index)])
    assert fa.gradcheck(lambda a: a[index], [a])


@pytest.mark.parametrize("name", [name for name in INDICES if name not in REPEATING])
def test_writing(name, normal):
    index = INDICES[name]
    if name in ("list", "tensor"):
        index = ([1],)
    a, value = normal(2, 3, 4), normal(4)[0:1]

    def write(a, value):
        x = a * 1.0
        x[index] = value
        return x

    expected = a.detach().numpy().copy()
    expected[plain(index)] = value.detach().numpy()
    np.testing.assert_array_equal(write(a, value).detach().numpy(), expected)
    leaf = value.detach().clone().requires_grad_()
    assert fa.gradcheck(write, [a, leaf])
    assert fa.gradcheck(lambda a: write(a, 3.0), [a])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_basic_index(data):
    x = np.arange(60.0).reshape(3, 4, 5)
    index = data.draw(basic_indices(x.shape, allow_newaxis=True))
    t = fa.tensor(x, requires_grad=True)
    out = t[index]
    np.testing.assert_array_equal(out.detach().numpy(), x[index])
    out.backward(fa.ones_like(out))
    expected = np.zeros_like(x)
    expected[index] = 1
    np.testing.assert_array_equal(t.grad.numpy(), expected)
    assert np.shares_memory(out.detach().numpy(), t.detach().numpy()) or not out.numel()


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_integer_array_index(data):
    x = np.arange(12.0).reshape(3, 4)
    index = data.draw(integer_array_indices(x.shape))
    t = fa.tensor(x, requires_grad=True)
    out = t[index]
    out.backward(fa.ones_like(out))
    expected = np.zeros_like(x)
    np.add.at(expected, index, 1)
    np.testing.assert_array_equal(t.grad.numpy(), expected)


def test_writing_to_what_is_not_recorded():
    x = fa.zeros(3)
    x[1] = 5
    x[fa.tensor([0, 2])] = fa.tensor([1.0, 2.0])
    assert x.tolist() == [1, 5, 2]
    assert x.version == 2


def test_filling_a_buffer_with_gradients(normal):
    def fill(a, b):
        out = fa.zeros(2, 4, dtype=fa.float64)
        out[0] = a
        out[1, 1:] = b[1:]
        return out

    assert fa.gradcheck(fill, [normal(4), normal(4)])


def test_errors():
    x = fa.ones(2, 3, requires_grad=True)
    with pytest.raises(IndexError, match=r"out of bounds"):
        x[2]
    with pytest.raises(IndexError, match=r"too many indices"):
        x[0, 0, 0]
    with pytest.raises(RuntimeError, match=r"^setitem: a leaf that requires a gradient"):
        x[0] = 1
    with pytest.raises(TypeError, match=r"iteration over a tensor without axes"):
        iter(x.sum())
