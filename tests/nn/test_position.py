"""Layers of positions: their formulas, the positions that they are given, and what they refuse."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn


@pytest.mark.parametrize("width", [1, 2, 6, 7])
def test_sinusoids_are_the_formula(width, dtype):
    layer = nn.SinusoidalPositionalEncoding(width, base=100.0)
    y = layer(fa.zeros(2, 9, width, dtype=dtype)).numpy()
    assert y.dtype == dtype
    for t in range(9):
        for i in range(width):
            angle = t / 100.0 ** ((i - i % 2) / width)
            expected = np.asarray(np.cos(angle) if i % 2 else np.sin(angle)).astype(dtype)
            # Angle and power are rounded a few times in float64, then the table once.
            tolerance = 1e-14 if dtype == np.float64 else fa.finfo(dtype).eps
            assert (abs(y[:, t, i].astype(float) - float(expected)) <= tolerance).all()


def test_sinusoids_are_added():
    layer = nn.SinusoidalPositionalEncoding(4)
    x = fa.randn(2, 3, 4, requires_grad=True)
    y = layer(x)
    np.testing.assert_allclose((y - x).tolist(), np.broadcast_to(layer(fa.zeros(3, 4)).tolist(), (2, 3, 4)), atol=1e-6)
    y.sum().backward()
    assert (x.grad == 1).all()
    assert list(layer.state_dict()) == []


def layers():
    return [nn.SinusoidalPositionalEncoding(8), nn.LearnedPositionalEmbedding(32, 8), nn.RotaryEmbedding(8)]


@pytest.mark.parametrize("layer", layers(), ids=lambda x: type(x).__name__)
def test_positions(layer):
    """Given, of each row, or by default 0 to T - 1; shorter and longer sequences after one another."""
    x = fa.randn(2, 10, 8)
    whole = layer(x)
    assert (layer(x, np.arange(10)) == whole).all()
    assert (layer(x[:, :4]) == whole[:, :4]).all()
    assert (layer(x[:, 3:7], [3, 4, 5, 6]) == whole[:, 3:7]).all()
    long = layer(fa.cat([x, x], 1))
    assert (long[:, :10] == whole).all()
    own = layer(x[:, :2], fa.tensor([[0, 1], [7, 3]]))
    assert (own[0] == whole[0, :2]).all()
    assert (own[1] == layer(x[1:, :2], [7, 3])[0]).all()


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dim", [8, 4])
def test_rotary_is_rope(interleaved, dim):
    layer = nn.RotaryEmbedding(dim, base=50.0, interleaved=interleaved)
    for dtype in (np.float32, np.float64):
        x = fa.randn(2, 3, 5, 8, dtype=dtype)
        tables = fa.rope_cos_sin(5, dim, 50.0, dtype=dtype)
        np.testing.assert_array_equal(layer(x).numpy(), fa.rope(x.numpy(), *tables, interleaved=interleaved))
    half = layer(x.bfloat16())
    assert half.dtype == fa.bfloat16


def test_rotated_products_depend_on_the_distance():
    layer = nn.RotaryEmbedding(8)
    q, k = fa.randn(8, dtype=fa.float64), fa.randn(8, dtype=fa.float64)
    q, k = layer(q.expand(12, 8)), layer(k.expand(12, 8))
    scores = (q @ k.T).numpy()
    for d in range(-11, 12):
        diagonal = np.diagonal(scores, d)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-11, atol=1e-12)


def test_the_learned_table_is_learned():
    layer = nn.LearnedPositionalEmbedding(6, 4)
    assert list(layer.state_dict()) == ["weight"]
    layer(fa.zeros(3, 4, 4)).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), [[3] * 4] * 4 + [[0] * 4] * 2)
    layer.zero_grad()
    layer(fa.zeros(3, 2, 4), [5, 0]).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [3, 0, 0, 0, 0, 3])
    wide = nn.LearnedPositionalEmbedding(100, 100)
    assert wide.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_dropout_of_sinusoids():
    layer = nn.SinusoidalPositionalEncoding(64, dropout=0.5)
    assert 0.3 < (layer(fa.ones(20, 64)) == 0).numpy().mean() < 0.7
    assert (layer.eval()(fa.ones(20, 64)) != 0).numpy().mean() > 0.9


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.SinusoidalPositionalEncoding(0),
            ValueError,
            "^SinusoidalPositionalEncoding: d_model is 0; expected a positive number$",
        ),
        (lambda: nn.SinusoidalPositionalEncoding(4, dropout=2.0), ValueError, "p is 2.0; expected a probability"),
        (
            lambda: nn.SinusoidalPositionalEncoding(4)(fa.ones(3, 5)),
            ValueError,
            r"^SinusoidalPositionalEncoding: x has shape \(3, 5\); expected \(..., T, 4\), d_model$",
        ),
        (
            lambda: nn.SinusoidalPositionalEncoding(4)(fa.ones(2, 3, 4), [0, 1]),
            ValueError,
            r"positions has shape \(2,\); expected \(T,\) or \(B, T\) for an x of shape \(2, 3, 4\)$",
        ),
        (
            lambda: nn.RotaryEmbedding(4)(fa.ones(2, 3, 4), np.zeros((3, 3))),
            ValueError,
            r"positions has shape \(3, 3\)",
        ),
        (lambda: nn.RotaryEmbedding(3), ValueError, "^RotaryEmbedding: dim is 3; expected a positive even number"),
        (lambda: nn.RotaryEmbedding(0), ValueError, "^RotaryEmbedding: dim is 0"),
        (
            lambda: nn.LearnedPositionalEmbedding(4, 8)(fa.ones(5, 8)),
            ValueError,
            r"^LearnedPositionalEmbedding: x has shape \(5, 8\); expected at most 4 positions, max_len$",
        ),
        (lambda: nn.LearnedPositionalEmbedding(4, 8)(fa.ones(8)), ValueError, r"x has shape \(8,\); expected"),
        (lambda: nn.LearnedPositionalEmbedding(4, 8)(fa.ones(1, 8), [4]), IndexError, "4"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
