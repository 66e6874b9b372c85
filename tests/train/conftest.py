import numpy as np
import pytest

import fastattn as fa
from fastattn.train import LanguageModeling, TrainConfig, Trainer


@pytest.fixture
def tokens():
    """A sequence with something to learn, and what is held out of it."""
    ids = np.random.default_rng(0).integers(0, 3, 600).cumsum().astype(np.int32) % 7
    return ids[:500], ids[500:]


@pytest.fixture
def make_trainer(tokens):
    """A trainer of a tiny GPT; changes are to its config."""

    def make(folder=None, progress=None, dropout=0.0, context=8, **changes):
        settings = {"steps": 12, "batch_size": 2, "lr": 0.01, "warmup": 2, "log_every": 2}
        config = TrainConfig(**(settings | {"eval_every": 4, "checkpoint_every": 5} | changes))
        fa.manual_seed(config.seed)
        sizes = {"vocab_size": 7, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
        drop = {"embd_pdrop": dropout, "attn_pdrop": dropout, "resid_pdrop": dropout}
        model = fa.models.GPT(fa.models.GPTConfig(**sizes, **drop))
        return Trainer(model, LanguageModeling(*tokens, context), config, folder=folder, progress=progress)

    return make


@pytest.fixture
def weights():
    """The bytes of a model's state."""
    return lambda model: {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
