"""Rows of results that are too many for the caches go past them: the same bits as those of a few rows."""

import numpy as np
import pytest
from on_device import ON_CUDA

import fastattn as fa

pytestmark = pytest.mark.skipif(ON_CUDA, reason="the CPU's kernels alone have a way past the caches")

OPS = {
    "softmax": lambda x, weight, **out: fa.softmax(x, **out),
    "log_softmax": lambda x, weight, **out: fa.log_softmax(x, **out),
    "layer_norm": lambda x, weight, **out: fa.layer_norm(x, len(weight), weight, weight, **out),
    "rms_norm": lambda x, weight, **out: fa.rms_norm(x, len(weight), weight, **out),
}


@pytest.fixture(params=OPS.values(), ids=OPS)
def op(request):
    return request.param


def many(few):
    """A few rows again and again, 32 MB of them."""
    return np.tile(few, (-(-(32 << 20) // few.nbytes), 1))


def assert_repeats(result, few):
    bits = f"u{few.dtype.itemsize}"
    assert (result.reshape(-1, *few.shape).view(bits) == few.view(bits)).all()


# Rows that begin where a line does; long ones that begin anywhere; short ones that do, which stay in the caches; one of
# which softmax has a single buffer, and one that is longer than that.
LENGTHS = [64, 65, 2050, 4096, 9001, 66000]


@pytest.mark.parametrize("n", LENGTHS)
def test_forward(isa, dtype, op, randn, n):
    few, weight = randn(3, n, dtype=dtype), randn(n, dtype=dtype)
    x, expected = many(few), op(few, weight)
    assert_repeats(op(x, weight), expected)
    assert_repeats(op(x, weight, out=x), expected)


@pytest.mark.parametrize("n", [2050, 4096])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_masked(isa, dtype, randn, name, n):
    few, added = randn(3, n, dtype=dtype), randn(3, n, dtype=dtype)
    keep = randn(3, n, dtype=np.float64) > 0
    keep[1] = False  # a row of nothing
    added[2, ::2] = -np.inf
    x = many(few)
    for mask in (keep, added):
        expected = getattr(fa, name)(few, mask=mask)
        assert_repeats(getattr(fa, name)(x, mask=np.tile(mask, (len(x) // 3, 1))), expected)


@pytest.mark.parametrize("n", [2048, 9216])
@pytest.mark.parametrize("offset", [0, 1, 63, 256, 700])
def test_results_anywhere(isa, dtype, op, randn, n, offset):
    """Wherever they lie beside x in their pages."""
    few, weight = randn(3, n, dtype=dtype), randn(n, dtype=dtype)
    x, expected = many(few), op(few, weight)
    room = np.empty(x.size + 4096, dtype)
    page = (x.ctypes.data - room.ctypes.data) % 4096 // x.itemsize
    out = room[page + offset :][: x.size].reshape(x.shape)
    op(x, weight, out=out)
    assert_repeats(out, expected)


@pytest.mark.parametrize("n", LENGTHS)
def test_backward(isa, dtype, op, randn, n):
    few, gradient, weight = randn(3, n, dtype=dtype), randn(3, n, dtype=dtype), randn(n, dtype=dtype)

    def dx(x, dout):
        x = fa.Tensor(x, requires_grad=True)
        op(x, fa.Tensor(weight)).backward(fa.Tensor(dout))
        return x.grad.numpy()

    assert_repeats(dx(many(few), many(gradient)), dx(few, gradient))


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_of_cross_entropy(isa, dtype, randn, n, smoothing):
    few = randn(3, n, dtype=dtype)
    ids = np.array([0, n - 1, -100])  # the last row is ignored

    def dx(x, ids):
        x = fa.Tensor(x, requires_grad=True)
        fa.cross_entropy(x, fa.Tensor(ids), reduction="sum", label_smoothing=smoothing).backward()
        return x.grad.numpy()

    x = many(few)
    assert_repeats(dx(x, np.tile(ids, len(x) // 3)), dx(few, ids))
