"""Our ops on a GPU against what it can do and against torch: `python -m bench.gpu_bench --group matmul`.

A row says our median time, what it is held against, and the ratio of speeds: above 1 we are faster. What is bound by memory
is held against the bandwidth of the better of CuPy's and torch's copy, measured before and after the case. Results are
compared with torch's before they are timed. bench/gpu_check.sh runs every group in a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .gpu_cases import COPY, OURS, Call, GpuCase, Place, cases
from .gpu_steps import FAILED, OK, SKIPPED, Json, leave_row, row
from .gpu_timing import FLUSHED, Clock, Events, MadeUp, interleaved

SECONDS = 1.0  # of rounds of a case
SHORT = {"attention": "attn", "forward": "fwd", "backward": "bwd", "bfloat16": "bf16", "float32": "f32"}  # in names


def rate(case: GpuCase, seconds: float) -> str:
    """A time, and what it means in the unit that bounds the case."""
    text = f"{seconds * 1e6:.0f} us" if seconds < 1e-2 else f"{seconds * 1e3:.1f} ms"
    if case.tokens:
        return f"{text} {case.tokens / seconds:.0f} tok/s"
    if case.flops:
        return f"{text} {case.flops / seconds / 1e12:.1f} TFLOP/s"
    return f"{text} {case.bytes / seconds / 1e9:.0f} GB/s" if case.bytes else text


def rows_of(
    case: GpuCase, times: dict[str, list[float]], bandwidth: float | None, without: dict[str, str]
) -> list[Json]:
    """The rows of a case from its times: one for each peer and one for the copy. `without`: peers that cannot, and why."""
    medians = {name: statistics.median(t) for name, t in times.items()}
    record = {name: {"median": medians[name], "best": min(t), "calls": len(t)} for name, t in times.items()}
    ours = medians[OURS]
    more = {"seconds": ours, "flops": case.flops, "bytes": case.bytes, "times": record}
    rows = []
    if case.bytes and bandwidth:
        reached = case.bytes / ours / bandwidth
        rows.append(row(case.name, OK, rate(case, ours), f"copy {bandwidth / 1e9:.0f} GB/s", reached, **more))
    for name, seconds in medians.items():
        if name != OURS:
            rows.append(row(case.name, OK, rate(case, ours), f"{name} {rate(case, seconds)}", seconds / ours, **more))
    rows += [row(case.name, SKIPPED, bar=f"{name}: {why}") for name, why in without.items()]
    return rows or [row(case.name, OK, rate(case, ours), **more)]


def differences(place: Place, case: GpuCase, results: dict[str, Any]) -> str:
    """Where ours is not what the first peer found; empty where it is."""
    ours = place.numbers(results[OURS])
    peer = next((name for name in results if name != OURS), None)
    if peer is None:
        return "no peer to compare with"
    assert case.tolerance is not None
    for i, (found, expected) in enumerate(zip(ours, place.numbers(results[peer]), strict=True)):
        expected = expected.reshape(found.shape)
        error, scale = np.abs(found - expected).max(), max(np.abs(expected).max(), 1e-6)
        if not error <= case.tolerance * scale:
            return f"result {i} differs from {peer}'s by {error:.3g} of {scale:.3g}"
    return ""


def ready(calls: dict[str, Call]) -> tuple[dict[str, Any], dict[str, str]]:
    """What each contestant finds, and why others do not: a backend that does not take the case."""
    results, without = {}, {}
    for name, call in calls.items():
        try:
            results[name] = call()
        except Exception as error:
            without[name] = str(error).partition("\n")[0] or type(error).__name__
    return results, without


def bandwidth_of_copy(place: Place, clock: Clock) -> float:
    calls = COPY.make(place)
    _, without = ready(calls)
    times = interleaved({name: call for name, call in calls.items() if name not in without}, clock, SECONDS / 4)
    return COPY.bytes / min(statistics.median(t) for t in times.values())


def measure(case: GpuCase, place: Place, clock: Clock) -> list[Json]:
    calls = case.make(place)
    results, without = ready(calls)
    clock.wait()
    if OURS in without:
        return [row(case.name, FAILED, bar=without[OURS])]
    if case.tolerance is not None and len(results) > 1 and (wrong := differences(place, case, results)):
        return [row(case.name, FAILED, "wrong", wrong)]
    results.clear()
    taking = {name: call for name, call in calls.items() if name not in without}
    before = bandwidth_of_copy(place, clock) if case.bytes else 0.0
    times = interleaved(taking, clock, SECONDS)
    bandwidth = max(before, bandwidth_of_copy(place, clock)) if case.bytes else None
    return rows_of(case, times, bandwidth, without)


def memory_row(case: GpuCase, place: Place) -> Json:
    """What a step needs at most, ours and torch's: both are in this process, each with an allocator of its own; the clock's
    buffer is in ours."""
    import fastattn as fa

    ours, peer = fa.cuda.memory_reserved() - FLUSHED, place.torch.cuda.max_memory_reserved()
    bar = f"torch {peer / 2**30:.2f} GiB"
    return row(
        f"{case.name}, memory", OK, f"{ours / 2**30:.2f} GiB", bar, peer / ours if ours else None, ours=ours, torch=peer
    )


def run(group: str, dry: bool) -> int:
    place, clock = Place(dry), MadeUp() if dry else Events()
    failed = False
    for case in (c for c in cases() if c.group == group):
        try:
            rows = measure(case, place, clock)
            if case.tokens and not dry:
                rows.append(memory_row(case, place))
        except Exception as error:  # a case that breaks does not take the others with it
            rows = [row(case.name, FAILED, bar=f"{type(error).__name__}: {error}".partition("\n")[0])]
        failed |= any(r["result"] == FAILED for r in rows)
        for made in rows:
            leave_row(made)
    return int(failed)


def cpu_rows(record: Json, threads: int) -> list[Json]:
    """The rows of a record of `python -m bench`: each case against its best peer."""
    rows = []
    for case in record["cases"]:
        results = dict(case["results"])
        ours = results.pop(OURS)
        work, unit = (case["flops"], "GFLOP/s") if case["compute_bound"] else (case["bytes"], "GB/s")
        figure = f"{work / ours['median'] / 1e9:.0f} {unit}, {ours['of_limit']:.0%}"
        peer = min(results, key=lambda name: results[name]["median"], default="")
        seconds = results[peer]["median"] if peer else None
        bar = f"{peer} {work / seconds / 1e9:.0f} {unit}" if seconds else ""
        ratio = seconds / ours["median"] if seconds else None
        name = f"{case['op']} {case['case']}"
        for long, short in SHORT.items():
            name = name.replace(long, short)
        name = f"CPU x{threads} {name}"
        rows.append(row(name, OK, figure, bar, ratio, seconds=ours["median"], of_limit=ours["of_limit"], case=case))
    return rows


def run_cpu(folder: Path) -> int:
    """Matmul and attention on the CPU with the threads of the environment, by `python -m bench`."""
    import fastattn as fa

    from . import report
    from . import run as cpu_bench

    for op in ("matmul", "attention"):
        path = folder / f"{op}.json"
        cpu_bench.run(
            op=[op], case="1024", quick=True, rounds=3, seconds=0.02, peers="numpy,torch", stock=True, json=path, html=None,
            against=None, only_list=False,
        )  # fmt: skip
        for made in cpu_rows(report.read(path), fa.get_num_threads()):
            leave_row(made)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_bench", description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--group", choices=("memory", "matmul", "attention", "decode", "step"))
    what.add_argument("--cpu", action="store_true", help="matmul and attention on the CPU, by python -m bench")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU, times made up: tests the cases")
    given = parser.parse_args(arguments)
    if given.cpu:
        with tempfile.TemporaryDirectory() as folder:
            return run_cpu(Path(folder))
    return run(given.group, given.dry_run)


if __name__ == "__main__":
    sys.exit(main())
