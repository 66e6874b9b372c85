"""matmul: every path (streamed, packed, batched, summed), every epilogue, and its gradients."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isa_fixture import isa_fixture
from on_device import EMULATED

import fastattn as fa
from fastattn.testing import (
    LAYOUTS,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    forced_isa,
    is_kernel,
    isas,
    reference,
    threads,
    unchanged,
    variants,
)

# Around the register tiles (4, 6, 8 rows; 8 to 48 columns), the 32 rows of the streamed path, and K blocks (1024 of
# f32, 512 of f64). The full product of these would be 12 minutes; each size meets each side of M, N and K once.
SIZES = [
    (1, 1, 1),
    (1, 48, 7),
    (2, 47, 64),
    (3, 49, 1),
    (7, 8, 31),
    (8, 96, 511),
    (9, 97, 512),
    (31, 23, 513),
    (32, 24, 33),
    (33, 25, 1023),
    (47, 15, 1024),
    (49, 17, 1025),
    (97, 101, 103),
    (130, 7, 65),
    (5, 200, 1100),
]
EMPTY = [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)]


isa = isa_fixture([*variants(), *isas()])


@pytest.mark.smoke
@pytest.mark.parametrize(("m", "n", "k"), SIZES + EMPTY)
def test_oracle(isa, dtype, randn, m, n, k):
    a, b = randn(m, k, dtype=dtype), randn(k, n, dtype=dtype)
    out = fa.matmul(a, b)
    assert_ran("matmul", dtype, isa)
    check(out, reference.matmul, a, b)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), [(33, 50, 40), (5, 49, 17), (50, 8, 3000), (200, 300, 2500)])
def test_transposes(isa, dtype, randn, transpose_a, transpose_b, m, n, k):
    a = randn(*((k, m) if transpose_a else (m, k)), dtype=dtype)
    b = randn(*((n, k) if transpose_b else (k, n)), dtype=dtype)
    options = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    check(fa.matmul(a, b, **options), reference.matmul, a, b, **options)
    # A transposed view is the same call.
    assert_same_bits(fa.matmul(a.T if transpose_a else a, b.T if transpose_b else b), fa.matmul(a, b, **options))


@pytest.mark.parametrize("of_a", LAYOUTS)
@pytest.mark.parametrize("of_b", LAYOUTS)
def test_strides_do_not_change_bits(isa, dtype, randn, of_a, of_b):
    for m, n, k in [(37, 50, 33), (3, 70, 41)]:
        a, b = randn(m, k, dtype=dtype), randn(k, n, dtype=dtype)
        expected = fa.matmul(a, b)
        assert_same_bits(fa.matmul(LAYOUTS[of_a](a), LAYOUTS[of_b](b)), expected)


def test_stride_zero(isa, dtype, randn):
    row, column = randn(1, 20, dtype=dtype), randn(20, 1, dtype=dtype)
    a, b = np.broadcast_to(row, (40, 20)), np.broadcast_to(column, (20, 30))
    check(fa.matmul(a, b), reference.matmul, a, b)
    scalar = np.broadcast_to(dtype.type(2), (5, 5))
    assert_same_bits(fa.matmul(scalar, scalar), np.full((5, 5), 20, dtype))


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((3, 5, 7), (3, 7, 4)),
        ((3, 5, 7), (7, 4)),
        ((5, 7), (3, 7, 4)),
        ((2, 1, 5, 7), (1, 3, 7, 4)),
        ((1, 5, 7), (6, 7, 4)),
        ((2, 3, 1, 7), (3, 7, 4)),
        ((9, 33, 17), (9, 17, 40)),
        ((0, 5, 7), (7, 4)),
        ((7,), (7,)),
        ((7,), (7, 4)),
        ((5, 7), (7,)),
        ((3, 5, 7), (7,)),
        ((7,), (3, 7, 4)),
    ],
)
def test_batches_and_vectors(isa, dtype, randn, a_shape, b_shape):
    a, b = randn(*a_shape, dtype=dtype), randn(*b_shape, dtype=dtype)
    out = fa.matmul(a, b)
    assert out.shape == np.matmul(a, b).shape
    check(out, reference.matmul, a, b)


@pytest.mark.parametrize("activation", [None, "gelu", "gelu_tanh"])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("shape", [(5, 33, 10), (40, 50, 1030), (2, 50, 0)])
def test_epilogues(isa, dtype, randn, activation, with_bias, with_residual, shape):
    m, n, k = shape
    a, b = randn(m, k, dtype=dtype), randn(k, n, dtype=dtype) / 8
    options = {
        "bias": randn(n, dtype=dtype) if with_bias else None,
        "activation": activation,
        "residual": randn(m, n, dtype=dtype) if with_residual else None,
    }
    check(fa.matmul(a, b, **options), reference.matmul, a, b, case="matmul epilogue", **options)


def test_strided_bias_and_residual(isa, dtype, randn):
    a, b, bias, residual = (randn(*s, dtype=dtype) for s in ((9, 6), (6, 20), (20,), (9, 20)))
    expected = fa.matmul(a, b, bias=bias, residual=residual)
    for layout in LAYOUTS.values():
        assert_same_bits(fa.matmul(a, b, bias=layout(bias), residual=residual), expected)
    for name in ("contiguous", "padded"):
        assert_same_bits(fa.matmul(a, b, bias=bias, residual=LAYOUTS[name](residual)), expected)


def test_out(isa, dtype, randn):
    a, b, residual = randn(9, 6, dtype=dtype), randn(6, 20, dtype=dtype), randn(9, 20, dtype=dtype)
    expected = fa.matmul(a, b)
    out = np.full((9, 20), np.nan, dtype)
    assert fa.matmul(a, b, out=out) is out
    assert_same_bits(out, expected)
    wide = np.full((9, 25), 7, dtype)
    fa.matmul(a, b, out=wide[:, 2:22])
    assert_same_bits(wide[:, 2:22], expected)
    assert (wide[:, :2] == 7).all()
    assert (wide[:, 22:] == 7).all()
    expected = fa.matmul(a, b, residual=residual)
    fa.matmul(a, b, residual=residual, out=residual)
    assert_same_bits(residual, expected)


@pytest.mark.parametrize(("m", "n", "k"), [(40, 50, 1), (40, 50, 33), (40, 300, 1031), (9, 600, 4097)])
def test_what_lies_behind_a_row_is_not_read(isa, dtype, randn, m, n, k):
    a, b = randn(m, k, dtype=dtype), randn(k, n, dtype=dtype)
    expected = fa.matmul(a, b)
    among_nan = np.full((m + 1, k + 2), np.nan, dtype)
    for column in range(3):
        among_nan[:] = np.nan
        view = among_nan[:m, column : column + k]
        view[:] = a
        assert_same_bits(fa.matmul(view, b), expected)


def test_nan_and_inf_propagate(isa, dtype, randn):
    a, b = randn(20, 30, dtype=dtype), randn(30, 40, dtype=dtype)
    a[3, 5], b[7, 9] = np.nan, np.inf
    out = fa.matmul(a, b)
    assert np.isnan(out[3]).all()
    assert np.isinf(np.delete(out[:, 9], 3)).all()
    assert np.isfinite(np.delete(np.delete(out, 3, 0), 9, 1)).all()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.sampled_from([*variants(), *isas()]),
    st.tuples(st.integers(0, 50), st.integers(0, 60), st.integers(0, 40)),
    st.tuples(st.sampled_from(list(LAYOUTS)), st.sampled_from(list(LAYOUTS))),
    st.sampled_from([((), ()), ((2,), (2,)), ((2, 3), (3,)), ((1, 3), (2, 1)), ((4,), ())]),
    st.sampled_from(["float32", "float64"]),
)
def test_any_shape_and_strides(name, size, layouts, batches, dtype):
    m, n, k = size
    rng = np.random.default_rng(m + 64 * n + 4096 * k)
    a = rng.standard_normal((*batches[0], m, k)).astype(dtype)
    b = rng.standard_normal((*batches[1], k, n)).astype(dtype)
    with forced_isa(name):
        check(fa.matmul(LAYOUTS[layouts[0]](a), LAYOUTS[layouts[1]](b)), reference.matmul, a, b)


# The bitwise rule ----------------------------------------------------------------------------------------------------


def test_same_bits_for_any_threads(isa, dtype, randn):
    for shape_a, shape_b in [((150, 300), (300, 170)), ((3, 40, 65), (3, 65, 90)), ((2, 1100), (1100, 600))]:
        a, b = randn(*shape_a, dtype=dtype), randn(*shape_b, dtype=dtype)
        assert_same_for_any_threads(lambda a=a, b=b: fa.matmul(a, b))


def test_same_bits_in_any_batch_and_block(isa, dtype, randn):
    """A row of the result does not depend on how many rows, columns or batch entries stand beside it."""
    a, b = randn(3 if EMULATED else 12, 70, 1100, dtype=dtype), randn(1100, 100, dtype=dtype)
    whole = fa.matmul(a, b)
    assert_same_bits(fa.matmul(a[1], b), whole[1])
    assert_same_bits(fa.matmul(a[1:3], b), whole[1:3])
    assert_same_bits(fa.matmul(a[1, 33:35], b), whole[1, 33:35])
    assert_same_bits(fa.matmul(a[1, 33], b), whole[1, 33])
    assert_same_bits(fa.matmul(a[1], b[:, 61:64]), whole[1][:, 61:64])
    assert_same_bits(fa.matmul(a[1], b[:, 61]), whole[1][:, 61])


# Around a group of rows of b, a square that is transposed, half a pair of bf16, and one or two blocks of k.
STREAMED = [(1, 1), (16, 17), (7, 1030), (513, 16), (1023, 33), (2049, 5), (1026, 300)]
FEW = (1, 2, 3, 4, 5, 11, 32)
if EMULATED:  # an emulator takes a minute for the last; on CUDA few is up to 16
    STREAMED[-2:] = [(1033, 5), (1026, 40)]
    FEW = (1, 16, 17)


@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(("k", "n"), STREAMED)
def test_a_row_is_the_same_among_few_and_among_many(isa, dtype, randn, k, n, transpose_b):
    """Products of few rows read b as it lies, those of many pack it."""
    a, b = randn(41, k, dtype=dtype), randn(k, n, dtype=dtype)
    bias, residual = randn(n, dtype=dtype), randn(41, n, dtype=dtype)
    if transpose_b:
        b = np.ascontiguousarray(b.T)

    def product(rows, layout=np.ascontiguousarray):
        options = {"transpose_b": transpose_b, "bias": bias, "activation": "gelu_tanh"}
        return fa.matmul(layout(a[:rows]), b, residual=residual[:rows], **options)

    many = product(41)
    for rows in FEW:
        assert_same_bits(product(rows), many[:rows])
        assert_same_bits(product(rows, np.asfortranarray), many[:rows])
    if not EMULATED or n == STREAMED[-1][1]:  # three schedules more, on an emulator
        assert_same_for_any_threads(lambda: product(3))


def test_gradients_have_the_same_bits_for_any_threads(isa, randn):
    a, b, g = randn(4, 60, 50, dtype=np.float32), randn(50, 70, dtype=np.float32), randn(4, 60, 70, dtype=np.float32)

    def run():
        x, w = fa.Tensor(a, requires_grad=True), fa.Tensor(b, requires_grad=True)
        bias = fa.Tensor(b[0, :70].copy() if b.shape[1] >= 70 else b[0], requires_grad=True)
        fa.matmul(x, w, bias=bias, activation="gelu").backward(fa.Tensor(g))
        return x.grad._data, w.grad._data, bias.grad._data

    assert_same_for_any_threads(run)


# Gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (1, 3, 4, 5)),
        ((1, 3, 4), (2, 4, 5)),
        ((4,), (4,)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((2, 3, 4), (4,)),
        ((4,), (2, 4, 5)),
    ],
)
def test_gradcheck_shapes(isa, leaf, a_shape, b_shape):
    assert fa.gradcheck(fa.matmul, [leaf(*a_shape), leaf(*b_shape)])


@pytest.mark.smoke
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("activation", [None, "gelu", "gelu_tanh"])
def test_gradcheck_options(isa, leaf, transpose_a, transpose_b, activation):
    a = leaf(2, 4, 3) if transpose_a else leaf(2, 3, 4)
    b = leaf(5, 4) if transpose_b else leaf(4, 5)

    def run(a, b, bias, residual):
        return fa.matmul(
            a,
            b,
            transpose_a=transpose_a,
            transpose_b=transpose_b,
            bias=bias,
            activation=activation,
            residual=residual,
        )

    assert fa.gradcheck(run, [a, b, leaf(5), leaf(2, 3, 5)])


@pytest.mark.parametrize("wanted", range(4))
def test_gradcheck_one_at_a_time(leaf, wanted):
    inputs = [leaf(3, 4), leaf(4, 5), leaf(5), leaf(3, 5)]
    for i, t in enumerate(inputs):
        t.requires_grad = i == wanted
    assert fa.gradcheck(lambda a, b, c, d: fa.matmul(a, b, bias=c, activation="gelu", residual=d), inputs)


@pytest.mark.parametrize(
    ("a_shape", "b_shape"),
    [((33, 50), (50, 49)), ((5, 20, 30), (30, 17)), ((20, 30), (5, 30, 17)), ((70, 1030), (1030, 30))],
)
def test_gradients_against_the_oracle(isa, dtype, randn, a_shape, b_shape):
    a, b = randn(*a_shape, dtype=dtype), randn(*b_shape, dtype=dtype)
    bias = randn(b_shape[-1], dtype=dtype)
    tensors = [fa.Tensor(x, requires_grad=True) for x in (a, b, bias)]
    out = fa.matmul(*tensors[:2], bias=tensors[2])
    dout = randn(*out.shape, dtype=dtype)
    out.backward(fa.Tensor(dout))
    check([t.grad._data for t in tensors], reference.matmul_backward, dout, a, b)


# Errors --------------------------------------------------------------------------------------------------------------

F = np.zeros
ERRORS = [
    (lambda o: fa.matmul(F((2, 3)), F((4, 5)), out=o), ValueError, "K of a is 3 and of b 4; a (M2, K3), b (K4, N5)"),
    (
        lambda o: fa.matmul(F((3, 2)), F((5, 4)), transpose_a=True, transpose_b=True, out=o),
        ValueError,
        "matmul: K of a is 3 and of b 4; a (K3, M2), b (N5, K4)",
    ),
    (lambda o: fa.matmul(F(3), F(4), out=o), ValueError, "K of a is 3 and of b 4; a (K3,), b (K4,)"),
    (
        lambda o: fa.matmul(F((2, 5, 3)), F((4, 3, 5)), out=o),
        ValueError,
        "batch axes do not broadcast; a (2, M5, K3), b (4, K3, N5)",
    ),
    (lambda o: fa.matmul(F(()), F((3, 5)), out=o), ValueError, "a and b need at least one axis; a (), b (3, 5)"),
    (
        lambda o: fa.matmul(F((2, 3)), F((3, 5)), bias=F(4), out=o),
        ValueError,
        "matmul: bias has shape (4,); expected (5,)",
    ),
    (
        lambda o: fa.matmul(F((2, 3)), F((3, 5)), residual=F((2, 4)), out=o),
        ValueError,
        "residual has shape (2, 4); expected (2, 5)",
    ),
    (lambda o: fa.matmul(F((2, 3)), F((3, 4)), out=o), ValueError, "out has shape (2, 5); expected (2, 4)"),
    (
        lambda o: fa.matmul(F((2, 3)), F((3, 5)), residual=F((5, 2)).T, out=o),
        ValueError,
        "residual is not contiguous along its last axis",
    ),
    (
        lambda o: fa.matmul(F((5, 3)), F((3, 2)), out=o.T),
        ValueError,
        "matmul: out is not contiguous along its last axis",
    ),
    (
        lambda o: fa.matmul(F((2, 3), np.float32), F((3, 5)), out=o),
        TypeError,
        "a is float32 and b is float64; they must have one dtype",
    ),
    (
        lambda o: fa.matmul(F((2, 3), np.float32), F((3, 5), np.float32), out=o),
        TypeError,
        "a is float32 and out is float64; they must have one dtype",
    ),
    (
        lambda o: fa.matmul(F((2, 3), int), F((3, 5)), out=o),
        TypeError,
        "matmul: a has dtype int64; expected float32, float64, bfloat16 or float16",
    ),
    (
        lambda o: fa.matmul(F((2, 3), np.float16), F((3, 5), np.float16), out=o),
        TypeError,
        "a is float16 and out is float64; they must have one dtype",
    ),
    (
        lambda o: fa.matmul(F((2, 3), fa.bfloat16), F((3, 5)), out=o),
        TypeError,
        "a is bfloat16 and b is float64; they must have one dtype",
    ),
    (
        lambda o: fa.matmul(F((2, 3), complex), F((3, 5)), out=o),
        TypeError,
        "a has dtype complex128; expected float32, float64, bfloat16 or float16",
    ),
    (lambda o: fa.matmul(F((2, 3)), None, out=o), TypeError, "matmul: b is None; expected an array"),
    (
        lambda o: fa.matmul(F((2, 3)), [[1.0]], out=o),
        TypeError,
        "b is a list; expected an array (NumPy, fastattn.Tensor, torch or DLPack). Pass numpy.asarray(b)",
    ),
    (
        lambda o: fa.matmul(F((1,) * 9), F((3, 5)), out=o),
        ValueError,
        "a has 9 axes; at most 8 are supported, reshape it first",
    ),
    (
        lambda o: fa.matmul(F((2, 3)), F((3, 5)), activation="tanh", out=o),
        ValueError,
        'matmul: activation is \'tanh\'; expected None, "gelu", "gelu_tanh", "silu", "relu" or "sigmoid"',
    ),
    (
        lambda o: fa.matmul(F((2, 3), ">f8"), F((3, 5)), out=o),
        ValueError,
        "a is not aligned or not in native byte order; pass numpy.ascontiguousarray of it in its native dtype",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, error, text):
    out = np.full((2, 5), 7.0)
    with unchanged(out), pytest.raises(error, match=re.escape(text)):
        call(out)


def test_out_that_cannot_be_written():
    a = np.ones((4, 4))
    frozen = np.zeros((4, 4))
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="matmul: out is read-only"):
        fa.matmul(a, a, out=frozen)
    with pytest.raises(ValueError, match="matmul: out is a broadcast view, which cannot be written"):
        fa.matmul(a, a, out=np.lib.stride_tricks.as_strided(np.zeros(4), (4, 4), (0, 8), writeable=True))
    b = np.arange(32.0)
    with unchanged(a, b), pytest.raises(ValueError, match="matmul: out overlaps a in memory"):
        fa.matmul(a, np.ones((4, 4)), out=a)
    x, y = b[:16].reshape(4, 4), b[8:24].reshape(4, 4)
    with unchanged(b), pytest.raises(ValueError, match="matmul: out overlaps b in memory"):
        fa.matmul(a, x, out=y)
    with unchanged(b), pytest.raises(ValueError, match="matmul: out overlaps residual in memory"):
        fa.matmul(a, a, residual=x, out=y)
    # Interleaved views do not overlap.
    pair = np.zeros((4, 8))
    assert_same_bits(fa.matmul(pair[:, 4:] + 1, a, out=pair[:, :4]), np.full((4, 4), 4.0))


def test_unaligned_arrays_are_refused():
    raw = np.zeros(8 * 16 + 1, np.uint8)[1:].view(np.float64).reshape(4, 4)
    with pytest.raises(ValueError, match="matmul: a is not aligned or not in native byte order"):
        fa.matmul(raw, np.zeros((4, 4)))
    record = np.zeros(4, [("x", complex), ("tag", float)])["x"]  # 24 bytes apart, 16 long
    with pytest.raises(
        ValueError, match="matmul: a has a stride that is no multiple of its element; pass a copy of it"
    ):
        fa.matmul(record, np.zeros(4))


def test_explain(isa):
    (what,) = fa.explain(fa.matmul, np.ones((4, 8), np.float32), np.ones((8, 2), np.float32))
    assert is_kernel(what.kernel, "matmul", np.float32, isa), what.kernel
    assert what.unsupported == ""
    assert what.flops == 2 * 4 * 8 * 2
    assert what.bytes == 4 * (32 + 16 + 8)
    with pytest.raises(ValueError, match="K of a"):
        fa.explain(fa.matmul, np.ones((4, 8)), np.ones((7, 2)))


def test_huge_arrays_of_no_memory(dtype):
    """Over 2^31 elements through stride 0: sizes are 64-bit, and only what is asked for is done."""
    with threads(1):
        a = np.broadcast_to(dtype.type(1), (2**33, 0))
        assert fa.explain(fa.matmul, a[:1], np.zeros((0, 3), dtype))[0].flops == 0
        tall = np.broadcast_to(np.ones(1, dtype), (2**31 + 5, 1))
        assert fa.matmul(tall[-3:], np.full((1, 1), 2, dtype)).tolist() == [[2], [2], [2]]
