"""A running mean of a model's weights."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn.autograd import no_grad

if TYPE_CHECKING:
    from fastattn.nn import Module


class Averaged:
    """A copy of a model whose weights are the mean of those so far, each step by its decay; of 16 bits, in float32."""

    def __init__(self, model: Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model)
        if next(model.parameters()).dtype.itemsize < 4:
            self.model = self.model.to(np.dtype("float32"))

    def update(self, model: Module, step: int) -> None:
        """Takes in the weights after a step, counted from 0; buffers are as they are in the model."""
        # The first steps count for less: a mean of few is mostly the newest.
        decay = min(self.decay, (1 + step) / (10 + step))
        with no_grad():
            for mean, p in zip(self.model.parameters(), model.parameters(), strict=True):
                mean.detach().lerp_(p.detach().to(mean.dtype), 1.0 - decay)
            for into, b in zip(self.model.buffers(), model.buffers(), strict=True):
                into.copy_(b)


def weights_of(model: Module) -> dict[str, Any]:
    """The state of a model as arrays of their own, on the host; of tied tensors, each under its first name."""
    from fastattn.io.tensors import untied

    return {name: value.detach().cpu().numpy().copy() for name, value in untied(model.state_dict()).items()}
