"""The two sides of parity tests."""

import pytest
from keras_oracle import keras_or_skip


@pytest.fixture
def oracle(monkeypatch):
    """keras 3 in float64."""
    keras = keras_or_skip()
    import torch
    from keras.src.backend.common import dtypes

    before = keras.config.floatx(), torch.get_default_dtype()
    keras.config.set_floatx("float64")
    torch.set_default_dtype(torch.float64)  # keras takes numbers of Python's for tensors, in some places
    # On torch it computes means and the like in 32 bits, whatever the dtype of its input.
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    yield keras
    keras.config.set_floatx(before[0])
    torch.set_default_dtype(before[1])
