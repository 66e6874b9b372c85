"""python -m bench.steady_state: what a training step leaves behind, once training is under way.

Page faults of a step (getrusage) and bytes that the caching allocator has handed out before and after it: a step should
fault next to nothing and free what it made.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastattn as fa

from . import bench_end_to_end as end_to_end
from .harness import Case


@dataclass
class Steady:
    """Figures of single steps, and of the process."""

    faults: list[int]
    live_bytes: list[int]  # after each step, as more than before the first
    cache_bytes: int
    collected: int  # objects in reference cycles that the steps left
    seconds: float


def faults_so_far() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measure(case: Case, steps: int, warm_up: int) -> Steady:
    inputs = case.make(np.random.default_rng())
    call = case.contestants["fastattn"](inputs)
    for _ in range(warm_up):
        call()
    gc.collect()
    gc.disable()  # so that a cycle shows as memory that stays
    try:
        before = fa.build_info()["live_bytes"]
        faults, live = [], []
        start = time.perf_counter()
        for _ in range(steps):
            count = faults_so_far()
            call()
            faults.append(faults_so_far() - count)
            live.append(fa.build_info()["live_bytes"] - before)
        seconds = (time.perf_counter() - start) / steps
        collected = gc.collect()
    finally:
        gc.enable()
    return Steady(faults, live, fa.build_info()["cache_bytes"], collected, seconds)


def report(case: Case, steady: Steady) -> str:
    return "\n".join(
        [
            f"{case.name}: {steady.seconds * 1e3:.1f} ms a step",
            f"  page faults a step   median {np.median(steady.faults):.0f}, most {max(steady.faults)}",
            f"  live bytes after it  {min(steady.live_bytes):+,} to {max(steady.live_bytes):+,} against before",
            f"  kept for reuse       {steady.cache_bytes:,} bytes",
            f"  in cycles            {steady.collected} objects after {len(steady.faults)} steps",
        ]
    )


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.steady_state", description=__doc__)
    parser.add_argument("--all", action="store_true", help="also the larger models; a gigabyte or more")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=5)
    options = parser.parse_args(arguments)
    for case in end_to_end.cases():
        if case.quick or options.all:
            print(report(case, measure(case, options.steps, options.warm_up)), flush=True)


if __name__ == "__main__":
    main()
