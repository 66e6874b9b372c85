"""rnn, lstm and gru: a step at a time is the oracle; lengths, both directions, every size of tile."""

import re

import numpy as np
import pytest
from on_device import ON_CUDA

import fastattn as fa
from fastattn import _C
from fastattn.testing import (
    LAYOUTS,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    unchanged,
)
from fastattn.testing.reference_recurrent import recurrent, recurrent_backward

GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
OP = {"tanh": "rnn", "relu": "rnn", "lstm": "lstm", "gru": "gru"}


@pytest.fixture(params=GATES)
def mode(request):
    return request.param


def call(mode, x, w_ih, w_hh, b_ih=None, b_hh=None, h0=None, c0=None, **options):
    if mode == "lstm":
        return fa.lstm(x, w_ih, w_hh, b_ih, b_hh, h0, c0, **options)
    if mode == "gru":
        return fa.gru(x, w_ih, w_hh, b_ih, b_hh, h0, **options)
    return fa.rnn(x, w_ih, w_hh, b_ih, b_hh, h0, nonlinearity=mode, **options)


def arguments(mode, randn, T, B, I, H, dtype=np.float64):  # noqa: E741
    rows, scale = GATES[mode] * H, 0.5 / np.sqrt(H)
    arrays = [randn(T, B, I), randn(rows, I), scale * randn(rows, H), randn(rows), randn(rows), randn(B, H)]
    if mode == "lstm":
        arrays.append(randn(B, H))
    return [a.astype(dtype) for a in arrays]


def gradients(mode, dresults, args, **options):
    """Of all arguments, from gradients of all results."""
    leaves = [fa.Tensor(a, requires_grad=True) for a in args]
    results = call(mode, *leaves, **options)
    weighted = [(r * fa.Tensor(d)).sum() for r, d in zip(results, dresults, strict=True)]  # whose slopes are dresults
    sum(weighted[1:], weighted[0]).backward()
    return [leaf.grad.numpy() for leaf in leaves]


def check_all(mode, randn, sizes, dtype, isa, **options):
    args = arguments(mode, randn, *sizes, dtype)
    results = call(mode, *args, **options)
    assert_ran(f"{OP[mode]}_fwd", dtype, isa)
    check(results, recurrent_of(mode), *args, case=f"{mode}", **options)
    dresults = tuple(randn(*r.shape, dtype=dtype) for r in results)
    found = gradients(mode, dresults, args, **options)
    assert_ran(f"{OP[mode]}_bwd", dtype, isa)
    check(found, lambda d, *a, **o: recurrent_backward(mode, d, *a, **o), dresults, *args, case=f"{mode}_backward",
          **options)  # fmt: skip


def recurrent_of(mode):
    return lambda *a, **o: recurrent(mode, *a, **o)


# Around tiles of units and rows, parts of the batch, and blocks of sums.
SIZES = [
    (1, 1, 1, 1),
    (3, 2, 5, 4),
    (5, 7, 3, 16),
    (4, 9, 17, 33),
    (3, 31, 8, 50),
    (3, 33, 8, 20),
    (2, 65, 4, 7),
    (7, 1, 2, 97),
    (2, 3, 0, 5),
]
if ON_CUDA:  # around tiles of 32 rows by 16 units; on the emulator a step takes a while
    SIZES = [(1, 1, 1, 1), (3, 2, 5, 4), (2, 7, 3, 16), (2, 33, 8, 17), (2, 1, 2, 97), (2, 3, 0, 5)]


