"""dropout: the mask is Philox's, element by element, whatever the strides, threads and dtype."""

import re

import numpy as np
import pytest

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    accumulator,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    reference,
    unchanged,
)


def expected(x, p, seed):
    keep = reference.dropout_keep(x.shape, p, seed)
    scale = accumulator(x.dtype).type(1 / (1 - p) if p < 1 else 0)
    return np.where(keep, x * scale, 0).astype(x.dtype)


def test_known_answers():
    """Random123's vectors, through the reference."""
    ones = 2**32 - 1
    assert reference.philox((0,) * 4, (0,) * 2) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert reference.philox((ones,) * 4, (ones,) * 2) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert reference.philox(*pi) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


@pytest.mark.smoke
@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 63, 64, 65, 255, 257, 1031])
def test_oracle(isa, dtype, randn, n):
    x = randn(n, dtype=dtype)
    out = fa.dropout(x, 0.3, seed=7)
    assert_ran("dropout", dtype, isa)
    assert_same_bits(out, expected(x, 0.3, 7))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.999, 1.0, 2.0**-24, 1 - 2.0**-24])
@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
def test_probabilities_and_seeds(isa, dtype, p, seed):
    x = np.ones(200, dtype)
    assert_same_bits(fa.dropout(x, p, seed=seed), expected(x, p, seed))


def test_a_negative_seed_counts_from_the_end(isa):
    x = np.ones(50)
    assert_same_bits(fa.dropout(x, 0.5, seed=-1), fa.dropout(x, 0.5, seed=2**64 - 1))


@pytest.mark.parametrize("element", [0, 3, 77])
def test_a_number_equal_to_p_is_kept(isa, dtype, element):
    """keep iff u >= p, to the last of the 24 bits."""
    p = float(reference.words(100, 5, 0)[element] >> 8) * 2.0**-24
    x = np.ones(100, dtype)
    assert fa.dropout(x, p, seed=5)[element] != 0
    assert fa.dropout(x, np.nextafter(p, 1), seed=5)[element] == 0
    assert_same_bits(fa.dropout(x, p, seed=5), expected(x, p, 5))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_and_out(isa, dtype, randn, layout):
    x = randn(6, 7, 11, dtype=dtype)
    assert_same_bits(fa.dropout(LAYOUTS[layout](x), 0.4, seed=3), expected(x, 0.4, 3))
    out = LAYOUTS[layout](np.zeros_like(x))
    assert fa.dropout(x, 0.4, seed=3, out=out) is out
    assert_same_bits(out, expected(x, 0.4, 3))
    again = LAYOUTS[layout](x.copy())
    fa.dropout(again, 0.4, seed=3, out=again)
    assert_same_bits(again, expected(x, 0.4, 3))


def test_nan_is_dropped_too(isa, dtype):
    out = fa.dropout(np.full(1000, np.nan, dtype), 0.5, seed=1)
    keep = reference.dropout_keep((1000,), 0.5, 1)
    assert np.isnan(out[keep]).all()
    assert (out[~keep] == 0).all()


def test_share_of_kept_elements(isa):
    out = fa.dropout(np.ones(100_000), 0.25, seed=0)
    assert abs((out == 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 100_000)


def test_same_bits_for_any_threads(isa, dtype, randn):
    x = randn(7, 30001, dtype=dtype)
    assert_same_for_any_threads(lambda: fa.dropout(x, 0.4, seed=3))


def test_the_global_stream():
    x = np.ones(1000)
    state = fa.get_rng_state()
    try:
        fa.manual_seed(5)
        first, second = fa.dropout(x), fa.dropout(x)
        assert not np.array_equal(first, second)
        assert fa.get_rng_state() == (5, 2)
        fa.set_rng_state((5, 1))
        assert_same_bits(fa.dropout(x), second)
        fa.manual_seed(5)
        fa.dropout(x, seed=9)  # takes nothing from the stream
        assert_same_bits(fa.dropout(x), first)
        keep = reference.dropout_keep((1000,), 0.5, 5, offset=1)
        assert_same_bits(second, np.where(keep, 2.0, 0.0))
        fa.manual_seed(-1)
        assert fa.get_rng_state() == (2**64 - 1, 0)
        with pytest.raises(TypeError, match=r"manual_seed: seed is 1\.5; expected an integer"):
            fa.manual_seed(1.5)
    finally:
        fa.set_rng_state(state)


@pytest.mark.smoke
@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_gradcheck(isa, leaf, p):
    assert fa.gradcheck(lambda x: fa.dropout(x, p, seed=3), leaf(4, 9))


def test_gradient_is_the_same_mask(isa, dtype, randn):
    x = fa.Tensor(randn(5, 33, dtype=dtype), requires_grad=True)
    dout = randn(33, 5, dtype=dtype).T
    fa.dropout(x, 0.4, seed=3).backward(fa.Tensor(dout))
    assert_same_bits(x.grad._data, expected(dout, 0.4, 3))


X = np.zeros((2, 5))
ERRORS = [
    (lambda o: fa.dropout(X, 1.5, out=o), ValueError, "dropout: p is 1.5; expected a probability, 0 to 1"),
    (lambda o: fa.dropout(X, -0.1, out=o), ValueError, "dropout: p is -0.1; expected a probability, 0 to 1"),
    (lambda o: fa.dropout(X, float("nan"), out=o), ValueError, "dropout: p is nan; expected a probability, 0 to 1"),
    (lambda o: fa.dropout(np.zeros((2, 4)), out=o), ValueError, "dropout: out has shape (2, 5); expected (2, 4)"),
    (lambda o: fa.dropout(X.astype(np.float32), out=o), TypeError, "dropout: x is float32 and out is float64"),
    (
        lambda o: fa.dropout(X.astype(int)),
        TypeError,
        "dropout: x has dtype int64; expected float32, float64, bfloat16 or float16",
    ),
    (lambda o: fa.dropout([1.0]), TypeError, "dropout: x is a list; expected an array"),
    (lambda o: fa.dropout(o[:, :4], out=o[:, 1:]), ValueError, "dropout: out overlaps x in memory"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5), 7.0)
    state = fa.get_rng_state()
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)
    fa.set_rng_state(state)


def test_explain(isa):
    (what,) = fa.explain(fa.dropout, np.ones(100, np.float32))
    assert (what.kernel, what.unsupported, what.bytes) == (f"dropout_f32_{isa}", "", 800)


def test_in_place_scale_is_one_rounding(isa, dtype, randn):
    x = randn(500, dtype=dtype)
    check(fa.dropout(x, 0.3, seed=2), lambda x: np.where(reference.dropout_keep(x.shape, 0.3, 2), x / (1 - 0.3), 0), x)
