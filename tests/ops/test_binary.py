"""binary: arithmetic element by element, as Tensors do it, against NumPy's bits (torch's where a number meets 16 bits)."""

import re

import numpy as np
import pytest
from on_device import ON_CUDA

import fastattn as fa
from fastattn import _C
from fastattn.ops.binary import FUNCTIONS, binary
from fastattn.testing import LAYOUTS, assert_ran, assert_same_bits, assert_same_for_any_threads, computed, unchanged

UFUNCS = {ufunc.__name__: ufunc for ufunc in FUNCTIONS}
SHAPES = [
    ((17,), (17,)),
    ((5, 33), (33,)),
    ((5, 33), (5, 1)),
    ((5, 1), (1, 70)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((300, 2), (300, 1)),
    ((7, 40), ()),
    ((), (7,)),
    ((3, 0, 4), (1, 4)),
    ((2, 16385), (16385,)),
]


@pytest.fixture(params=UFUNCS)
def ufunc(request):
    return UFUNCS[request.param]


def expected_of(ufunc, a, b):
    """One rounding, of the result in the dtype that is computed in."""
    dtype = a.dtype if isinstance(a, np.ndarray) else b.dtype
    with np.errstate(all="ignore"):
        return np.asarray(ufunc(*(computed(x) for x in (a, b))), dtype)


def run(ufunc, a, b, out=None):
    """The kernel, whatever the size."""
    arrays = [x if isinstance(x, np.ndarray) else None for x in (a, b)]
    scalar = next((float(x) for x in (a, b) if not isinstance(x, np.ndarray)), 0.0)
    if out is None:
        shapes = [x.shape for x in arrays if x is not None]
        out = np.zeros(np.broadcast_shapes(*shapes), next(x for x in arrays if x is not None).dtype)
    _C.binary(*arrays, out, scalar, FUNCTIONS[ufunc])
    return out


@pytest.mark.smoke
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_bits(isa, dtype, randn, ufunc, shapes):
    a, b = (randn(*s, dtype=dtype) for s in shapes)
    out = run(ufunc, a, b)
    assert_ran("binary", dtype, isa)
    assert_same_bits(out, expected_of(ufunc, a, b))
    assert_same_bits(run(ufunc, b, a), expected_of(ufunc, b, a))


@pytest.mark.parametrize("number", [0.1, -3, 0.0, True, 1e-40, float("inf"), float("nan")])
def test_numbers(isa, dtype, randn, ufunc, number):
    a = randn(5, 33, dtype=dtype)
    assert_same_bits(run(ufunc, a, number), expected_of(ufunc, a, number))
    assert_same_bits(run(ufunc, number, a), expected_of(ufunc, number, a))


@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
def test_strides_and_out(isa, dtype, randn, left, right):
    a, b = randn(4, 5, 33, dtype=dtype), randn(4, 5, 33, dtype=dtype)
    expected = expected_of(np.subtract, a, b)
    assert_same_bits(run(np.subtract, LAYOUTS[left](a), LAYOUTS[right](b)), expected)
    assert_same_bits(run(np.subtract, a, LAYOUTS[left](b), LAYOUTS[right](np.zeros_like(a))), expected)
    again = LAYOUTS[left](a.copy())
    run(np.subtract, again, LAYOUTS[right](b), again)
    assert_same_bits(again, expected)
    again = LAYOUTS[right](b.copy())
    run(np.subtract, LAYOUTS[left](a), again, again)
    assert_same_bits(again, expected)


def test_extreme_values(isa, dtype, ufunc):
    special = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 6e4, 1e-7], dtype)
    a, b = (x.copy() for x in np.broadcast_arrays(special[:, None], special[None]))
    out, expected = run(ufunc, a, b), expected_of(ufunc, a, b)
    if ufunc in (np.maximum, np.minimum):  # of 0 and -0 either will do
        out, expected = out + dtype.type(0), expected + dtype.type(0)
    assert_same_bits(out, expected)


