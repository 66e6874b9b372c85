"""csrc/common/dlpack.h declares parts of DLPack again: sizes and offsets are those of an official dlpack.h."""

import shutil
import subprocess
from pathlib import Path

import pytest

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
