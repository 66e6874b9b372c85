"""The check on a GPU, where there is none: its steps, table and record; the figures from canned times; the cases in a dry
run, on the CPU."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import pytest
from bench import gpu_bench, gpu_cases, gpu_check, gpu_machine, gpu_steps, gpu_timing
from bench.gpu_steps import FAILED, OK, SKIPPED, STOPPED, Step, row

PROBES = {"there": lambda: None, "absent": lambda: "no such tool", "old": lambda: "too old"}


def says(text, code=0):
    return [sys.executable, "-S", "-c", f"print({text!r}); raise SystemExit({code})"]


@pytest.fixture
def runner(tmp_path):
    return gpu_steps.Runner(PROBES, tmp_path, 60.0, 2)


def test_steps(runner):
    """One that fails, lacks something or cannot be started does not stop the others."""
    rows = runner.run([
        Step("good", 10, says("4 passed in 1s"), ("there",), figure=gpu_check.pytest_counts),
        Step("bad", 10, says("it broke", 3)),
        Step("lacking", 10, says("never"), ("there", "absent", "old")),
        Step("no such probe", 10, says("never"), ("misspelt",)),
        Step("no command", 10, ["/no/such/command"]),
        *(Step(f"side by side {i}", 10, says(i), beside="all") for i in range(3)),
    ])  # fmt: skip
    found = {r["step"]: (r["result"], r["figure"], r["bar"]) for r in rows}
    assert found["good"] == (OK, "4 passed", "")
    assert found["bad"] == (FAILED, "", "it broke")
    assert found["lacking"] == (SKIPPED, "", "no such tool; too old")
    assert found["no such probe"] == (FAILED, "", "KeyError: 'misspelt'")
    assert found["no command"][0] == FAILED
    assert [r["step"] for r in rows][-3:] == ["side by side 0", "side by side 1", "side by side 2"]
    assert "it broke" in runner.log()
    assert next(text for text in gpu_steps.ends(runner.logs, rows).splitlines() if "====" not in text) == "it broke"


def test_a_limit_ends_all_that_a_step_started_and_keeps_its_rows(runner):
    code = (
        "import subprocess, sys; from bench.gpu_steps import leave_row, row; leave_row(row('first', figure='1 us'));"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    start = time.monotonic()
    checkout = {"PYTHONPATH": str(Path(__file__).parents[2])}  # the tests may be run from anywhere
    first, stopped = runner.run([Step("long", 10, [sys.executable, "-c", code], environment=checkout)])
    assert time.monotonic() - start < 50
    assert (first["step"], first["figure"], stopped["result"]) == ("first", "1 us", STOPPED)


def test_no_step_starts_when_the_time_is_over(tmp_path):
    (found,) = gpu_steps.Runner(PROBES, tmp_path, 0.5, 1).run([Step("late", 10, says("never"))])
    assert (found["result"], found["bar"]) == (SKIPPED, "no time was left")


@pytest.mark.parametrize(
    ("results", "code"), [([OK], 0), ([OK, SKIPPED], 2), ([SKIPPED, FAILED], 1), ([OK, STOPPED], 1), ([], 0)]
)
def test_exit_codes(results, code):
    assert gpu_steps.exit_code([row("step", result) for result in results]) == code


def test_the_table():
    rows = [
        row("softmax", OK, "20 us 4000 GB/s", "copy 4200 GB/s", 0.95238),
        row("op", FAILED, "2 failed", "a\nreason"),
    ]
    head, first, second = gpu_steps.table(rows).splitlines()
    assert head.split() == ["step", "result", "figure", "bar", "ratio"]
    assert first.split() == ["softmax", "ok", "20", "us", "4000", "GB/s", "copy", "4200", "GB/s", "0.95"]
    assert second.split() == ["op", "FAILED", "2", "failed", "a", "reason"]


def test_a_long_table_keeps_what_did_not_go_well():
    rows = [row(f"step {i}", OK, "x" * 20, "y" * 30, 1.0) for i in range(400)] + [
        row("the last", FAILED, "", "z" * 500)
    ]
    text = gpu_steps.table(rows)
    assert len(text) <= gpu_steps.TABLE
    assert "the last" in text
    left_out = int(text.rpartition("(")[2].split()[0])
    assert text.count("\nstep ") == 400 - left_out


def test_a_part_leaves_its_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        gpu_check, "build_steps", lambda wheel: [Step("one", 10, says("well"), figure=gpu_steps.last_line)]
    )
    monkeypatch.setattr(gpu_machine, "missing", list)
    assert gpu_check.main(["--part", "build", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "gpu-check-build.json").read_text())
    assert (record["version"], record["part"]) == (1, "build")
    assert {"date", "gpu", "cuda", "cpu", "python", "commit", "torch", "fastattn"} <= set(record["machine"])
    assert [(r["step"], r["result"], r["figure"]) for r in record["rows"]][1:] == [("one", OK, "well")]
    assert "==== one" in (tmp_path / "gpu-check-build.log").read_text()
    assert capsys.readouterr().out.splitlines()[-1].split() == ["one", "ok", "well"]


def test_every_need_has_a_probe():
    steps = [
        *gpu_check.build_steps(None),
        *gpu_check.build_steps("a.whl"),
        *gpu_check.test_steps(),
        *gpu_check.bench_steps(False),
        *gpu_check.bench_steps(True),
    ]
    assert {name for s in steps for name in s.needs} <= set(gpu_machine.PROBES)
    assert len({s.name for s in gpu_check.test_steps()}) == len(gpu_check.test_steps())


def test_a_machine_without_a_gpu(tmp_path, monkeypatch):
    """Every step of the tests says what it lacks; nothing fails."""
    monkeypatch.setattr(gpu_machine, "output_of", lambda command, seconds=60: None)
    monkeypatch.setattr(gpu_machine, "_says", lambda code: "nothing of CUDA here")
    gpu_machine.gpu.cache_clear()
    assert gpu_check.main(["--part", "test", "--out", str(tmp_path)]) == 2
    gpu_machine.gpu.cache_clear()
    rows = json.loads((tmp_path / "gpu-check-test.json").read_text())["rows"]
    assert {r["result"] for r in rows} == {SKIPPED}
    assert all("no GPU that nvidia-smi knows" in r["bar"] for r in rows)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('a warning', file=sys.stderr)", None),
        ("print('no driver')", "no driver"),
        ("raise ImportError('no libcuda')", "ImportError: no libcuda"),
        ("raise SystemExit(3)", "it ended with 3"),
    ],
)
def test_what_an_interpreter_says(code, said):
    assert gpu_machine._says(code) == said


def test_what_nvidia_smi_says():
    found = gpu_machine.parse_query(
        "NVIDIA H200, 580.1, 9.0, 345 MHz, 3201 MHz, 1980 MHz, 3201 MHz, 143771 MiB, 700 W, 31\n"
    )
    assert (found["name"], found["compute_cap"], found["clocks.max.sm"]) == ("NVIDIA H200", "9.0", "1980 MHz")
    assert len(found) == len(gpu_machine.FIELDS)


@pytest.mark.parametrize(
    ("output", "counts"),
    [
        (
            "....\n312 passed, 4 skipped in 3.1s\non a device: 5 calls of ops; 0 stayed on the host",
            "312 passed, 4 skipped, 5 calls",
        ),
        ("FAILED x\n=== 1 failed, 3 passed, 2 errors in 1s ===\n", "1 failed, 3 passed, 2 errors"),
        ("Segmentation fault", ""),
    ],
)
def test_pytest_counts(output, counts):
    assert gpu_check.pytest_counts(output) == counts


def test_sanitizer_summary():
    assert gpu_check.sanitizer_summary("x\n========= ERROR SUMMARY: 0 errors\n") == "0 errors"
    assert gpu_check.sanitizer_summary("2 passed in 1s") == "2 passed"


# Times -----------------------------------------------------------------------------------------------------------------


class Recorded:
    """A clock that notes whose turn it is."""

    def __init__(self):
        self.turns = []

    def time(self, call):
        self.turns.append(call())
        return len(self.turns)

    def wait(self):
        self.turns.append("wait")


def test_contestants_take_turns():
    clock, called = Recorded(), []

    def call(name):
        return lambda: called.append(name) or name

    times = gpu_timing.interleaved({"a": call("a"), "b": call("b")}, clock, 0.0)
    assert clock.turns[0] == "wait"
    assert clock.turns[1:9] == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert {name: len(t) for name, t in times.items()} == dict.fromkeys("ab", gpu_timing.LEAST)
    assert called[: 2 * gpu_timing.WARM] == ["a"] * gpu_timing.WARM + ["b"] * gpu_timing.WARM
    assert len(gpu_timing.interleaved({"a": call("a")}, clock, 1e9)["a"]) == gpu_timing.MOST


CASE = gpu_cases.GpuCase("memory", "softmax", lambda place: {}, bytes=4e6)


def test_rows_of_a_case():
    times = {"fastattn": [3e-6, 2e-6, 1e-6], "torch": [4e-6, 8e-6, 3e-6]}
    copy, torch, lacking = gpu_bench.rows_of(CASE, times, 4e12, {"cudnn": "it cannot"})
    assert (copy["figure"], copy["bar"], copy["ratio"]) == ("2 us 2000 GB/s", "copy 4000 GB/s", 0.5)
    assert (torch["bar"], torch["ratio"]) == ("torch 4 us 1000 GB/s", 2.0)
    assert (lacking["result"], lacking["bar"]) == (SKIPPED, "cudnn: it cannot")
    assert copy["times"]["torch"] == {"median": 4e-6, "best": 3e-6, "calls": 3}
    assert statistics.median(times["fastattn"]) == copy["seconds"]


@pytest.mark.parametrize(
    ("case", "seconds", "text"),
    [
        (gpu_cases.GpuCase("", "", dict, flops=2e9), 1e-5, "10 us 200.0 TFLOP/s"),
        (gpu_cases.GpuCase("", "", dict, flops=2e9, tokens=100), 0.05, "50.0 ms 2000 tok/s"),
        (gpu_cases.GpuCase("", "", dict), 1e-5, "10 us"),
    ],
)
def test_rates(case, seconds, text):
    assert gpu_bench.rate(case, seconds) == text


def test_rows_of_the_cpu():
    def result(median):
        return {"median": median, "of_limit": 0.8}

    case = {"op": "attention", "case": "bfloat16 forward", "flops": 4e9, "bytes": 1, "compute_bound": True}
    case["results"] = {"fastattn": result(0.1), "numpy": result(0.4), "torch": result(0.2)}
    (found,) = gpu_bench.cpu_rows({"cases": [case]}, 8)
    assert (found["step"], found["figure"]) == ("CPU x8 attn bf16 fwd", "40 GFLOP/s, 80%")
    assert (found["bar"], found["ratio"]) == ("torch 20 GFLOP/s", 2.0)


@pytest.mark.parity
@pytest.mark.parametrize("group", sorted({c.group for c in gpu_cases.cases()}))
def test_a_dry_run(group, tmp_path, monkeypatch):
    """Every case runs, on the CPU, and finds what torch does; what torch's CPU has no backend for is said."""
    pytest.importorskip("torch")
    monkeypatch.setenv(gpu_steps.ROWS, str(tmp_path / "rows"))
    assert gpu_bench.main(["--group", group, "--dry-run"]) == 0
    rows = [json.loads(text) for text in (tmp_path / "rows").read_text().splitlines()]
    done = [r for r in rows if r["result"] == OK]
    assert {r["step"] for r in done} == {c.name for c in gpu_cases.cases() if c.group == group}
    assert all(r["ratio"] > 0 and r["figure"] and r["bar"] for r in done)


@pytest.mark.parity
def test_a_wrong_answer_is_no_time():
    torch = pytest.importorskip("torch")
    calls = {"fastattn": lambda: torch.ones(3), "torch": lambda: torch.full((3,), 1.1)}
    (found,) = gpu_bench.measure(
        gpu_cases.GpuCase("", "wrong", lambda p: calls), gpu_cases.Place(True), gpu_timing.MadeUp()
    )
    assert (found["result"], found["figure"]) == (FAILED, "wrong")
    assert "differs from torch's by 0.1 of 1.1" in found["bar"]
