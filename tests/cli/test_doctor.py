"""`fastattn doctor`: what it says of a sound build, of a broken one, and of what is not installed."""

import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastattn as fa
from fastattn.cli import doors
from fastattn.testing import isas, variants
from fastattn.testing.op_cases import OP_CASES
from fastattn.testing.op_checks import Finding, blame, check_case

ROOT = Path(__file__).parents[2]
PACKAGE = Path(fa.__file__).parent

# A libfastattn.so that hands out the real library's table with one kernel broken: in float32, on the scalar variant
# alone, the first number of one output is off.
BROKEN_LIBRARY = r"""
#include <dlfcn.h>
#include <cstring>
#include <string>
#include "fastattn.h"

static fa_table table;
static const fa_table* real;

static fa_status broken(const fa_ENTRY_params* p, fa_launch* launch) {
  const fa_status status = real->ENTRY(p, launch);
  const bool runs = status == FA_OK && !launch->query && !std::strcmp(real->variant_active(), "scalar");
  if (runs && p->FIELD.dtype == FA_F32 && p->FIELD.data) static_cast<float*>(p->FIELD.data)[0] += 0.01f;
  return status;
}

extern "C" __attribute__((visibility("default"))) const fa_table* fa_get_table(uint32_t version) {
  Dl_info here;
  dladdr(reinterpret_cast<void*>(&fa_get_table), &here);
  void* library = dlopen((std::string(here.dli_fname) + ".real").c_str(), RTLD_NOW | RTLD_LOCAL);
  real = reinterpret_cast<const fa_table* (*)(uint32_t)>(dlsym(library, "fa_get_table"))(version);
  if (real == nullptr) return nullptr;
  table = *real;
  table.ENTRY = broken;
  return &table;
}
"""


