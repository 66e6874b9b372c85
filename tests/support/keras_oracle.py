"""keras 3 as the oracle, on its torch backend: what it computes of ndarrays, in float64."""

import os
import tempfile
import warnings

import pytest

# What keras does with torch's tensors, NumPy warns of. For a module's `pytestmark`.
keras_may_warn = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def keras_or_skip():
    """The keras that is installed, in float64; skips where there is none."""
    pytest.importorskip("torch")
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp())  # it writes its configuration there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("keras was imported with another backend than torch")
    return keras


def array(value):
    """What keras returned as an ndarray."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value
