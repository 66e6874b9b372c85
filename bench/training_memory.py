"""python -m bench.training_memory: peak memory of training steps of a GPT beyond parameters, gradients and optimizer state.

Subtracted from the peak of the steps after the first two are what is resident once the libraries are loaded, and 16 bytes a
parameter: in float32 itself, its gradient and two moments; in bfloat16 two of 2 bytes, and three float32. What malloc holds
of making the inputs goes back to the system before. Each contestant runs in a process of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys

import numpy as np

import fastattn as fa

from . import bench_end_to_end as end_to_end
from .attention_memory import MB, peak_bytes, reset_peak, resident_bytes
from .parameters import count, gpt_shapes
from .worker import child_environment, installed, set_peer_threads, tuned_environment

STATE = 16  # bytes a parameter
STEPS = 2


def measure(peer: str, size: end_to_end.Size, dtype: str) -> float:
    """Bytes, of "fastattn" or "torch" in this process."""
    shapes = gpt_shapes(size.width, size.blocks, size.tokens, size.length)
    bind = end_to_end.ours if peer == "fastattn" else end_to_end.torchs
    if peer != "fastattn":
        set_peer_threads(fa.get_num_threads())
    before = resident_bytes()
    call = bind(size, shapes, end_to_end.make_inputs(size, shapes, np.random.default_rng(0)), dtype)
    for _ in range(2):
        call()
    ctypes.CDLL(None).malloc_trim(0)
    reset_peak()
    for _ in range(STEPS):
        call()
    return peak_bytes() - before - STATE * count(shapes)


def in_process(peer: str, tuned: bool, size: int, dtype: str) -> float:
    """The same in a process of its own."""
    environment = child_environment(tuned_environment(peer) if tuned else {})
    command = [sys.executable, "-m", __spec__.name, "--size", str(size), "--dtype", dtype, "--only", peer]
    found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    return float(json.loads(found))


def main(arguments: list[str] | None = None) -> None:
    names = [size.name for size in end_to_end.SIZES]
    parser = argparse.ArgumentParser(prog="python -m bench.training_memory", description=__doc__)
    parser.add_argument("--size", type=int, default=len(names) - 1, choices=range(len(names)), help=", ".join(names))
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--only", choices=["fastattn", "torch"], help="in this process; prints bytes")
    options = parser.parse_args(arguments)
    if options.only is not None:
        print(json.dumps(measure(options.only, end_to_end.SIZES[options.size], options.dtype)))
        return
    contestants = [("fastattn", False)]
    if installed("torch"):
        contestants += [("torch", False), ("torch", True)]
    print(f"{options.dtype} training step, {names[options.size]}: MB beyond parameters, gradients and optimizer state")
    for peer, tuned in contestants:
        taken = in_process(peer, tuned, options.size, options.dtype)
        print(f"  {peer + ' tuned' * tuned:14}{taken / MB:10.0f}", flush=True)


if __name__ == "__main__":
    main()
