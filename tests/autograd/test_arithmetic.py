"""Element-by-element arithmetic: values against NumPy, dtypes against torch's rules, gradients by finite differences."""

import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import fastattn as fa
from fastattn.autograd.node import LARGE

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv]

BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: (a.abs() + 0.5) ** b,
    "maximum": fa.maximum,
    "minimum": fa.minimum,
    "where": lambda a, b: fa.where(a > 0, a, b),
    "matmul": lambda a, b: a @ b,
    "both the same": lambda a, b: a * a + b * b * b,
    "add with alpha": lambda a, b: a.add(b, alpha=2.5).sub(b, alpha=0.5),
}

UNARY = {
    "neg": lambda a: -a,
    "abs": lambda a: abs(a),
    "sqrt": lambda a: a.abs().sqrt(),
    "rsqrt": lambda a: a.abs().rsqrt(),
    "square": lambda a: a.square(),
    "reciprocal": lambda a: a.reciprocal(),
    "sin": lambda a: a.sin(),
    "cos": lambda a: a.cos(),
    "exp": lambda a: a.exp(),
    "log": lambda a: a.abs().log(),
    "tanh": lambda a: a.tanh(),
    "erf": lambda a: a.erf(),
    "sigmoid": lambda a: a.sigmoid(),
    "relu": lambda a: a.relu(),
    "gelu": lambda a: a.gelu(),
    "gelu tanh": lambda a: a.gelu("tanh"),
    "softmax": lambda a: a.softmax(0),
    "log_softmax": lambda a: a.log_softmax(dim=-1),
    "clamp": lambda a: a.clamp(-0.5, 0.5),
    "clamp below": lambda a: a.clamp(min=0.1),
    "masked_fill": lambda a: a.masked_fill(a > 0, 2.0),
    "pow 0": lambda a: a**0,
    "pow 1": lambda a: a**1,
    "pow 2": lambda a: a**2,
    "pow 3": lambda a: a**3,
    "pow -1": lambda a: a**-1,
    "number ** tensor": lambda a: 2.0**a,
    "number / tensor": lambda a: 3 / a,
    "number - tensor": lambda a: 3 - a,
    "tensor / number": lambda a: a / 3,
    "array * tensor": lambda a: np.full(a.shape, 2.0) * a,
    "where numbers": lambda a: fa.where(a > 0, a, 0.0),
}


@pytest.mark.parametrize("name", BINARY)
def test_gradients_of_two(name, normal):
    a, b = normal(3, 4), normal(4)
    assert fa.gradcheck(BINARY[name], [a, b])
    assert fa.gradcheck(lambda a: BINARY[name](a, b.detach()), [a])
    assert fa.gradcheck(lambda b: BINARY[name](a.detach(), b), [b])


@pytest.mark.parametrize("name", UNARY)
def test_gradients_of_one(name, normal):
    assert fa.gradcheck(UNARY[name], [normal(3, 4)])


@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0), st.sampled_from(OPERATORS))
@settings(max_examples=60, deadline=None)
def test_broadcasting_is_numpys(shapes, op):
    a_shape, b_shape = shapes.input_shapes
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(a_shape), rng.standard_normal(b_shape) + 3
    x, y = fa.Tensor(a, requires_grad=True), fa.Tensor(b, requires_grad=True)
    out = op(x, y)
    assert out.shape == shapes.result_shape
    np.testing.assert_array_equal(out.detach().numpy(), op(a, b))
    dout = rng.standard_normal(out.shape)
    out.backward(fa.Tensor(dout))
    assert x.grad.shape == a.shape
    assert y.grad.shape == b.shape
    if op is operator.add:
        assert x.grad.sum().item() == pytest.approx(dout.sum())


@pytest.mark.parity
@given(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), st.sampled_from(OPERATORS))
@settings(max_examples=40, deadline=None)
def test_gradients_of_broadcasting_are_torchs(shapes, op):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape) + 3 for shape in shapes.input_shapes)
    ours = [fa.tensor(x, requires_grad=True) for x in (a, b)]
    theirs = [torch.tensor(x, requires_grad=True) for x in (a, b)]
    (op(*ours) ** 2).sum().backward()
    (op(*theirs) ** 2).sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12, atol=1e-12)


DTYPES = ["bool", "int32", "int64", "float32", "float64"]


@pytest.mark.parity
@pytest.mark.parametrize("left", DTYPES)
@pytest.mark.parametrize("right", [*DTYPES, "0-d float64", "0-d int64", "int", "float"])
@pytest.mark.parametrize("op", [operator.add, operator.mul, operator.truediv])
def test_dtypes_are_torchs(left, right, op):
    torch = pytest.importorskip("torch")
    x = np.ones(2, left)
    if right in ("int", "float"):
        y = ty = {"int": 2, "float": 2.0}[right]
    else:
        y = np.ones(() if right.startswith("0-d") else 2, right.removeprefix("0-d "))
        y, ty = fa.Tensor(y), torch.from_numpy(np.array(y))
    expected = op(torch.from_numpy(x), ty)
    assert str(expected.dtype) == f"torch.{op(fa.Tensor(x), y).dtype}"
    assert str(op(ty, torch.from_numpy(x)).dtype) == f"torch.{op(y, fa.Tensor(x)).dtype}"


