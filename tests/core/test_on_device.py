"""The door of the op tests to a device (tests/support/on_device.py), with host memory in the device's place."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import on_device
import pytest

ROOT = Path(__file__).resolve().parents[2]


def view(moved):
    """What is there, as `_C` would read it, on the fake device."""
    interface = moved.__cuda_array_interface__
    holder = type("Holder", (), {"__array_interface__": {**interface, "typestr": moved.dtype.str}})
    return np.asarray(holder())


def test_strides_alignment_and_overlap_stay():
    x = np.arange(400, dtype=np.float32).reshape(20, 20)
    arguments = (x[1:9, ::3], [x[5:12].T, None, 3.0], np.flip(x, 1), np.ones((), np.int64))
    moved = on_device.Moved(on_device.FakeMemory(), arguments)
    first, (second, nothing, number), third, scalar = moved.arguments
    assert (nothing, number, len(moved.ranges)) == (None, 3.0, 2)
    for there, here in (
        (first, arguments[0]),
        (second, arguments[1][0]),
        (third, arguments[2]),
        (scalar, arguments[3]),
    ):
        found = view(there)
        np.testing.assert_array_equal(found, here)
        assert found.strides == here.strides
        assert (found.ctypes.data - here.ctypes.data) % on_device.ALIGNMENT == 0
        assert not np.may_share_memory(found, here)
    # What one of them writes, the others read; and it comes back.
    view(first)[0, 0] = -1
    assert view(third)[1, 19] == -1
    assert x[1, 0] == 20
    moved.back()
    assert x[1, 0] == -1
    assert np.array_equal(x.ravel()[21:], np.arange(21, 400))


def test_read_only_and_empty_arrays():
    x, empty = np.ones(3, np.float32), np.ones((0, 4), np.float32)
    x.flags.writeable = False
    there, nothing = on_device.Moved(on_device.FakeMemory(), (x, empty)).arguments
    assert there.__cuda_array_interface__["data"][1]
    assert nothing.__cuda_array_interface__["data"] == (0, False)


@pytest.mark.parametrize("array", [
    np.ones(2, np.complex64), np.ones(2, ">f4"), np.zeros(9, "u1")[1:].view("f4"), np.zeros(2, "i2,f4")["f1"],
    np.array([None]),
], ids=["complex", "byte order", "not aligned", "stride", "objects"])  # fmt: skip
def test_what_no_device_takes_stays(array):
    assert not on_device._movable(([np.ones(2)], array))


@pytest.mark.smoke
def test_op_tests_pass_through_it():
    """In place, lists of arrays, a norm that comes back as a number; on the CPU's library as if it were a device's."""
    environment = {**os.environ, "FASTATTN_TEST_DEVICE": "fake"}
    environment.pop("FASTATTN_TEST_CUDA", None)
    tests = ["tests/ops/test_grad_norm.py", "tests/ops/test_sgd.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not parity", *tests], cwd=ROOT,
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    calls, stayed = map(int, re.findall(r"on a device: (\d+) calls of ops; (\d+) stayed", done.stdout)[0])
    assert calls > 100
    assert stayed < calls / 10
