"""Reading arrays that lie on a GPU, as CuPy describes them: the errors. The library is the CPU's in CUDA's place, and the
arrays lie in host memory; tests/cuda computes with such."""

import re
from pathlib import Path

import numpy as np
import pytest

from fastattn import _C

from .test_dlpack import Exchanged


class OnGpu:
    """An ndarray that says it is on a GPU."""

    def __init__(self, array, device=0):
        self.array, self.dtype, self.device = array, array.dtype, type("Device", (), {"id": device})

    @property
    def __cuda_array_interface__(self):
        return {**self.array.__array_interface__, "version": 3, "stream": 1}


@pytest.fixture(autouse=True)
def library():
    _C.use_cuda_library(str(Path(_C.__file__).parent / "libfastattn.so"))
    yield
    _C.use_cuda_library("")


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def without_dtype():
    array = OnGpu(ones(2))
    array.dtype = "float32"
    return array


def adam(p):
    _C.AdamPlan([p], [OnGpu(ones(2))], [OnGpu(ones(2))], [OnGpu(ones(2))], None, None, False).step(
        None, None, 1, 0.1, 0.9, 0.999, 1e-8, 0.0, 1.0, 1.0, False, False, False
    )


ERRORS = [
    (lambda: adam(OnGpu(ones(2))), TypeError, "adam_step: norm is None; expected an array of one float64"),
    (lambda: adam(ones(2)), TypeError, "params[0] is on cpu and grads[0] on cuda:0; move one of them"),
    (lambda: _C.grad_norm([OnGpu(ones(2))]), TypeError, "grad_norm: norm is None; expected an array of one float64"),
    (lambda: _C.cuda_device_info(3), ValueError, "device is 3; there are 1 devices"),
    (lambda: _C.unary(OnGpu(ones(2)), ones(2), 0), TypeError, "x is on cuda:0 and out on cpu; move one of them"),
    (lambda: _C.unary(OnGpu(ones(2)), OnGpu(ones(2), 1), 0), TypeError, "x is on cuda:0 and out on cuda:1; move one of them"),
    (lambda: _C.unary(without_dtype(), ones(2), 0), TypeError, "x has no dtype of NumPy's"),
    (lambda: _C.unary(OnGpu(np.zeros(4, "i2,f4")["f1"][:2]), ones(2), 0), ValueError, "stride that is no multiple"),
    (lambda: _C.unary(Exchanged(ones(2), device=8), ones(2), 0), TypeError, "x is on a device that fastattn does not run on"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_strides_and_results():
    x, out = OnGpu(ones(3, 4).T), OnGpu(np.zeros((4, 3), np.float32))
    _C.unary(x, out, 0)
    np.testing.assert_allclose(out.array, np.full((4, 3), np.e), rtol=1e-6)
    norm = OnGpu(np.zeros((), np.float64))
    _C.grad_norm([OnGpu(ones(4))], norm)
    assert norm.array == 2.0
