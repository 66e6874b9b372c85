"""Holds the ops of `op_cases` to the float64 reference and to finite differences, and says which kernel was wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastattn as fa

from .asserts import has_own_kernels
from .isa import forced_isa
from .op_case import Arguments, Draw, OpCase, copies
from .tolerance import Deviation, Expected, expect

FORWARD, BACKWARD, DIFFERENCES = "forward", "backward", "finite differences"


@dataclass
class Finding:
    """What one check of a case found: the worst over its sizes and results."""

    case: str
    check: str  # FORWARD and BACKWARD against the reference, or DIFFERENCES
    dtype: str
    isa: str
    kernels: list[str] = field(default_factory=list)  # that ran
    of_allowed: float | None = None  # the largest error over the allowed one
    relative: float | None = None  # the largest error over the largest value
    problem: str = ""

    def add(self, deviation: Deviation) -> None:
        """Takes note of one result."""
        self.problem = self.problem or deviation.problem
        if deviation.error >= 0:  # else it could not be compared
            of_allowed = deviation.error / deviation.allowed if deviation.allowed else 0.0
            self.of_allowed = max(self.of_allowed or 0.0, of_allowed)
            relative = deviation.error / deviation.largest if deviation.largest else 0.0
            self.relative = max(self.relative or 0.0, relative)


def blame(findings: Iterable[Finding]) -> set[str]:
    """The kernels that the failed checks point at: of what ran in a failed check, what passed in no other; and where one
    of those failed a check alone, not its company there."""
    findings = list(findings)
    passed = {kernel for f in findings if not f.problem for kernel in f.kernels}
    failed = [set(f.kernels) - passed or set(f.kernels) for f in findings if f.problem]
    certain = {kernel for kernels in failed if len(kernels) == 1 for kernel in kernels}
    return set().union(*(kernels & certain or kernels for kernels in failed))


@dataclass
class _Sample:
    """Arguments of one size, and what every instruction set should make of them."""

    arguments: Arguments
    results: list[Expected]
    dout: Any = None
    gradients: list[Expected] = field(default_factory=list)


def _sample(case: OpCase, dtype: str, size: tuple[int, ...]) -> _Sample:
    arguments = case.arguments(dtype, size)
    results = expect(case.reference, *arguments, case=case.name, **case.options)
    if case.backward is None:
        return _Sample(arguments, results)
    draw = Draw(1, dtype)
    dout = draw.normal(*np.shape(results[0].naive), dtype=draw.state if case.statistic else None)
    name = case.exception or f"gradient of {case.name}"
    return _Sample(arguments, results, dout, expect(case.backward, dout, *arguments, case=name, **case.options))


def _kernels(call: Callable[..., Any], *arguments: Any, **options: Any) -> list[str]:
    return list(dict.fromkeys(e.kernel for e in fa.explain(call, *arguments, **options)))


def _forward(case: OpCase, samples: Sequence[_Sample], finding: Finding) -> None:
    finding.kernels = _kernels(case.call, *samples[0].arguments, **case.options)
    for s in samples:
        results = case.call(*copies(s.arguments), **case.options)
        for result, expected in zip(results if isinstance(results, tuple) else [results], s.results, strict=False):
            finding.add(expected.compare(result))


def _backward(case: OpCase, samples: Sequence[_Sample], finding: Finding) -> None:
    finding.kernels = _kernels(case.gradients, samples[0].dout, samples[0].arguments)
    for s in samples:
        for result, expected in zip(case.gradients(s.dout, s.arguments), s.gradients, strict=False):
            finding.add(expected.compare(result))


def _differences(case: OpCase, samples: Sequence[_Sample], finding: Finding) -> None:
    """Every gradient at once, at the smallest size."""
    arguments = samples[0].arguments
    finding.kernels = _kernels(case.gradients, samples[0].dout, arguments)
    inputs = [
        fa.Tensor(a.copy(), requires_grad=True) if i in case.differentiable else a for i, a in enumerate(arguments)
    ]
    try:
        fa.gradcheck(lambda *a: case.call(*a, **case.options), inputs)
    except AssertionError as error:
        finding.problem = str(error)


def check_case(case: OpCase, isas: Sequence[str]) -> Iterator[Finding]:
    """Every check of a case, in all its dtypes, on some instruction sets; of a variant (testing.variants) those that it
    has a kernel of its own for. An exception is a finding too."""
    for dtype in case.dtypes:
        samples = [_sample(case, dtype, size) for size in case.sizes]  # the reference, once for all
        checks = {FORWARD: _forward}
        if case.backward is not None:
            checks[BACKWARD] = _backward
            if dtype == "float64":
                checks[DIFFERENCES] = _differences
        for isa in isas:
            if not has_own_kernels(isa, case.op, dtype):
                continue
            for name, check in checks.items():
                finding = Finding(case.name, name, dtype, isa)
                try:
                    with forced_isa(isa):
                        check(case, samples, finding)
                except Exception as error:
                    finding.problem = f"{type(error).__name__}: {error}"
                yield finding
