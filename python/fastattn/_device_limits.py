"""The limits of a GPU, from what its driver says: bandwidth of its memory, FLOP/s of its units.

They are the device's own, at its highest clocks, and not measured: a kernel stays below them.
"""

from __future__ import annotations

import ctypes
import functools
import re
from typing import NamedTuple

from . import _C

# CUdevice_attribute of the driver API.
CLOCK_KHZ, MULTIPROCESSORS, MEMORY_CLOCK_KHZ, BUS_BITS = 13, 16, 36, 37

# By compute capability, FLOPs of a multiprocessor in a clock: of FMA units on float32, and of tensor cores on dense products
# of 16-bit floats with float32 sums. Of 8.6 and 8.9, GeForce's tensor cores have half of that rate.
# Source: NVIDIA's architecture whitepapers, the peak FLOP/s of a product over its multiprocessors and boost clock: A100
# (2020), GA102 (2020), Ada (2022), H100 (2022).
RATES = {(8, 0): (128, 2048), (8, 6): (256, 1024), (8, 9): (256, 1024), (9, 0): (256, 4096)}
GEFORCE_RATES = {(8, 6): (256, 512), (8, 9): (256, 512)}

# Kernels that multiply matrices; the others compute in float32 on FMA units, whatever the dtype.
PRODUCTS = ("matmul_", "attention_", "linear_cross_entropy_")


class Limits(NamedTuple):
    """Bytes/s of memory, and FLOP/s on float32 and of products of 16-bit floats; None where unknown, and then `why`."""

    bandwidth: float | None
    vector: float | None
    tensor: float | None
    why: str


def is_of_cuda(kernel: str) -> bool:
    """Whether a kernel is the CUDA backend's, by its name: op_dtype_sm80."""
    return re.search(r"_sm\d+$", kernel) is not None


@functools.lru_cache(maxsize=16)
def limits(index: int) -> Limits:
    """What GPU number `index` is capable of."""
    try:
        info = _C.cuda_device_info(index)
        found = _attributes(index, (CLOCK_KHZ, MULTIPROCESSORS, MEMORY_CLOCK_KHZ, BUS_BITS))
    except (RuntimeError, ValueError, OSError) as error:
        return Limits(None, None, None, str(error))
    clock, count, memory_clock, bus = found
    # Two transfers a clock, on every line of the bus.
    bandwidth = 2.0 * memory_clock * 1e3 * bus / 8 if memory_clock > 0 and bus > 0 else None
    why = [] if bandwidth else [f"{info['name']} does not say the clock and the width of its memory"]
    capability = info["capability"]
    rates = GEFORCE_RATES.get(capability, RATES.get(capability)) if "GeForce" in info["name"] else RATES.get(capability)
    if rates is None:
        why.append(f"the units of compute capability {'.'.join(map(str, capability))} are in no table of this version")
        return Limits(bandwidth, None, None, "; ".join(why))
    per_clock = count * clock * 1e3
    return Limits(bandwidth, rates[0] * per_clock, rates[1] * per_clock, "; ".join(why))


def _attributes(index: int, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Attributes of a device, 0 where the driver has none."""
    driver = ctypes.CDLL("libcuda.so.1")
    device, value = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), index):
        msg = f"the driver has no device {index}"
        raise OSError(msg)

    def attribute(number: int) -> int:
        return 0 if driver.cuDeviceGetAttribute(ctypes.byref(value), number, device) else value.value

    return tuple([attribute(number) for number in wanted])


def roofline(kernel: str, work: float, traffic: float, index: int) -> tuple[float | None, str]:
    """Seconds that `work` FLOPs over `traffic` bytes take at a GPU's limits, the longer of the two; or None, and why."""
    found = limits(index)
    dtype = next((name for name in ("f32", "bf16", "f16") if f"_{name}_" in kernel), "f32")
    peak = found.tensor if dtype != "f32" and kernel.startswith(PRODUCTS) else found.vector
    if (work and peak is None) or (traffic and found.bandwidth is None):
        return None, found.why
    compute = work / peak if work and peak else 0.0
    return max(compute, traffic / found.bandwidth if traffic and found.bandwidth else 0.0), ""
