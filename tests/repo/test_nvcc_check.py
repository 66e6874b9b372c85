"""The check of what CUDA kernels take: reading the compiler's words, and the budget. Needs no nvcc."""

import importlib.util
import sys

import pytest

SOURCE = "csrc/cuda/softmax.cu"  # any that there is
MANGLED = "_ZN8fastattn4cuda12_GLOBAL__N_11fINS_4bf16ELi8EEEvPKT_"
PTXAS = f"""\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{MANGLED}' for 'sm_80'
ptxas info    : Function properties for {MANGLED}
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 104 registers, used 1 barriers, 2048 bytes smem, 784 bytes cmem[0]
ptxas info    : Compile time = 20.537 ms
ptxas info    : Compiling entry function 'plain' for 'sm_90'
ptxas info    : Function properties for plain
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
ptxas info    : Function properties for helper
    40 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
"""
PTX = {
    "sm_80": f"""\
.version 9.0
.target sm_80
.address_size 64
.visible .entry {MANGLED}(
\t.param .align 8 .b8 {MANGLED}_param_0[80]
)
.maxntid 32, 4, 1
.minnctapersm 2
{{
\tret;
}}
""",
    "sm_90": ".target sm_90\n.entry plain()\n{\n\tret;\n}\n",
}
NAMES = {
    MANGLED: "void fastattn::cuda::(anonymous namespace)::f<fastattn::bf16, 8>(fastattn::bf16 const*)",
    "plain": "plain",
}


