"""MLP against torch's layers in a row, and what it refuses."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.models import MLP, MLPConfig


@pytest.mark.parity
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "silu"])
@pytest.mark.parametrize("widths", [[], [7], [7, 5]])
@pytest.mark.parametrize("bias", [True, False])
def test_is_torchs(activation, widths, bias, randn):
    torch = pytest.importorskip("torch")
    ours = MLP(MLPConfig(6, widths, 3, activation, bias=bias)).double()
    weights = {name: torch.tensor(p.detach().numpy(), requires_grad=True) for name, p in ours.named_parameters()}
    x = randn(4, 2, 6)
    mine, other = fa.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = other
    for i in range(len(widths) + 1):
        y = torch.nn.functional.linear(y, weights[f"layers.{i}.weight"], weights.get(f"layers.{i}.bias"))
        y = getattr(torch.nn.functional, activation)(y) if i < len(widths) else y
    found = ours(mine)
    np.testing.assert_allclose(found.detach().numpy(), y.detach().numpy(), rtol=1e-12, atol=1e-13)
    (found * found).sum().backward()
    (y * y).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-11, atol=1e-12)
    for name, p in ours.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), weights[name].grad.numpy(), rtol=1e-11, atol=1e-12, err_msg=name)


def test_images_and_dropout():
    model = MLP(MLPConfig(12, [8], 2, dropout=0.5, flatten=True))
    images = fa.randn(3, 1, 3, 4)
    assert not (model(images) == model(images)).all()
    model.eval()
    np.testing.assert_array_equal(model(images).tolist(), model(images.flatten(1)).tolist())
    assert list(model.state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]


def test_folder(tmp_path):
    model = MLP(MLPConfig(6, [5, 4], 3, "gelu")).eval()
    model.save_pretrained(tmp_path)
    x = fa.randn(2, 6)
    for again in (MLP.from_pretrained(tmp_path), fa.io.from_pretrained(tmp_path)):
        assert again.config == model.config
        np.testing.assert_array_equal(again(x).tolist(), model(x).tolist())


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: MLPConfig(0, [4], 3), "^MLPConfig: in_features is 0; expected a positive number$"),
        (lambda: MLPConfig(6, [0], 3), r"^MLPConfig: hidden_features is \(0,\); expected positive numbers$"),
        (lambda: MLPConfig(6, [4], -3), "^MLPConfig: out_features is -3; expected a positive number$"),
        (lambda: MLPConfig(6, [4], 3, "mish"), "^MLPConfig: activation is 'mish'; expected gelu or "),
        (lambda: MLPConfig(6, [4], 3, dropout=2.0), "^MLPConfig: dropout is 2.0; expected a probability$"),
        (lambda: MLP(MLPConfig(6, [4], 3))(fa.ones(2, 5)), r"^MLP: input has shape \(2, 5\); expected \(..., 6\)$"),
        (lambda: MLP(MLPConfig(6, [4], 3, flatten=True))(fa.ones(2, 5, 6)), r"^MLP: input has shape \(2, 30\)"),
    ],
)
def test_errors(run, message):
    with pytest.raises(ValueError, match=message):
        run()
