"""The layers of one op: values and gradients against torch's in float64, first weights, errors."""

import math

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn
from fastattn.nn import functional as F

LAYERS = {
    "linear": (lambda nn: nn.Linear(5, 3), (4, 5)),
    "linear 3d": (lambda nn: nn.Linear(5, 3), (2, 4, 5)),
    "linear 1d": (lambda nn: nn.Linear(5, 3), (5,)),
    "linear without bias": (lambda nn: nn.Linear(5, 3, bias=False), (4, 5)),
    "layer norm": (lambda nn: nn.LayerNorm(5), (2, 4, 5)),
    "layer norm of two axes": (lambda nn: nn.LayerNorm((4, 5), eps=1e-3), (2, 4, 5)),
    "layer norm without bias": (lambda nn: nn.LayerNorm(5, bias=False), (4, 5)),
    "layer norm without weight": (lambda nn: nn.LayerNorm(5, elementwise_affine=False), (4, 5)),
    "gelu": (lambda nn: nn.GELU(), (4, 5)),
    "gelu tanh": (lambda nn: nn.GELU(approximate="tanh"), (4, 5)),
    "relu": (lambda nn: nn.ReLU(), (4, 5)),
    "tanh": (lambda nn: nn.Tanh(), (4, 5)),
    "sigmoid": (lambda nn: nn.Sigmoid(), (4, 5)),
    "softmax": (lambda nn: nn.Softmax(dim=0), (4, 5)),
    "log softmax": (lambda nn: nn.LogSoftmax(dim=1), (4, 5)),
    "flatten": (lambda nn: nn.Flatten(), (2, 3, 4)),
    "identity": (lambda nn: nn.Identity(), (4, 5)),
    "dropout in eval": (lambda nn: nn.Dropout(0.5).eval(), (4, 5)),
    "mlp": (lambda nn: nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.LayerNorm(7), nn.Linear(7, 2)), (3, 5)),
}


@pytest.mark.parity
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_torchs(name):
    torch = pytest.importorskip("torch")
    build, shape = LAYERS[name]
    ours, theirs = build(nn).double(), build(torch.nn).double()
    ours.load_state_dict(theirs.state_dict())
    data = np.random.default_rng(0).standard_normal(shape)
    x, tx = fa.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, ty = ours(x), theirs(tx)
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-12, atol=1e-13)
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-10, atol=1e-12)
    for (name, p), (_, tp) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), tp.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parity
