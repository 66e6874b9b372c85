"""Op tests on a device: what they call in `_C` with ndarrays runs on copies in the device's memory.

FASTATTN_TEST_DEVICE=cuda is CuPy and the CUDA library that is installed; =fake is host memory that says it is a device's,
with the emulated library of FASTATTN_TEST_CUDA, or the CPU's, whose table is the same: it tests this door.

The arrays of a call go up as the ranges of bytes that they span: strides, alignment to 256 bytes, and arguments that lie in
one another are what they were. After the call the ranges that hold a writeable array come back.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fastattn import _C

DEVICE = os.environ.get("FASTATTN_TEST_DEVICE", "")
# Whether op tests run CUDA's kernels on the emulator, and whether they run them at all.
EMULATED = bool(os.environ.get("FASTATTN_TEST_BACKEND") or (DEVICE == "fake" and os.environ.get("FASTATTN_TEST_CUDA")))
ON_CUDA = EMULATED or DEVICE == "cuda"
ALIGNMENT = 256
CALLS = {"device": 0, "host": 0}  # of ops with ndarrays; the host's part is of arguments that are no arrays of a device
_NO_OPS = {"UnsupportedError", "AdamPlan", "empty", "layout", "use_cuda_library"}


class FakeMemory:
    """Host memory in the place of a device's; CuPy's below has the same methods."""

    def upload(self, data, size, offset):
        raw = np.full(size + ALIGNMENT, 0xFF, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        buffer = raw[start : start + size]
        buffer[offset:] = data
        return buffer, buffer.ctypes.data

    def download(self, buffer, offset):
        return buffer[offset:]

    def wait(self):
        pass


def import_cupy():
    """CuPy; with FASTATTN_TEST_POOL=0 every array is an allocation of its own, whose end compute-sanitizer knows."""
    import cupy

    if os.environ.get("FASTATTN_TEST_POOL") == "0":
        cupy.cuda.set_allocator(None)
    return cupy


class CupyMemory:
    def __init__(self):
        self.cupy = import_cupy()

    def upload(self, data, size, offset):
        buffer = self.cupy.empty(size, np.uint8)
        buffer[offset:].set(data)
        return buffer, buffer.data.ptr

    def download(self, buffer, offset):
        return buffer[offset:].get()

    def wait(self):
        self.cupy.cuda.Device(0).synchronize()


class OnDevice:
    """An array in a device's memory, as `_C` reads CuPy's."""

    device = SimpleNamespace(id=0)

    def __init__(self, array, address):
        self.shape, self.dtype = array.shape, array.dtype
        self.__cuda_array_interface__ = {
            "shape": array.shape, "strides": array.strides, "typestr": array.dtype.str, "version": 3, "stream": 1,
            "data": (address if array.size else 0, not array.flags.writeable),
        }  # fmt: skip


class Range:
    """Bytes of host memory from `low` to `high`, and their copy on the device."""

    def __init__(self, low, high):
        self.low, self.high, self.written = low, high, False

    def host(self):
        return np.frombuffer((ctypes.c_char * (self.high - self.low)).from_address(self.low), np.uint8)

    def upload(self, memory):
        self.offset = self.low % ALIGNMENT
        self.buffer, self.base = memory.upload(self.host(), self.high - self.low + self.offset, self.offset)

    def download(self, memory):
        if self.written:
            self.host()[:] = memory.download(self.buffer, self.offset)

    def address(self, array):
        return self.base + self.offset + array.ctypes.data - self.low


class Moved:
    """The arrays of a call, on the device: made from its arguments, and brought back by `back`."""

    def __init__(self, memory, arguments):
        self.memory = memory
        arrays = list(_arrays(arguments))
        self.ranges = []
        for low, high, written in sorted(
            (*np.lib.array_utils.byte_bounds(a), a.flags.writeable) for a in arrays if a.size
        ):
            if not self.ranges or low >= self.ranges[-1].high:
                self.ranges.append(Range(low, high))
            self.ranges[-1].high = max(self.ranges[-1].high, high)
            self.ranges[-1].written |= written
        for r in self.ranges:
            r.upload(memory)
        self.arguments = self._moved(arguments)

    def _moved(self, value):
        if isinstance(value, (list, tuple)):
            return type(value)(self._moved(v) for v in value)
        if type(value) is not np.ndarray:
            return value
        inside = next((r for r in self.ranges if r.low <= value.ctypes.data < r.high), None)
        return OnDevice(value, inside.address(value) if inside else 0)

    def back(self):
        self.memory.wait()
        for r in self.ranges:
            r.download(self.memory)


def _arrays(value):
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from _arrays(v)
    elif type(value) is np.ndarray:
        yield value


def _movable(value):
    """Whether an argument can be on a device: it is no ndarray at all, or one that a device's interface can describe.
    Foreign arrays stay where they are, and so does all that comes with them."""
    if isinstance(value, (list, tuple)):
        return all(map(_movable, value))
    if type(value) is np.ndarray:
        flags, size = value.flags, value.itemsize
        return (
            (value.dtype.kind in "biuf" or value.dtype.name == "bfloat16")
            and value.dtype.isnative
            and flags.aligned
            and all(s % size == 0 for s in value.strides)
        )
    return not hasattr(value, "__dlpack__") and not hasattr(value, "__cuda_array_interface__")


def _through(memory, function):
    """`function` of `_C` on arrays of the device."""

    def call(*args, **kwargs):
        arguments = (args, tuple(kwargs.values()))
        if not any(True for _ in _arrays(arguments)):
            return function(*args, **kwargs)
        if not _movable(arguments):
            CALLS["host"] += 1
            return function(*args, **kwargs)
        CALLS["device"] += 1
        moved = Moved(memory, arguments)
        result = function(*moved.arguments[0], **dict(zip(kwargs, moved.arguments[1], strict=True)))
        moved.back()
        return result

    return call


def _grad_norm(memory, function):
    """On a device the norm is written to an array; ndarrays' callers get a number."""
    through = _through(memory, function)

    def call(grads, norm=None):
        if norm is not None or not any(True for _ in _arrays(grads)):
            return through(grads, norm)
        norm = np.zeros((), np.float64)
        found = through(grads, norm)
        return found if not _movable(grads) else float(norm)

    return call


