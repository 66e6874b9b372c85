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
    from fastattn import _C

    return {
        "version": fastattn.__version__,
        "isa": {"active": _C.isa_active(), "available": _C.isa_list().split(",")},
        "threads": {"used": _C.num_threads(), "cores": len(os.sched_getaffinity(0))},
        "cpu": cpu_name(),
        "cache": {"kept_bytes": _C.cache_bytes(), "live_bytes": _C.live_bytes()},
        "environment": {name: value for name, value in os.environ.items() if name.startswith("FASTATTN_")},
        "build": fastattn.build_info(),
        "python": platform.python_version(),
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
        "build": ", ".join(f"{k} {v}" for k, v in content["build"].items()),
        "Python": f"{content['python']}, numpy {content['numpy']}, ml_dtypes {content['ml_dtypes']}",
        "platform": content["platform"],
        "location": content["location"],
    }
    for name, value in lines.items():
        print(f"{name:<9} {value}")


def cpu_name() -> str:
    """The CPU's name as the kernel gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
