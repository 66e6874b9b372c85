"""What every test may ask for: the machine's instruction sets, dtypes, random arrays, tensors that want gradients."""

import gc
import importlib.metadata
import os

import numpy as np
import pytest
from isa_fixture import isa_fixture
from on_device import DEVICE, ON_CUDA
from remembered import remember

import fastattn as fa
from fastattn.testing import isas, threads

TINY = "--layers 1 --width 8 --heads 2 --context 16 --batch-size 2 --steps 12 --sample 8"
TINY += " --eval-every 4 --checkpoint-every 5"


remember()


def pytest_report_header() -> list[str]:
    def version(package: str) -> str:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            return f"no {package}"

    packages = ("numpy", "ml_dtypes", "hypothesis", "torch", "transformers")
    info = fa.build_info()
    return [
        ", ".join(version(p) for p in packages),
        f"fastattn {info['version']}: {info['isa']} in use of {', '.join(info['isas'])}; {info['threads']} threads",
    ]


def pytest_collection_finish() -> None:
    """Tens of thousands of tests are objects that stay: out of the way of every collection of garbage."""
    gc.collect()
    gc.freeze()


SCHEDULES = int(os.environ.get("FASTATTN_TEST_SCHEDULES", "1"))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function):
    """On another backend (docs/emulator.md) a test that asks for what it has no kernel for is skipped, with the reason.
    FASTATTN_TEST_SCHEDULES=3: each test runs with 1, 2 and 3 threads, of which the emulator makes seeds of its schedule,
    on the same numbers. Those that are about the number of threads go through all of them as they are."""
    try:
        if SCHEDULES == 1 or "any_threads" in pyfuncitem.name:
            return (yield)
        arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
        numbers = pyfuncitem._request.getfixturevalue("rng").bit_generator
        start = numbers.state
        for schedule in range(1, SCHEDULES):
            with threads(schedule):
                pyfuncitem.obj(**arguments)
            numbers.state = start
        with threads(SCHEDULES):
            return (yield)
    except fa.UnsupportedError as error:
        if not (ON_CUDA or DEVICE):
            raise
        pytest.skip(str(error))


isa = isa_fixture(isas())


@pytest.fixture(params=["float32", "float64", "bfloat16", "float16"])
def dtype(request):
    return np.dtype(request.param)  # ml_dtypes, which fastattn imports, has registered bfloat16


# FASTATTN_TEST_SEED draws other numbers: a tolerance holds for all of them, or is none.
@pytest.fixture
def rng():
    return np.random.default_rng(int(os.environ.get("FASTATTN_TEST_SEED", "0")))


@pytest.fixture
def randn(rng):
    """randn(*shape, dtype=): normal numbers."""

    def make(*shape, dtype=np.float64):
        return np.asarray(rng.standard_normal(shape)).astype(dtype)

    return make


@pytest.fixture
def leaf(randn):
    """leaf(*shape): a float64 tensor that wants a gradient."""
    return lambda *shape: fa.Tensor(randn(*shape), requires_grad=True)


@pytest.fixture(scope="session")
def tiny():
    """Flags of `fastattn train` for a run that takes no time."""
    return TINY.split()
