"""Lists and dicts of parameters and modules; fills; parameters as a vector; padded sequences."""

import math

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn


def test_lists_of_parameters():
    a, b = nn.Parameter(fa.zeros(2)), fa.ones(3)
    listed = nn.ParameterList([a])
    listed.append(b).extend([a])
    assert len(listed) == 3
    assert listed[0] is listed[-1] is a
    assert isinstance(listed[1], nn.Parameter)
    assert next(iter(listed[1:])) is listed[1]
    listed[1] = a
    assert list(listed) == [a, a, a]
    listed += [b]
    assert list(listed.state_dict()) == ["0", "1", "2", "3"]
    with pytest.raises(IndexError, match=r"^ParameterList: index 4 is outside its 4 parameters"):
        listed[4]
    with pytest.raises(TypeError, match=r"^ParameterList: '0' is a int; expected a Parameter or a tensor"):
        listed[0] = 3


def test_dicts_of_parameters():
    d = nn.ParameterDict({"a": fa.ones(1)})
    d["b"] = nn.Parameter(fa.zeros(2))
    d.update({"c": fa.ones(3)})
    assert list(d) == list(d.keys()) == list(dict(d.items())) == ["a", "b", "c"]
    assert "b" in d
    assert d.get("z") is None
    assert d.pop("b").shape == (2,)
    del d["a"]
    assert [p.shape for p in d.values()] == [(3,)]
    assert [name for name, _ in d.named_parameters()] == ["c"]
    d.clear()
    assert len(d) == 0


@pytest.mark.parity
def test_state_dict_keys_are_torchs():
    torch = pytest.importorskip("torch")

    def build(library):
        nn = library.nn
        net = nn.Module()
        net.a = nn.ParameterList([library.zeros(1), library.ones(2)])
        net.b = nn.ParameterDict({"x": library.zeros(1), "y": library.ones(2)})
        net.c = nn.Sequential(nn.Linear(1, 1)) + nn.Sequential(nn.PReLU(), nn.Bilinear(1, 1, 1))
        net.c.pop(0)
        net.d = nn.Buffer(library.ones(1))
        net.e = nn.Buffer(library.ones(1), persistent=False)
        net.set_submodule("c.0", nn.PReLU(2))
        return net

    ours, theirs = build(fa), build(torch)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    assert ours.get_buffer("d").item() == 1
    assert ours.get_submodule("c.0").num_parameters == 2


def test_more_of_module_dicts_and_sequences():
    d = nn.ModuleDict({"a": nn.Linear(1, 1)})
    d.update({"b": nn.GELU()})
    assert isinstance(d.pop("b"), nn.GELU)
    d.clear()
    assert len(d) == 0
    net = nn.Sequential(nn.Linear(1, 2), nn.GELU())
    assert isinstance(net.pop(), nn.GELU)
    net += nn.Sequential(nn.Linear(2, 3))
    assert net(fa.ones(1, 1)).shape == (1, 3)
    with pytest.raises(AttributeError, match=r"^Sequential has no buffer '0.nothing'"):
        net.get_buffer("0.nothing")


def test_casts_of_modules():
    net = nn.Linear(2, 2)
    assert net.half().weight.dtype == fa.float16
    assert net.bfloat16().weight.dtype == fa.bfloat16
    assert net.type(fa.float64).weight.dtype == fa.float64
    assert net.to(device="cpu", dtype=fa.float32, non_blocking=True).weight.dtype == fa.float32


def test_a_pretrained_table():
    layer = nn.Embedding.from_pretrained(fa.tensor([[1.0, 2], [3, 4]]))
    assert layer(fa.tensor([1])).tolist() == [[3, 4]]
    assert not layer.weight.requires_grad
    assert nn.Embedding.from_pretrained(fa.ones(2, 2), freeze=False).weight.requires_grad


# Fills --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(-2, 2), (-0.1, 0.2), (1.5, 8.0), (4.0, 4.1), (-9, -3)])
def test_truncated_normal_numbers(a, b):
    fa.manual_seed(0)
    values = nn.init.trunc_normal_(fa.empty(200, 100), a=a, b=b).numpy()
    assert a <= values.min() <= values.max() <= b
    grid = np.linspace(a, b, 20001)
    density = np.exp(-grid * grid / 2)
    mean = (grid * density).sum() / density.sum()
    std = math.sqrt(((grid - mean) ** 2 * density).sum() / density.sum())
    assert values.mean() == pytest.approx(mean, abs=4 * std / math.sqrt(values.size))
    assert values.std() == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3)])
