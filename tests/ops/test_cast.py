"""cast between floating dtypes: rounded once, ties to even."""

import re

import ml_dtypes
import numpy as np
import pytest

import fastattn as fa
from fastattn import _C
from fastattn.testing import DTYPES, LAYOUTS, assert_same_bits, assert_same_for_any_threads, kernel_name, unchanged


@pytest.fixture(params=DTYPES, ids=str)
def to(request):
    return request.param


def rounded(x, to):
    """x in another dtype, by one rounding: from float64 to 16 bits NumPy and ml_dtypes may go by float32."""
    with np.errstate(all="ignore"):
        if x.dtype != np.float64 or to.itemsize != 2:
            return x.astype(to)
        low = x.astype(to)
        wide = low.astype(np.float64)
        info = ml_dtypes.finfo(to)
        # The neighbours, and of the nearest the one whose last bit is 0.
        bits = low.view(np.uint16).astype(np.int64)
        candidates = np.stack([(bits + d).clip(0, 0xFFFF).astype(np.uint16).view(to) for d in (-1, 0, 1)])
        distance = np.abs(candidates.astype(np.float64) - x)
        distance = np.where(np.isfinite(distance), distance, np.inf)
        odd = candidates.view(np.uint16) & 1
        best = np.lexsort((odd, distance), axis=0)[0]
        nearest = np.take_along_axis(candidates, best[None], 0)[0]
        regular = np.isfinite(x) & (np.abs(x) < float(info.max)) & np.isfinite(wide)
        return np.where(regular, nearest, low).astype(to)


@pytest.mark.smoke
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 15, 17, 33, 255, 257, 16385])
def test_bits(isa, dtype, to, randn, n):
    x = randn(n, dtype=dtype)
    out = fa.cast(x, to)
    assert fa.last_kernel() == kernel_name("cast", dtype, isa)
    assert_same_bits(out, rounded(x, to))
    assert out is not x
    assert not np.shares_memory(out, x)


@pytest.mark.parametrize("shape", [(), (5, 33), (2, 3, 1, 40), (300, 2), (4, 0, 3)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(isa, dtype, to, randn, shape, layout):
    x = randn(*shape, dtype=dtype)
    assert_same_bits(fa.cast(LAYOUTS[layout](x), to), rounded(x, to))
    out = LAYOUTS[layout](np.zeros(shape, to))
    _C.cast(x, out)
    assert_same_bits(out, rounded(x, to))
    row = randn(33, dtype=dtype)
    assert_same_bits(fa.cast(np.broadcast_to(row, (4, 33)), to), np.stack([rounded(row, to)] * 4))


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_every_number_of_16_bits(isa, half, to):
    """All 65536, and, on the way back, what lies between them: halves of the gaps, and a little on either side."""
    x = np.arange(1 << 16).astype(np.uint16).view(half)
    wide = fa.cast(x, to)
    assert_same_bits(wide, rounded(x, to))
    if to.itemsize < 4:
        return
    with np.errstate(all="ignore"):
        finite = x[np.isfinite(x.astype(np.float32)) & (x.astype(np.float32) >= 0)].astype(to)
    middle = finite[:-1] + (finite[1:] - finite[:-1]) / 2
    for points in (middle, np.nextafter(middle, to.type(0)), np.nextafter(middle, to.type(np.inf))):
        for signed in (points, -points):
            assert_same_bits(fa.cast(signed, half), rounded(signed, np.dtype(half)))


def test_float64_to_16_bits_rounds_once(isa):
    """1 + 2^-9 + 2^-40 is above the middle between bfloat16's 1 and 1 + 2^-8... by less than float32 can see."""
    for half, ulp in (("bfloat16", 2.0**-7), ("float16", 2.0**-10)):
        x = np.array([1 + ulp / 2 + 2.0**-40, 1 + ulp / 2, 1 + ulp / 2 - 2.0**-40])
        assert fa.cast(x, np.dtype(half)).astype(float).tolist() == [1 + ulp, 1, 1]
        assert fa.cast(-x, np.dtype(half)).astype(float).tolist() == [-1 - ulp, -1, -1]


def test_extreme_values(isa, dtype, to):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    assert_same_bits(fa.cast(x, to), x.astype(to))
    with np.errstate(all="ignore"):
        info = ml_dtypes.finfo(dtype)
        ends = np.array([info.max, -info.max, info.tiny, info.smallest_subnormal], dtype)
        assert_same_bits(fa.cast(ends, to), ends.astype(to))


def test_same_bits_for_any_threads(isa, dtype, to, randn):
    x = randn(3, 40000, dtype=dtype)
    assert_same_for_any_threads(lambda: fa.cast(x, to))


@pytest.mark.parametrize("shape", [(3, 5), (2, 70000)])
def test_of_tensors(dtype, to, randn, shape):
    x = fa.Tensor(randn(*shape, dtype=dtype), requires_grad=True)
    for out in (fa.cast(x, to), x.to(to)):
        assert out.dtype == to
        assert_same_bits(out.detach().numpy(), rounded(x._data, to))
        dout = randn(*shape, dtype=to)
        x.grad = None
        out.backward(fa.Tensor(dout))
        assert x.grad.dtype == dtype
        assert_same_bits(x.grad.numpy(), rounded(dout, dtype))


def test_gradcheck(leaf):
    assert fa.gradcheck(lambda x: fa.cast(x, np.dtype(np.float64)), leaf(3, 4))


@pytest.mark.parity
def test_of_torch_tensors(randn):
    torch = pytest.importorskip("torch")
    x = torch.tensor(randn(5, 33), dtype=torch.float32, requires_grad=True)
    out = fa.cast(x, torch.bfloat16)
    assert torch.equal(out, x.to(torch.bfloat16))
    out.backward(torch.ones_like(out))
    assert torch.equal(x.grad, torch.ones_like(x))


X = np.zeros((2, 5))
ERRORS = [
    (lambda o: _C.cast(np.zeros((2, 4)), o), ValueError, "cast: out has shape (2, 5); expected (2, 4)"),
    (lambda o: fa.cast(X.astype(int), np.dtype(np.float32)), TypeError, "cast: x has dtype int64; expected float32"),
    (lambda o: fa.cast(X, np.dtype(np.int32)), TypeError, "cast: out has dtype int32; expected float32, float64"),
    (lambda o: fa.cast([1.0], np.float32), TypeError, "cast: x is a list; expected an array"),
    (lambda o: fa.cast(None, np.float32), TypeError, "cast: x is None; expected an array"),
    (lambda o: _C.cast(o, o), ValueError, "cast: out overlaps x in memory"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5), 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_explain(isa):
    (what,) = fa.explain(fa.cast, np.ones(100, np.float32), fa.bfloat16)
    assert (what.kernel, what.unsupported, what.bytes) == (f"cast_f32_{isa}", "", 600)
