"""Kernel sources that both nvcc and the emulator compile keep to what both can see."""

import re

# Headers whose inline functions hold no state: the emulator's core shares its inline functions with kernel sources, whose
# copies carry hooks (csrc/emulator/README.md).
HEADERS = {"cmath", "cstddef", "cstdint", "cstring", "initializer_list", "type_traits"}
# Where the two compilers may differ, besides the wrappers in ptx/.
DIFFER = {"launch.h", "platform.h", "shared.h", "types.h"}


def kernel_sources(root):
    folders = (root / "csrc/cuda", root / "tests/emulator/kernels")
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in {".h", ".cu"}]


def code(path):
    return re.sub(r"//.*", "", path.read_text())


def test_headers_are_few(root):
    sources = kernel_sources(root)
    assert len(sources) > 12
    found = {str(p.relative_to(root)): set(re.findall(r"#include <([^>]+)>", code(p))) - HEADERS for p in sources}
    assert {name: headers for name, headers in found.items() if headers} == {}


def test_the_compilers_differ_in_few_places(root):
    """One launch, assembly and #if in wrappers alone."""
    for path in kernel_sources(root):
        text, wrapper = code(path), path.parent.name == "ptx"
        assert ("<<<" in text) == (path.name == "launch.h"), path
        if not wrapper and path.name not in DIFFER:
            assert not re.search(r"\basm\b|__CUDACC__|__CUDA_ARCH__", text), path


def test_every_wrapper_is_tried(root):
    """By a kernel of the emulator's tests, which compares its result with a definition."""
    tried = "".join(path.read_text() for path in (root / "tests/emulator/kernels").glob("*.cu"))
    wrappers = {
        name
        for path in (root / "csrc/cuda/ptx").glob("*.h")
        for name in re.findall(r"^__device__ inline \w+ (\w+)\(", path.read_text(), re.M)
    }
    assert {"ldmatrix_trans", "mma_m16n8k16", "cp_async", "barrier_arrive"} <= wrappers
    assert {name for name in wrappers if not re.search(rf"ptx::{name}\b", tried)} == set()
