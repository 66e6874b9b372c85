"""python -m bench.import_time: what `import fastattn` adds to `import numpy, ml_dtypes`, in fresh interpreters."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from typing import Any

BAR = 0.1  # seconds
BASE, OURS = "import numpy, ml_dtypes", "import numpy, ml_dtypes, fastattn"
TIMED = """
import time
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""


def _environment() -> dict[str, str]:
    """For an interpreter that finds the same packages and, as pip leaves them, byte-compiled."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def seconds_of(statement: str) -> float:
    command = [sys.executable, "-c", TIMED.format(statement=statement)]
    return float(subprocess.run(command, env=_environment(), check=True, capture_output=True, text=True).stdout)


def measure(rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of the imports without fastattn and with it, turn about."""
    seconds_of(OURS)  # byte-compiles, and fills the system's file cache
    pairs = [(seconds_of(BASE), seconds_of(OURS)) for _ in range(rounds)]
    return [base for base, _ in pairs], [ours for _, ours in pairs]


def slowest_modules(count: int) -> list[tuple[float, str]]:
    """Milliseconds that fastattn's own imports take by themselves (-X importtime), the worst first."""
    command = [sys.executable, "-X", "importtime", "-c", OURS]
    lines = subprocess.run(command, env=_environment(), check=True, capture_output=True, text=True).stderr.splitlines()
    parsed = [line.removeprefix("import time:").split("|") for line in lines]
    ours = [(int(p[0]) / 1e3, p[2].strip()) for p in parsed[1:]]
    names = [name for _, name in ours]
    start = max((i + 1 for i, name in enumerate(names) if name in ("numpy", "ml_dtypes")), default=0)
    return sorted(ours[start:], reverse=True)[:count]


def main(arguments: Any = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.import_time", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--modules", type=int, default=0, metavar="N", help="also the N slowest imports")
    options = parser.parse_args(arguments)
    base, ours = measure(options.rounds)
    # Medians and bests are compared with their like: the difference of one pair is mostly the machine's other work.
    median, best = (1e3 * (f(ours) - f(base)) for f in (statistics.median, min))
    print(f"numpy, ml_dtypes  median {statistics.median(base) * 1e3:6.1f} ms, best {min(base) * 1e3:6.1f}")
    print(f"fastattn adds     median {median:6.1f} ms, best {best:6.1f}; the bar is {BAR * 1e3:.0f} ms")
    for milliseconds, name in slowest_modules(options.modules):
        print(f"  {milliseconds:6.2f} ms  {name}")


if __name__ == "__main__":
    main()
