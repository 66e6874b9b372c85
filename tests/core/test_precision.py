"""set_float32_matmul_precision: what may be rounded to tf32, and what may not."""

import numpy as np
import pytest
from on_device import ON_CUDA

import fastattn as fa
from fastattn.testing import assert_same_bits

ROUNDED = np.float32(1 + 2.0**-12)  # 1 in tf32


@pytest.fixture
def high():
    fa.set_float32_matmul_precision("high")
    yield
    fa.set_float32_matmul_precision("highest")


def products():
    """x y and its gradients, of factors that tf32 rounds to 1."""
    x, y = (fa.tensor(np.full((3, 3), ROUNDED), requires_grad=True) for _ in range(2))
    out = x @ y
    out.sum().backward()
    return [t.detach().numpy() for t in (out, x.grad, y.grad)]


def test_the_name():
    assert fa.get_float32_matmul_precision() == "highest"
    with pytest.raises(ValueError, match='set_float32_matmul_precision: precision is \'hihg\'; expected "highest", "h'):
        fa.set_float32_matmul_precision("hihg")
    for name in ("high", "medium", "highest"):
        fa.set_float32_matmul_precision(name)
        assert fa.get_float32_matmul_precision() == name


@pytest.mark.skipif(ON_CUDA, reason="the CPU's kernels take no note; CUDA's do")
def test_the_cpu_takes_no_note(high):
    found = products()
    fa.set_float32_matmul_precision("highest")
    assert_same_bits(found, products())


@pytest.mark.skipif(not ON_CUDA, reason="the CPU's kernels take no note")
def test_tensor_cores_round(high):
    out, dx, dy = products()
    assert (out == 3).all()
    assert (dx == 3).all()
    assert (dy == 3).all()
    x = np.full((2, 2), 1.0)
    assert fa.last_kernel().startswith("matmul_tf32")
    fa.set_float32_matmul_precision("highest")
    assert (products()[0] > 3).all()
    with pytest.raises(fa.UnsupportedError):
        fa.matmul(x, x)
