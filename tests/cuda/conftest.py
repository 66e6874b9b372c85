"""Tensor, nn and optim on arrays of a fake CuPy. Their CUDA library is the emulated one of FASTATTN_TEST_CUDA, where that
is set; else the CPU backend's, which has the same table: what is tested then is the Python side. With
FASTATTN_TEST_DEVICE=cuda they are CuPy's own on a GPU, and the library is the one that is installed."""

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace

import on_device
import pytest

import fastattn as fa
from fastattn import _C
from fastattn.ops import _kinds

from . import fake_cupy

ON_GPU = on_device.DEVICE == "cuda"


@pytest.fixture(scope="session")
def emulated():
    """Whether the kernels are CUDA's: on the emulator, or on a GPU."""
    return bool(os.environ.get("FASTATTN_TEST_CUDA")) or ON_GPU


@contextlib.contextmanager
def real_cupy():
    cupy = on_device.import_cupy()
    yield cupy
    cupy.cuda.Device(0).synchronize()  # what failed there is this test's


@contextlib.contextmanager
def faked_cupy():
    library = os.environ.get("FASTATTN_TEST_CUDA") or str(Path(_C.__file__).parent / "libfastattn.so")
    with fake_cupy.installed() as cupy:
        _C.use_cuda_library(library)
        try:
            yield cupy
        finally:
            _C.use_cuda_library("")
            # Its types are gone with it, and so is the door that has imported it.
            for known in [t for t in _kinds.KINDS if t.__module__ == "cupy"]:
                del _kinds.KINDS[known]


@pytest.fixture(autouse=True)
def cuda():
    """One device "cuda:0"."""
    with real_cupy() if ON_GPU else faked_cupy() as cupy:
        yield cupy


@pytest.fixture
def device_name(cuda):
    """What the library says of the device's name."""
    if ON_GPU:
        return cuda.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return "emulator" if os.environ.get("FASTATTN_TEST_CUDA") else "cpu"


@pytest.fixture
def arrays_bytes(cuda):
    """Counts the bytes of the device's arrays; each takes `arrays_bytes.unit` at least."""
    pool = cuda.get_default_memory_pool()
    return SimpleNamespace(count=lambda: pool.used_bytes(), unit=512 if ON_GPU else 1)


@pytest.fixture
def here(randn):
    """here(*shape): a float32 tensor on the CPU, and the same on the device; both want a gradient."""

    def make(*shape):
        host = fa.Tensor(randn(*shape).astype("float32"), requires_grad=True)
        return host, fa.Tensor(host.detach().to("cuda")._data, requires_grad=True)

    return make
