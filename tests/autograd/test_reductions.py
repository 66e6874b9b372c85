"""Reductions: values against NumPy, both spellings of the arguments, gradients by finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastattn as fa

REDUCTIONS = {
    "sum": lambda a: a.sum(),
    "sum dim": lambda a: a.sum(1),
    "sum keep": lambda a: a.sum((0, 2), keepdim=True),
    "mean": lambda a: a.mean(),
    "mean axis": lambda a: a.mean(axis=-1, keepdims=True),
    "var": lambda a: a.var(),
    "var axes": lambda a: a.var((1, 2), unbiased=False),
    "var correction": lambda a: a.var(0, correction=0, keepdim=True),
    "std": lambda a: a.std(dim=1),
    "max": lambda a: a.max(),
    "max dim": lambda a: a.max(1).values,
    "max keep": lambda a: a.max(axis=2, keepdims=True)[0],
    "min": lambda a: a.min(),
    "min dim": lambda a: a.min(dim=0).values,
    "amax": lambda a: a.amax((0, 1)),
    "amin": lambda a: a.amin(-1, True),
    "prod": lambda a: a.prod(),
    "prod dim": lambda a: a.prod(1, keepdim=True),
    "cumsum": lambda a: a.cumsum(1),
    "logsumexp": lambda a: a.logsumexp(-1),
    "logsumexp keep": lambda a: a.logsumexp((0, 1), keepdim=True),
    "norm": lambda a: a.norm(),
    "norm dim": lambda a: a.norm(dim=1, keepdim=True),
    "norm 3": lambda a: a.norm(3, dim=0),
    "norm inf": lambda a: a.norm(float("inf")),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_gradients(name, normal):
    assert fa.gradcheck(REDUCTIONS[name], [normal(2, 3, 4)])


# Without those that are spelled as NumPy's.
@pytest.mark.parity
@pytest.mark.parametrize("name", sorted(REDUCTIONS.keys() - {"mean axis", "max keep"}))
def test_values_are_torchs(name):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    ours = REDUCTIONS[name](fa.Tensor(x)).numpy()
    np.testing.assert_allclose(ours, REDUCTIONS[name](torch.from_numpy(x)).numpy(), rtol=1e-12)


@given(
    st.sampled_from(["sum", "mean", "amax", "amin", "all", "any"]),
    st.sets(st.integers(-3, 2), max_size=3),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_axes_are_numpys(name, axes, keep):
    axes = tuple({a % 3: a for a in axes}.values())
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    expected = getattr(x, name.removeprefix("a") if name in ("amax", "amin") else name)(axes, keepdims=keep)
    t = fa.Tensor(x)
    np.testing.assert_allclose(getattr(t, name)(axes, keep).numpy(), expected, rtol=1e-14)
    np.testing.assert_allclose(getattr(t, name)(axis=axes, keepdims=keep).numpy(), expected, rtol=1e-14)


def test_extremes_and_their_places():
    x = fa.tensor([[1.0, 3.0, 3.0], [2.0, 0.0, -1.0]], requires_grad=True)
    values, indices = x.max(1)
    assert values.tolist() == [3, 2]
    assert indices.tolist() == [1, 0]
    assert x.min(0).indices.tolist() == [0, 1, 1]
    assert x.argmax().item() == 1
    assert x.argmax(1).tolist() == [1, 0]
    assert x.argmin(axis=0, keepdims=True).tolist() == [[0, 1, 1]]
    values.sum().backward()
    assert x.grad.tolist() == [[0, 1, 0], [1, 0, 0]]  # the first of the ties
    x.grad = None
    x.max().backward()
    assert x.grad.tolist() == [[0, 0.5, 0.5], [0, 0, 0]]  # all ties
    assert x.max(fa.zeros(3)).tolist() == [[1, 3, 3], [2, 0, 0]]


def test_integers():
    x = fa.arange(5)
    assert x.sum().dtype == np.int64
    assert x.sum().item() == 10
    assert fa.tensor([True, True]).sum().item() == 2
    with pytest.raises(TypeError, match=r"^mean: dtype is int64; expected a float. Call float\(\) first"):
        x.mean()


def test_nothing():
    x = fa.ones(0, 3, requires_grad=True)
    assert x.sum().item() == 0
    assert x.sum(0).tolist() == [0, 0, 0]
    assert np.isnan(x.mean().item())
    x.sum().backward()
    assert x.grad.shape == (0, 3)
    with pytest.raises(ValueError, match=r"^max: a tensor of shape \(0, 3\) has no elements"):
        x.max()
    with pytest.raises(ValueError, match=r"^min: axis 0 of shape \(0, 3\) has no elements"):
        x.min(0)


def test_logsumexp_does_not_overflow():
    x = fa.tensor([1e4, 1e4], dtype=fa.float64)
    assert x.logsumexp(0).item() == pytest.approx(1e4 + np.log(2))
    assert fa.full((2,), -np.inf).logsumexp(0).item() == -np.inf


def test_gradients_of_sums_are_whole_arrays():
    x = fa.ones(3, 4, requires_grad=True)
    x.sum().backward()
    assert x.grad.numpy().flags.c_contiguous
    assert x.grad.numpy().flags.writeable


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.sum(0, axis=0), TypeError, "^sum: dim and axis are the same argument; pass one of them"),
        (lambda x: x.sum(0, True, keepdims=True), TypeError, "^sum: keepdim and keepdims are the same argument"),
        (lambda x: x.var(correction=1, unbiased=True), TypeError, "^var: correction and unbiased are the same"),
        (lambda x: x.mean(2), ValueError, "mean: axis 2 is out of bounds for array of dimension 2"),
        (lambda x: x.cumsum(), TypeError, "^cumsum: dim is missing"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(fa.ones(2, 3))
