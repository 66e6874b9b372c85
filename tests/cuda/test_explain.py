"""explain() of what is on a device: the kernel, its work and traffic, and the time that the GPU's limits allow."""

import ctypes
import math

import numpy as np
import pytest

import fastattn as fa
from fastattn import _device_limits
from fastattn._device_limits import BUS_BITS, CLOCK_KHZ, MEMORY_CLOCK_KHZ, MULTIPROCESSORS

A100 = {CLOCK_KHZ: 1_410_000, MULTIPROCESSORS: 108, MEMORY_CLOCK_KHZ: 1_593_000, BUS_BITS: 5120}


@pytest.fixture
def gpu(monkeypatch):
    """gpu(name, capability, attributes): what driver and runtime say of device 0."""

    def is_a(name, capability, attributes):
        info = {"name": name, "capability": capability, "multiprocessors": 1}
        monkeypatch.setattr(_device_limits._C, "cuda_device_info", lambda index: info)
        monkeypatch.setattr(
            _device_limits, "_attributes", lambda index, wanted: tuple(attributes.get(a, 0) for a in wanted)
        )
        _device_limits.limits.cache_clear()

    yield is_a
    _device_limits.limits.cache_clear()


def test_the_limits_of_known_gpus(gpu):
    """Against the tables of NVIDIA's data sheets: TB/s, and TFLOP/s of float32 and of bfloat16 with float32 sums."""
    sheets = [
        ("NVIDIA A100-SXM4-80GB", (8, 0), A100, (2.039, 19.5, 312)),
        ("NVIDIA GeForce RTX 3080", (8, 6), {CLOCK_KHZ: 1_710_000, MULTIPROCESSORS: 68, MEMORY_CLOCK_KHZ: 9_501_000,
                                             BUS_BITS: 320}, (0.760, 29.8, 59.5)),
        ("NVIDIA GeForce RTX 4090", (8, 9), {CLOCK_KHZ: 2_520_000, MULTIPROCESSORS: 128, MEMORY_CLOCK_KHZ: 10_501_000,
                                             BUS_BITS: 384}, (1.008, 82.6, 165.2)),
        ("NVIDIA L4", (8, 9), {CLOCK_KHZ: 2_040_000, MULTIPROCESSORS: 58, MEMORY_CLOCK_KHZ: 6_251_000, BUS_BITS: 192},
         (0.300, 30.3, 121)),
        ("NVIDIA H100 80GB HBM3", (9, 0), {CLOCK_KHZ: 1_830_000, MULTIPROCESSORS: 132, MEMORY_CLOCK_KHZ: 2_619_000,
                                           BUS_BITS: 5120}, (3.352, 61.8, 989.4)),
    ]  # fmt: skip
    for name, capability, attributes, expected in sheets:
        gpu(name, capability, attributes)
        found = _device_limits.limits(0)
        assert found.why == ""
        assert found[:3] == pytest.approx([1e12 * x for x in expected], rel=0.01)


def test_roofline_is_the_longer_of_both_limits(gpu):
    gpu("NVIDIA A100", (8, 0), A100)
    bandwidth, vector, tensor, _ = _device_limits.limits(0)
    of = _device_limits.roofline
    assert of("matmul_bf16_t128_sm80", tensor, bandwidth / 2, 0) == (1.0, "")
    assert of("attention_fwd_f16_sm80", tensor, bandwidth * 2, 0) == (2.0, "")
    assert of("matmul_f32_sm80", vector * 3, 1, 0) == (3.0, "")
    assert of("softmax_fwd_bf16_sm80", vector * 3, 1, 0) == (3.0, "")
    assert of("embedding_fwd_f32_sm80", 0, bandwidth * 4, 0) == (4.0, "")
    assert of("cast_f32_sm80", 0, 0, 0) == (0.0, "")


def test_unknown(gpu):
    """A newer GPU's units are unknown, but not the time of its traffic; a driver that says nothing leaves nothing."""
    gpu("NVIDIA B200", (10, 0), A100)
    seconds, why = _device_limits.roofline("matmul_bf16_sm80", 1, 1, 0)
    assert seconds is None
    assert why == "the units of compute capability 10.0 are in no table of this version"
    assert _device_limits.roofline("embedding_fwd_f32_sm80", 0, 2.03904e12, 0) == (pytest.approx(1), "")
    gpu("A GPU", (8, 0), {CLOCK_KHZ: 1, MULTIPROCESSORS: 1})
    assert _device_limits.roofline("softmax_fwd_f32_sm80", 1, 1, 0) == (
        None,
        "A GPU does not say the clock and the width of its memory",
    )


def test_without_a_driver(monkeypatch):
    def none(name):
        msg = f"{name}: cannot open shared object file"
        raise OSError(msg)

    monkeypatch.setattr(ctypes, "CDLL", none)
    _device_limits.limits.cache_clear()
    seconds, why = _device_limits.roofline("softmax_fwd_f32_sm80", 1, 1, 0)
    _device_limits.limits.cache_clear()
    assert (seconds, why) == (None, "libcuda.so.1: cannot open shared object file")


@pytest.mark.smoke
def test_explain(emulated, gpu):
    gpu("NVIDIA A100", (8, 0), A100)
    x = fa.ones(16, 32, device="cuda", dtype=fa.bfloat16)
    w = fa.ones(32, 8, device="cuda", dtype=fa.bfloat16)
    (what,) = fa.explain(fa.matmul, x, w)
    assert (what.device, what.unsupported) == ("cuda:0", "")
    assert what.flops == 2 * 16 * 32 * 8
    assert what.bytes == 2 * (16 * 32 + 32 * 8 + 16 * 8)
    assert what.intensity == what.flops / what.bytes
    assert what.kernel.startswith("matmul_bf16_")
    assert what.kernel.endswith("_sm80") == emulated
    assert set(what.others.values()) == {"the arrays are on cuda:0"}
    assert what.roofline_unknown == ""
    if emulated:
        assert what.roofline == pytest.approx(max(what.flops / 312e12, what.bytes / 2.039e12), rel=1e-2)
    (host,) = fa.explain(fa.matmul, np.ones((16, 32)), np.ones((32, 8)))
    assert (host.device, host.others["cuda"]) == ("cpu", "the arrays are on the CPU")


def test_nothing_to_move():
    what = fa.Explanation("matmul_f32_sm80", "", 0.0, 0.0, 0, {})
    assert what.intensity == math.inf


def test_unsupported(emulated):
    if not emulated:
        pytest.skip("the CPU's table has a kernel for all of it")
    (what,) = fa.explain(fa.matmul, *[fa.ones(2, 2, device="cuda", dtype=fa.float64)] * 2)
    assert what.unsupported == "the CUDA kernels take float32, float16 and bfloat16"
    assert (what.roofline, what.roofline_unknown) == (None, f"no kernel would run: {what.unsupported}")
