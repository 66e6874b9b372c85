import gc

import pytest

import fastattn as fa


@pytest.fixture(autouse=True)
def seed():
    fa.manual_seed(0)


@pytest.fixture
def no_gc():
    """What reference counts alone free: the cycle collector is off."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def normal():
    """Makes leaves of normal random float64 that require a gradient."""

    def make(*shape, requires_grad=True):
        return fa.randn(*shape, dtype=fa.float64, requires_grad=requires_grad)

    return make
