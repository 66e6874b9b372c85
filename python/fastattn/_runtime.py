"""What runs and how: threads, instruction sets, the memory cache, explain()."""

from __future__ import annotations

import math
import platform
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from . import _C, _device_limits
from ._version import __version__


def get_num_threads() -> int:
    """How many threads a kernel may use: FASTATTN_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs of this process."""
    n: int = _C.num_threads()
    return n


def set_num_threads(n: int) -> None:
    """Sets how many threads a kernel may use. Results do not depend on it, to the last bit.

    Args:
        n: 1 or more; 0 for the default of the environment.

    Raises:
        ValueError: a negative number.

    Example:
        >>> import fastattn as fa
        >>> fa.set_num_threads(2)
        >>> fa.get_num_threads()
        2
        >>> fa.set_num_threads(0)
    """
    if n < 0:
        msg = f"set_num_threads: n is {n}; expected 1 or more, or 0 for the default"
        raise ValueError(msg)
    _C.set_num_threads(n)


_PRECISIONS = ("highest", "high", "medium")
_precision = "highest"


def get_float32_matmul_precision() -> str:
    """What products of float32 matrices are computed in: "highest", "high" or "medium"."""
    return _precision


def set_float32_matmul_precision(precision: str) -> None:
    r"""Allows products of float32 matrices on a GPU to round their factors to tf32, for speed.

    .. math:: |x - \mathrm{tf32}(x)| \le 2^{-11} |x|

    Sums stay in float32. What runs on the CPU, and attention, is float32 throughout.

    Args:
        precision: "highest", the default: float32; "high" or "medium": tf32, on the tensor cores.

    Raises:
        ValueError: another name; nothing changes.

    Example:
        >>> import fastattn as fa
        >>> fa.set_float32_matmul_precision("high")
        >>> fa.get_float32_matmul_precision()
        'high'
        >>> fa.set_float32_matmul_precision("highest")

    Source: NVIDIA, "PTX ISA", section "Alternate floating point data formats"; torch's function of this name.
    """
    global _precision
    if precision not in _PRECISIONS:
        msg = f'set_float32_matmul_precision: precision is {precision!r}; expected "highest", "high" or "medium"'
        raise ValueError(msg)
    _C.set_matmul_precision(int(precision != "highest"))
    _precision = precision


def force_isa(name: str | None) -> None:
    """Chooses the instruction set of the CPU kernels; FASTATTN_ISA does the same from the environment.

    Args:
        name: one of `build_info()["isas"]`, or None for the best.

    Raises:
        ValueError: one that this machine does not run; nothing changes.

    Example:
        >>> import fastattn as fa
        >>> fa.force_isa("scalar")
        >>> fa.build_info()["isa"]
        'scalar'
        >>> fa.force_isa(None)
    """
    _C.isa_force(name)


def last_kernel() -> str:
    """The name of the kernel that this thread's last op ran, for example "matmul_f32_avx512"."""
    name: str = _C.last_kernel()
    return name


def empty_cache() -> None:
    """Returns the memory that is kept for reuse to the system."""
    _C.empty_cache()


def build_info() -> dict[str, Any]:
    """What this build is and what it found on this machine.

    Returns:
        A dict: version, python, isas (what this machine runs, best first), isa (in use), threads, cuda (whether kernels
        can run on a GPU here; `fa.cuda.unavailable()` says why not), cache_bytes (memory kept for reuse) and live_bytes
        (memory handed out).

    Example:
        >>> import fastattn as fa
        >>> fa.build_info()["version"] == fa.__version__
        True
    """
    return {
        "version": __version__,
        "python": platform.python_version(),
        "isas": _C.isa_list().split(","),
        "isa": _C.isa_active(),
        "threads": _C.num_threads(),
        "cuda": _C.cuda_unavailable() is None,
        "cache_bytes": _C.cache_bytes(),
        "live_bytes": _C.live_bytes(),
    }


class _Mode(threading.local):
    """Whether this thread is within explain(), where calls are asked what they would run and nothing is to change."""

    explaining = False


mode = _Mode()

ISAS = ("avx512_bf16", "avx512", "avx2", "scalar")  # every variant that a build has
_DTYPES = {"f64": "float64", "f32": "float32", "bf16": "bfloat16", "f16": "float16"}


