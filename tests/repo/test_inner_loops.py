"""What the compiler made of the loops that matmul and attention spend their time in; the environment names the build.

In the disassembly, a loop has all the multiply-adds of its steps, and no access to the stack: neither sums nor addresses
are spilled. For scalar and avx2, which valgrind knows, instructions of whole calls are counted, too, and held against
what they were when the kernels were tuned.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastattn import _C

OBJDUMP, VALGRIND = shutil.which("objdump"), shutil.which("valgrind")
FOLDER = os.environ.get("FASTATTN_BUILD_DIR")
pytestmark = pytest.mark.skipif(not FOLDER, reason="FASTATTN_BUILD_DIR names no build folder")
MULTIPLY_ADD = re.compile(r"v(fmadd\d+p[sd]|dpbf16ps)\b")
STACK = re.compile(r"\(%r[sb]p")


def built(pattern):
    """A file of the build of the wheel: others in the folder are for checks, and optimise little."""
    return max(Path(FOLDER).glob(f"cp*/**/{pattern}"), key=lambda path: path.stat().st_mtime)


# Disassembly ---------------------------------------------------------------------------------------------------------


def innermost_loops(code):
    """The instructions of every loop without another in it; `code`: (address, instruction) of a function."""
    index = {address: i for i, (address, _) in enumerate(code)}
    spans = []
    for i, (address, instruction) in enumerate(code):
        jump = re.match(r"j\w+ +([0-9a-f]+)", instruction)
        if jump and int(jump[1], 16) <= address and int(jump[1], 16) in index:
            spans.append((index[int(jump[1], 16)], i))
    for first, last in spans:
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in spans):
            yield [instruction for _, instruction in code[first : last + 1]]


def functions(path):
    """(demangled name, [(address, instruction)]) of an object file."""
    command = [OBJDUMP, "-d", "-C", "--no-show-raw-insn", path]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for block in out.split("\n\n"):
        head = re.match(r"[0-9a-f]+ <(.+)>:\n", block)
        if head:
            lines = re.findall(r"^ *([0-9a-f]+):\t(.+?) *$", block, re.M)
            yield head[1], [(int(address, 16), instruction) for address, instruction in lines]


@dataclass(frozen=True)
class Loop:
    """The longest loop of the functions of a name: tiles of 8 x 3 vectors."""

    isa: str
    kernel: str
    function: str
    multiply_adds: int
    count: int  # of functions

    @property
    def id(self):
        return f"{self.isa}-{self.kernel}-{self.function}"


LOOPS = [
    # four steps of k, from rows and from columns of a
    Loop("avx512", "matmul", "compute_tile<float, 8, 3,", 96, 2),
    Loop("avx512", "matmul", "compute_tile<double, 8, 3,", 96, 2),
    Loop("avx512_bf16", "matmul", "compute_tile<float, 8, 3,", 96, 2),
    Loop("avx2", "matmul", "compute_tile<float, 6, 2,", 48, 2),
    Loop("avx2", "matmul", "compute_tile<double, 6, 2,", 48, 2),
    # two steps; products that start at 0, and that are added
    Loop("avx512", "attention_fwd", "multiply_tile<1l, float, 8, 3,", 48, 2),
    Loop("avx512", "attention_bwd", "multiply_tile<1l, float, 8, 3,", 48, 2),
    Loop("avx512", "attention_bwd", "multiply_tile<1l, double, 8, 3,", 48, 2),
    Loop("avx512_bf16", "attention_fwd", "multiply_tile<2l, float, 8, 3,", 48, 2),
    Loop("avx512_bf16", "attention_bwd", "multiply_tile<2l, float, 8, 3,", 48, 2),
    Loop("avx2", "attention_fwd", "multiply_tile<1l, float, 4, 3,", 24, 2),
    Loop("avx2", "attention_bwd", "multiply_tile<1l, float, 4, 3,", 24, 2),
]


@pytest.mark.skipif(OBJDUMP is None, reason="objdump (binutils) is not installed")
@pytest.mark.parametrize("loop", [pytest.param(loop, id=loop.id) for loop in LOOPS])
def test_a_tile_keeps_its_sums_and_addresses_in_registers(loop):
    path = built(f"fastattn_kernels_{loop.isa}.dir/**/{loop.kernel}.simd.cpp.o")
    found = [(name, code) for name, code in functions(path) if f"::{loop.function}" in name]
    assert len(found) == loop.count, [name for name, _ in found]
    for name, code in found:
        longest = max(innermost_loops(code), key=lambda body: sum(bool(MULTIPLY_ADD.match(line)) for line in body))
        assert sum(bool(MULTIPLY_ADD.match(line)) for line in longest) == loop.multiply_adds, name
        assert [line for line in longest if STACK.search(line)] == [], name


def test_loops_are_found_and_read():
    code = [(0, "vmovaps 0x8(%rsp),%zmm1"), (4, "vfmadd231ps %zmm1,%zmm2,%zmm3"), (8, "jne    4 <f+0x4>"), (12, "ret")]
    assert list(innermost_loops(code)) == [["vfmadd231ps %zmm1,%zmm2,%zmm3", "jne    4 <f+0x4>"]]
    outer = [*code[:3], (10, "jg     0 <f>"), (12, "ret")]
    assert list(innermost_loops(outer)) == [["vfmadd231ps %zmm1,%zmm2,%zmm3", "jne    4 <f+0x4>"]]
    assert [bool(STACK.search(instruction)) for _, instruction in code[:2]] == [True, False]


# Instructions --------------------------------------------------------------------------------------------------------

PROGRAM = """
import sys
import numpy as np
import fastattn as fa