def test_same_bits_for_any_threads(isa, dtype, randn, ufunc):
    a, b = randn(3, 40000, dtype=dtype), randn(40000, dtype=dtype)
    assert_same_for_any_threads(lambda: run(ufunc, a, b))


# As the operators of a Tensor use it ---------------------------------------------------------------------------------

LARGE = (2, 70000)


def test_what_takes_the_kernel(isa, dtype, randn, ufunc):
    """16-bit floats always, others from 256 KiB on; to NumPy's bits either way."""
    for shape in ((3, 5), LARGE):
        a, b = randn(*shape, dtype=dtype), randn(*shape, dtype=dtype)
        _C.cast(a, np.empty(a.shape))
        out = binary(ufunc, a, b)
        assert fa.last_kernel().startswith("binary" if dtype.itemsize == 2 or shape == LARGE else "cast")
        assert_same_bits(out, expected_of(ufunc, a, b))
    assert_same_bits(binary(ufunc, 2, a), expected_of(ufunc, 2, a))
    assert_same_bits(binary(ufunc, a, np.asarray(dtype.type(3))), expected_of(ufunc, a, 3))
    assert_same_bits(binary(ufunc, a, b[:1]), expected_of(ufunc, a, b[:1]))


def test_what_stays_with_numpy(randn):
    """What no kernel reads: integers, more than 8 axes, elements that are not aligned, mixed dtypes."""
    deep = randn(*[2] * 17)
    bytes_ = np.zeros(8 * 70000 + 1, np.uint8)
    crooked = np.frombuffer(bytes_.data, np.float64, 70000, 1)
    integers = np.arange(100000)
    single = np.ones(70000, np.float32)
    for a, b in ((deep, deep), (crooked, crooked), (integers, integers), (single, single.astype(np.float64))):
        assert_same_bits(binary(np.add, a, b), a + b)


def test_in_place_where_operands_overlap(dtype, randn):
    a = randn(70000, dtype=dtype)
    for other in (lambda x: x[::-1], lambda x: x):
        x = a.copy()
        binary(np.add, x, other(x), x)
        assert_same_bits(x, expected_of(np.add, a, other(a)))


@pytest.mark.parametrize("shape", [(3, 5), LARGE])
def test_operators_of_tensors(dtype, randn, shape):
    a, b = randn(*shape, dtype=dtype), randn(*shape, dtype=dtype)
    x, y = fa.Tensor(a), fa.Tensor(b)
    for out, ufunc, left, right in (
        (x + y, np.add, a, b),
        (x - 0.1, np.subtract, a, 0.1),
        (0.1 - x, np.subtract, 0.1, a),
        (x * 2.0, np.multiply, a, 2.0),
        (2 / x, np.true_divide, 2, a),
        (x / y[:1], np.true_divide, a, b[:1]),
        (fa.maximum(x, y), np.maximum, a, b),
    ):
        assert out.dtype == dtype
        assert_same_bits(out.numpy(), expected_of(ufunc, left, right))
    version = x.version
    for change, ufunc, right in (
        (x.add_, np.add, b),
        (x.mul_, np.multiply, 0.1),
        (x.sub_, np.subtract, b[0]),
        (x.div_, np.true_divide, b),
    ):
        a = expected_of(ufunc, a, right)
        before = x._data
        change(fa.Tensor(right) if isinstance(right, np.ndarray) else right)
        assert x._data is before
        assert_same_bits(x.numpy(), a)
    assert x.version == version + 4


@pytest.mark.parametrize("shape", [(3, 5), LARGE])
def test_gradients_accumulate(dtype, randn, shape):
    """A tensor that is used three times, and two walks: sums in the order of the walk, one rounding each."""
    a, weights = randn(*shape, dtype=dtype), [randn(*shape, dtype=dtype) for _ in range(3)]
    x = fa.Tensor(a, requires_grad=True)
    expected = None
    for _ in range(2):
        total = x * fa.Tensor(weights[0]) + x * fa.Tensor(weights[1]) + x * fa.Tensor(weights[2])
        total.backward(fa.Tensor(np.ones_like(a)))
        for w in weights[::-1]:
            expected = w if expected is None else expected_of(np.add, expected, w)
    np.testing.assert_allclose(
        x.grad.numpy().astype(np.float64), 2 * sum(w.astype(np.float64) for w in weights),
        atol=64 * float(fa.testing.tolerance._finfo(dtype).eps),
    )  # fmt: skip
    y = fa.Tensor(a, requires_grad=True)
    (y * 1.0).backward(fa.Tensor(weights[0]))
    y.backward(y.grad)  # what comes in is the very array that it is added to
    assert_same_bits(y.grad.numpy(), expected_of(np.add, weights[0], weights[0]))


