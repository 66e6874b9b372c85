"""Reading arrays of types that have DLPack's C exchange table, and its declaration in csrc/common/dlpack.h."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fastattn import _C

OURS = Path(__file__).parents[2] / "csrc"

# Struct and fields, ours beside the official ones.
FIELDS = {
    ("Device", "DLDevice"): [("device_type", "device_type"), ("device_id", "device_id")],
    ("DataType", "DLDataType"): [("code", "code"), ("bits", "bits"), ("lanes", "lanes")],
    ("Tensor", "DLTensor"): [(n, n) for n in ("data", "device", "ndim", "dtype", "shape", "strides", "byte_offset")],
    ("Version", "DLPackVersion"): [("major", "major"), ("minor", "minor")],
    ("ExchangeHeader", "DLPackExchangeAPIHeader"): [("version", "version"), ("prev_api", "prev_api")],
    ("ExchangeApi", "DLPackExchangeAPI"): [
        (n, n)
        for n in (
            "header",
            "managed_tensor_allocator",
            "managed_tensor_from_py_object_no_sync",
            "managed_tensor_to_py_object_no_sync",
            "dltensor_from_py_object_no_sync",
            "current_work_stream",
        )
    ],
}
CODES = {"kInt": "kDLInt", "kUInt": "kDLUInt", "kFloat": "kDLFloat", "kBfloat": "kDLBfloat", "kBool": "kDLBool"}


def test_layout_is_the_official_one(tmp_path):
    torch = pytest.importorskip("torch", reason="torch, which brings a dlpack.h, is not installed")
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    include = Path(torch.__file__).parent / "include"
    if not (include / "ATen/dlpack.h").exists():
        pytest.skip("this torch has no ATen/dlpack.h")
    ours = "fastattn::dlpack::"
    lines = ["#include <cstddef>", '#include "ATen/dlpack.h"', '#include "common/dlpack.h"']
    for (mine, official), fields in FIELDS.items():
        lines.append(f"static_assert(sizeof({ours}{mine}) == sizeof({official}));")
        lines += [f"static_assert(offsetof({ours}{mine}, {a}) == offsetof({official}, {b}));" for a, b in fields]
    lines += [f"static_assert(int({ours}{a}) == int({b}));" for a, b in {**CODES, "kCpu": "kDLCPU"}.items()]
    source = tmp_path / "layout.cpp"
    source.write_text("\n".join([*lines, "int main() {}"]))
    command = [
        compiler,
        "-std=c++20",
        "-fsyntax-only",
        "-Wno-invalid-offsetof",
        f"-I{include}",
        f"-I{OURS}",
        str(source),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


# A type of our own with an exchange table ------------------------------------------------------------------------------

CPU, CUDA, FLOAT, COMPLEX = 1, 2, 2, 5


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Api(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("prev_api", ctypes.c_void_p),
        ("allocator", ctypes.c_void_p),
        ("from_py_object", ctypes.c_void_p),
        ("to_py_object", ctypes.c_void_p),
        ("read", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(DLTensor))),
        ("stream", ctypes.c_void_p),
    ]


def read(object, out):
    out[0] = object.tensor
    return 0


def capsule(api):
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.addressof(api), b"dlpack_exchange_api", None)


API = Api(1, 3, None, None, None, None, Api._fields_[6][1](read), None)
NEWER = Api(2, 0, None, None, None, None, API.read, None)


class Exchanged:
    """An ndarray behind an exchange table."""

    __dlpack_c_exchange_api__ = capsule(API)

    def __init__(self, array, *, device=CPU, code=FLOAT, lanes=1, row_major=False, byte_offset=0):
        n, size = array.ndim, array.itemsize
        self.array, self.dtype = array, array.dtype
        self.shape = (ctypes.c_int64 * n)(*array.shape)
        self.strides = None if row_major else (ctypes.c_int64 * n)(*(s // size for s in array.strides))
        self.tensor = DLTensor(
            array.ctypes.data - byte_offset, device, 0, n, code, 8 * size, lanes, self.shape, self.strides, byte_offset
        )


class OfVersionTwo(Exchanged):
    __dlpack_c_exchange_api__ = capsule(NEWER)


def exp_of(x):
    out = np.empty(x.array.shape)
    _C.unary(x, out, 0)
    return out


@pytest.mark.parametrize(
    "view", [lambda x: x, lambda x: x.T, lambda x: x[::-2, ::3], lambda x: x[:0], lambda x: x[1, 2]]
)
def test_strides_are_read(randn, view):
    x = np.asarray(view(randn(5, 7)))
    np.testing.assert_allclose(exp_of(Exchanged(x)), np.exp(x), rtol=1e-15)
    np.testing.assert_allclose(exp_of(Exchanged(x, byte_offset=64)), np.exp(x), rtol=1e-15)
    if x.flags.c_contiguous:
        np.testing.assert_allclose(exp_of(Exchanged(x, row_major=True)), np.exp(x), rtol=1e-15)


def test_an_empty_array_may_have_no_memory():
    x = Exchanged(np.zeros((0, 3)))
    x.tensor.data = None
    assert exp_of(x).shape == (0, 3)


def test_what_cannot_be_read():
    x = np.zeros((2, 3))
    with pytest.raises(TypeError, match="exp: x is on cuda:0, and this build of fastattn has no CUDA backend"):
        exp_of(Exchanged(x, device=CUDA))
    with pytest.raises(TypeError, match=r"grad_norm: grads\[0\] is on cuda:0, and this build"):
        _C.grad_norm([Exchanged(x, device=CUDA)])
    with pytest.raises(TypeError, match="exp: x has dtype float64; expected float32, float64, bfloat16 or float16"):
        exp_of(Exchanged(x, lanes=2))
    with pytest.raises(TypeError, match="exp: x has dtype float64; expected float32, float64, bfloat16 or float16"):
        exp_of(Exchanged(x, code=COMPLEX))
    with pytest.raises(TypeError, match="exp: x is a OfVersionTwo; expected an array"):
        exp_of(OfVersionTwo(x))