fa.set_num_threads(1)
what, calls = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
shapes = {"matmul": [(120, 256), (256, 96)], "attention": [(1, 2, 128, 64)] * 3}[what]
arrays = [rng.random(shape, dtype=np.float32) for shape in shapes]
for _ in range(calls):
    {"matmul": fa.matmul, "attention": fa.scaled_dot_product_attention}[what](*arrays)
"""


def compiler():
    """As CMake found it: "GNU 12.2.0"."""
    found = built("CMakeCXXCompiler.cmake").read_text()
    return " ".join(re.search(rf'CMAKE_CXX_COMPILER_{what} "(.+?)"', found)[1] for what in ("ID", "VERSION"))


def instructions(folder, isa, what, calls):
    """Of our kernels, in a program that makes so many calls."""
    profile = folder / f"{isa}.{what}.{calls}"
    command = [VALGRIND, "--tool=callgrind", f"--callgrind-out-file={profile}", sys.executable, "-c", PROGRAM]
    ran = subprocess.run(
        [*command, what, str(calls)],
        capture_output=True,
        text=True,
        env=os.environ | {"FASTATTN_ISA": isa},
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    objects, ours, total, inclusive = {}, False, 0, False
    for line in profile.read_text().splitlines():
        if line.startswith("ob="):  # the object of the functions that follow, named the first time
            number, _, name = line[3:].partition(" ")
            objects.setdefault(number, name)
            ours = objects[number].endswith("libfastattn.so")
        elif line.startswith("cob="):
            number, _, name = line[4:].partition(" ")
            objects.setdefault(number, name)
        elif line.startswith("calls="):
            inclusive = True  # the next line is what was called
        elif line[:1] in "+-*0123456789" and line:
            total += int(line.split()[1]) if ours and not inclusive else 0
            inclusive = False
    return total


@pytest.mark.skipif(VALGRIND is None, reason="valgrind is not installed")
@pytest.mark.parametrize(
    ("isa", "what", "multiply_adds", "tuned"),
    [
        ("scalar", "matmul", 120 * 256 * 96, 3.574),
        ("scalar", "attention", 2 * 2 * 128 * 128 * 64, 3.732),
        ("avx2", "matmul", 120 * 256 * 96, 0.2776),
        ("avx2", "attention", 2 * 2 * 128 * 128 * 64, 0.2929),
    ],
)
def test_calls_take_no_more_instructions_than_they_did(tmp_path, isa, what, multiply_adds, tuned):
    """`tuned`: instructions for each multiply-add, all of a call counted, as GCC 12 compiles it."""
    if not compiler().startswith("GNU 12."):
        pytest.skip(f"{compiler()} compiled this; the figures are GCC 12's")
    if isa not in _C.isa_list().split(","):
        pytest.skip(f"this CPU has no {isa}")
    each = (instructions(tmp_path, isa, what, 3) - instructions(tmp_path, isa, what, 1)) / 2 / multiply_adds
    assert 0.9 * tuned < each < 1.05 * tuned