def test_orthogonal_matrices(shape):
    w = nn.init.orthogonal_(fa.empty(*shape, dtype=fa.float64), gain=2.0).reshape(shape[0], -1).numpy()
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(4, 4, 3), (6, 3, 3, 3), (4, 2, 1, 3, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_is_torchs(shape, groups):
    torch = pytest.importorskip("torch")
    expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    np.testing.assert_array_equal(nn.init.dirac_(fa.empty(shape), groups).numpy(), expected)


def test_other_fills():
    assert nn.init.eye_(fa.empty(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    sparse = nn.init.sparse_(nn.Parameter(fa.empty(10, 4)), 0.25)
    assert ((sparse == 0).sum(0) == 3).all()
    g = [fa.Generator().manual_seed(2) for _ in range(2)]
    fills = (nn.init.kaiming_normal_, nn.init.xavier_uniform_, nn.init.orthogonal_, nn.init.trunc_normal_)
    for fill in fills:
        a, b = (fill(fa.empty(3, 4), generator=generator) for generator in g)
        assert a.tolist() == b.tolist()


# Utilities ----------------------------------------------------------------------------------------------------------


def test_parameters_as_a_vector():
    net = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (9,)
    nn.utils.vector_to_parameters(vector.detach() + 1, net.parameters())
    assert (nn.utils.parameters_to_vector(net.parameters()) == vector + 1).all()
    with pytest.raises(ValueError, match=r"^vector_to_parameters: 8 elements for 9 of the parameters"):
        nn.utils.vector_to_parameters(fa.ones(8), net.parameters())


def test_norms_and_clipping_apart():
    w, v = fa.zeros(2, requires_grad=True), fa.zeros(1, requires_grad=True)
    (w * fa.tensor([3.0, 4.0])).sum().backward()
    total = nn.utils.get_total_norm([w.grad])
    assert total.item() == 5
    nn.utils.clip_grads_with_norm_([w, v], 1.0, total)
    assert w.grad.norm().item() == pytest.approx(1, rel=1e-5)
    assert nn.utils.get_total_norm([w.grad], float("inf")).item() == pytest.approx(0.8, rel=1e-5)
    with pytest.raises(RuntimeError, match=r"^get_total_norm: the norm is nan"):
        nn.utils.get_total_norm([fa.tensor([np.nan])], error_if_nonfinite=True)


@pytest.mark.parity
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_sequences_are_torchs(batch_first, side):
    torch = pytest.importorskip("torch")
    arrays = [np.random.default_rng(n).standard_normal((n, 2)) for n in (3, 1, 4)]
    found = []
    for library in (fa, torch):
        sequences = [library.tensor(a, requires_grad=True) for a in arrays]
        rnn = library.nn.utils.rnn
        out = rnn.pad_sequence(sequences, batch_first=batch_first, padding_value=9.0, padding_side=side)
        (out * out).sum().backward()
        found.append([out.detach().numpy(), *[s.grad.numpy() for s in sequences]])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs)
    if side == "right":
        out = fa.tensor(found[0][0])
        back = fa.nn.utils.rnn.unpad_sequence(out, fa.tensor([3, 1, 4]), batch_first=batch_first)
        for ours, array in zip(back, arrays, strict=True):
            np.testing.assert_array_equal(ours.numpy(), array)


@pytest.mark.parity
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pad", [(1, 2), (0, 3), (2, 0, 1, 1), (1, 1, 1, 1)])
def test_padding_is_torchs(mode, pad):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5) if len(pad) == 4 else (2, 3, 5))
    found = []
    for library in (fa, torch):
        t = library.tensor(x, requires_grad=True)
        out = library.nn.functional.pad(t, pad, mode, **({"value": 7.0} if mode == "constant" else {}))
        (out * out * library.tensor(np.arange(out.numel()).reshape(tuple(out.shape)))).sum().backward()
        found.append((out.detach().numpy(), t.grad.numpy()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)


@pytest.mark.parity
def test_vectors_are_torchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((4, 5), (4, 5), (3, 5, 5), (3,))]
    arrays[0][1] = 0
    found = []
    for library in (fa, torch):
        F = library.nn.functional
        a, b, w, bias = (library.tensor(x, requires_grad=True) for x in arrays)
        outs = [
            F.normalize(a, dim=1),
            F.normalize(b, p=3, dim=0),
            F.cosine_similarity(a, b),
            F.pairwise_distance(a, b, p=3, keepdim=True),
            F.bilinear(a, b, w, bias),
            library.nn.CosineSimilarity(dim=0)(a, b),
            library.nn.PairwiseDistance(p=1)(a, b),
            F.pad(a, (-1, 2, 0, -1)),
        ]
        sum((o * o).sum() for o in outs).backward()
        hot = F.one_hot(library.tensor([[0, 3], [2, 2]]), 5)
        found.append([o.detach().numpy() for o in outs] + [t.grad.numpy() for t in (a, b, w, bias)] + [hot.numpy()])
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda F: F.pad(fa.ones(2), (1,)), ValueError, "^pad: 1 numbers for 1 axes"),
        (lambda F: F.pad(fa.ones(2), (1, 1), "mirror"), ValueError, "^pad: mode is 'mirror'"),
        (lambda F: F.pad(fa.ones(2), (1, 1), "reflect", 3.0), ValueError, "^pad: value is 3.0, but mode is 'reflect'"),
        (lambda F: F.pad(fa.ones(2), (2, 0), "reflect"), ValueError, "^pad: 2 elements in mode 'reflect' on axis 0"),
        (lambda F: F.one_hot(fa.tensor([3]), 3), ValueError, "^one_hot: 3 is outside the 3 classes"),
        (lambda F: F.one_hot(fa.ones(2)), TypeError, "^one_hot: dtype is float32; expected integers"),
        (lambda F: F.bilinear(fa.ones(2), fa.ones(3), fa.ones(1, 2, 2)), ValueError, "^bilinear: inputs of 2 and 3"),
        (lambda F: nn.init.trunc_normal_(fa.ones(2), a=1, b=0), ValueError, "^trunc_normal_: a is 1 and b 0"),
        (lambda F: nn.init.eye_(fa.ones(2)), ValueError, r"^eye_: shape is \(2,\); expected 2 axes"),
        (lambda F: nn.init.dirac_(fa.ones(3, 1, 1), 2), ValueError, "^dirac_: shape is"),
        (lambda F: nn.init.orthogonal_(fa.ones(3)), ValueError, "^orthogonal_: shape is .* at least 2 axes"),
        (lambda F: nn.init.sparse_(fa.ones(3), 0.5), ValueError, r"^sparse_: shape is \(3,\); expected 2 axes"),
        (lambda F: nn.utils.rnn.pad_sequence([]), ValueError, "^pad_sequence: an empty list"),
        (
            lambda F: nn.utils.rnn.pad_sequence([fa.ones(1)], padding_side="up"),
            ValueError,
            "^pad_sequence: padding_side",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(nn.functional)
