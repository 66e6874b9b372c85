"""python -m bench.call_overhead: what a call costs when there is next to nothing to compute.

Ours beside NumPy's and torch's of the same size, in microseconds: medians of batches of calls. `--layers` takes the
attention call apart: the kernel's binding alone, the allocation, what the Python layer adds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastattn as fa
from fastattn import _C
from fastattn.ops import attention as attention_module

from .worker import installed

BATCH, BATCHES = 100, 201  # a batch is shorter than a time slice: on a busy machine some are not interrupted
# Microseconds that a 1x1x8x8 attention may take.
BARS = {"attention 1x1x8x8": 5.0, "attention through torch": 8.0, "attention on torch's tape": 12.0}


LIMIT = 1.0  # seconds for one kind of call


def microseconds(call: Callable[[], Any], batch: int = BATCH, batches: int = BATCHES) -> tuple[float, float]:
    """Median and best of `batches` batches of calls, or of those that fit into a second; per call."""
    call()
    found: list[float] = []
    end = time.perf_counter() + LIMIT
    while len(found) < batches:
        start = time.perf_counter()
        if found and start > end:
            break
        for _ in range(batch):
            call()
        found.append((time.perf_counter() - start) / batch * 1e6)
    return statistics.median(found), min(found)


def calls() -> dict[str, dict[str, Callable[[], Any]]]:
    """By what is done: who does it how."""
    rng = np.random.default_rng()
    q = rng.random((1, 1, 8, 8), np.float32)
    x = rng.random((8, 8), np.float32)
    weight, bias, ids = x[0].copy(), x[1].copy(), np.arange(8)
    tq, tx = fa.Tensor(q), fa.Tensor(x)
    trained = fa.Tensor(x.copy(), requires_grad=True)
    params = [[rng.random(8, np.float32)] for _ in range(4)]
    found: dict[str, dict[str, Callable[[], Any]]] = {
        "attention 1x1x8x8": {"fastattn": lambda: fa.scaled_dot_product_attention(q, q, q)},
        "attention 1x1x8x8 causal": {"fastattn": lambda: fa.scaled_dot_product_attention(q, q, q, is_causal=True)},
        "attention on Tensors": {"fastattn": lambda: fa.scaled_dot_product_attention(tq, tq, tq)},
        "matmul 8x8": {"fastattn": lambda: fa.matmul(x, x), "numpy": lambda: x @ x},
        "matmul on Tensors": {"fastattn": lambda: fa.matmul(tx, tx)},
        "matmul recorded": {"fastattn": lambda: fa.matmul(trained, trained)},
        "softmax 8x8": {"fastattn": lambda: fa.softmax(x)},
        "layer_norm 8x8": {"fastattn": lambda: fa.layer_norm(x, (8,), weight, bias)},
        "gelu 8x8": {"fastattn": lambda: fa.gelu(x)},
        "exp 8x8": {"fastattn": lambda: fa.exp(x), "numpy": lambda: np.exp(x)},
        "cross_entropy 8x8": {"fastattn": lambda: fa.cross_entropy(x, ids)},
        "embedding 8 of 8x8": {"fastattn": lambda: fa.embedding(ids, x), "numpy": lambda: x[ids]},
        "adam_step of 8": {"fastattn": lambda: fa.adam_step(*params, step=1, lr=1e-3)},
        "Tensor + Tensor": {"fastattn": lambda: tx + tx, "numpy": lambda: x + x},
    }
    if installed("torch"):
        import torch

        F = torch.nn.functional
        oq, ox, oweight, obias, oids = map(torch.from_numpy, (q, x, weight, bias, ids))
        for name, call in {
            "attention 1x1x8x8": lambda: F.scaled_dot_product_attention(oq, oq, oq),
            "attention 1x1x8x8 causal": lambda: F.scaled_dot_product_attention(oq, oq, oq, is_causal=True),
            "matmul 8x8": lambda: ox @ ox,
            "softmax 8x8": lambda: ox.softmax(-1),
            "layer_norm 8x8": lambda: F.layer_norm(ox, (8,), oweight, obias),
            "gelu 8x8": lambda: F.gelu(ox),
            "exp 8x8": lambda: ox.exp(),
            "cross_entropy 8x8": lambda: F.cross_entropy(ox, oids),
            "embedding 8 of 8x8": lambda: F.embedding(oids, ox),
        }.items():
            found[name]["torch"] = call
        recorded = oq.clone().requires_grad_()
        for name, t in {"attention through torch": oq, "attention on torch's tape": recorded}.items():
            found[name] = {
                "fastattn": lambda t=t: fa.scaled_dot_product_attention(t, t, t),  # type: ignore[misc]
                "torch": lambda t=t: F.scaled_dot_product_attention(t, t, t),  # type: ignore[misc]
            }
    return found


def attention_layers() -> dict[str, Callable[[], Any]]:
    """The attention call from the inside out."""
    q = np.random.default_rng().random((1, 1, 8, 8), np.float32)
    out = np.empty_like(q)
    op = attention_module.ATTENTION
    arrays = (q, q, q, None, None, None)
    options = (False, 0.0, 0, 0, False, None, False, 0, -1, -1, 0.0, None, None, False)
    attrs = (options, False, None)
    return {
        "an empty Python call": lambda: None,
        "_C.attention_fwd, in a given output": lambda: _C.attention_fwd(*arrays, out, None, None, None, *options),
        "_C.empty": lambda: _C.empty(q.shape, q.dtype, q),
        "np.empty": lambda: np.empty(q.shape, q.dtype),
        "the op's outputs()": lambda: op.outputs(None, arrays, attrs, False),
        "the op, called with its tuples": lambda: op(arrays, attrs),
        "scaled_dot_product_attention, out=": lambda: fa.scaled_dot_product_attention(q, q, q, out=out),
        "scaled_dot_product_attention": lambda: fa.scaled_dot_product_attention(q, q, q),
    }


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.call_overhead", description=__doc__)
    parser.add_argument("--layers", action="store_true", help="take the attention call apart")
    options = parser.parse_args(arguments)
    if options.layers:
        for name, call in attention_layers().items():
            median, best = microseconds(call)
            print(f"{name:40} median {median:6.2f} us, best {best:6.2f}", flush=True)
        return
    for name, by in calls().items():
        figures = {who: microseconds(call) for who, call in by.items()}
        columns = "   ".join(f"{who} {median:6.2f} us (best {best:5.2f})" for who, (median, best) in figures.items())
        print(f"{name:26} {columns}", flush=True)
        if name in BARS:
            median, best = (x / BARS[name] for x in figures["fastattn"])
            print(f"{'':26} the bar is {BARS[name]:g} us: median {median:.0%} of it, best {best:.0%}")


if __name__ == "__main__":
    main()