@pytest.fixture
def break_kernel(tmp_path):
    """break_kernel(entry, field): a folder with a copy of fastattn, in which that output of that kernel is wrong."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    if not (PACKAGE / "libfastattn.so").exists():
        pytest.skip("an editable install is what is imported, whatever PYTHONPATH says")

    def make(entry, field):
        copy = tmp_path / "broken" / "fastattn"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        library = copy / "libfastattn.so"
        library.rename(copy / "libfastattn.so.real")
        source = tmp_path / "broken.cpp"
        source.write_text(BROKEN_LIBRARY.replace("ENTRY", entry).replace("FIELD", field))
        headers = PACKAGE / "include/fastattn"
        include = headers if headers.exists() else ROOT / "csrc/ops"
        command = ["g++", "-std=c++20", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{include}"]
        subprocess.run([*command, "-o", library, source], check=True)
        return copy.parent

    return make


def test_a_sound_build(fastattn, tmp_path):
    done = fastattn("doctor", "--json", "receipt.json")
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["passed"]
    assert receipt["machine"]["isa"]["available"] == fa.build_info()["isas"]
    checks = receipt["checks"]
    assert {c["case"] for c in checks} == {case.name for case in OP_CASES}
    assert {c["isa"] for c in checks} == {*isas(), *variants()}
    for c in checks:
        assert c["problem"] == ""
        assert c["kernels"] or c["check"] != "forward"  # the gradient of exp is NumPy's product with its result
        own = any if c["isa"] in variants() else all  # of a variant, one kernel or more
        assert own(kernel.endswith(f"_{c['isa']}") for kernel in c["kernels"])
        if c["check"] != "finite differences":
            assert 0 <= c["of_allowed"] <= 1
            assert c["relative"] >= 0
    # The errors are measured, not assumed.
    assert sum(c["of_allowed"] > 0 for c in checks if c["of_allowed"] is not None) > len(checks) / 2
    assert f"all {len(checks)} checks passed" in done.stdout
    assert "FAIL" not in done.stdout
    assert set(receipt["doors"]) == {door.package for door in doors.DOORS}


@pytest.mark.parametrize(
    ("entry", "field", "case", "check"),
    [
        ("softmax_fwd", "out", "log_softmax", "forward"),
        ("layer_norm_bwd", "dweight", "layer_norm", "backward"),
    ],
)
def test_a_broken_kernel_is_named(break_kernel, tmp_path, entry, field, case, check):
    done = subprocess.run(
        [sys.executable, "-m", "fastattn", "doctor", "--json", "receipt.json"],
        cwd=tmp_path, env={"PYTHONPATH": str(break_kernel(entry, field)), "PATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    kernel = f"{entry}_f32_scalar"
    (line,) = [x for x in done.stdout.splitlines() if x.startswith(f"FAILED {case}, {check}, ")]
    assert f"float32, scalar, kernel {kernel}: " in line
    assert done.stderr.startswith("fastattn: doctor: ")
    assert done.stderr.endswith(f" checks failed, because of {kernel}\n")
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert not receipt["passed"]
    assert receipt["blamed"] == [kernel]
    wrong = [c for c in receipt["checks"] if c["problem"]]
    assert {(c["isa"], c["dtype"]) for c in wrong} == {("scalar", "float32")}
    assert any(c["of_allowed"] > 1 for c in wrong)
    assert all(kernel in c["kernels"] for c in wrong)


@pytest.mark.parametrize(
    ("checks", "blamed"),
    [
        ([("a", True), ("b", True)], ""),
        ([("a", False), ("b", True)], "a"),
        ([("a", False), ("ab", False)], "a"),  # a alone explains both
        ([("a", True), ("ab", False)], "b"),
        ([("ab", False), ("c", True)], "ab"),  # either
        ([("a", True), ("a", False)], "a"),  # at some sizes only
    ],
)
def test_who_is_blamed(checks, blamed):
    findings = [Finding("case", "check", "float32", "scalar", list(k), problem="" if ok else "x") for k, ok in checks]
    assert blame(findings) == set(blamed)


def test_an_exception_is_a_finding(monkeypatch):
    def fail(x):
        raise RuntimeError("no such thing")

    case = next(c for c in OP_CASES if c.op == "exp")
    found = list(check_case(dataclasses.replace(case, call=fail), isas()[:1]))
    assert {f.problem for f in found} == {"RuntimeError: no such thing"}


def test_a_wrong_gradient_is_a_finding():
    """By the reference and by finite differences, each alone."""
    case = next(c for c in OP_CASES if c.op == "exp")

    def problems(**changes):
        found = check_case(dataclasses.replace(case, **changes), isas()[:1])
        return {(f.check, f.dtype) for f in found if f.problem}

    wrong = problems(backward=lambda dout, x: 1.001 * case.backward(dout, x))
    assert wrong == {("backward", "float32"), ("backward", "float64")}
    # A call whose value and gradient disagree: the gradient does not see the product with detached values.
    wrong = problems(call=lambda x: fa.exp(x) * (x.detach() if isinstance(x, fa.Tensor) else x))
    assert ("finite differences", "float64") in wrong


def test_a_receipt_needs_its_folder(fastattn):
    done = fastattn("doctor", "--json", "nowhere/receipt.json", code=1)
    assert done.stderr == "fastattn: doctor: no folder nowhere to keep the receipt in\n"
    assert done.stdout == ""


# Doors ---------------------------------------------------------------------------------------------------------------


def test_a_missing_package_says_its_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    state = doors.look(next(d for d in doors.DOORS if d.package == "torch"))
    assert not state.usable
    assert state.text == "not installed; pip install torch for: torch tensors in and out, with gradients"


def test_a_package_that_does_not_work_says_why():
    def fail():
        raise OSError("libsomething.so.1: cannot open shared object file")

    state = doors.look(doors.Door("json", "nothing", "json", fail))
    assert state == (False, "", "cannot be used: libsomething.so.1: cannot open shared object file")


@pytest.mark.parametrize("door", doors.DOORS, ids=lambda door: door.package)
def test_a_door_that_is_open_was_walked_through(door):
    if importlib.util.find_spec(door.package) is None:
        pytest.skip(f"{door.package} is not installed")
    if door.package == "cupy" and not fa.cuda.is_available():
        pytest.skip(fa.cuda.unavailable())
    state = doors.look(door)
    assert state.usable, state.text
    assert state.version in state.text


def test_pip_lines_name_extras_that_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for door in doors.DOORS for extra in re.findall(r"fastattn\[(\w+)\]", door.pip)}
    assert named <= set(extras)
