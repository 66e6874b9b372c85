"""The C interface: the header stands alone, in C and in C++, and the structs are laid out as published."""

import ctypes
import shutil
import subprocess

import pytest

from fastattn import _C

# The published layout: struct, its size, and the offsets of its fields. A change here is a new table version.
LAYOUT = {
    "fa_tensor": (144, {"data": 0, "dtype": 8, "ndim": 12, "shape": 16, "strides": 80}),
    "fa_launch": (
        256,
        {
            "size": 0, "query": 4, "stream": 8, "workspace": 16, "workspace_bytes": 24, "num_threads": 32, "device": 36,
            "kernel": 40,
            "flops": 48, "bytes": 56, "reason": 64,
        },
    ),
}  # fmt: skip
# The head of the table; the ops' entries follow, one pointer each.
TABLE_HEAD = {
    "version": 0, "size": 4, "backend": 8, "unavailable": 16, "device_count": 24, "device_info": 32, "synchronize": 40,
    "variant_list": 48, "variant_active": 56, "variant_force": 64, "num_threads": 72, "set_num_threads": 80,
    "alloc": 88, "free": 96, "empty_cache": 104, "cache_bytes": 112, "live_bytes": 120, "adam_step": 128,
}  # fmt: skip


def program():
    """A C program that asserts the layout when it is compiled."""
    lines = ['#include "fastattn.h"', "#include <stddef.h>"]
    for struct, (size, fields) in {**LAYOUT, "fa_table": (None, TABLE_HEAD)}.items():
        if size is not None:
            lines.append(f'CHECK(sizeof({struct}) == {size}, "size of {struct}");')
        lines += [
            f'CHECK(offsetof({struct}, {field}) == {offset}, "{struct}.{field}");' for field, offset in fields.items()
        ]
    return "\n".join([*lines, "int main(void) { return 0; }"])


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ["-std=c11", "-x", "c", "-DCHECK(x,m)=_Static_assert(x,m)"]),
        ("g++", ["-std=c++20", "-x", "c++", "-DCHECK(x,m)=static_assert(x,m)"]),
    ],
)
def test_the_header_compiles_alone(compiler, flags, root, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    source = tmp_path / "layout.txt"
    source.write_text(program())
    command = [compiler, *flags, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", f"-I{root / 'csrc/ops'}"]
    done = subprocess.run([*command, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.smoke
def test_the_binding_has_the_same_layout():
    layout = _C.layout()
    assert {name: layout[name] for name in LAYOUT} == {name: size for name, (size, _) in LAYOUT.items()}


def test_the_table(library, root):
    import re

    library = ctypes.CDLL(str(library))
    library.fa_get_table.restype = ctypes.c_void_p
    library.fa_get_table.argtypes = [ctypes.c_uint32]
    version = int(re.search(r"FA_TABLE_VERSION = (\d+)", (root / "csrc/ops/fastattn.h").read_text())[1])
    assert library.fa_get_table(version + 1) is None
    assert library.fa_get_table(0) is None
    address = library.fa_get_table(version)
    head = (ctypes.c_uint32 * 2).from_address(address)
    assert list(head) == [version, _C.layout()["fa_table"]]
    entries = (head[1] - TABLE_HEAD["adam_step"]) // 8
    pointers = (ctypes.c_void_p * entries).from_address(address + TABLE_HEAD["adam_step"])
    assert all(pointers), "an entry of the table is empty"