@pytest.fixture(scope="module")
def check(root):
    spec = importlib.util.spec_from_file_location("nvcc_check", root / "tests/emulator/nvcc_check.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a NamedTuple looks its annotations up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def found(check):
    return check.usages(SOURCE, PTXAS, PTX.values(), NAMES)


def complain(check, found, table):
    return check.complaints(found, table, [SOURCE], ["sm_80", "sm_90"])


def test_reads_the_compiler(check, found):
    f, plain = check.Kernel(SOURCE, "f<bf16, 8>", "sm_80"), check.Kernel(SOURCE, "plain", "sm_90")
    assert found == {
        f: check.Usage(registers=104, spills=12, stack=16, shared=2048, threads=128, warps=16),
        plain: check.Usage(registers=32, spills=0, stack=40, shared=0, threads=1024, warps=64),
    }


def test_names_are_short(check):
    assert check.short("void fastattn::cuda::f<(fastattn::cuda::Kind)1, g(int)>(float*)") == "f<(Kind)1, g(int)>"
    assert check.short("void fastattn::cuda::f<fastattn::cuda::A<2> >(int)") == "f<A<2>>"
    assert check.short("fastattn_probe(int, float)") == "fastattn_probe"


def test_occupancy(check):
    """Against NVIDIA's table: registers a thread, threads a block."""
    assert check.warps("sm_80", 32, 256) == 64
    assert check.warps("sm_90", 33, 256) == 48  # 40 registers are given
    assert check.warps("sm_80", 128, 128) == 16
    assert check.warps("sm_80", 255, 128) == 8
    assert check.warps("sm_90", 104, 1024) == 0
    assert check.warps("sm_80", 168, 256) == 8  # 12 warps fit, and only one block of 8
    assert check.warps("sm_86", 32, 256) == check.warps("sm_89", 32, 256) == 48
    assert [check.warps(arch, 16, 32) for arch in ("sm_80", "sm_86", "sm_89", "sm_90")] == [32, 16, 24, 32]  # blocks


def test_a_table_is_read_as_it_was_written(check, found):
    text = check.write_table(found, "13.0")
    assert check.read_table(text) == found
    assert complain(check, found, found) == []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == ["", SOURCE, lines[2], lines[3]]
    assert lines[2].split() == ["sm_80", "104", "12", "16", "2048", "128", "16", "f<bf16,", "8>"]
    many = {
        check.Kernel(SOURCE, f"f<{n}>", arch): found[key]
        for n in (16, 8)
        for arch in ("sm_90", "sm_80")
        for key in found
    }
    names = [line.split()[0::7] for line in check.write_table(many, "13.0").splitlines() if line.startswith("sm_")]
    assert names == [["sm_80", "f<8>"], ["sm_90", "f<8>"], ["sm_80", "f<16>"], ["sm_90", "f<16>"]]


@pytest.mark.parametrize(
    ("column", "worse", "expected"),
    [
        ("spills", 20, "f<bf16, 8> for sm_80: 20 bytes of spills, and its line allows 12"),
        ("stack", 24, "f<bf16, 8> for sm_80: 24 bytes of stack, and its line allows 16"),
        ("warps", 12, "f<bf16, 8> for sm_80: 12 warps fit a multiprocessor, and its line promises 16"),
    ],
)
def test_the_budget(check, found, column, worse, expected):
    kernel = check.Kernel(SOURCE, "f<bf16, 8>", "sm_80")
    now = found | {kernel: found[kernel]._replace(**{column: worse})}
    (line,) = complain(check, now, found)
    assert line.startswith(f"{SOURCE}: {expected}")
    assert complain(check, found, now) == []  # better than its line


def test_lines_that_are_missing_or_left_over(check, found):
    kernel = check.Kernel(SOURCE, "f<bf16, 8>", "sm_80")
    one = {k: u for k, u in found.items() if k != kernel}
    (line,) = complain(check, found, one)
    assert line.startswith(f"{kernel} has no line")
    assert line.endswith(f"run tests/emulator/nvcc_check.py --update {SOURCE}")
    (line,) = complain(check, one, found)
    assert line.startswith(f"{kernel} is gone")
    assert check.complaints({}, found, ["csrc/cuda/sum.cu"], ["sm_80", "sm_90"]) == []  # not compiled
    lost = {check.Kernel("csrc/cuda/no_such.cu", "f", "sm_80"): found[kernel]}
    assert len(check.complaints({}, lost, ["csrc/cuda/sum.cu"], ["sm_80"])) == 1
    assert check.updated(lost | found, one, [SOURCE], ["sm_80", "sm_90"]) == one


def test_other_architectures_and_tests_are_checked_for_spills_alone(check, found):
    kernel = check.Kernel(SOURCE, "f<bf16, 8>", "sm_80")
    elsewhere = {kernel._replace(arch="sm_86"): found[kernel]._replace(warps=1, stack=999)}
    assert check.complaints(elsewhere, found, [SOURCE], ["sm_86"]) == []
    worse = {kernel._replace(arch="sm_86"): found[kernel]._replace(spills=16)}
    (line,) = check.complaints(worse, found, [SOURCE], ["sm_86"])
    assert "for sm_86: 16 bytes of spills, and its line allows 12" in line
    test = kernel._replace(source="tests/emulator/kernels/blocks.cu")
    (line,) = check.complaints({test: found[kernel]}, found, [test.source], ["sm_80"])
    assert "12 bytes of spills, and its line allows 0" in line
    assert check.updated({}, {test: found[kernel]} | elsewhere, [test.source, SOURCE], ["sm_80", "sm_86"]) == {}


def test_the_kept_table_is_in_order(check, root):
    """Written by --update, of sources that there are, for both architectures."""
    text = (root / check.TABLE).read_text()
    table = check.read_table(text)
    release = text.partition("(nvcc ")[2].partition(")")[0]
    assert check.write_table(table, release) == text
    assert {kernel.source for kernel in table} <= {str(p.relative_to(root)) for p in (root / "csrc/cuda").glob("*.cu")}
    pairs = {arch: {kernel[:2] for kernel in table if kernel.arch == arch} for arch in check.TABLED}
    assert pairs["sm_80"] == pairs["sm_90"]
    assert len(pairs["sm_80"]) > 100


def test_says_so_without_nvcc(check, monkeypatch, capsys):
    monkeypatch.setenv("NVCC", "no-such-compiler")
    monkeypatch.setattr(sys, "argv", ["nvcc_check.py"])
    assert check.main() == 0
    assert capsys.readouterr().out == "nvcc check: skipped, no nvcc on this machine\n"
