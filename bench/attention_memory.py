"""python -m bench.attention_memory: peak memory of attention's forward and backward beyond its arrays.

q, k, v, their gradients, out and dout are there before the peak is reset (through /proc/self/clear_refs), so what the
peak gains is what the kernels took: workspace, lse, stacks. Scores held whole would be gigabytes. `--through-tape` does
the same by way of `Tensor.backward()`, which makes out and the gradients itself: they are subtracted.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

import fastattn as fa
from fastattn import _C

BAR = 100.0  # MB
MB = 1e6


def peak_bytes() -> int:
    """The most memory that this process has had at once since `reset_peak`."""
    return _status("VmHWM")


def resident_bytes() -> int:
    return _status("VmRSS")


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _raw(q: Any, k: Any, v: Any, dout: Any) -> float:
    """By the kernels, into arrays that are there and written."""
    out, dq, dk, dv = (np.ones_like(x) for x in (q, q, k, v))
    options = (
        False,
        0.0,
        0,
        0,
        True,
        None,
        False,
        0,
        -1,
        -1,
        0.0,
        None,
        None,
        False,
    )  # as ops.attention makes them; causal
    none = (None,) * 3  # mask, slopes, sinks
    reset_peak()
    before = resident_bytes()
    lse = np.empty(q.shape[:3], q.dtype)
    _C.attention_fwd(q, k, v, *none, out, lse, None, None, *options)
    _C.attention_bwd(q, k, v, *none, out, lse, None, dout, None, None, dq, dk, dv, *none, *options)
    return peak_bytes() - before


def _through_tape(q: Any, k: Any, v: Any, dout: Any) -> float:
    tensors = [fa.Tensor(x, requires_grad=True) for x in (q, k, v)]
    gradient = fa.Tensor(dout)
    reset_peak()
    before = resident_bytes()
    fa.scaled_dot_product_attention(*tensors, is_causal=True).backward(gradient)
    return peak_bytes() - before - 4 * q.nbytes  # out, dq, dk, dv


def measure(length: int = 16384, dim: int = 64, heads: int = 8, *, through_tape: bool = False) -> float:
    """Bytes."""
    rng = np.random.default_rng()
    arrays = [rng.random((1, heads, length, dim), np.float32) for _ in range(4)]
    fa.scaled_dot_product_attention(*(x[:, :, :64] for x in arrays[:3]))  # threads and their stacks
    fa.empty_cache()
    return (_through_tape if through_tape else _raw)(*arrays)


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.attention_memory", description=__doc__)
    parser.add_argument("--length", type=int, default=16384)
    parser.add_argument("--through-tape", action="store_true")
    options = parser.parse_args(arguments)
    taken = measure(options.length, through_tape=options.through_tape)
    print(
        f"attention 1x8x{options.length}x64 float32 causal, forward and backward: {taken / MB:.1f} MB beyond its arrays"
    )
    print(f"the bar at 16384 is {BAR:g} MB; scores held whole would be {8 * options.length**2 * 4 / MB:,.0f} MB")


if __name__ == "__main__":
    main()
