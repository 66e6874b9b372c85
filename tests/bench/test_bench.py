"""The benchmarks check their answers, at sizes that take no time, and what they print and keep can be read again. No test
here asserts a time."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bench import (
    attention_memory,
    bench_end_to_end,
    call_overhead,
    harness,
    import_time,
    report,
    steady_state,
    suites,
    training_memory,
    worker,
)

import fastattn as fa
from fastattn import _ceilings
from fastattn.testing import kernel_name

ROOT = Path(__file__).resolve().parents[2]
CASES = [case for op in suites.OPS for case in suites.cases_of(op, tiny=True)]
PAIRS = [
    pytest.param(case, name, id=f"{case.key}-{name}", marks=[pytest.mark.parity] if name == "torch" else [])
    for case in CASES
    for name in case.contestants
]


@pytest.mark.smoke
@pytest.mark.parametrize("case", [pytest.param(c, id=c.key) for c in CASES])
def test_every_case_gives_the_right_answer(case: harness.Case) -> None:
    local = harness.Local("fastattn")
    local.prepare(case, (1, 2), checked=True)
    assert local.explain() >= 0
    local.done()


@pytest.mark.parametrize(("case", "name"), [p for p in PAIRS if p.values[1] != "fastattn"])
def test_every_peer_gives_the_right_answer(case: harness.Case, name: str) -> None:
    if not worker.installed(name):
        pytest.skip(f"{name} is not installed")
    harness.Local(name).prepare(case, (1, 2), checked=True)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.key) for c in CASES])
def test_a_wrong_answer_is_noticed(case: harness.Case) -> None:
    inputs = case.make(np.random.default_rng(3))
    result = harness.as_arrays(case.contestants["fastattn"](inputs)())
    wrong = tuple(r * 2 + 1 for r in result)
    with pytest.raises(AssertionError, match="fastattn's result"):
        harness.Answer(case, inputs).check("fastattn", wrong)


def test_cases_have_names_of_their_own() -> None:
    for tiny in (False, True):
        names = [case.key for op in suites.OPS for case in suites.cases_of(op, tiny)]
        full = [case.key for op in suites.OPS for case in suites.cases_of(op)]
        assert len(full) == len(set(full))
        assert len(names) == len(full) or tiny


def test_every_suite_is_listed() -> None:
    files = {p.stem.removeprefix("bench_") for p in (ROOT / "bench").glob("bench_*.py")}
    assert files == set(suites.OPS)
    assert all(any(case.quick for case in suites.cases_of(op)) for op in suites.OPS)


def test_records_are_numbers_that_json_knows() -> None:
    for case in CASES:
        assert (type(case.flops), type(case.bytes), type(case.quick)) == (float, float, bool), case.key


def test_limits_are_positive() -> None:
    units = _ceilings.units_here()
    assert {dtype for _, dtype in units} >= {"float32", "float64"}
    for vector, dtype in units:
        assert _ceilings.flops(vector, dtype, 1, 0.001) > 0
    for isa in fa.build_info()["isas"]:
        for dtype in ("float32", "float64", "bfloat16", "float16"):
            assert _ceilings.peak(isa, dtype, 1, 0.001) > 0
    for traffic in _ceilings.TRAFFIC:
        assert _ceilings.bandwidth(traffic, 1 << 20, 2, 0.001) > 0
    assert _ceilings.bandwidth("copy", 0, 1, 0.001) > 0  # never less than a grain


def test_a_missing_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_ceilings, "LIBRARY", tmp_path / "none.so")
    with pytest.raises(ImportError, match=r"cannot load .*none.so, which measures .*; reinstall fastattn"):
        _ceilings._library.__wrapped__()


def test_a_case_is_timed_printed_and_kept(tmp_path: Path) -> None:
    case = suites.cases_of("softmax", tiny=True)[0]
    outcome = harness.measure(case, [harness.Local("fastattn"), harness.Local("numpy")], 2, 0.0, 5)
    assert set(outcome.timings) == {"fastattn", "numpy"}
    assert outcome.timings["fastattn"].kernel == kernel_name("softmax_fwd", "float32", fa.build_info()["isa"])
    assert len(outcome.timings["numpy"].times) >= 2
    assert len(outcome.timings["numpy"].rounds) == len(outcome.ideals) == 2
    assert outcome.arithmetic > 0  # of the kernel: the case itself counts bytes alone
    text = report.outcome_text(outcome)
    assert case.name in text
    assert "GB/s" in text

    environment = report.environment(["fastattn", "numpy"])
    record = report.record(environment, {"copy x1": 1e9}, [outcome])
    path = tmp_path / "results" / report.file_name(environment)
    report.write(record, path)
    assert report.read(path) == json.loads(json.dumps(record))


def test_calls_take_copies_of_the_inputs_in_turns() -> None:
    seen: list[int] = []

    def bind(inputs: harness.Arrays) -> harness.Call:
        def call() -> None:
            seen.append(inputs[0].ctypes.data)
            time.sleep(1e-3)

        return call

    local = harness.Local("fastattn")
    local.prepare(dataclasses.replace(CASES[0], copies=3, contestants={"fastattn": bind}), (1, 2), checked=False)
    assert len(local.time(0.02)) == len(seen) - 1  # one is not timed
    assert len(set(seen[:3])) == 3
    assert seen[3:6] == seen[:3]


def test_contestants_of_a_round_share_its_inputs() -> None:
    case = suites.cases_of("softmax", tiny=True)[0]
    first = harness.round_of(case, (1, 2))
    assert harness.round_of(case, (1, 2)) is first
    assert harness.round_of(case, (1, 3)) is not first
    assert harness.round_of(dataclasses.replace(case), (1, 3)).case is not case


@pytest.mark.parametrize("case", [pytest.param(c, id=c.key) for c in CASES])
def test_no_contestant_changes_what_others_read(case: harness.Case) -> None:
    inputs = case.make(np.random.default_rng(4))
    before = [np.array(x) for x in inputs]
    for name, bind in case.contestants.items():
        if worker.installed(name):
            call = bind(inputs)
            call()
            call()
    same = [np.array_equal(x, y) for x, y in zip(inputs, before, strict=True)]
    assert all(same) or case.op == "random"  # which fills its input, whose numbers nobody reads


def test_the_roofline_is_the_slower_of_both_limits() -> None:
    case = dataclasses.replace(suites.cases_of("matmul", tiny=True)[0], flops=100.0, bytes=10.0)
    assert harness.Outcome(case, [50.0], [10.0], {}).ideal == 2.0
    assert harness.Outcome(case, [50.0], [10.0], {}).compute_bound
    assert harness.Outcome(case, [50.0], [2.0], {}).ideal == 5.0
    assert not harness.Outcome(case, [50.0], [2.0], {}).compute_bound


def test_a_tuned_peer_works_in_its_own_process() -> None:
    peer = worker.Worker("numpy", 1, tiny=True)
    try:
        case = suites.cases_of("matmul", tiny=True)[0]
        peer.prepare(case, (1, 2), checked=True)
        assert all(t > 0 for t in peer.time(0.0))
        peer.done()
        with pytest.raises(ValueError, match="is not in list"):
            peer.prepare(dataclasses.replace(case, name="no such case"), (1, 2), checked=True)
    finally:
        peer.close()


def test_the_command_lists_its_cases_and_refuses_other_ops() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bench", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    listed = run("--list", "--op", "activation", "--quick")  # the cases of this checkout
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.splitlines()[0] == "activation: float32 gelu tanh 8192 x 768"
    refused = run("--op", "nothing")
    assert refused.returncode == 2
    assert refused.stderr.startswith("fastattn: bench: no suite of nothing; there are matmul, ")


def test_a_training_step_frees_what_it_made() -> None:
    case = bench_end_to_end.step(bench_end_to_end.TINY)
    steady = steady_state.measure(case, steps=3, warm_up=1)
    assert steady.live_bytes == [0, 0, 0]
    assert steady.collected == 0
    assert "page faults a step" in steady_state.report(case, steady)


@pytest.mark.parametrize("through_tape", [False, True])
def test_attention_never_holds_its_scores(through_tape: bool) -> None:
    length, heads = 2048, 8
    taken = attention_memory.measure(length, 64, heads, through_tape=through_tape)
    assert taken < heads * length**2 * 4 / 2


def test_a_training_steps_memory_is_measured_in_a_process_of_its_own() -> None:
    """Of the smallest size: its activations, and what the allocator may keep beside them."""
    taken = training_memory.in_process("fastattn", False, 0, "float32")
    assert 20e6 < taken < 400e6


def test_every_tiny_call_works() -> None:
    for by in call_overhead.calls().values():
        for call in by.values():
            call()
    for name, call in call_overhead.attention_layers().items():
        median, best = call_overhead.microseconds(call, batch=2, batches=3)
        assert 0 < best <= median, name


def test_imports_are_timed() -> None:
    base, ours = import_time.measure(1)
    assert len(base) == len(ours) == 1
    assert any(name.startswith("fastattn") for _, name in import_time.slowest_modules(50))
