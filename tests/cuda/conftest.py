"""Tensor, nn and optim on arrays of a fake CuPy. Their CUDA library is the emulated one of FASTATTN_TEST_CUDA, where that
is set; else the CPU backend's, which has the same table: what is tested then is the Python side."""

import os
from pathlib import Path

import pytest

import fastattn as fa
from fastattn import _C
from fastattn.ops import _kinds

from . import fake_cupy


@pytest.fixture(scope="session")
def emulated():
    """Whether the kernels are CUDA's, on the emulator."""
    return bool(os.environ.get("FASTATTN_TEST_CUDA"))


@pytest.fixture(autouse=True)
def cuda(emulated):
    """One device "cuda:0", whose arrays are the fake's."""
    library = os.environ.get("FASTATTN_TEST_CUDA") or str(Path(_C.__file__).parent / "libfastattn.so")
    with fake_cupy.installed() as cupy:
        _C.use_cuda_library(library)
        try:
            yield cupy
        finally:
            _C.use_cuda_library("")
            # Its types are gone with it, and so is the door that has imported it.
            for known in [t for t in _kinds._KINDS if t.__module__ == "cupy"]:
                del _kinds._KINDS[known]


@pytest.fixture
def here(randn):
    """here(*shape): a float32 tensor on the CPU, and the same on the device; both want a gradient."""

    def make(*shape):
        host = fa.Tensor(randn(*shape).astype("float32"), requires_grad=True)
        return host, fa.Tensor(host.detach().to("cuda")._data, requires_grad=True)

    return make