@pytest.mark.smoke
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_oracle(isa, dtype, mode, randn, sizes, reverse):
    check_all(mode, randn, sizes, dtype, isa, reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sizes", [(6, 5, 3, 18), (3, 33, 3, 5) if ON_CUDA else (6, 40, 3, 5)], ids=str)
def test_lengths(isa, dtype, mode, randn, rng, sizes, reverse):
    lengths = rng.integers(0, sizes[0] + 1, sizes[1])
    lengths[:3] = 0, sizes[0], 1
    check_all(mode, randn, sizes, dtype, isa, reverse=reverse, lengths=lengths)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_several_blocks_of_steps(isa, mode, randn, rng, reverse, ragged):
    """A block has some 512 rows. On CUDA there is a launch a step, and on the emulator that takes a while."""
    T, B = (4, 33) if ON_CUDA else (40, 33)
    lengths = rng.integers(0, T + 1, B) if ragged else None
    options = {} if lengths is None else {"lengths": lengths}
    check_all(mode, randn, (T, B, 3, 20), np.dtype(np.float32), isa, reverse=reverse, **options)


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_behind_the_end_does_not_matter(isa, dtype, mode, randn, reverse):
    args = arguments(mode, randn, 5, 3, 4, 6, dtype)
    lengths = np.array([5, 2, 0], np.int32)
    results = call(mode, *args, lengths=lengths, reverse=reverse)
    dresults = [randn(*r.shape, dtype=dtype) for r in results]
    expected = gradients(mode, dresults, args, lengths=lengths, reverse=reverse)
    args[0][2:, 1] = args[0][:, 2] = np.nan
    dresults[0][2:, 1] = np.nan
    assert_same_bits(call(mode, *args, lengths=[5, 2, 0], reverse=reverse), results)
    assert_same_bits(gradients(mode, dresults, args, lengths=lengths, reverse=reverse), expected)
    assert (results[0][2:, 1] == 0).all()
    assert_same_bits(results[1][2], args[5][2])


def test_long_sums(isa, mode, randn):
    """On CUDA, more stages of K than are in flight."""
    H = 150 if ON_CUDA else 300 if isa == "scalar" else 1100
    check_all(mode, randn, (2, 3, 5, H), np.dtype(np.float32), isa)


def test_a_sequence_has_the_same_bits_in_any_batch(isa, dtype, mode, randn):
    args = arguments(mode, randn, 2 if ON_CUDA else 4, 37, 5, 19 if ON_CUDA else 35, dtype)
    whole = call(mode, *args)
    for rows in (slice(3, 4), slice(0, 11), slice(5, 37)):
        part = call(mode, args[0][:, rows], *args[1:5], *(s[rows] for s in args[5:]))
        assert_same_bits(part, [whole[0][:, rows], *(s[rows] for s in whole[1:])])
    dresults = [randn(*r.shape, dtype=dtype) for r in whole]
    dx = gradients(mode, dresults, args)[0]
    rows = slice(5, 12)
    part = [dresults[0][:, rows].copy(), *(d[rows] for d in dresults[1:])]
    found = gradients(mode, part, [args[0][:, rows].copy(), *args[1:5], *(s[rows] for s in args[5:])])
    assert_same_bits(found[0], dx[:, rows])


@pytest.mark.parametrize("batch", [1, 5, 33 if ON_CUDA else 70])
def test_same_bits_for_any_threads(isa, dtype, mode, randn, batch):
    T, H = (2, 19) if ON_CUDA else (5, 130)
    args = arguments(mode, randn, T, batch, 9, H, dtype)
    assert_same_for_any_threads(lambda: call(mode, *args))
    dresults = [randn(*r.shape, dtype=dtype) for r in call(mode, *args)]
    assert_same_for_any_threads(lambda: gradients(mode, dresults, args))


def test_reverse_is_of_the_turned_sequence(isa, dtype, mode, randn):
    x, *others = arguments(mode, randn, 5, 3, 4, 6, dtype)
    output, *state = call(mode, x, *others, reverse=True)
    turned, *expected = call(mode, x[::-1].copy(), *others)
    assert_same_bits([output[::-1], *state], [turned, *expected])


def test_strides_and_batch_first(isa, dtype, mode, randn):
    args = arguments(mode, randn, 5, 3, 4, 6, dtype)
    expected = call(mode, *args)
    for layout in LAYOUTS.values():
        assert_same_bits(call(mode, *(layout(a) for a in args)), expected)
    batch_first = np.ascontiguousarray(args[0].swapaxes(0, 1))
    output, *state = call(mode, batch_first, *args[1:], batch_first=True)
    assert_same_bits([output.swapaxes(0, 1), *state], expected)
    dresults = [randn(*r.shape, dtype=dtype) for r in expected]
    grads = gradients(mode, dresults, args)
    turned = [dresults[0].swapaxes(0, 1), *dresults[1:]]
    found = gradients(mode, turned, [batch_first, *args[1:]], batch_first=True)
    assert_same_bits([found[0].swapaxes(0, 1), *found[1:]], grads)


@pytest.mark.parametrize("sizes", [(0, 3, 4, 5), (3, 0, 4, 5)], ids=str)
def test_empty(isa, dtype, mode, randn, sizes):
    args = arguments(mode, randn, *sizes, dtype)
    results = call(mode, *args)
    assert results[0].shape == (*sizes[:2], 5)
    assert_same_bits(results[1], args[5])
    found = gradients(mode, [np.ones(r.shape, dtype) for r in results], args)
    assert all((g == 0).all() for g in found[1:5])
    assert (found[5] == 1).all()


def test_without_biases_and_states(isa, dtype, mode, randn):
    args = arguments(mode, randn, 4, 3, 5, 18, dtype)[:3]
    check(call(mode, *args), recurrent_of(mode), *args, case=mode)
    leaves = [fa.Tensor(a, requires_grad=True) for a in args]
    output = call(mode, *leaves)[0]
    dout = randn(*output.shape, dtype=dtype)
    output.backward(fa.Tensor(dout))
    expected = recurrent_backward(mode, dout.astype(np.float64), *(a.astype(np.float64) for a in args))[:3]
    for leaf, e in zip(leaves, expected, strict=True):
        eps = 2.0**-7 if dtype.itemsize == 2 else 1e-5
        np.testing.assert_allclose(leaf.grad.numpy().astype(np.float64), e, atol=4 * eps * np.abs(e).max())


@pytest.mark.smoke
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [3, 1]])
def test_gradcheck(isa, mode, randn, reverse, lengths):
    args = [fa.Tensor(a, requires_grad=True) for a in arguments(mode, randn, 3, 2, 2, 3)]
    assert fa.gradcheck(lambda *a: call(mode, *a, reverse=reverse, lengths=lengths), args)


