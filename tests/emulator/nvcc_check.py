#!/usr/bin/env python3
"""Compiles the kernel sources that the emulator runs with nvcc, warnings as errors, and holds every kernel to its line in
docs/kernels/cuda_registers.txt: g++ sees neither a mistake in the text of an instruction nor what a kernel costs.

    tests/emulator/nvcc_check.py                          # sm_80 and sm_90
    tests/emulator/nvcc_check.py --update csrc/cuda/softmax.cu
    tests/emulator/nvcc_check.py --arch sm_86 sm_89       # not in the table: compiled, and checked for spills

Says so and succeeds where there is no nvcc; NVCC names the compiler. The standard library is all it needs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path("docs/kernels/cuda_registers.txt")
# Errors for ptxas too: its own warnings of spills and local memory would be, so -v's figures stand in for them.
FLAGS = ["-std=c++20", "--expt-relaxed-constexpr", "-Werror", "all-warnings", "-Xcompiler", "-Wall"]
FLAGS += ["-Xptxas", "-v", "-Icsrc", "-Itests"]
TABLED = ("sm_80", "sm_90")
# Warps and blocks that a multiprocessor holds.
LIMITS = {"sm_80": (64, 32), "sm_86": (48, 16), "sm_89": (48, 24), "sm_90": (64, 32)}

HEAD = """\
# What every CUDA kernel takes, by the compiler (nvcc {release}); written by tests/emulator/nvcc_check.py --update.
#
# registers   of a thread
# spills      bytes of registers that a thread keeps in local memory, which is traffic
# stack       bytes of local memory that a thread has, spills among them
# shared      bytes of static shared memory of a block
# threads     of a block, at most: the kernel's launch bounds
# warps       that a multiprocessor holds, by registers, threads and blocks. Shared memory is not counted: the compiler
#             knows the static part only, and most tiles are in the dynamic part, whose size a launch chooses. A kernel
#             with large tiles holds fewer.
#
# The budget: a kernel may not spill more, have more of a stack, or hold fewer warps than its line says. --update rewrites
# lines; one that gets worse needs a reason in the change that makes it so.
#
# arch   registers spills  stack shared threads  warps  kernel
"""


class Kernel(NamedTuple):
    source: str  # a path from the root
    name: str
    arch: str

    def __str__(self) -> str:
        return f"{self.source}: {self.name} for {self.arch}"


class Usage(NamedTuple):
    registers: int
    spills: int
    stack: int
    shared: int
    threads: int
    warps: int


Usages = dict[Kernel, Usage]


def warps(arch: str, registers: int, threads: int) -> int:
    """Warps of whole blocks. A quarter of the multiprocessor has 16384 registers and gives a warp multiples of 256."""
    held, blocks = LIMITS[arch]
    of_block = -(-threads // 32)
    by_registers = 4 * (16384 // (-(-registers * 32 // 256) * 256))
    return of_block * min(blocks, min(held, by_registers) // of_block)


def short(demangled: str) -> str:
    """void fastattn::cuda::(anonymous namespace)::f<fastattn::bf16, 8>(int) is f<bf16, 8>."""
    text = re.sub(r"\(anonymous namespace\)::|\bfastattn::(cuda::)?|^void ", "", demangled).replace("> >", ">>")
    depth = 0
    for at, letter in enumerate(text):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            return text[:at]
    return text


def read_ptxas(log: str) -> dict[tuple[str, str], dict[str, int]]:
    """What ptxas -v says, by mangled name and architecture. A function that is not inlined counts for its kernel."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    usage: dict[str, int] = {}
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            usage = found[entry[1], entry[2]] = dict.fromkeys(("registers", "spills", "stack", "shared"), 0)
        if frame := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, *spills = map(int, frame.groups())
            usage["stack"] = max(usage.get("stack", 0), stack)
            usage["spills"] = max(usage.get("spills", 0), *spills)
        if used := re.search(r"Used (\d+) registers", line):
            usage["registers"] = int(used[1])
            if shared := re.search(r"(\d+) bytes smem", line):
                usage["shared"] = int(shared[1])
    return found


def read_ptx(ptx: str) -> dict[tuple[str, str], int]:
    """Threads of a block, by mangled name and architecture; without launch bounds as many as there can be."""
    target = re.search(r"^\.target (sm_\w+)", ptx, re.M)
    if not target:
        return {}
    found = {}
    for name, directives in re.findall(r"\.entry (\w+)\s*\([^)]*\)([^{;]*)", ptx):
        bounds = re.search(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?", directives)
        x, y, z = (int(n or 1) for n in bounds.groups()) if bounds else (1024, 1, 1)
        found[name, target[1]] = x * y * z
    return found


def usages(source: str, log: str, ptx: Iterable[str], names: Mapping[str, str]) -> Usages:
    """The kernels of a source; `names` are the demangled ones."""
    threads = {key: n for text in ptx for key, n in read_ptx(text).items()}
    found: Usages = {}
    for (mangled, arch), used in read_ptxas(log).items():
        kernel = Kernel(source, short(names[mangled]), arch)
        if kernel in found:
            raise ValueError(f"{kernel}: two kernels of that name")
        of_block = threads[mangled, arch]
        found[kernel] = Usage(**used, threads=of_block, warps=warps(arch, used["registers"], of_block))
    return found


def compile_source(nvcc: str, source: str, archs: list[str]) -> tuple[Usages, str]:
    """The kernels of a source and nothing, or none and what the compiler said."""
    with tempfile.TemporaryDirectory() as work:
        code = [f"-gencode=arch={arch.replace('sm', 'compute')},code={arch}" for arch in archs]
        keep = ["-keep", "-keep-dir", work, "-o", f"{work}/object"]
        done = subprocess.run([nvcc, *FLAGS, *code, *keep, "-c", source], cwd=ROOT, capture_output=True, text=True)
        log = done.stdout + done.stderr
        if done.returncode:
            return {}, f"{source}: nvcc fails\n{log.rstrip()}"
        mangled = list(dict.fromkeys(name for name, _ in read_ptxas(log)))
        listed = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True)
        names = dict(zip(mangled, listed.stdout.splitlines(), strict=True))
        return usages(source, log, (path.read_text() for path in Path(work).glob("*.ptx")), names), ""


