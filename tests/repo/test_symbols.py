"""No code compiled for one instruction set is what the linker keeps for all.

An inline function is a weak symbol; of its copies, compiled once per instruction set, the linker keeps any one. So
every weak symbol of a kernel object must lie in the namespace of its own instruction set.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NM = shutil.which("nm")
pytestmark = pytest.mark.skipif(NM is None, reason="nm (binutils) is not installed")
WEAK = set("vVwWu")
# GCC's own: a pointer to the C++ runtime's unwinder, data that is the same in every object.
UNWINDER = "DW.ref.__gxx_personality_v0"


def symbols(path, *flags):
    """(kind, demangled name) of the symbols that an object defines."""
    out = subprocess.run([NM, "-C", "--defined-only", *flags, path], capture_output=True, text=True, check=True).stdout
    return [match.groups() for match in re.finditer(r"^[0-9a-f]+ (\S) (.+)$", out, re.M)]


def objects():
    """(instruction set, object file) of every kernel, where the environment names the build folder."""
    folder = os.environ.get("FASTATTN_BUILD_DIR")
    if not folder:
        return []
    return [
        (re.search(r"fastattn_kernels_(\w+?)\.dir", str(path))[1], path)
        for path in sorted(Path(folder).rglob("fastattn_kernels_*.dir/**/*.o"))
    ]


def test_the_library_exports_one_function(library):
    names = [name for _, name in symbols(library, "--dynamic", "--extern-only")]
    assert names == ["fa_get_table"]


def test_the_library_needs_nothing_unusual(library):
    out = subprocess.run(["readelf", "--dynamic", library], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"NEEDED.*\[(.+?)\.so", out))
    assert needed <= {"libstdc++", "libm", "libgcc_s", "libc", "ld-linux-x86-64", "libpthread", "libdl"}


@pytest.mark.skipif(not objects(), reason="FASTATTN_BUILD_DIR names no build folder")
def test_weak_symbols_stay_in_their_namespace():
    found = objects()
    assert {isa for isa, _ in found} == {"scalar", "avx2", "avx512", "avx512_bf16"}
    outside = [
        f"{path.name} ({isa}): {name}"
        for isa, path in found
        for kind, name in symbols(path)
        # What a symbol of the namespace instantiates is named after it: std::array<fastattn::cpu::avx2::F32, 4>::...
        if kind in WEAK and f"fastattn::cpu::{isa}::" not in name and name != UNWINDER
    ]
    assert outside == []
