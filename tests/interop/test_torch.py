"""torch's door: torch tensors in, torch tensors out, the same bits as on ndarrays, gradients by torch's autograd."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.testing import assert_same_bits

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.parity

IDS = np.array([[0, 4, 2], [1, 2, 2]])
KEEP = np.array([[True, False, True, True, True], [True] * 5, [False] * 5, [True, True, False, False, True]])

# Name: (function of arrays, shapes of those that have a gradient). Every op of the door, with its options.
CASES = {
    "matmul": (fa.matmul, [(3, 4), (4, 5)]),
    "matmul, batched": (fa.matmul, [(2, 3, 4), (4, 5)]),
    "matmul, vectors": (fa.matmul, [(4,), (2, 4, 5)]),
    "matmul, transposed": (lambda a, b: fa.matmul(a, b, transpose_a=True, transpose_b=True), [(4, 3), (5, 4)]),
    "matmul, epilogue": (
        lambda a, b, c, r: fa.matmul(a, b, bias=c, activation="gelu", residual=r),
        [(3, 4), (4, 5), (5,), (3, 5)],
    ),
    "matmul, gelu_tanh": (lambda a, b: fa.matmul(a, b, activation="gelu_tanh"), [(3, 4), (4, 5)]),
    "attention": (fa.scaled_dot_product_attention, [(1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2)]),
    "attention, causal": (
        lambda q, k, v: fa.scaled_dot_product_attention(q, k, v, is_causal=True, causal_align="bottom_right"),
        [(2, 4, 3), (2, 5, 3), (2, 5, 2)],
    ),
    "attention, mask": (fa.scaled_dot_product_attention, [(1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2), (2, 1, 5)]),
    "attention, boolean mask": (
        lambda q, k, v: fa.scaled_dot_product_attention(q, k, v, like(KEEP, q)),
        [(1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2)],
    ),
    "attention, grouped": (
        lambda q, k, v: fa.scaled_dot_product_attention(q, k, v, enable_gqa=True, window=(2, 1)),
        [(1, 4, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2)],
    ),
    "attention, lse": (
        lambda q, k, v: pair(fa.scaled_dot_product_attention(q, k, v, return_lse=True)),
        [(1, 2, 4, 3), (1, 2, 5, 3), (1, 2, 5, 2)],
    ),
    "attention, bthd": (
        lambda q, k, v: fa.scaled_dot_product_attention(q, k, v, layout="bthd"),
        [(1, 4, 2, 3), (1, 5, 2, 3), (1, 5, 2, 2)],
    ),
    "softmax": (lambda x: fa.softmax(x, dim=0, scale=0.5), [(4, 5)]),
    "softmax, mask": (lambda x, m: fa.softmax(x, mask=m), [(4, 5), (5,)]),
    "log_softmax": (fa.log_softmax, [(4, 5)]),
    "log_softmax, mask": (lambda x, m: fa.log_softmax(x, 0, mask=m), [(4, 5), (4, 1)]),
    "layer_norm": (lambda x, w, b: fa.layer_norm(x, 5, w, b), [(4, 5), (5,), (5,)]),
    "layer_norm, two axes": (lambda x: fa.layer_norm(x, (4, 5)), [(3, 4, 5)]),
    "gelu": (fa.gelu, [(3, 4)]),
    "gelu, tanh": (lambda x: fa.gelu(x, "tanh"), [(3, 4)]),
    "silu": (fa.silu, [(3, 4)]),
    "sigmoid": (fa.sigmoid, [(3, 4)]),
    "relu": (fa.relu, [(3, 4)]),
    "matmul, silu": (lambda a, b: fa.matmul(a, b, activation="silu"), [(3, 4), (4, 5)]),
    "rms_norm": (lambda x, w: fa.rms_norm(x, 5, w), [(4, 5), (5,)]),
    "swiglu": (fa.swiglu, [(3, 4), (3, 4)]),
    "swiglu, packed": (fa.swiglu, [(3, 4)]),
    "rope": (lambda x: fa.rope(x, *tables(x)), [(2, 5, 8)]),
    "rope, interleaved": (lambda x: fa.rope(x, *tables(x), interleaved=True), [(2, 5, 8)]),
    "cross_entropy": (lambda x: fa.cross_entropy(x, like(IDS[0], x)), [(3, 5)]),
    "cross_entropy, none": (lambda x: fa.cross_entropy(x, like(IDS, x), reduction="none"), [(2, 5, 3)]),
    "embedding": (lambda w: fa.embedding(like(IDS, w), w), [(5, 3)]),
    "embedding, columns": (lambda w: fa.embedding(like(IDS[:, :-1], w), w, 3), [(5, 3)]),
    "dropout": (lambda x: fa.dropout(x, 0.4, seed=3), [(4, 5)]),
    "exp": (fa.exp, [(3, 4)]),
    "log": (lambda x: fa.log(x * x + 1), [(3, 4)]),
    "tanh": (fa.tanh, [(3, 4)]),
    "erf": (fa.erf, [(3, 4)]),
}


class Foreign:
    """The least that DLPack asks for."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    @property
    def ndim(self):
        return self.array.ndim