@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding_is_torchs(padding_idx):
    torch = pytest.importorskip("torch")
    ours = nn.Embedding(5, 3, padding_idx=padding_idx).double()
    theirs = torch.nn.Embedding(5, 3, padding_idx=padding_idx).double()
    assert ours.padding_idx == theirs.padding_idx
    if padding_idx is not None:
        assert not ours.weight[padding_idx].any()
    ours.load_state_dict(theirs.state_dict())
    ids = np.array([[0, 2, 2], [4, 1, 0]])
    y, ty = ours(fa.Tensor(ids)), theirs(torch.from_numpy(ids))
    np.testing.assert_array_equal(y.detach().numpy(), ty.detach().numpy())
    (y * y).sum().backward()
    (ty * ty).sum().backward()
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shapes", [((6, 5), (6,)), ((2, 5, 3), (2, 3)), ((5,), ())])
def test_cross_entropy_is_torchs(reduction, shapes):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    data, target = rng.standard_normal(shapes[0]), np.asarray(rng.integers(0, 5, shapes[1]))
    if target.ndim:
        target.flat[0] = -100
    x, tx = fa.tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    loss = nn.CrossEntropyLoss(reduction=reduction)(x, fa.Tensor(target))
    expected = torch.nn.CrossEntropyLoss(reduction=reduction)(tx, torch.from_numpy(target))
    np.testing.assert_allclose(loss.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
    (loss * loss).sum().backward()
    (expected * expected).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parity
def test_weighted_cross_entropy_is_torchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    data, target, weight = rng.standard_normal((6, 5)), rng.integers(0, 5, 6), rng.random(5)
    loss = nn.CrossEntropyLoss(fa.tensor(weight), label_smoothing=0.2)
    expected = torch.nn.CrossEntropyLoss(torch.tensor(weight), label_smoothing=0.2)
    found = loss(fa.tensor(data), fa.Tensor(target)).item()
    assert found == pytest.approx(expected(torch.tensor(data), torch.from_numpy(target)).item(), rel=1e-12)
    assert list(loss.state_dict()) == list(expected.state_dict()) == ["weight"]
    assert not nn.CrossEntropyLoss().state_dict()


def test_dropout():
    x = fa.ones(10_000, requires_grad=True)
    layer = nn.Dropout(0.25)
    y = layer(x)
    kept = (y != 0).float().mean().item()
    assert 0.73 < kept < 0.77
    assert y.max().item() == pytest.approx(1 / 0.75)
    y.sum().backward()
    assert (x.grad == y).all()  # the gradient passes where the value did
    assert not (layer(x) == y).all()
    assert layer.eval()(x) is x
    assert F.dropout(x, 0.0) is x
    assert not nn.Dropout(1.0)(x).any()
    for call in (lambda: nn.Dropout(1.5), lambda: F.dropout(x, -0.1)):
        with pytest.raises(ValueError, match=r"^[dD]ropout: p is .*; expected a probability, 0 to 1"):
            call()


def test_linear_with_epilogue():
    x, r = fa.randn(4, 5), fa.randn(4, 3)
    layer = nn.Linear(5, 3)
    fused = F.linear(x, layer.weight, layer.bias, activation="gelu_tanh", residual=r)
    np.testing.assert_allclose(fused.tolist(), (layer(x).gelu("tanh") + r).tolist(), rtol=1e-5, atol=1e-6)


def test_layer_norm_takes_any_strides():
    x, norm = fa.randn(4, 6, 3, dtype=fa.float64, requires_grad=True), nn.LayerNorm(6).double()
    expected = norm(x.transpose(1, 2).contiguous())
    assert (norm(x.transpose(1, 2)) == expected).all()
    assert (norm(x.transpose(1, 2)[:, ::2]) == expected[:, ::2]).all()
    assert fa.gradcheck(lambda x: norm(x.transpose(1, 2)), [x])
    assert norm(fa.ones(0, 6, dtype=fa.float64)).shape == (0, 6)


def test_functional_names():
    x = fa.randn(3, 4)
    assert (F.softmax(x, dim=1) == x.softmax(1)).all()
    assert (F.log_softmax(x, axis=0) == x.log_softmax(0)).all()
    assert F.softmax(x, dim=1, dtype=fa.float64).dtype == np.float64
    assert (F.gelu(x) == nn.GELU()(x)).all()
    assert (F.relu(x) == x.relu()).all()
    assert (F.sigmoid(x) == x.sigmoid()).all()
    assert (F.tanh(x) == x.tanh()).all()
    assert (F.layer_norm(x, 4) == nn.LayerNorm(4)(x)).all()
    q = fa.randn(1, 2, 3, 4)
    assert F.scaled_dot_product_attention(q, q, q, is_causal=True).shape == q.shape


# First weights -------------------------------------------------------------------------------------------------------


def close(tensor, mean, std):
    values = tensor.detach().numpy()
    assert values.mean() == pytest.approx(mean, abs=4 * std / math.sqrt(values.size))
    assert values.std() == pytest.approx(std, rel=0.05)


def test_first_weights_are_distributed_as_torchs():
    layer = nn.Linear(100, 80)
    bound = 1 / math.sqrt(100)
    close(layer.weight, 0, bound / math.sqrt(3))
    assert layer.weight.abs().max().item() <= bound
    assert 0 < layer.bias.abs().max().item() <= bound
    close(nn.Embedding(100, 80).weight, 0, 1)
    norm = nn.LayerNorm(7)
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()


def test_first_weights_follow_the_seed():
    fa.manual_seed(5)
    a = nn.Linear(3, 3)
    fa.manual_seed(5)
    assert (nn.Linear(3, 3).weight == a.weight).all()
    assert not (nn.Linear(3, 3).weight == a.weight).all()


@pytest.mark.parametrize("dtype", [fa.float32, fa.float64])
def test_dtypes_of_parameters(dtype):
    for layer in (nn.Linear(2, 2, dtype=dtype), nn.Embedding(2, 2, dtype=dtype), nn.LayerNorm(2, dtype=dtype)):
        assert {p.dtype for p in layer.parameters()} == {dtype}


@pytest.mark.parametrize(
    ("fill", "std"),
    [
        (lambda t: nn.init.uniform_(t, -1, 2), 3 / math.sqrt(12)),
        (lambda t: nn.init.normal_(t, std=0.3), 0.3),
        (lambda t: nn.init.xavier_uniform_(t), math.sqrt(2 / 500)),
        (lambda t: nn.init.xavier_normal_(t, gain=2.0), 2 * math.sqrt(2 / 500)),
        (lambda t: nn.init.kaiming_uniform_(t, nonlinearity="relu"), math.sqrt(2 / 300)),
        (lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="linear"), math.sqrt(1 / 200)),
        (lambda t: nn.init.kaiming_uniform_(t, a=math.sqrt(5)), math.sqrt(1 / 3 / 300)),
    ],
)
def test_init(fill, std):
    weight = nn.Parameter(fa.empty(200, 300))
    assert fill(weight) is weight
    assert weight.detach().numpy().std() == pytest.approx(std, rel=0.02)
    assert weight.requires_grad


@pytest.mark.parity
@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_are_torchs(name):
    torch = pytest.importorskip("torch")
    assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Embedding(4, 2, padding_idx=4), ValueError, "^Embedding: padding_idx 4 is outside the 4 rows"),
        (lambda: nn.Embedding(4, 2)(fa.tensor([4])), IndexError, "4"),
        (lambda: nn.Linear(4, 2)(fa.ones(3, 5)), ValueError, "^matmul: "),
        (lambda: nn.Linear(4, 2)(fa.ones(3, 4, dtype=fa.float64)), TypeError, "^matmul: "),
        (lambda: nn.LayerNorm(4)(fa.ones(3, 5)), ValueError, "^layer_norm: "),
        (
            lambda: nn.CrossEntropyLoss(label_smoothing=2.0)(fa.ones(2, 3), fa.arange(2)),
            ValueError,
            r"^cross_entropy: label_smoothing is 2\.0; expected 0 to 1",
        ),
        (lambda: F.cross_entropy(fa.ones(2, 3), fa.arange(2), fa.ones(2)), ValueError, "^cross_entropy: weight has"),
        (lambda: nn.init.xavier_uniform_(fa.ones(3)), ValueError, "^xavier_uniform_: shape is .* at least 2 axes"),
        (lambda: nn.init.kaiming_normal_(fa.ones(3, 3), mode="in"), ValueError, "^kaiming_normal_: mode is 'in'"),
        (lambda: nn.init.calculate_gain("what"), ValueError, "^calculate_gain: nonlinearity is 'what'"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
