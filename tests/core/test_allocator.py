"""The caching allocator behind outputs of 256 KB and more."""

import gc
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

import fastattn as fa

MB = 2**20


@pytest.fixture(autouse=True)
def clean():
    gc.collect()
    fa.empty_cache()
    yield
    gc.collect()
    fa.empty_cache()


def live():
    return fa.build_info()["live_bytes"]


def cached():
    return fa.build_info()["cache_bytes"]


def bound(peak):
    """The most that is held of a process that has had so much at once."""
    return peak + peak // 16 + 64 * MB


def address(x):
    return x.__array_interface__["data"][0]


@pytest.mark.parametrize("count", [65536, 65537, 100_000, 1_000_003, 5_000_000])
def test_large_outputs_are_aligned_and_counted(count):
    before = live()
    out = fa.exp(np.zeros(count, np.float32))
    assert address(out) % 64 == 0
    assert 4 * count <= live() - before <= 4 * count * 1.125 + MB
    assert out.flags.writeable
    assert out.flags.c_contiguous
    del out
    assert live() == before
    assert cached() >= 4 * count


def test_small_outputs_are_numpys():
    before = live()
    out = fa.exp(np.zeros(65535, np.float32))
    assert live() == before
    assert out.flags.owndata


@pytest.mark.smoke
def test_memory_is_reused():
    x = np.zeros(1_000_000, np.float32)
    first = address(fa.exp(x))
    held = cached()
    again = fa.exp(x)
    assert address(again) == first
    assert cached() < held
    other = fa.exp(x)
    assert address(other) != first


def test_what_is_large_enough_serves():
    first = address(fa.exp(np.zeros(1_000_000, np.float32)))
    assert address(fa.exp(np.zeros(999_000, np.float32))) == first


def test_empty_cache_returns_memory():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    x = np.zeros(10_000_000, np.float32)
    before = resident()
    out = fa.exp(x)
    assert resident() - before > 30 * MB
    del out
    assert cached() >= 40_000_000
    assert resident() - before > 30 * MB
    fa.empty_cache()
    assert cached() == 0
    assert resident() - before < 10 * MB


def filled(mb):
    """A result of so many MB, of memory that is not touched."""
    from fastattn import _C

    return _C.empty((mb * MB - 64,), np.uint8)


def test_the_cache_is_bounded():
    arrays = [filled(15) for _ in range(40)]
    peak = live()
    assert cached() + peak <= bound(peak)
    kept = arrays[:10]
    del arrays
    assert 0 < cached() + live() <= bound(peak)
    del kept
    assert 0 < cached() <= bound(peak)


def between(count, mb):
    """So many arrays filled with 1, and what lies between them."""
    both = [(filled(mb), filled(1)) for _ in range(count)]
    for x, _ in both:
        x.fill(1)
    return [list(part) for part in zip(*both, strict=True)]


def test_neighbours_merge():
    """Gradients lie where the activations of their step lay."""
    (first, second, third), _ = [filled(20) for _ in range(3)], filled(1)
    start, held = address(first), live()
    del first, third
    assert address(filled(30)) != start
    del second
    large = filled(60)
    assert address(large) == start
    assert live() <= held


def test_the_smallest_that_is_large_enough_serves():
    arrays, _walls = between(3, 20)
    small, _wall = filled(10), filled(1)
    places = {address(x) for x in arrays}
    place = address(small)
    arrays.clear()
    del small
    first, second = filled(8), filled(12)
    assert address(first) == place
    assert address(second) in places


def test_what_came_back_first_leaves_first():
    arrays, _walls = between(6, 100)
    peak = live()
    while arrays:
        del arrays[0]
    large = filled(300)
    assert bound(peak) - 100 * MB < cached() + live() <= bound(peak)
    arrays = [filled(100) for _ in range(6)]
    assert [int(x[50 * MB]) for x in arrays] == [1] * 4 + [0] * 2  # of two the memory went to the system
    del large


def test_a_process_that_goes_on_to_other_sizes_keeps_those():
    """However much it has kept of the sizes before."""
    filled(500)
    for mb in range(20, 60, 4):
        filled(mb)
    for mb in (130, 300, 400):
        filled(mb).fill(1)
        assert filled(mb).all(), mb
    assert cached() <= bound(501 * MB)


def test_a_view_keeps_its_memory():
    before = live()
    row = fa.exp(np.zeros((1000, 1000)))[5]
    assert live() - before >= 8_000_000
    assert (row == 1).all()
    del row
    assert live() == before


def test_the_cache_holds_across_a_fork():
    x = np.zeros(1_000_000, np.float32)
    out = fa.exp(x)
    del out
    assert cached() > 0
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # a child that hangs dies, and the test fails
        good = cached() == 0 and (fa.exp(x) == 1).all()
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert cached() > 0


def test_steady_state_takes_no_page_faults():
    """A step that asks for the same sizes again gets the same memory: no fresh pages."""
    x = np.zeros((1000, 2000), np.float32)

    def step():
        return fa.softmax(fa.gelu(fa.exp(x)))

    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        step()
    # Three outputs of 8 MB a step are 60,000 pages of 4 KB in all.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 600


def test_an_impossible_size_says_what_was_asked_for():
    from fastattn import _C

    with pytest.raises(
        MemoryError, match="fastattn: out of memory: an array of 4611686018427387904 bytes was asked for"
    ):
        _C.empty((2**60,), np.float32)
    with pytest.raises(ValueError, match=r"(too|Maximum|large|big|negative)"):
        _C.empty((2**62, 2**62), np.float64)
    with pytest.raises(ValueError, match="negative"):
        _C.empty((-1,), np.float64)
    huge = np.broadcast_to(np.float32(0), (2**44,))
    with pytest.raises(MemoryError, match="out of memory"):
        fa.exp(huge)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool, fa.bfloat16])
@pytest.mark.parametrize("shape", [(), (0,), (3, 4), (1000, 500), (0, 10**9)])
def test_empty_is_an_ordinary_array(dtype, shape):
    from fastattn import _C

    x = _C.empty(shape, dtype)
    assert x.shape == shape
    assert x.dtype == np.dtype(dtype)
    assert x.flags.carray
    x[...] = 0
    assert not x.any()
