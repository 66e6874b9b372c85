"""Clipping of gradients."""

import math

import numpy as np
import pytest

import fastattn as fa
from fastattn.nn.utils import clip_grad_norm_, clip_grad_value_


def parameters(*grads):
    found = []
    for g in grads:
        p = fa.zeros(len(g), dtype=fa.float64, requires_grad=True)
        p.grad = fa.tensor(g, dtype=fa.float64)
        found.append(p)
    return found


@pytest.mark.parity
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_is_torchs(norm_type, max_norm):
    torch = pytest.importorskip("torch")
    grads = [[3.0, -4.0], [1.0, 2.0, 0.5]]
    ours = parameters(*grads)
    theirs = [torch.zeros(len(g), dtype=torch.float64, requires_grad=True) for g in grads]
    for p, g in zip(theirs, grads, strict=True):
        p.grad = torch.tensor(g, dtype=torch.float64)
    total = clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert total.item() == pytest.approx(expected.item(), rel=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)


def test_what_it_takes():
    (p,) = parameters([3.0, 4.0])
    assert clip_grad_norm_(p, 1.0).item() == 5
    assert clip_grad_norm_([fa.ones(1, requires_grad=True)], 1.0).item() == 0
    assert clip_grad_norm_([], 1.0).item() == 0
    assert clip_grad_norm_(iter(parameters([3.0], [4.0])), math.inf).item() == 5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(bad):
    a, b = parameters([1.0, bad], [2.0])
    assert not math.isfinite(clip_grad_norm_([a, b], 1.0).item())
    assert b.grad.item() == 2
    with pytest.raises(
        RuntimeError, match=r"^clip_grad_norm_: the norm of the gradients is (nan|inf); nothing was scaled"
    ):
        clip_grad_norm_([a, b], 1.0, error_if_nonfinite=True)


def test_clip_value():
    (p,) = parameters([3.0, -4.0, 0.5])
    clip_grad_value_([p], 1.0)
    assert p.grad.tolist() == [1, -1, 0.5]