@pytest.mark.parametrize("which", range(7))
def test_one_gradient_alone(mode, randn, which):
    dtype = np.float32 if ON_CUDA else np.float64
    args = arguments(mode, randn, 3, 2, 4, 5, dtype)
    if which >= len(args):
        return
    dresults = [np.ones((3, 2, 5), dtype), *[np.ones((2, 5), dtype)] * (len(args) - 5)]
    expected = gradients(mode, dresults, args)[which]
    leaves = [fa.Tensor(a, requires_grad=i == which) for i, a in enumerate(args)]
    first, *others = [r.sum() for r in call(mode, *leaves)]
    sum(others, first).backward()
    assert_same_bits(leaves[which].grad.numpy(), expected)


X, W1, W2 = np.zeros((5, 2, 3)), np.zeros((16, 3)), np.zeros((16, 4))
ERRORS = [
    (lambda: fa.lstm(X[0], W1, W2), ValueError, "lstm: x needs three axes (T, B, I); x (2, 3)"),
    (lambda: fa.lstm(X[0], W1, W2, batch_first=True), ValueError, "lstm: x needs three axes (B, T, I)"),
    (
        lambda: fa.lstm(X, W1[:12], W2),
        ValueError,
        "lstm: expected x (T, B, I), w_ih (4 H, I) and w_hh (4 H, H); x (T5, B2, I3), w_ih (12, 3), w_hh (16, 4)",
    ),
    (lambda: fa.lstm(X, W1[:, :2], W2), ValueError, "w_ih (16, 2), w_hh (16, 4)"),
    (lambda: fa.gru(X, W1, W2), ValueError, "gru: expected x (T, B, I), w_ih (3 H, I) and w_hh (3 H, H)"),
    (lambda: fa.rnn(X, W1, W2), ValueError, "rnn: expected x (T, B, I), w_ih (H, I) and w_hh (H, H)"),
    (lambda: fa.rnn(X, W1[:0], W2[:0, :0]), ValueError, "rnn: expected x (T, B, I)"),
    (lambda: fa.lstm(X, W1, W2, W1[0]), ValueError, "lstm: b_ih has shape (3,); expected (16,)"),
    (lambda: fa.lstm(X, W1, W2, None, W1[0]), ValueError, "lstm: b_hh has shape (3,); expected (16,)"),
    (lambda: fa.lstm(X, W1, W2, h0=X[0]), ValueError, "lstm: h0 has shape (2, 3); expected (2, 4)"),
    (lambda: fa.lstm(X, W1, W2, c0=X[0]), ValueError, "lstm: c0 has shape (2, 3); expected (2, 4)"),
    (lambda: fa.lstm(X, W1, W2, lengths=[1]), ValueError, "lstm: lengths has shape (1,); expected (2,)"),
    (lambda: fa.lstm(X, W1, W2, lengths=np.ones(2)), TypeError, "lstm: lengths has dtype float64; expected int32 or"),
    (lambda: fa.lstm(X, W1, W2, lengths=[1, 6]), IndexError, "lstm: a length is negative or more than there are steps"),
    (lambda: fa.lstm(X, W1, W2, lengths=[-1, 5]), IndexError, "lstm: a length is negative or more than there are"),
    (lambda: fa.lstm(X, W1.astype(np.float32), W2), TypeError, "lstm: x is float64 and w_ih is float32"),
    (lambda: fa.lstm(X.astype(int), W1, W2), TypeError, "lstm: x has dtype int64; expected float32"),
    (lambda: fa.lstm([[0.0]], W1, W2), TypeError, "lstm: x is a list; expected an array"),
    (lambda: fa.lstm(X, None, W2), TypeError, "lstm: w_ih is None; expected an array"),
    (lambda: fa.rnn(X, W1, W2, nonlinearity="gelu"), ValueError, "rnn: nonlinearity is 'gelu'; expected \"tanh\" or"),
]


