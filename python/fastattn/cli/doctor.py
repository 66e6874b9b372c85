"""`fastattn doctor`: does this build compute what it should on this machine, and what is optional and missing."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastattn as fa
from fastattn.io import atomic_write
from fastattn.testing import isas, variants
from fastattn.testing.asserts import has_own_kernels
from fastattn.testing.op_cases import OP_CASES
from fastattn.testing.op_checks import BACKWARD, DIFFERENCES, FORWARD, Finding, blame, check_case

from . import info
from .doors import DOORS, State, look

VERSION = 1  # of the receipt
NAME, CELL = 46, 7


class UnhealthyError(RuntimeError):
    """A check failed."""


def run(receipt: Path | None) -> None:
    """Checks everything, prints it, and keeps a receipt.

    Raises:
        UnhealthyError: a check failed; names the kernels.
    """
    start = time.perf_counter()
    if receipt is not None and not receipt.parent.is_dir():
        msg = f"doctor: no folder {receipt.parent} to keep the receipt in"
        raise FileNotFoundError(msg)
    names = [*isas(), *variants()]
    machine = info.collect()
    print(f"fastattn {machine['version']}, {machine['cpu']}, {machine['threads']['used']} threads\n")
    findings = _check_ops(names)
    print()
    doors = {door.package: look(door) for door in DOORS}
    for package, state in doors.items():
        print(f"{package:13} {state.text}")
    wrong = [f for f in findings if f.problem]
    seconds = time.perf_counter() - start
    if receipt is not None:
        atomic_write(receipt, json.dumps(_receipt(machine, findings, doors, seconds), indent=1) + "\n")
    print()
    if wrong:
        blamed = blame(findings)
        for f in wrong:
            kernels = ", ".join(kernel for kernel in f.kernels if kernel in blamed) or "unknown"
            print(f"FAILED {f.case}, {f.check}, {f.dtype}, {f.isa}, kernel {kernels}: {f.problem}")
        where = ", ".join(sorted(blamed)) or wrong[0].case
        msg = f"doctor: {len(wrong)} of {len(findings)} checks failed, because of {where}"
        raise UnhealthyError(msg)
    print(f"all {len(findings)} checks passed in {seconds:.1f} s")


def _check_ops(names: Sequence[str]) -> list[Finding]:
    """Runs every check, a line for each case's results and one for its gradients. A line begins before its checks run:
    should a kernel end the process, the last line says which."""
    dtypes = list(dict.fromkeys(dtype for case in OP_CASES for dtype in case.dtypes))
    columns = [
        (isa, dtype) for isa in names for dtype in dtypes if any(has_own_kernels(isa, c.op, dtype) for c in OP_CASES)
    ]
    short = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}
    widths = {name: CELL * sum(isa == name for isa, _ in columns) for name in names}
    print(" " * NAME + "".join(f"{name:^{max(width, len(name) + 2)}}" for name, width in widths.items()))
    title = "largest error, of the allowed one"
    print(f"{title:{NAME}}" + "".join(f"{short[dtype]:>{CELL}}" for _, dtype in columns) + "  finite differences")
    findings = []
    for case in OP_CASES:
        print(f"{case.name:{NAME}}", end="", flush=True)
        found = list(check_case(case, names))
        findings += found
        print(_cells([f for f in found if f.check == FORWARD], columns))
        if case.backward is not None:
            bad = [f.isa for f in found if f.check == DIFFERENCES and f.problem]
            differences = f"FAIL {' '.join(bad)}" if bad else "ok"
            cells = _cells([f for f in found if f.check == BACKWARD], columns)
            print(f"{'  gradients':{NAME}}{cells}  {differences}")
    return findings


def _cells(findings: Sequence[Finding], columns: Sequence[tuple[str, str]]) -> str:
    by = {(f.isa, f.dtype): f for f in findings}

    def cell(f: Finding | None) -> str:
        if f is None:
            return ""
        return "FAIL" if f.problem or f.of_allowed is None else f"{f.of_allowed:.2f}"

    return "".join(f"{cell(by.get(column)):>{CELL}}" for column in columns)


def _receipt(
    machine: dict[str, Any], findings: Sequence[Finding], doors: dict[str, State], seconds: float
) -> dict[str, Any]:
    return {
        "version": VERSION,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "passed": not any(f.problem for f in findings),
        "seconds": seconds,
        "machine": machine,
        "build": fa.build_info(),
        "checks": [dataclasses.asdict(f) for f in findings],
        "blamed": sorted(blame(findings)),
        "doors": {package: state._asdict() for package, state in doors.items()},
    }
