import pytest

import fastattn as fa


@pytest.fixture
def make_gpt():
    """A tiny GPT whose weights follow from the seed."""

    def make(seed=0, **changes):
        fa.manual_seed(seed)
        sizes = {"vocab_size": 11, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
        return fa.models.GPT(fa.models.GPTConfig(**(sizes | changes)))

    return make


@pytest.fixture
def weights():
    """A copy of a model's state, to see later whether anything has changed."""
    return lambda model: {name: value.numpy().copy() for name, value in model.state_dict().items()}