@pytest.mark.skipif(not ON_CUDA, reason="the CPU raises an IndexError")
@pytest.mark.parametrize("length", [6, -1])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_bad_length_is_nan(mode, randn, length, reverse):
    """In its row alone, without a gradient."""
    args = arguments(mode, randn, 5, 3, 4, 6, np.float32)
    results = call(mode, *args, lengths=[5, length, 2], reverse=reverse)
    expected = call(mode, *args, lengths=[5, 0, 2], reverse=reverse)
    assert np.isnan(results[0][:, 1]).all()
    assert all(np.isnan(state[1]).all() for state in results[1:])
    rows = [0, 2]
    assert_same_bits([results[0][:, rows], *(s[rows] for s in results[1:])],
                     [expected[0][:, rows], *(s[rows] for s in expected[1:])])  # fmt: skip
    dresults = [randn(*r.shape, dtype=np.float32) for r in results]
    found = gradients(mode, dresults, args, lengths=[5, length, 2], reverse=reverse)
    assert (found[0][:, 1] == 0).all()
    assert all((g[1] == 0).all() for g in found[5:])
    dresults[1][1] = 0
    if mode == "lstm":
        dresults[2][1] = 0
    assert_same_bits(found[1:5], gradients(mode, dresults, args, lengths=[5, 0, 2], reverse=reverse)[1:5])


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    with unchanged(X, W1, W2), pytest.raises(error, match=re.escape(text)):
        call()


@pytest.mark.skipif(ON_CUDA, reason="a CUDA kernel gives NaN for a length out of range")
def test_a_bad_length_changes_nothing(isa):
    output, h_n = np.full((5, 2, 4), 7.0), np.full((2, 4), 7.0)
    with unchanged(output, h_n), pytest.raises(IndexError, match="rnn: a length"):
        _C.recurrent_fwd(
            X, W1[:4], W2[:4], None, None, None, None, np.array([5, 9]), output, h_n, None, None, None, 0, 0
        )


def test_explain(isa):
    dtype, name = (np.float32, "f32") if ON_CUDA else (np.float64, "f64")
    (what,) = fa.explain(fa.lstm, *(a.astype(dtype) for a in (X, W1, W2)))
    assert (what.kernel, what.unsupported) == (f"lstm_fwd_{name}_{isa}", "")
    assert what.flops == 2 * 5 * 2 * 16 * (3 + 4)


@pytest.mark.parity
@pytest.mark.parametrize("reverse", [False, True])
def test_torch_tensors(mode, randn, reverse):
    torch = pytest.importorskip("torch")
    args = arguments(mode, randn, 4, 3, 5, 6)
    lengths = np.array([4, 1, 3])
    leaves = [torch.tensor(a, requires_grad=True) for a in args]
    results = call(mode, *leaves, lengths=torch.tensor(lengths), reverse=reverse)
    expected = call(mode, *args, lengths=lengths, reverse=reverse)
    assert_same_bits([r.detach().numpy() for r in results], expected)
    dresults = [randn(*r.shape) for r in expected]
    torch.autograd.backward(results, [torch.tensor(d) for d in dresults])
    grads = gradients(mode, dresults, args, lengths=lengths, reverse=reverse)
    assert_same_bits([leaf.grad.numpy() for leaf in leaves], grads)
