"""LeNet against torch's layers in a row, its folder, and what it refuses."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.models import LeNet, LeNetConfig
from fastattn.models.lenet import pooled_convolution

SIZES = {"image_size": (9, 12), "num_channels": 3, "channels": (4, 6), "kernel_size": 3, "num_labels": 5}


@pytest.mark.parity
@pytest.mark.parametrize("hidden_size", [0, 7])
def test_is_torchs(hidden_size, randn):
    torch = pytest.importorskip("torch")
    ours = LeNet(LeNetConfig(**SIZES, hidden_size=hidden_size)).double()
    nn, layers = torch.nn, []
    for n, m in [(3, 4), (4, 6)]:
        layers += [nn.Conv2d(n, m, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), *([nn.Linear(36, hidden_size), nn.ReLU()] if hidden_size else [])]
    theirs = nn.Sequential(*layers, nn.Linear(hidden_size or 36, 5)).double()
    ordered = dict(zip(ours.state_dict(), theirs.parameters(), strict=True))
    ours.load_state_dict({name: p.detach().numpy() for name, p in ordered.items()})
    x, labels = randn(4, 3, 9, 12), np.array([0, 4, 2, 2])
    logits, loss = ours(x, labels)
    expected = theirs(torch.from_numpy(x))
    other = nn.functional.cross_entropy(expected, torch.from_numpy(labels))
    np.testing.assert_allclose(logits.detach().numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(loss.item(), other.item(), rtol=1e-12)
    loss.backward()
    other.backward()
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), ordered[name].grad.numpy(), rtol=1e-10, atol=1e-13, err_msg=name)


def test_hooks_see_channels_first(randn):
    """Without hooks the layers are called with the channels last."""
    model, x, seen = LeNet(LeNetConfig(**SIZES)).double(), randn(2, 3, 9, 12), []
    expected = model(x)
    expected.square().sum().backward()
    gradients = [p.grad.numpy() for p in model.parameters()]
    model.zero_grad()
    for layer in (model.convolutions[0], model.pool):
        layer.register_forward_hook(lambda layer, inputs, out: seen.append((inputs[0].shape, out.shape)))
    found = model(x)
    found.square().sum().backward()
    assert seen == [
        ((2, 3, 9, 12), (2, 4, 9, 12)),
        ((2, 4, 9, 12), (2, 4, 4, 6)),
        ((2, 6, 4, 6), (2, 6, 2, 3)),
    ]
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("convolution", "pool"),
    [
        (lambda: fa.nn.Conv2d(3, 4, 3, padding=1, bias=False), lambda: fa.nn.AvgPool2d(2)),
        (lambda: fa.nn.Conv2d(3, 4, 5, padding=2, padding_mode="reflect"), lambda: fa.nn.MaxPool2d(3, 2, 1)),
        (lambda: fa.nn.Sequential(fa.nn.Conv2d(3, 4, 3, padding="same")), lambda: fa.nn.MaxPool2d(2, ceil_mode=False)),
    ],
)
def test_other_layers_in_their_places(convolution, pool, randn):
    convolution, pool, x = convolution().double(), pool(), fa.tensor(randn(2, 3, 9, 12))
    found = pooled_convolution(convolution, pool, x.movedim(1, -1)).movedim(-1, 1)
    np.testing.assert_allclose(found.detach().numpy(), pool(convolution(x).relu()).detach().numpy(), rtol=1e-12)


def test_windows_without_a_positive_number(randn):
    """The ReLU comes after the pooling: values and gradients are those of the other order."""
    model = LeNet(LeNetConfig(**SIZES | {"channels": (4,)})).double()
    (layer,), F = model.convolutions, fa.nn.functional
    with fa.no_grad():
        layer.bias.copy_(fa.tensor([-100.0, -1.0, 0.0, np.nan]))
        layer.weight[2] = 0.0  # all are equal, and 0
    x, dout = fa.Tensor(randn(2, 3, 9, 12)), fa.Tensor(randn(2, 4, 4, 6))
    results = []
    for h in (
        F.max_pool2d(F.relu(layer(x)), 2),
        pooled_convolution(layer, model.pool, x.movedim(1, -1)).movedim(-1, 1),
    ):
        model.zero_grad()
        h.backward(dout)
        results.append((h.detach().numpy(), layer.bias.grad.numpy()))
    np.testing.assert_array_equal(results[1][0], results[0][0])
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-12)
    assert (results[0][1][[0, 2]] == 0).all()


def test_folder(tmp_path, randn):
    model = LeNet(LeNetConfig(**SIZES | {"num_labels": 2}, id2label={0: "cat", 1: "dog"}, hidden_size=3)).eval()
    model.save_pretrained(tmp_path)
    x = randn(2, 3, 9, 12, dtype=np.float32)
    for again in (LeNet.from_pretrained(tmp_path), fa.io.from_pretrained(tmp_path)):
        assert again.config == model.config
        np.testing.assert_array_equal(again(x).tolist(), model(x).tolist())


def test_dropout(randn):
    x = randn(2, 3, 9, 12, dtype=np.float32)
    model = LeNet(LeNetConfig(**SIZES, dropout=0.5))
    assert not (model(x) == model(x)).all()
    model.eval()
    assert (model(x) == model(x)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_channels": 0}, "^LeNetConfig: num_channels is 0; expected a positive number$"),
        ({"kernel_size": 4}, "^LeNetConfig: kernel_size is 4; expected an odd number$"),
        ({"channels": ()}, r"^LeNetConfig: channels is \(\); expected positive numbers$"),
        ({"channels": (4, 0)}, r"^LeNetConfig: channels is \(4, 0\); expected positive numbers$"),
        ({"hidden_size": -1}, "^LeNetConfig: hidden_size is -1; expected a number of at least 0$"),
        ({"dropout": 1.5}, "^LeNetConfig: dropout is 1.5; expected a probability$"),
        ({"image_size": 3}, "^LeNetConfig: image_size is 3; expected at least 4, which the poolings halve to 1$"),
        ({"num_labels": 0}, "^LeNetConfig: num_labels is 0; expected a positive number$"),
    ],
)
def test_errors_of_the_config(changes, message):
    with pytest.raises(ValueError, match=message):
        LeNetConfig(**SIZES | changes)


def test_errors():
    model = LeNet(LeNetConfig(**SIZES))
    with pytest.raises(ValueError, match=r"^LeNet: pixel_values has shape \(2, 3, 9, 9\); expected \(B, 3, 9, 12\)$"):
        model(fa.zeros(2, 3, 9, 9))
    with pytest.raises(ValueError, match=r"^LeNet: labels has shape \(3,\); expected \(2,\)$"):
        model(fa.zeros(2, 3, 9, 12), fa.tensor([0, 1, 2]))