def test_numbers_are_weak():
    x = fa.ones(2)
    for y in (x * 2.0, 2 * x, x / 3, x**2, x + np.float64(1), np.float64(2) * x, x - True):
        assert y.dtype == np.float32
        assert isinstance(y, fa.Tensor)


def test_the_gradient_of_a_cast_operand_has_its_dtype():
    x = fa.ones(2, requires_grad=True)
    (x * fa.ones(2, dtype=fa.float64)).sum().backward()
    assert x.grad.dtype == np.float32


def test_ties_share_their_gradient():
    a, b = fa.tensor([1.0, 2.0], requires_grad=True), fa.tensor([1.0, 3.0], requires_grad=True)
    fa.maximum(a, b).sum().backward()
    assert a.grad.tolist() == [0.5, 0.0]
    assert b.grad.tolist() == [0.5, 1.0]


def test_powers_at_zero():
    x = fa.zeros(2, dtype=fa.float64, requires_grad=True)
    (x**0).sum().backward()
    assert x.grad.tolist() == [0, 0]
    y = fa.tensor([2.0], requires_grad=True)
    (fa.zeros(1) ** y).sum().backward()
    assert y.grad.tolist() == [0]


def test_division_and_roots_do_not_warn():
    x = fa.tensor([0.0, -1.0], requires_grad=True)
    y = (1 / x) + x.sqrt() + x.rsqrt()
    y.sum().backward()
    assert y[0].item() == np.inf
    assert np.isnan(y[1].item())


@pytest.mark.parametrize("op", [*OPERATORS, fa.maximum])
@pytest.mark.parametrize("other", ["tensor", "number"])
def test_large_results_are_those_of_small_ones(op, other):
    n = LARGE // 4 + 3
    x = np.linspace(1, 2, n, dtype=np.float32)
    y = x[::-1].copy() if other == "tensor" else np.float32(3)
    reference = {fa.maximum: np.maximum}.get(op, op)(x, y)
    out = op(fa.Tensor(x), fa.Tensor(y) if other == "tensor" else 3.0)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out.numpy(), reference)


def test_large_broadcast():
    x, y = fa.rand(300, 1), fa.rand(1, 300)
    np.testing.assert_array_equal((x * y).numpy(), x.numpy() * y.numpy())
    big = fa.rand(300, 300)
    np.testing.assert_array_equal((x - big).numpy(), x.numpy() - big.numpy())


def test_comparisons_and_logic():
    a, b = fa.tensor([1, 2, 3]), fa.tensor([2, 2, 2])
    assert (a == b).tolist() == [False, True, False]
    assert (a != 2).tolist() == [True, False, True]
    assert (a < b).tolist() == (b > a).tolist() == a.lt(b).tolist() == [True, False, False]
    assert (a <= b).tolist() == (b >= a).tolist() == a.le(2).tolist() == [True, True, False]
    assert ((a > 1) & (a < 3)).tolist() == [False, True, False]
    assert ((a == 1) | (a == 3)).tolist() == [True, False, True]
    assert ((a > 1) ^ (a > 2)).tolist() == [False, True, False]
    assert (~(a > 1)).tolist() == [True, False, False]
    assert (a // 2).tolist() == [0, 1, 1]
    assert (a % 2).tolist() == [1, 0, 1]
    assert not (fa.ones(2, requires_grad=True) > 0).requires_grad


def test_rounding_has_no_gradient():
    x = fa.tensor([1.4, -0.6], requires_grad=True)
    assert x.floor().tolist() == [1, -1]
    assert x.ceil().tolist() == [2, 0]
    assert x.round().tolist() == [1, -1]
    assert x.sign().tolist() == [1, -1]
    assert not x.floor().requires_grad


def test_tests_of_numbers():
    x = fa.tensor([1.0, np.inf, np.nan])
    assert x.isnan().tolist() == [False, False, True]
    assert x.isinf().tolist() == [False, True, False]
    assert x.isfinite().tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("number", [0, 1, 0.5, -np.inf])
def test_where_keeps_the_dtype_beside_a_number(dtype, number):
    x = fa.ones(2, dtype=dtype)
    keep = fa.tensor([True, False])
    for found, places in (
        (fa.where(keep, x, number), [1, number]),
        (fa.where(keep, number, x), [number, 1]),
        (x.masked_fill(keep, number), [number, 1]),
    ):
        assert found.dtype == x.dtype
        assert found.tolist() == places


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"^add: shapes \(2,\) and \(3,\) do not broadcast"):
        fa.ones(2) + fa.ones(3)
    with pytest.raises(ValueError, match=r"^eq: shapes"):
        fa.ones(2).eq(fa.ones(3))
    with pytest.raises(ValueError, match=r"^where: shapes"):
        fa.where(fa.ones(2) > 0, fa.ones(3), fa.ones(4))


def test_operands_that_are_no_tensors():
    with pytest.raises(TypeError):
        fa.ones(2) + "a"
    with pytest.raises(TypeError, match=r"maximum: Tensor and str"):
        fa.maximum(fa.ones(2), "a")
    with pytest.raises(TypeError, match=r"add_: unsupported operand str"):
        fa.ones(2).__iadd__("a")
    with pytest.raises(TypeError, match=r"where: condition has dtype float32; expected bool"):
        fa.where(fa.ones(2), 1.0, 2.0)
    assert (fa.ones(2) == "a") is False