class Explanation(NamedTuple):
    """What a call would run.

    `unsupported` is empty, or says which part of the request has no kernel; `others` says of the variants that would not
    run why not; `device` is where the arrays are, "cpu" or "cuda:0".
    """

    kernel: str
    unsupported: str
    flops: float
    bytes: float
    workspace: int
    others: dict[str, str]
    device: str = "cpu"

    @property
    def intensity(self) -> float:
        """FLOPs for each byte of the traffic; inf where there is none."""
        return self.flops / self.bytes if self.bytes else math.inf

    @property
    def roofline(self) -> float | None:
        """Seconds that the limits allow the kernel: its FLOPs or its traffic, whichever takes longer; None where
        `roofline_unknown` says why. Of this machine's CPU, with the threads now in use, they are the peak of the
        instruction set and the bandwidth of copying as many bytes, measured when first asked for; of a GPU, the rate of
        its units and the bandwidth of its memory at their highest clocks, as its driver gives them."""
        return self._roofline()[0]

    @property
    def roofline_unknown(self) -> str:
        """Why there is no `roofline`; empty where there is one."""
        return self._roofline()[1]

    def _roofline(self) -> tuple[float | None, str]:
        if self.unsupported:
            return None, f"no kernel would run: {self.unsupported}"
        if _device_limits.is_of_cuda(self.kernel):
            index = int(self.device.partition(":")[2] or 0)
            return _device_limits.roofline(self.kernel, self.flops, self.bytes, index)
        from . import _ceilings

        isa = _isa_of(self.kernel)
        dtype = self.kernel.removesuffix(f"_{isa}").rpartition("_")[2]
        return _ceilings.roofline(self.flops, self.bytes, _DTYPES[dtype], isa, get_num_threads()), ""


def _isa_of(kernel: str) -> str:
    """The instruction set of a kernel, by its name: op_dtype_isa."""
    return next((isa for isa in ISAS if kernel.endswith(f"_{isa}")), "")


def _why_not_others(kernel: str, device: str) -> dict[str, str]:
    """Of each variant but the kernel's own, why it would not run."""
    if device != "cpu":
        return dict.fromkeys(ISAS, f"the arrays are on {device}")
    here, active = _C.isa_list().split(","), _C.isa_active()
    chosen = f"{active} is the best that this machine runs" if active == here[0] else f"{active} is forced"

    def why(name: str) -> str:
        if name not in here:
            return "this machine does not run it"
        return f"it has no kernel of its own for this, and runs {kernel}" if name == active else chosen

    cuda = _C.cuda_unavailable() or "the arrays are on the CPU"
    return {**{name: why(name) for name in ISAS if name != _isa_of(kernel)}, "cuda": cuda}


def explain(op: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Explanation]:
    """Says which kernels a call would run and why not others, with their work and traffic, without running them.

    Nothing changes: no array, no tensor's version or gradient, not the random stream. What the call returns is dropped.
    Only kernels are held back; a Python function that is no op of fastattn does what else it does.

    Args:
        op: a function of fastattn, for example `fa.matmul`, or one that calls some.
        args, kwargs: what it would be called with; checked as in the call.

    Returns:
        An Explanation a kernel: its name, why it is unsupported if it is, FLOPs, bytes (compulsory traffic), bytes of
        workspace, why the other variants would not run, the device, `intensity`, the FLOPs for each byte, and `roofline`,
        the seconds that the limits of this machine or of the GPU allow.

    Raises:
        ValueError, TypeError: what the call would raise.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> what = fa.explain(fa.matmul, np.ones((4, 8)), np.ones((8, 2)))[0]
        >>> what.flops, what.roofline > 0
        (128.0, True)
    """
    _C.start_recording()
    mode.explaining = True
    try:
        op(*args, **kwargs)
    finally:
        mode.explaining = False
        records = _C.stop_recording()
    return [_explanation(*record) for record in records]


def _explanation(kernel: str, unsupported: str, flops: float, bytes_: float, workspace: int, index: int) -> Explanation:
    device = "cpu" if index < 0 else f"cuda:{index}"
    return Explanation(kernel, unsupported, flops, bytes_, workspace, _why_not_others(kernel, device), device)