def like(array, of):
    """An ndarray as the kind of `of`."""
    if isinstance(of, Foreign):
        return Foreign(array)
    return torch.from_numpy(array) if isinstance(of, torch.Tensor) else array


def tables(x):
    """rope's, for an x (..., 5, 8)."""
    wide = str(x.dtype).endswith("float64")
    return [like(t, x) for t in fa.rope_cos_sin(5, 6, dtype=np.float64 if wide else np.float32)]


def pair(result):
    return result.output, result.lse


def arrays(rng, shapes, dtype=np.float64):
    return [np.asarray(rng.standard_normal(s)).astype(dtype) for s in shapes]


def to_torch(x):
    """torch takes no array of ml_dtypes."""
    return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) if x.dtype == fa.bfloat16 else torch.from_numpy(x)


def to_numpy(t):
    t = t.detach()
    return t.view(torch.int16).numpy().view(fa.bfloat16) if t.dtype == torch.bfloat16 else t.numpy()


def leaves(values):
    return [to_torch(x).clone().requires_grad_() for x in values]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.mark.smoke
def test_gradcheck(rng, case):
    function, shapes = case
    assert torch.autograd.gradcheck(function, leaves(arrays(rng, shapes)))


def test_same_bits_as_on_ndarrays(isa, dtype, rng, case):
    function, shapes = case
    values = arrays(rng, shapes, dtype)
    expected = function(*values)
    for inputs in (leaves(values), [to_torch(x) for x in values]):
        found = function(*inputs)
        for f, e in zip(*((x if isinstance(x, tuple) else (x,)) for x in (found, expected)), strict=True):
            assert isinstance(f, torch.Tensor)
            assert f.requires_grad == inputs[0].requires_grad
            assert_same_bits(to_numpy(f), e)


def test_gradients_are_those_of_fastattn(rng, case):
    function, shapes = case
    values = arrays(rng, shapes)
    ours, theirs = [fa.Tensor(x, requires_grad=True) for x in values], leaves(values)
    for inputs in (ours, theirs):
        out = function(*inputs)
        sum((o * o).sum() for o in (out if isinstance(out, tuple) else (out,))).backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad._data, b.grad.numpy(), rtol=1e-12, atol=1e-14)


# Gradients that are composed, or summed, above the kernels, by each framework's own arithmetic.
COMPOSED = ("erf", "log_softmax, mask", "softmax, mask")


@pytest.mark.parametrize("name", [name for name in CASES if name not in COMPOSED])
def test_gradients_have_the_bits_of_fastattn(isa, dtype, rng, name):
    function, shapes = CASES[name]
    values = arrays(rng, shapes, dtype)
    ours, theirs = [fa.Tensor(x, requires_grad=True) for x in values], leaves(values)
    mine, other = (out[0] if isinstance(out, tuple) else out for out in (function(*ours), function(*theirs)))
    dout = np.asarray(rng.standard_normal(mine.shape)).astype(mine.dtype)
    mine.backward(fa.Tensor(dout))
    other.backward(to_torch(dout))
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad.dtype == a.dtype
        assert_same_bits(to_numpy(b.grad), a.grad._data)


