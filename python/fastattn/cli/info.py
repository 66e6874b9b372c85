"""`fastattn info`."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any


def collect() -> dict[str, Any]:
    """Everything that `fastattn info` says, as JSON's types."""
    import ml_dtypes
    import numpy as np

    import fastattn

    build = fastattn.build_info()
    return {
        "version": build["version"],
        "isa": {"active": build["isa"], "available": build["isas"]},
        "threads": {"used": build["threads"], "cores": len(os.sched_getaffinity(0))},
        "cpu": cpu_name(),
        "cuda": build["cuda"],
        "gpus": [gpu(i) for i in range(fastattn.cuda.device_count())],
        "no_gpu": fastattn.cuda.unavailable(),
        "cache": {"kept_bytes": build["cache_bytes"], "live_bytes": build["live_bytes"]},
        "environment": {name: value for name, value in os.environ.items() if name.startswith("FASTATTN_")},
        "python": build["python"],
        "numpy": np.__version__,
        "ml_dtypes": ml_dtypes.__version__,
        "platform": platform.platform(),
        "location": str(Path(fastattn.__file__).parent),
    }


def print_info(as_json: bool) -> None:
    """Prints `collect()` for a reader, or as JSON."""
    content = collect()
    if as_json:
        json.dump(content, sys.stdout, indent=2)
        print()
        return
    isa = content["isa"]
    lines = {
        "fastattn": content["version"],
        "ISA": f"{isa['active']} (available: {', '.join(isa['available'])})",
        "threads": f"{content['threads']['used']} of {content['threads']['cores']} cores",
        "CPU": content["cpu"],
        "cache": f"{content['cache']['kept_bytes']:,} bytes kept, {content['cache']['live_bytes']:,} in use",
        "settings": ", ".join(f"{k}={v}" for k, v in content["environment"].items()) or "no FASTATTN_ variable is set",
        "CUDA": "; ".join(content["gpus"]) or content["no_gpu"],
        "Python": f"{content['python']}, numpy {content['numpy']}, ml_dtypes {content['ml_dtypes']}",
        "platform": content["platform"],
        "location": content["location"],
    }
    for name, value in lines.items():
        print(f"{name:<9} {value}")


def gpu(index: int) -> str:
    """A GPU in words: number, name, compute capability, memory."""
    from fastattn import cuda

    major, minor = cuda.get_device_capability(index)
    memory = cuda.mem_get_info(index)[1] / 2**30
    return f"cuda:{index}, {cuda.get_device_name(index)}, compute capability {major}.{minor}, {memory:.2f} GiB"


def cpu_name() -> str:
    """The CPU's name as the kernel gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
