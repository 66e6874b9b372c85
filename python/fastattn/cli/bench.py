"""`fastattn bench`: finds the benchmarks, which a checkout keeps in bench/ and a wheel in fastattn.bench."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import fastattn

PACKAGE: str | None = None  # whose cases; `python -m bench` says that it is the checkout's


def run(threads: int | None, **arguments: Any) -> None:
    """Runs the benchmarks; the arguments are those of bench/run.py."""
    if threads is not None:
        _begin_with(threads)
    _benchmarks().run(**arguments)


def _benchmarks() -> Any:
    if PACKAGE is not None:
        return importlib.import_module(f"{PACKAGE}.run")
    try:
        return importlib.import_module("fastattn.bench.run")
    except ModuleNotFoundError as error:
        checkout = Path(fastattn.__file__).parents[2]
        if error.name != "fastattn.bench" or not (checkout / "bench/run.py").is_file():
            raise
    sys.path.append(str(checkout))  # fastattn is imported from a checkout that is not installed
    return importlib.import_module("bench.run")


def _begin_with(threads: int) -> None:
    """The same number for everybody. OpenBLAS and OpenMP read theirs as NumPy is loaded, and `import fastattn` loads it:
    this process begins anew with the environment that they want."""
    wanted = dict.fromkeys(
        ("FASTATTN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)
    )
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, sys.orig_argv)