def test_expanded_gradients(rng, case):
    """sum().backward() hands over a gradient of stride 0."""
    function, shapes = case
    values = arrays(rng, shapes)
    one, other = leaves(values), leaves(values)
    out = function(*one)
    (out[0] if isinstance(out, tuple) else out).sum().backward()
    out = function(*other)
    out = out[0] if isinstance(out, tuple) else out
    out.backward(torch.ones(out.shape, dtype=out.dtype))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-15)


# What has to be contiguous along its last axis (or its normalised ones): there, only rows are spread.
ROWS_ONLY = {"embedding": [0], "embedding, columns": [0], "layer_norm": [0, 1, 2], "layer_norm, two axes": [0]}
ROWS_ONLY |= {"matmul, epilogue": [3], "rms_norm": [0, 1]}


@pytest.mark.parametrize("name", CASES)
def test_non_contiguous_tensors(rng, name):
    function, shapes = CASES[name]
    values = arrays(rng, shapes)

    def view(i, x):
        if i not in ROWS_ONLY.get(name, []):
            return torch.from_numpy(np.ascontiguousarray(x.T)).permute(*range(x.ndim)[::-1])
        return torch.from_numpy(np.repeat(x, 2, 0))[::2] if x.ndim > 1 else torch.from_numpy(x)

    views = [view(i, x).requires_grad_() for i, x in enumerate(values)]
    found, expected = function(*views), function(*leaves(values))
    found, expected = (x[0] if isinstance(x, tuple) else x for x in (found, expected))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    found.sum().backward()
    assert all(v.grad is not None for v in views)


def test_no_grad(rng, case):
    function, shapes = case
    inputs = leaves(arrays(rng, shapes))
    with torch.no_grad():
        out = function(*inputs)
    assert not (out[0] if isinstance(out, tuple) else out).requires_grad


def test_only_what_requires_a_gradient_gets_one(rng, case):
    function, shapes = case
    for wanted in range(len(shapes)):
        inputs = [torch.tensor(x, requires_grad=i == wanted) for i, x in enumerate(arrays(rng, shapes))]
        out = function(*inputs)
        (out[0] if isinstance(out, tuple) else out).sum().backward()
        assert [t.grad is not None for t in inputs] == [i == wanted for i in range(len(shapes))]


def test_parameters_and_subclasses(rng):
    x = torch.randn(3, 4)
    weight = torch.nn.Parameter(torch.randn(4, 5))
    out = fa.matmul(x, weight)
    out.sum().backward()
    assert isinstance(out, torch.Tensor)
    assert weight.grad.shape == (4, 5)

    class Own(torch.Tensor):
        pass

    assert isinstance(fa.gelu(torch.ones(3).as_subclass(Own)), torch.Tensor)


