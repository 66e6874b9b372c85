"""Outputs that are computed again for the gradient instead of kept."""

import gc
import weakref

import numpy as np
import pytest

import fastattn as fa
from fastattn.autograd import kind
from fastattn.ops.layer_norm import LAYER_NORM
from fastattn.utils.checkpoint import checkpoint

N, C = 64, 1024  # 256 KB of float32

CHAINS = {
    "layer_norm": lambda x, v: fa.layer_norm(x, C, v, v),
    "layer_norm_plain": lambda x, v: fa.layer_norm(x, C),
    "rms_norm": lambda x, v: fa.rms_norm(x, C, v),
    "gelu": lambda x, v: fa.gelu(x),
    "gelu_tanh": lambda x, v: fa.gelu(x, "tanh"),
    "silu": lambda x, v: fa.silu(x),
    "relu": lambda x, v: fa.relu(x),
    "sigmoid": lambda x, v: fa.sigmoid(x),
    "swiglu": lambda x, v: fa.swiglu(x, x * v),
    "swiglu_packed": lambda x, v: fa.swiglu(fa.cat([x, x * v], -1)),
    "product": lambda x, v: fa.matmul(x, fa.cat([v[None]] * C), bias=v),
    "product_gelu": lambda x, v: fa.matmul(x, fa.cat([v[None]] * C), bias=v, activation="gelu"),
    "product_silu": lambda x, v: fa.matmul(x, fa.cat([v[None]] * C), activation="silu"),
    "product_residual": lambda x, v: fa.matmul(x, fa.cat([v[None]] * C), activation="gelu", residual=x),
    "norm_of_norm": lambda x, v: fa.layer_norm(fa.gelu(fa.layer_norm(x, C, v, v)), C, v, v),
}


def leaves(dtype=np.float32):
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((N, C)), rng.standard_normal(C), rng.standard_normal((C, 8)) / 32
    return [fa.tensor(a.astype(dtype), requires_grad=True) for a in arrays]


def gradients(f, dtype=np.float32):
    x, v, w = leaves(dtype)
    (fa.matmul(f(x, v), w) ** 2).sum().backward()
    return [t.grad.numpy() for t in (x, v, w) if t.grad is not None]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, fa.bfloat16, np.float16])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_have_the_same_bits(name, dtype, monkeypatch):
    again = gradients(CHAINS[name], dtype)
    monkeypatch.setattr(kind, "LARGE", 1 << 60)
    kept = gradients(CHAINS[name], dtype)
    assert len(again) == len(kept)
    for a, b in zip(again, kept, strict=True):
        assert a.tobytes() == b.tobytes()


def is_freed(f, dtype=np.float32):
    """Whether an output is gone once only the gradient of a product with it is to come."""
    x, v, w = leaves(dtype)
    y = f(x, v)
    reference = weakref.ref(y._data)
    z = fa.matmul(y, w)
    del y
    gc.collect()
    assert z.requires_grad
    return reference() is None


@pytest.mark.parametrize("name", [n for n in CHAINS if n not in ("relu", "product", "product_residual")])
def test_outputs_are_freed(name):
    assert is_freed(CHAINS[name])


def test_outputs_are_kept_where_they_cannot_be_had_again():
    assert not is_freed(CHAINS["product"])  # it would take long
    assert not is_freed(CHAINS["product_residual"])  # what was added is not kept
    assert not is_freed(CHAINS["product_gelu"], fa.bfloat16)  # other bits: `preact` is rounded
    assert not is_freed(lambda x, v: fa.layer_norm(x[:4], C, v, v))  # small


def test_relu_keeps_what_the_next_op_keeps():
    x, _v, w = leaves()
    hidden = x * 2
    reference = weakref.ref(hidden._data)
    y = fa.relu(hidden)
    del hidden
    gc.collect()
    assert reference() is None
    (y @ w).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * (x.detach().numpy() > 0) * w.detach().numpy().sum(1), 1e-5, 1e-6)


class Counted:
    def __init__(self, monkeypatch):
        self.count = 0
        again = LAYER_NORM.again

        def counted(*args):
            self.count += 1
            return again(*args)

        monkeypatch.setattr(LAYER_NORM, "again", counted)


@pytest.mark.smoke
def test_several_readers_share_what_is_computed(monkeypatch):
    counted = Counted(monkeypatch)
    x, v, w = leaves()
    y = fa.layer_norm(x, C, v, v)
    loss = sum((y @ (w * k)).sum() for k in (1, 2, 3))
    del y
    loss.backward(retain_graph=True)
    assert counted.count == 1
    first = [t.grad.numpy().copy() for t in (x, v, w)]
    for t in (x, v, w):
        t.grad = None
    loss.backward()
    assert counted.count == 2  # it was not held between the walks
    for t, g in zip((x, v, w), first, strict=True):
        np.testing.assert_array_equal(t.grad.numpy(), g)


def test_a_change_in_place_is_an_error_as_for_what_is_kept():
    x, v, w = leaves()
    y = fa.layer_norm(x, C, v, v)
    loss = (y @ w).sum()
    y.detach().zero_()
    with pytest.raises(RuntimeError, match="matmul: a tensor that its gradient needs was changed in place"):
        loss.backward()
    x, v, w = leaves()
    hidden = x * 1
    loss = (fa.layer_norm(hidden, C, v, v) @ w).sum()
    hidden.detach().zero_()
    with pytest.raises(RuntimeError, match="layer_norm: a tensor that its gradient needs was changed in place"):
        loss.backward()
    assert w.grad is None


def test_a_change_before_the_reader_counts():
    x, v, w = leaves()
    y = fa.layer_norm(x, C, v, v)
    with fa.no_grad():
        y.zero_()
    (y @ w).sum().backward()
    assert not w.grad.numpy().any()


def test_after_the_walk_it_is_an_error():
    x, v, w = leaves()
    y = fa.layer_norm(x, C, v, v)
    first, second = (y @ w).sum(), (y @ w).sum()
    first.backward()
    with pytest.raises(RuntimeError, match="layer_norm: the graph was already walked and freed"):
        second.backward()


def test_inside_a_checkpoint():
    def f(x, v, w):
        return fa.gelu(fa.layer_norm(x, C, v, v)) @ w

    expected = leaves()
    f(*expected).sum().backward()
    given = leaves()
    checkpoint(f, *given).sum().backward()
    for a, b in zip(given, expected, strict=True):
        assert a.grad.numpy().tobytes() == b.grad.numpy().tobytes()
