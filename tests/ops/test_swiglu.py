"""swiglu of two arrays and of one, and both gradients."""

import re

import numpy as np
import pytest

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    reference,
    unchanged,
)

SIZES = [0, 1, 7, 8, 9, 17, 33, 257, 16383, 16385]


@pytest.mark.smoke
@pytest.mark.parametrize("n", SIZES)
def test_oracle(isa, dtype, randn, n):
    gate, up = 3 * randn(n, dtype=dtype), randn(n, dtype=dtype)
    out = fa.swiglu(gate, up)
    assert_ran("swiglu_fwd", dtype, isa)
    check(out, reference.swiglu, gate, up)


@pytest.mark.parametrize("shape", [(), (1,), (5, 33), (2, 3, 1, 40), (300, 2), (4, 0, 3)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_and_out(isa, dtype, randn, shape, layout):
    gate, up = randn(*shape, dtype=dtype), randn(*shape, dtype=dtype)
    expected = fa.swiglu(gate, up)
    for other in LAYOUTS.values():
        out = other(np.full(shape, 7, dtype))
        assert fa.swiglu(LAYOUTS[layout](gate), other(up), out=out) is out
        assert_same_bits(out, expected)
    again = LAYOUTS[layout](gate.copy())
    fa.swiglu(again, up, out=again)
    assert_same_bits(again, expected)


@pytest.mark.parametrize("shape", [(2,), (5, 66), (2, 3, 80), (300, 4), (4, 0), (0, 6)])
def test_one_array_is_its_halves(isa, dtype, randn, shape):
    both = randn(*shape, dtype=dtype)
    gate, up = np.split(both, 2, axis=-1)
    expected = fa.swiglu(gate.copy(), up.copy())
    assert_same_bits(fa.swiglu(both), expected)
    assert_same_bits(fa.swiglu(gate, up), expected)
    for move in LAYOUTS.values():
        assert_same_bits(fa.swiglu(move(both)), expected)
    dout = randn(*expected.shape, dtype=dtype)
    packed, a, b = (fa.Tensor(x, requires_grad=True) for x in (both, gate, up))
    fa.swiglu(packed).backward(fa.Tensor(dout))
    fa.swiglu(a, b).backward(fa.Tensor(dout))
    assert_same_bits(packed.grad._data, np.concatenate([a.grad._data, b.grad._data], -1))


def test_extreme_values(isa, dtype):
    gate = np.array([-np.inf, -1e4, np.inf, np.nan, 1, 0], dtype)
    up = np.array([2, 2, 2, 2, np.nan, 2], dtype)
    out = fa.swiglu(gate, up)
    assert (out[[0, 1, 5]] == 0).all()
    assert out[2] == np.inf
    assert np.isnan(out[3:5]).all()


def test_same_bits_for_any_threads(isa, dtype, randn):
    gate, up, dout = (randn(3, 40000, dtype=dtype) for _ in range(3))

    def run():
        a, b = fa.Tensor(gate, requires_grad=True), fa.Tensor(up, requires_grad=True)
        out = fa.swiglu(a, b)
        out.backward(fa.Tensor(dout))
        return out.detach().numpy(), a.grad._data, b.grad._data

    assert_same_for_any_threads(run)


@pytest.mark.smoke
@pytest.mark.parametrize("shape", [(), (7,), (3, 4, 6)])
def test_gradcheck(isa, leaf, shape):
    assert fa.gradcheck(fa.swiglu, [leaf(*shape), leaf(*shape)])
    if shape == (3, 4, 6):
        assert fa.gradcheck(fa.swiglu, [leaf(*shape)])


def test_gradcheck_one_at_a_time(leaf):
    for wanted in range(2):
        inputs = [leaf(3, 5), leaf(3, 5)]
        inputs[1 - wanted].requires_grad = False
        assert fa.gradcheck(fa.swiglu, inputs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_against_the_oracle(isa, dtype, randn, layout):
    gate, up, dout = 3 * randn(30, 77, dtype=dtype), randn(30, 77, dtype=dtype), randn(30, 77, dtype=dtype)
    a, b = (fa.Tensor(LAYOUTS[layout](x), requires_grad=True) for x in (gate, up))
    fa.swiglu(a, b).backward(fa.Tensor(LAYOUTS[layout](dout)))
    assert_ran("swiglu_bwd", dtype, isa)
    check((a.grad._data, b.grad._data), reference.swiglu_backward, dout, gate, up)


@pytest.mark.parity
def test_like_torch_and_transformers(randn):
    """Llama's silu(gate) * up, and Phi-3's chunk(2) of one projection, gate first."""
    torch = pytest.importorskip("torch")
    both, dout = randn(4, 9, 34), randn(4, 9, 17)
    results = []
    for function in (
        lambda x: fa.swiglu(x),
        lambda x: fa.swiglu(*x.chunk(2, dim=-1)),
        lambda x: torch.nn.functional.silu(x.chunk(2, dim=-1)[0]) * x.chunk(2, dim=-1)[1],
    ):
        x = torch.tensor(both, requires_grad=True)
        out = function(x)
        out.backward(torch.tensor(dout))
        results.append((out.detach().numpy(), x.grad.numpy()))
    for ours in results[:2]:
        for a, b in zip(ours, results[2], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)


X = np.zeros((2, 5))
ERRORS = [
    (lambda o: fa.swiglu(X, np.zeros((2, 4)), out=o), ValueError, "swiglu: up has shape (2, 4); expected (2, 5)"),
    (lambda o: fa.swiglu(X, X[:1], out=o), ValueError, "swiglu: up has shape (1, 5); expected (2, 5)"),
    (
        lambda o: fa.swiglu(np.zeros((2, 4)), np.zeros((2, 4)), out=o),
        ValueError,
        "out has shape (2, 5); expected (2, 4)",
    ),
    (
        lambda o: fa.swiglu(X),
        ValueError,
        "swiglu: gate (2, 5) does not split in halves along its last axis; pass gate and up",
    ),
    (lambda o: fa.swiglu(np.zeros(())), ValueError, "swiglu: gate () does not split in halves"),
    (lambda o: fa.swiglu(X, X.astype(np.float32)), TypeError, "swiglu: gate is float64 and up is float32"),
    (lambda o: fa.swiglu(X.astype(int), X), TypeError, "swiglu: gate has dtype int64; expected float32"),
    (lambda o: fa.swiglu(None, X), TypeError, "swiglu: gate is None; expected an array"),
    (lambda o: fa.swiglu(o, o[::-1], out=o), ValueError, "swiglu: out overlaps up in memory"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5), 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_explain(isa):
    (what,) = fa.explain(fa.swiglu, np.ones(100, np.float32), np.ones(100, np.float32))
    assert (what.kernel, what.unsupported, what.bytes) == (f"swiglu_fwd_f32_{isa}", "", 1200)
