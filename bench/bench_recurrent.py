"""lstm, gru and rnn, forward, and forward with backward."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

import fastattn as fa
from fastattn.testing.reference_recurrent import recurrent, recurrent_backward

from .harness import Case, normal, on_arrays, on_torch, shrink, with_gradients, with_pytest

GATES = {"lstm": 4, "gru": 3, "tanh": 1}
# mode, (steps, batch, input width, hidden width), whether in --quick
SHAPES = [
    ("lstm", (100, 64, 100, 256), True),
    ("gru", (100, 64, 100, 256), True),
    ("tanh", (100, 64, 100, 256), False),
    ("lstm", (200, 1, 128, 256), False),
]


def _ours(mode: str, x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    layer = {"lstm": fa.lstm, "gru": fa.gru, "tanh": fa.rnn}[mode]
    return layer(x, w_ih, w_hh, b_ih, b_hh)[0]


def _torch(mode: str, x: Any, *weights: Any) -> Any:
    import torch

    layer = {"lstm": torch.lstm, "gru": torch.gru, "tanh": torch.rnn_tanh}[mode]
    zero = x.new_zeros(1, x.shape[1], weights[1].shape[1])
    # input, states, weights, biases, layers, dropout, training, bidirectional, batch_first
    return layer(x, [zero, zero] if mode == "lstm" else zero, list(weights), True, 1, 0.0, True, False, False)[0]


def _make(mode: str, shape: tuple[int, ...], backward: bool) -> Any:
    steps, batch, width, hidden = shape
    rows = GATES[mode] * hidden

    def make(rng: np.random.Generator) -> Any:
        scale = np.float32(1 / np.sqrt(hidden))
        weights = (
            scale * normal(rng, rows, width),
            scale * normal(rng, rows, hidden),
            normal(rng, rows),
            normal(rng, rows),
        )
        inputs = (normal(rng, steps, batch, width), *weights)
        return (*inputs, normal(rng, steps, batch, hidden)) if backward else inputs

    return make


def _reference(mode: str, *inputs: Any) -> Any:
    return recurrent(mode, *inputs)[0]


def _gradients(mode: str, *inputs: Any) -> Any:
    *arguments, dout = inputs
    return (_reference(mode, *arguments), *recurrent_backward(mode, dout, *arguments)[:5])


def cases(tiny: bool = False) -> Iterator[Case]:
    for mode, full_shape, quick in SHAPES:
        shape = tuple(max(1, n) for n in (shrink(full_shape) if tiny else full_shape))
        steps, batch, width, hidden = shape
        flops = 2.0 * steps * batch * GATES[mode] * hidden * (width + hidden)
        ours, torchs = functools.partial(_ours, mode), functools.partial(_torch, mode)
        name = f"{mode} {steps} x {batch}, {width} to {hidden}"
        yield Case(
            op="recurrent",
            name=f"float32 {name}",
            make=_make(mode, shape, False),
            contestants={"fastattn": on_arrays(ours), "torch": on_torch(torchs)},
            reference=functools.partial(_reference, mode),
            flops=flops,
            quick=quick,
        )
        yield Case(
            op="recurrent",
            name=f"float32 forward+backward {name}",
            make=_make(mode, shape, True),
            contestants={"fastattn": with_gradients("fastattn", ours), "torch": with_gradients("torch", torchs)},
            reference=functools.partial(_gradients, mode),
            flops=3 * flops,
            quick=quick,
        )


def test_recurrent(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