def _adam_plan(memory, original):
    class AdamPlan:
        """Keeps the ndarrays; every step is a plan of its own on the device."""

        def __init__(self, *args):
            self.args = args
            self.on_host = original(*args)  # checks them

        def step(self, *args):
            found_inf, norm, *numbers = args
            clips = norm is None and numbers[7] is not None
            no_number = any(a.size != 1 for a in _arrays(numbers))  # an error, of which the host's text is tested
            if no_number or not any(True for _ in _arrays(self.args)) or not _movable((self.args, args)):
                CALLS["host"] += 1
                return self.on_host.step(*args)
            CALLS["device"] += 1
            norm = np.zeros((), np.float64) if clips else norm
            moved = Moved(memory, (self.args, (found_inf, norm, *numbers)))
            result = original(*moved.arguments[0]).step(*moved.arguments[1])
            moved.back()
            return float(norm) if clips else result

    return AdamPlan


def library():
    """The path of the library in CUDA's place; empty for the installed one."""
    if DEVICE != "fake":
        return ""
    return os.environ.get("FASTATTN_TEST_CUDA") or str(Path(_C.__file__).parent / "libfastattn.so")


def install():
    """Puts the door before `_C`, for the rest of the process."""
    if DEVICE not in ("cuda", "fake"):
        msg = f"FASTATTN_TEST_DEVICE is {DEVICE!r}; expected 'cuda' or 'fake'"
        raise ValueError(msg)
    memory = CupyMemory() if DEVICE == "cuda" else FakeMemory()
    _C.use_cuda_library(library())
    if why := _C.cuda_unavailable():
        msg = f"FASTATTN_TEST_DEVICE={DEVICE}: {why}"
        raise RuntimeError(msg)
    if ON_CUDA:  # one variant, which nothing forces
        _C.isa_list, _C.isa_active, _C.isa_force = (lambda: "sm80"), (lambda: "sm80"), (lambda name: None)
    special = {"grad_norm": _grad_norm, "AdamPlan": _adam_plan}
    for name in dir(_C):
        made = special.get(name, _through)
        if not name.startswith("_") and (name in special or name not in _NO_OPS):
            setattr(_C, name, made(memory, getattr(_C, name)))
