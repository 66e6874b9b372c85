"""What a machine has for the checks on a GPU: probes that name what is missing, and what a record says of it."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

FIELDS = ("name", "driver_version", "compute_cap", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem")
FIELDS += ("memory.total", "power.limit", "temperature.gpu")
PACKAGES = ("numpy", "ml_dtypes", "torch", "cupy-cuda13x", "fastattn", "pybind11", "scikit-build-core", "pytest")

MODULES = ["numpy", "ml_dtypes", "safetensors", "tqdm", "typer", "torch", "pybind11", "scikit_build_core"]
MODULES += ["pytest", "hypothesis"]


def output_of(command: Sequence[str], seconds: float = 60) -> str | None:
    """What a command prints; None where it cannot be run, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@functools.cache
def gpu() -> dict[str, str]:
    """nvidia-smi's answers for the first GPU; empty where there is none."""
    found = output_of(["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader"])
    return parse_query(found) if found else {}


def parse_query(text: str) -> dict[str, str]:
    values = [value.strip() for value in text.splitlines()[0].split(",")]
    return dict(zip(FIELDS, values, strict=False))


def architecture() -> str:
    """The GPU's own, as CMAKE_CUDA_ARCHITECTURES has it: "90-real"."""
    return gpu()["compute_cap"].replace(".", "") + "-real"


def no_gpu() -> str | None:
    return None if gpu() else "no GPU that nvidia-smi knows"


def no_tool(name: str) -> str | None:
    return None if shutil.which(name) else f"no {name} on the PATH"


def no_module(name: str) -> str | None:
    return None if importlib.util.find_spec(name) else f"no Python package {name}"


@functools.cache
def _says(code: str) -> str | None:
    """What a fresh interpreter prints, or the last line of its error; None where it ends well and prints nothing."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return "it took longer than 120 s: " + code.splitlines()[0]
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return said[-1] if said else None if done.returncode == 0 else f"it ended with {done.returncode}"


def no_fastattn() -> str | None:
    return _says("import fastattn")


def no_kernels() -> str | None:
    """Why no kernel of fastattn runs on the GPU."""
    return _says("import fastattn as fa\nwhy = fa.cuda.unavailable()\nif why: print(why)")


def no_torch() -> str | None:
    return _says("import torch\nif not torch.cuda.is_available(): print('torch sees no GPU')")


def no_cupy() -> str | None:
    return _says("import cupy\ncupy.ones(2).sum().item()")


PROBES = {
    "gpu": no_gpu,
    "kernels": no_kernels,
    "fastattn": no_fastattn,
    "torch": no_torch,
    "cupy": no_cupy,
    **{name: functools.partial(no_tool, name) for name in ("nvcc", "cmake", "compute-sanitizer")},
    **{
        f"package {name}": functools.partial(no_module, name)
        for name in MODULES
    },
}  # fmt: skip


def missing() -> list[str]:
    """What of the tools and packages is not there; fastattn itself may not be built yet."""
    return [
        why for name, probe in PROBES.items() if name not in ("kernels", "fastattn") and (why := probe()) is not None
    ]


def description() -> dict[str, Any]:
    """For a record: GPU, clocks, driver, CUDA, date, versions."""

    def version(package: str) -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    toolkit = re.search(r"release ([\d.]+)", output_of(["nvcc", "--version"]) or "")
    model = re.search(r"model name\s*:\s*(.*)", output_of(["cat", "/proc/cpuinfo"]) or "")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "gpu": gpu(),
        "cuda": toolkit[1] if toolkit else None,
        "cpu": model[1] if model else None,
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "commit": output_of(["git", "rev-parse", "HEAD"]),
        **{name: version(name) for name in PACKAGES},
    }