@pytest.mark.parity
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_numbers_like_torch(randn, name):
    """A Python number beside 16-bit floats is taken in float32, not rounded to 16 bits first; torch does the same on a
    GPU, and on the CPU in products and quotients."""
    torch = pytest.importorskip("torch")
    a = randn(5, 33).astype(name)
    ours, theirs = fa.Tensor(a), torch.tensor(a.astype(np.float32)).to(getattr(torch, name))
    for function in (lambda t: t * 0.1, lambda t: t / 0.3):
        assert_same_bits(function(ours).numpy().astype(np.float32), function(theirs).float().numpy())


X = np.zeros((2, 5))
ERRORS = [
    (lambda o: _C.binary(X, np.zeros((2, 4)), o, 0.0, 0), ValueError, "add: b (2, 4) does not broadcast to out (2, 5)"),
    (
        lambda o: _C.binary(np.zeros((1, 2, 5)), X, o, 0.0, 1),
        ValueError,
        "sub: a (1, 2, 5) does not broadcast to out (2, 5)",
    ),
    (lambda o: _C.binary(X, X.astype(np.float32), o, 0.0, 2), TypeError, "mul: a is float64 and b is float32"),
    (lambda o: _C.binary(X.astype(int), None, o, 0.0, 3), TypeError, "div: a has dtype int64; expected float32"),
    (lambda o: _C.binary(None, None, o, 0.0, 4), TypeError, "maximum: a and b are None; expected an array"),
    (lambda o: _C.binary(o[::-1], X, o, 0.0, 5), ValueError, "minimum: out overlaps a in memory"),
    (
        lambda o: fa.Tensor(o) + fa.Tensor(np.zeros((2, 4))),
        ValueError,
        "add: shapes (2, 5) and (2, 4) do not broadcast",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5), 7.0)
    with unchanged(out, X), pytest.raises(error, match=re.escape(text)):
        call(out)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_errors_of_large_operands(dtype):
    x, y = fa.Tensor(np.zeros((2, 70000), dtype)), fa.Tensor(np.zeros((2, 70001), dtype))
    for call in (lambda: x + y, lambda: x.add_(y)):
        with (
            unchanged(x._data),
            pytest.raises(ValueError, match=r"shapes \(2, 70000\) and \(2, 70001\) do not broadcast"),
        ):
            call()


@pytest.mark.skipif(ON_CUDA, reason="the CPU's kernels alone have a way past the caches")
@pytest.mark.parametrize("offset", [0, 1, 5])
def test_results_that_go_past_the_caches(isa, dtype, randn, offset):
    """Same bits as those of a few elements, and in place; runs that begin anywhere in a cache line."""
    few = randn(1000, dtype=dtype)
    n = (32 << 20) // dtype.itemsize + 37
    a, out = (np.resize(few, n + offset)[offset:] for _ in range(2))
    few = np.roll(few, -offset)
    assert_same_bits(run(np.add, a, a, out), np.resize(run(np.add, few, few), n))
    expected = np.resize(run(np.add, few, 0.3), n)
    for result in (out, a):
        assert_same_bits(run(np.add, a, 0.3, result), expected)


def test_explain(isa):
    a = np.ones((4, 25), np.float32)
    for b, bytes_ in ((a, 1200), (2.0, 800)):
        (what,) = fa.explain(run, np.add, a, b)
        assert (what.kernel, what.unsupported, what.flops, what.bytes) == (f"binary_f32_{isa}", "", 100, bytes_)