def read_table(text: str) -> Usages:
    """A line names its source above it, as `csrc/cuda/softmax.cu`."""
    table: Usages = {}
    source = ""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if not line.startswith("sm_"):
            source = line
            continue
        arch, *numbers, name = line.split(maxsplit=7)
        table[Kernel(source, name, arch)] = Usage(*map(int, numbers))
    return table


def write_table(table: Usages, release: str) -> str:
    lines = [HEAD.format(release=release).rstrip()]
    source = ""
    for kernel, usage in sorted(table.items(), key=lambda item: (item[0].source, natural(item[0].name), item[0].arch)):
        if kernel.source != source:
            source = kernel.source
            lines += ["", source]
        numbers = "".join(f"{n:>{width}}" for n, width in zip(usage, (12, 7, 7, 7, 8, 7), strict=True))
        lines.append(f"{kernel.arch}{numbers}  {kernel.name}")
    return "\n".join(lines) + "\n"


def natural(name: str) -> list[tuple[int, str]]:
    """A key that has 8 before 16."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def complaints(found: Usages, table: Usages, sources: Iterable[str], archs: Iterable[str]) -> list[str]:
    """What breaks the budget, a line each. `sources` are those that were compiled."""
    lines = []
    for kernel, usage in sorted(found.items()):
        allowed = table.get(kernel)
        if allowed is None and is_tabled(kernel):
            lines.append(f"{kernel} has no line in {TABLE}: run tests/emulator/nvcc_check.py --update {kernel.source}")
            continue
        if allowed is None:  # the largest of its lines for other architectures, nothing if it has none
            others = [line for other, line in table.items() if other[:2] == kernel[:2]]
            allowed = Usage(0, max((o.spills for o in others), default=0), usage.stack, 0, 0, 0)
        for what in ("spills", "stack"):
            now, limit = getattr(usage, what), getattr(allowed, what)
            if now > limit:
                lines.append(f"{kernel}: {now} bytes of {what}, and its line allows {limit}")
        if usage.warps < allowed.warps:
            lines.append(
                f"{kernel}: {usage.warps} warps fit a multiprocessor, and its line promises {allowed.warps}"
                f" ({usage.registers} registers, {usage.threads} threads; {allowed.registers} and {allowed.threads} there)"
            )
    compiled, for_archs = set(sources), set(archs)
    lines += [
        f"{kernel} is gone: run tests/emulator/nvcc_check.py --update to take its line out of {TABLE}"
        for kernel in sorted(table)
        if kernel not in found
        and kernel.arch in for_archs
        and (kernel.source in compiled or not in_tree(kernel.source))
    ]
    return lines


def is_tabled(kernel: Kernel) -> bool:
    """Kernels of the emulator's own tests have no line, and may not spill."""
    return kernel.source.startswith("csrc/") and kernel.arch in TABLED


def in_tree(source: str) -> bool:
    return (ROOT / source).exists()


def updated(table: Usages, found: Usages, sources: Iterable[str], archs: Iterable[str]) -> Usages:
    """The table with the lines of what was compiled in place of its own, and without those of sources that are gone."""
    compiled, for_archs = set(sources), set(archs)
    kept = {k: u for k, u in table.items() if in_tree(k.source) and not (k.source in compiled and k.arch in for_archs)}
    return kept | {kernel: usage for kernel, usage in found.items() if is_tabled(kernel)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Holds the CUDA kernels to their registers, spills and occupancy.")
    parser.add_argument("sources", nargs="*", help="paths from the root, before the options; all sources if none")
    parser.add_argument("--arch", nargs="+", default=list(TABLED), choices=sorted(LIMITS))
    parser.add_argument("--update", action="store_true", help=f"write {TABLE}")
    parser.add_argument("--jobs", type=int, default=2, help="compilers at a time")
    args = parser.parse_args()

    nvcc = shutil.which(os.environ.get("NVCC", "nvcc"))
    if nvcc is None:
        print("nvcc check: skipped, no nvcc on this machine")
        return 0
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    release = (re.search(r"release ([\d.]+)", version) or ["", "?"])[1]
    sources = args.sources or sorted(
        str(path.relative_to(ROOT))
        for folder in ("csrc/cuda", "tests/emulator/kernels")
        for path in (ROOT / folder).glob("*.cu")
    )

    found: Usages = {}
    failed: list[str] = []
    with ThreadPoolExecutor(args.jobs) as pool:
        for usage, message in pool.map(lambda source: compile_source(nvcc, source, args.arch), sources):
            found |= usage
            failed += [message] if message else []
    file = ROOT / TABLE
    table = read_table(file.read_text()) if file.exists() else {}
    if args.update and not failed:
        table = updated(table, found, sources, args.arch)
        file.write_text(write_table(table, release))
    failed = failed or complaints(found, table, sources, args.arch)
    for line in failed:
        print(f"nvcc check: {line}")
    if failed:
        of = re.search(r"\(nvcc ([\d.]+)\)", file.read_text()) if file.exists() else None
        if of and of[1] != release:
            print(f"nvcc check: the table is of nvcc {of[1]}, this is {release}")
        return 1
    print(f"nvcc check: {len(found)} kernels of {len(sources)} sources for {', '.join(args.arch)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
