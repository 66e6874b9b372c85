"""The ops on tensors: recorded where a gradient is needed, plain otherwise, with ndarrays beside tensors."""

import numpy as np
import pytest

import fastattn as fa

OPS = {
    "matmul": (lambda a, b: fa.matmul(a, b), [(3, 4), (4, 2)]),
    "matmul transposed": (lambda a, b: fa.matmul(a, b, transpose_a=True, transpose_b=True), [(4, 3), (2, 4)]),
    "matmul of batches": (lambda a, b: fa.matmul(a, b), [(2, 1, 3, 4), (5, 4, 2)]),
    "matmul of vectors": (lambda a, b: fa.matmul(a, b), [(4,), (4,)]),
    "matmul with bias and residual": (
        lambda a, b, c, r: fa.matmul(a, b, bias=c, activation="gelu", residual=r),
        [(3, 4), (4, 2), (2,), (3, 2)],
    ),
    "softmax with mask": (lambda x, m: fa.softmax(x, mask=m, scale=0.5), [(2, 3, 4), (3, 1)]),
    "log_softmax": (lambda x: fa.log_softmax(x, axis=0), [(3, 4)]),
    "layer_norm": (lambda x, w, b: fa.layer_norm(x, (3, 4), w, b), [(2, 3, 4), (3, 4), (3, 4)]),
    "gelu": (lambda x: fa.gelu(x), [(3, 4)]),
    "gelu tanh": (lambda x: fa.gelu(x, "tanh"), [(3, 4)]),
    "exp": (lambda x: fa.exp(x), [(3, 4)]),
    "log": (lambda x: fa.log(x * x + 1), [(3, 4)]),
    "tanh": (lambda x: fa.tanh(x), [(3, 4)]),
    "erf": (lambda x: fa.erf(x), [(3, 4)]),
    "dropout": (lambda x: fa.dropout(x, 0.5, seed=3), [(3, 4)]),
    "embedding": (lambda w: fa.embedding(fa.tensor([[0, 2], [2, 1]]), w, padding_idx=3), [(4, 3)]),
    "cross_entropy": (lambda x: fa.cross_entropy(x, fa.tensor([0, 2, -100])), [(3, 4)]),
    "attention": (lambda q, k, v: fa.scaled_dot_product_attention(q, k, v), [(2, 3, 4), (2, 5, 4), (2, 5, 6)]),
    "attention with mask": (
        lambda q, k, v, m: fa.scaled_dot_product_attention(q, k, v, m, is_causal=True),
        [(1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), (3, 3)],
    ),
    "attention and lse": (
        lambda q, k, v: fa.scaled_dot_product_attention(q, k, v, return_lse=True, layout="bthd"),
        [(1, 3, 2, 4), (1, 5, 2, 4), (1, 5, 2, 4)],
    ),
}


@pytest.mark.parametrize("name", OPS)
def test_gradients(name, normal):
    function, shapes = OPS[name]
    assert fa.gradcheck(function, [normal(*shape) for shape in shapes])


# How many arguments, from the first, may have any strides; by default all.
STRIDED = {"layer_norm": 0, "matmul with bias and residual": 2, "embedding": 0}


@pytest.mark.parametrize("name", sorted(OPS.keys() - {"attention and lse"}))
def test_gradients_of_views_and_from_views(name, normal):
    # Strided inputs, and a gradient that is strided: inputs are transposed views, and so is what follows the op.
    function, shapes = OPS[name]
    n = STRIDED.get(name, len(shapes))
    inputs = [normal(*(reversed(shape) if i < n else shape)) for i, shape in enumerate(shapes)]

    def transposed(*arrays):
        return function(*[x.T if i < n else x for i, x in enumerate(arrays)]).T * 2

    assert fa.gradcheck(transposed, inputs)


@pytest.mark.parametrize("which", range(4))
def test_only_what_is_needed_is_computed(which, normal):
    function, shapes = OPS["matmul with bias and residual"]
    inputs = [normal(*shape, requires_grad=i == which) for i, shape in enumerate(shapes)]
    function(*inputs).sum().backward()
    assert [x.grad is not None for x in inputs] == [i == which for i in range(4)]
    assert fa.gradcheck(function, inputs)


def test_ndarrays_beside_tensors():
    x, w = np.ones((2, 3)), fa.ones(3, 2, dtype=fa.float64, requires_grad=True)
    y = fa.matmul(x, w)
    assert isinstance(y, fa.Tensor)
    y.sum().backward()
    assert w.grad.tolist() == [[2, 2]] * 3
    assert isinstance(fa.matmul(x, x.T), np.ndarray)


def test_out():
    x, out = fa.ones(3), fa.zeros(3)
    assert fa.exp(x, out=out) is out
    assert out.version == 1
    np.testing.assert_allclose(out.numpy(), np.exp(1), rtol=1e-6)
    target = np.zeros(3, np.float32)
    assert fa.exp(x, out=target) is target
    with pytest.raises(RuntimeError, match=r"^exp: out= cannot be recorded for gradients"):
        fa.exp(x.requires_grad_(), out=out)
    with fa.no_grad():
        assert fa.exp(x, out=x) is x


def test_in_place_ops_are_noticed():
    x = fa.ones(3, dtype=fa.float64, requires_grad=True)
    y = x.exp()
    with fa.no_grad():
        fa.exp(y, out=y)
    with pytest.raises(RuntimeError, match=r"^exp: a tensor that its gradient needs was changed in place"):
        y.sum().backward()
    z = fa.ones(2)
    fa.uniform_(z)
    assert z.version == 1


def test_nothing_is_recorded_without_need():
    x = fa.ones(3, requires_grad=True)
    with fa.no_grad():
        assert fa.exp(x).grad_fn is None
    assert fa.exp(x.detach()).grad_fn is None
    index = fa.tensor([0])
    assert fa.embedding(index, fa.ones(2, 2)).grad_fn is None


def test_a_gradient_that_reaches_only_lse(normal):
    q, k, v = normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 6)

    def lse(q, k):
        return fa.scaled_dot_product_attention(q, k, v.detach(), return_lse=True).lse

    assert fa.gradcheck(lse, [q, k])


def test_errors_name_the_argument():
    with pytest.raises(TypeError, match=r"^exp: x is a list; expected an array"):
        fa.exp([1.0])
    with pytest.raises(ValueError, match=r"^matmul: "):
        fa.matmul(fa.ones(2, 3), fa.ones(2, 3))
