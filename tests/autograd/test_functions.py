"""Free functions: on tensors, arrays and numbers; their errors; what torch cannot check for us."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import fastattn as fa
from fastattn.autograd import functions


def test_every_function_is_its_method():
    assert len(functions.METHODS) > 200
    for name in functions.METHODS:
        function = getattr(fa, name)
        assert function.__name__ == name
        assert function.__doc__ == getattr(fa.Tensor, name).__doc__
        assert next(iter(inspect.signature(function).parameters)) == "self"


def test_ndarrays_in_ndarrays_out():
    x = np.arange(6.0).reshape(2, 3)
    for out, expected in [
        (fa.sum(x, 1), x.sum(1)),
        (fa.cat([x, x]), np.concatenate([x, x])),
        (fa.where(x > 2, x, 0.0), np.where(x > 2, x, 0)),
        (fa.einsum("ij,kj->ik", x, x), x @ x.T),
        (fa.topk(x, 1).values, x[:, -1:]),
        (fa.split(x, 1)[1], x[1:]),
        (fa.maximum(x, 1.0), np.maximum(x, 1)),
    ]:
        assert type(out) is np.ndarray
        np.testing.assert_allclose(out, expected)
    assert type(fa.cat([fa.Tensor(x), fa.Tensor(x)])) is fa.Tensor
    assert type(fa.add(x, fa.Tensor(x))) is fa.Tensor
    assert type(fa.pow(2.0, fa.ones(2))) is fa.Tensor
    assert fa.sum(input=fa.ones(3)).item() == 3


LARGER = {
    "scatter": lambda a, b: a.scatter(1, fa.tensor([[0, 2], [1, 1]])[:, :1], b),
    "scatter_add": lambda a, b: a.scatter_add(1, fa.tensor([[0, 0, 2], [1, 1, 1]]), b),
    "masked_scatter": lambda a, b: a.masked_scatter(a > 0, b),
    "where of three shapes": lambda a, b: fa.where(a[:1] > 0, a, b[:, :1]),
    "cumprod of zeros": lambda a, b: (a * fa.tensor([[1.0, 0, 1], [0, 1, 0]], dtype=fa.float64)).cumprod(1) + b[:, :3],
    "renorm": lambda a, b: a.renorm(2, 0, 0.5) + b[:, :3],
    "clamp of both": lambda a, b: a.clamp(b[:, :3] - 1, b[:, :3] + 0.1),
}


@pytest.mark.parametrize("name", LARGER)
def test_gradients(name, normal):
    """Sources larger than what is taken from them (torch refuses their gradients), and broadcasts."""
    assert fa.gradcheck(LARGER[name], [normal(2, 3), normal(2, 5)])


def test_in_place_forms_keep_the_record():
    x = fa.tensor([1.0, 2.0], requires_grad=True)
    y = x * 1
    y.mul_(y).add_(1).exp_()
    y.sum().backward()
    expected = 2 * x.detach().numpy() * np.exp(x.detach().numpy() ** 2 + 1)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)
    z = x.exp()
    kept = z * z
    z.zero_()
    with pytest.raises(RuntimeError, match=r"changed in place after the op \(version 1, expected 0\)"):
        kept.sum().backward()


def test_views_in_place():
    x = fa.zeros(2, 3)
    y = x.clone().t_()
    assert y.shape == (3, 2)
    assert y.unsqueeze_(0).squeeze_().transpose_(0, 1).shape == (2, 3)
    z = fa.ones(2, 3, requires_grad=True)
    w = z * 2
    w.t_()
    (w * fa.tensor([[1.0, 2], [3, 4], [5, 6]])).sum().backward()
    assert z.grad.tolist() == [[2, 6, 10], [4, 8, 12]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: fa.abs("a"), TypeError, "^abs: input is a str; expected a Tensor, an ndarray or a number"),
        (lambda x: x.clamp(), ValueError, "^clamp: min and max are missing"),
        (lambda x: x.div(2, rounding_mode="up"), ValueError, "^div: rounding_mode is 'up'; expected None, "),
        (lambda x: x.gather(1, fa.ones(2, 3)), TypeError, "^gather: index is float32; expected integers"),
        (lambda x: x.gather(1, fa.tensor([0])), ValueError, "^gather: index has 1 axes; expected 2"),
        (lambda x: x.gather(1, fa.tensor([[7]])), IndexError, "^gather: index 7 is out of bounds"),
        (lambda x: x.scatter(1, fa.tensor([[7]]), 1.0), IndexError, "^scatter: index 7 is out of bounds"),
        (lambda x: x.scatter(1, fa.tensor([[0]]), x, reduce="max"), ValueError, "^scatter: reduce is 'max'; expected"),
        (lambda x: x.scatter_add(1, fa.tensor([[0]]), x.double()), TypeError, "^scatter_add: the source is float64"),
        (lambda x: x.index_select(0, fa.tensor([[0]])), ValueError, r"^index_select: index is int64 of shape \(1, 1\)"),
        (lambda x: x.index_select(0, fa.tensor([2])), IndexError, "^index_select: index 2 is out of bounds"),
        (lambda x: x.masked_select(x), TypeError, "^masked_select: mask is float32; expected bool"),
        (lambda x: x.masked_scatter(x > 0, fa.ones(2)), ValueError, "^masked_scatter: source has 2 elements; expected"),
        (lambda x: x.take_along_dim(fa.tensor([0]), 1), ValueError, "^take_along_dim: indices has 1 axes"),
        (lambda x: x.topk(4), ValueError, "^topk: k is 4; expected 0 to 3, the length of axis 1"),
        (lambda x: x.kthvalue(0), ValueError, "^kthvalue: k is 0; expected 1 to 3"),
        (lambda x: x.quantile(1.5), ValueError, "^quantile: q is 1.5; expected 0 to 1"),
        (lambda x: x.quantile(0.5, interpolation="x"), ValueError, "^quantile: interpolation is 'x'"),
        (lambda x: x[:, :0].median(1), ValueError, r"^median: axis 1 of shape \(2, 0\) has no elements"),
        (lambda x: x.norm("nuc"), ValueError, "^norm: p is 'nuc'; expected a number or \"fro\""),
        (lambda x: x.cumprod(), TypeError, "^cumprod: dim is missing"),
        (lambda x: x.narrow(1, 2, 2), ValueError, "^narrow: 2 slices from 2 on are outside axis 1 of length 3"),
        (lambda x: x.unfold(1, 4, 1), ValueError, "^unfold: size 4 and step 1 do not fit axis 1 of length 3"),
        (lambda x: x.tensor_split(0), ValueError, "^tensor_split: sections is 0"),
        (lambda x: x.unsqueeze(0).diag(), ValueError, r"^diag: shape is \(1, 2, 3\); expected 1 axis or 2"),
        (lambda x: x.mm(x[0]), ValueError, r"^mm: mat2 has shape \(3,\); expected 2 axes"),
        (lambda x: x.mv(x), ValueError, r"^mv: vec has shape \(2, 3\); expected 1 axis"),
        (lambda x: fa.bmm(fa.ones(2, 1, 1), fa.ones(3, 1, 1)), ValueError, "^bmm: batches of 2 and 3 matrices"),
        (lambda x: x.cross(x.T.T[:, :2]), ValueError, "^cross: shapes"),
        (lambda x: fa.tensordot(x, x, 1), ValueError, r"^tensordot: axes of lengths \(3,\) and \(2,\)"),
        (lambda x: fa.einsum("ij,jk", x), ValueError, "^einsum: 'ij,jk' has 2 operands; expected 1"),
        (lambda x: fa.einsum("ijk->i", x), ValueError, "^einsum: operand 0 has 2 axes, which 'ijk'"),
        (lambda x: fa.einsum("ij,ij->k", x, x), ValueError, "^einsum: the result 'k' of"),
        (lambda x: fa.einsum("ij,jk->ik", x, x), ValueError, "^einsum: axis 'j' of operand 1 has length 2; expected 3"),
        (lambda x: fa.broadcast_shapes((2,), (3,)), ValueError, r"^broadcast_shapes: \(2,\), \(3,\) do not broadcast"),
        (lambda x: fa.meshgrid(x[0], indexing="x"), ValueError, "^meshgrid: indexing is 'x'"),
        (lambda x: fa.searchsorted(x, fa.ones(3, 1)), ValueError, "^searchsorted: sequences of shape"),
        (lambda x: fa.multinomial(x - 2, 1), ValueError, "^multinomial: input of shape"),
        (lambda x: fa.multinomial(x, 4), ValueError, "^multinomial: 4 samples of 3 weights above 0"),
        (lambda x: fa.zeros(2, device="cuda"), ValueError, "^full: there is no device 'cuda'"),
        (lambda x: fa.Generator("cuda"), ValueError, "^Generator: there is no device 'cuda': "),
        (lambda x: fa.Generator("cuad"), ValueError, "^Generator: there is no device 'cuad'; expected 'cpu', 'cuda'"),
        (lambda x: x.to("cuad"), ValueError, "^to: there is no device 'cuad'; expected 'cpu', 'cuda' or 'cuda:0'$"),
        (lambda x: fa.nn.Linear(2, 2).to("cuad"), ValueError, "^to: there is no device 'cuad'; expected"),
        (lambda x: x.isclose("a"), TypeError, "^isclose: Tensor and str; expected tensors"),
    ],
)
def test_errors(call, error, message):
    x = fa.ones(2, 3)
    with pytest.raises(error, match=message):
        call(x)
    assert x.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_dtypes_by_name():
    assert fa.zeros(1, dtype=fa.float).dtype == fa.float32
    assert fa.zeros(1, dtype=fa.double).double().dtype == fa.float64
    assert fa.ones(1).to(fa.long).dtype == fa.int64
    assert fa.ones(1).to(fa.bool).dtype == fa.bool_
    assert fa.ones(1).half().dtype == fa.float16
    assert fa.ones(1).bfloat16().dtype == fa.bfloat16
    assert fa.ones(1, dtype=None).dtype == fa.get_default_dtype()
    assert fa.finfo(fa.float32).max > 1e38
    assert fa.iinfo(fa.int).max == 2**31 - 1


def test_devices_by_name():
    x = fa.ones(1, device=fa.device("cpu"))
    assert x.device == fa.device("cpu") == "cpu"
    assert (x.device.type, x.device.index) == ("cpu", None)
    assert fa.device("cuda", 1) == "cuda:1"
    assert fa.device("cuda:1").index == 1
    assert x.is_cpu
    assert not x.is_cuda
    assert x.get_device() == -1
    assert x.to(x.device, fa.float64, non_blocking=True).dtype == fa.float64


def test_generators_are_streams_of_their_own():
    a, b = fa.Generator().manual_seed(1), fa.Generator().manual_seed(1)
    fa.manual_seed(0)
    before = fa.get_rng_state()
    draws = [
        fa.randn(3, generator=a),
        fa.rand(3, generator=a),
        fa.randperm(9, generator=a),
        fa.empty(3).normal_(generator=a),
    ]
    assert fa.get_rng_state() == before
    twins = [
        fa.randn(3, generator=b),
        fa.rand(3, generator=b),
        fa.randperm(9, generator=b),
        fa.empty(3).normal_(generator=b),
    ]
    assert [t.tolist() for t in draws] == [t.tolist() for t in twins]
    state = a.get_state()
    first = fa.rand(2, generator=a).tolist()
    assert fa.rand(2, generator=a.set_state(state)).tolist() == first
    assert a.initial_seed() == 1
    assert pickle.loads(pickle.dumps(a)).get_state() == a.get_state()


def test_distributions():
    fa.manual_seed(0)
    assert fa.bernoulli(fa.full((4000,), 0.3)).mean().item() == pytest.approx(0.3, abs=0.03)
    assert fa.empty(4000).bernoulli_(0.2).mean().item() == pytest.approx(0.2, abs=0.03)
    assert fa.empty(4000).exponential_(2.0).mean().item() == pytest.approx(0.5, abs=0.05)
    assert set(fa.empty(100).random_(2, 5).tolist()) == {2, 3, 4}
    assert fa.normal(fa.tensor([0.0, 100.0]), 1.0).shape == (2,)
    assert fa.normal(5.0, 0.1, (1000,)).mean().item() == pytest.approx(5, abs=0.02)
    rows = fa.multinomial(fa.tensor([[1.0, 3.0], [1.0, 0.0]]), 2000, replacement=True)
    assert rows[0].float().mean().item() == pytest.approx(0.75, abs=0.04)
    assert not rows[1].any()
    assert sorted(fa.multinomial(fa.ones(5), 5).tolist()) == [0, 1, 2, 3, 4]
    assert fa.randint(3, (50,)).max().item() == 2
    assert fa.randint_like(fa.ones(3), 1, 2).tolist() == [1, 1, 1]


def test_copies_have_no_tape_and_keep_their_kind():
    buffer = fa.nn.Buffer(fa.ones(2), persistent=False)
    twin = copy.deepcopy(buffer)
    assert isinstance(twin, fa.nn.Buffer)
    assert twin.persistent is False
    x = fa.ones(2, requires_grad=True)
    x.register_hook(lambda g: g * 2)
    y = copy.deepcopy(x)
    y.sum().backward()
    assert y.grad.tolist() == [1, 1], "hooks stay with the tensor they were registered on"
    module = fa.nn.Linear(2, 2)
    module.last = module(fa.ones(1, 2))
    with pytest.raises(RuntimeError, match="only leaves can be pickled or deep-copied"):
        copy.deepcopy(module)


def test_nan_and_order():
    x = fa.tensor([np.nan, 1.0, 3.0, 2.0])
    assert x.sort().indices.tolist() == [1, 3, 2, 0]
    assert x.sort(descending=True).indices.tolist() == [0, 2, 3, 1]
    assert x.topk(2).indices.tolist() == [0, 2]
    assert np.isnan(x.median().item())
    ties = fa.tensor([1, 0, 1, 0])
    assert ties.argsort(descending=True).tolist() == [0, 2, 1, 3]