# Name: a function, arguments, which argument the gradient reads, whether it is the output that is kept.
SAVED = {
    "matmul": lambda a: fa.matmul(a, a * 2),
    "gelu": fa.gelu,
    "layer_norm": lambda a: fa.layer_norm(a, 4),
    "attention": lambda a: fa.scaled_dot_product_attention(a, a * 2, a * 3),
    "cross_entropy": lambda a: fa.cross_entropy(a, torch.tensor([0, 1, 2, 3])),
    "log": lambda a: fa.log(a),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_input_changed_in_place_is_noticed(name):
    x = torch.rand(4, 4, dtype=torch.float64, requires_grad=True)
    a = x + 1
    out = SAVED[name](a)
    a.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("function", [fa.softmax, fa.log_softmax, fa.exp, fa.tanh])
def test_a_saved_output_changed_in_place_is_noticed(function):
    out = function(torch.rand(4, 4, dtype=torch.float64, requires_grad=True))
    out.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_in_place_ops_count_as_changes():
    p = torch.ones(4, dtype=torch.float64, requires_grad=True)
    y = p * p
    g, m, v = torch.ones(4, dtype=torch.float64), *torch.zeros(2, 4, dtype=torch.float64)
    fa.adam_step([p], [g], [m], [v], step=1, lr=0.1)
    np.testing.assert_allclose(p.detach().numpy(), 0.9)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    version = g._version
    fa.sgd_step([p], [g], lr=0.1)
    assert g._version == version
    fa.sgd_step([p], [g], lr=0.1, zero_grads=True)
    fa.grad_scale([g], 2.0)
    fa.normal_(g, seed=0)
    assert g._version == version + 3
    assert fa.grad_norm([g]) > 0


def test_out():
    x = torch.rand(4, 4, dtype=torch.float64)
    out = torch.empty(4, 4, dtype=torch.float64)
    version = out._version
    assert fa.gelu(x, out=out) is out
    assert out._version > version
    assert_same_bits(out.numpy(), fa.gelu(x.numpy()))
    x.requires_grad_()
    with pytest.raises(RuntimeError, match="gelu: out= cannot be recorded for gradients; leave it out, or call under"):
        fa.gelu(x, out=out)
    with torch.no_grad():
        fa.gelu(x, out=out)
    x = torch.rand(4)
    with pytest.raises(ValueError, match="gelu: out overlaps x in memory"):
        fa.gelu(x[:3], out=x[1:])
    fa.gelu(x, out=x)


def test_mixed_kinds_are_refused():
    t, n = torch.ones(2, 2), np.ones((2, 2), np.float32)
    with pytest.raises(TypeError, match="matmul: a is a torch array and b a numpy array; pass arrays of one kind"):
        fa.matmul(t, n)
    with pytest.raises(TypeError, match="matmul: a is a numpy array and b a torch array"):
        fa.matmul(n, t)
    with pytest.raises(TypeError, match="matmul: a is a tensor array and b a torch array"):
        fa.matmul(fa.Tensor(n), t)
    with pytest.raises(TypeError, match=r"scaled_dot_product_attention: query is a torch array and attn_mask a numpy"):
        fa.scaled_dot_product_attention(t, t, t, np.ones((2, 2), bool))


def test_errors_are_those_of_ndarrays():
    with pytest.raises(ValueError, match=r"matmul: K of a is 3 and of b 4; a \(M2, K3\), b \(K4, N5\)"):
        fa.matmul(torch.ones(2, 3), torch.ones(4, 5))
    with pytest.raises(TypeError, match=r"gelu: x has dtype torch\.int16; expected float32, float64, bfloat16 or"):
        fa.gelu(torch.ones(3, dtype=torch.int16))
    with pytest.raises(TypeError, match="gelu: x cannot be read through DLPack"):
        fa.gelu(torch.ones(3, device="meta"))
    with pytest.raises(IndexError, match="embedding: index"):
        fa.embedding(torch.tensor([9]), torch.ones(5, 3))


def test_double_backward_is_refused():
    x = torch.rand(3, requires_grad=True)
    (g,) = torch.autograd.grad(fa.gelu(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        g.sum().backward()


def test_explain(isa):
    (what,) = fa.explain(fa.gelu, torch.ones(3))
    assert what.kernel == f"gelu_fwd_f32_{isa}"


# DLPack arrays of an unknown producer ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [n for n in CASES if not n.startswith(("log", "attention, boolean"))] + ["log_softmax"]
)
def test_foreign_arrays_give_ndarrays(rng, name):
    function, shapes = CASES[name]
    values = arrays(rng, shapes)
    found, expected = function(*map(Foreign, values)), function(*values)
    assert type(found[0] if isinstance(found, tuple) else found) is np.ndarray or np.ndim(found) == 0
    assert_same_bits(found, expected)


def test_ndarrays_beside_foreign_arrays(rng):
    a, b = arrays(rng, [(3, 4), (4, 5)])
    assert_same_bits(fa.matmul(Foreign(a), b), fa.matmul(a, b))
    assert_same_bits(fa.matmul(a, Foreign(b)), fa.matmul(a, b))
    out = np.zeros((3, 5))
    assert fa.matmul(a, Foreign(b), out=out) is out
    with pytest.raises(TypeError, match="matmul: a is a dlpack array and b a tensor array"):
        fa.matmul(Foreign(a), fa.Tensor(b))


def test_foreign_lists_are_changed_in_place():
    p, g, m, v = np.ones(4), np.ones(4), np.zeros(4), np.zeros(4)
    fa.adam_step(*([Foreign(x)] for x in (p, g, m, v)), step=1, lr=0.1)
    np.testing.assert_allclose(p, 0.9)
    with pytest.raises(TypeError, match="matmul: a is a dlpack array and b a torch array; pass arrays of one kind"):
        fa.matmul(Foreign(np.ones((2, 2))), torch.ones(2, 2))
