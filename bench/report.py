"""What a run leaves: a table to read, and a JSON file to keep."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fastattn import _ceilings

from .harness import Outcome

VERSION = 1  # of the JSON

Json = dict[str, Any]


def environment(contestants: Sequence[str]) -> Json:
    """The machine and the versions that the figures belong to."""
    import fastattn as fa

    info = fa.build_info()
    packages = ["numpy", *(["torch"] if any(c.startswith("torch") for c in contestants) else [])]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "isa": info["isa"],
        "threads": info["threads"],
        "python": platform.python_version(),
        "fastattn": info["version"],
        **{name: metadata.version(name) for name in packages},
        "contestants": list(contestants),
    }


def _cpu() -> str:
    with open("/proc/cpuinfo") as lines:
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    return "{model name} (family {cpu family}, model {model})".format_map(fields)


def environment_text(environment: Json) -> str:
    return "\n".join(
        f"{key:12} {', '.join(value) if isinstance(value, list) else value}" for key, value in environment.items()
    )


def limits_text(limits: dict[str, float], threads: int) -> str:
    """The survey of the limits, a row a kind, a column for one thread and one for all."""
    counts = sorted({1, threads})
    rows = ["", "this machine's limits         " + "".join(f"{n:>4} thread{'s' if n > 1 else ' '}" for n in counts)]
    for kind in dict.fromkeys(key.rsplit(" x", 1)[0] for key in limits):
        unit = "GB/s" if kind in _ceilings.TRAFFIC else "GFLOP/s"
        figures = "".join(f"{limits[f'{kind} x{n}'] / 1e9:12.1f}" for n in counts)
        rows.append(f"  {kind:14} {unit:>8}    {figures}")
    return "\n".join(rows)


def heading(op: str) -> str:
    return (
        f"\n{op}\n{'':22}{'median':>11}{'best':>11}{'spread':>8}{'':17}{'of limit: median':>18}{'best':>7}{'x ours':>9}"
    )


def seconds_text(seconds: float) -> str:
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e-3, "ms"), (1e-6, "us")) if seconds >= s or u == "us")
    return f"{seconds / scale:.3g} {unit}" if seconds / scale < 1000 else f"{seconds / scale:.0f} {unit}"


def outcome_text(outcome: Outcome) -> str:
    """A case: a line for each contestant. "x ours": how many times longer than fastattn."""
    case = outcome.case
    compute_bound = outcome.compute_bound
    work, unit = (case.flops, "GFLOP/s") if compute_bound else (case.bytes, "GB/s")
    limit = f"{work / outcome.ideal / 1e9:.3g} {unit}" + ("" if compute_bound else f" {case.traffic}")
    rows = [f"  {case.name}    [limit {limit}, {seconds_text(outcome.ideal)}]"]
    ours = outcome.timings.get("fastattn")
    for name, t in outcome.timings.items():
        ratio = f"{t.median / ours.median:9.2f}" if ours else ""
        rows.append(
            f"    {name:18}{seconds_text(t.median):>11}{seconds_text(t.best):>11}{t.spread:8.0%}"
            f"{work / t.median / 1e9:>9.1f} {unit:7}{outcome.of_limit(t):>18.0%}{outcome.of_limit_best(t):>7.0%}{ratio}"
            f"   {t.kernel}".rstrip()
        )
    return "\n".join(rows)


def record(environment: Json, limits: dict[str, float], outcomes: Sequence[Outcome]) -> Json:
    return {
        "version": VERSION,
        "environment": environment,
        "limits": limits,
        "cases": [
            {
                "op": o.case.op,
                "case": o.case.name,
                "dtype": o.case.dtype,
                "flops": o.case.flops,
                "arithmetic": o.arithmetic,
                "bytes": o.case.bytes,
                "peaks": o.peaks,
                "bandwidths": o.bandwidths,
                "traffic": o.case.traffic,
                "compute_bound": o.compute_bound,
                "ideal": o.ideal,
                "ideals": o.ideals,
                "results": {
                    name: {
                        "median": t.median,
                        "best": t.best,
                        "spread": t.spread,
                        "calls": len(t.times),
                        "rounds": t.rounds,
                        "of_limit": o.of_limit(t),
                        "of_limit_best": o.of_limit_best(t),
                        "kernel": t.kernel,
                    }
                    for name, t in o.timings.items()
                },
            }
            for o in outcomes
        ],
    }


def file_name(environment: Json) -> str:
    stamp = environment["date"][:19].replace(":", "").replace("-", "")
    return f"bench-{stamp}-{environment['isa']}-{environment['threads']}.json"


def write(record: Json, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def read(path: Path) -> Json:
    record: Json = json.loads(path.read_text())
    if record.get("version") != VERSION:
        msg = f"bench: {path} is a record of version {record.get('version')}; expected {VERSION}"
        raise ValueError(msg)
    return record
