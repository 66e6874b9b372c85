"""`bench/gpu_check.sh`: the parts of the check on a GPU (build, test, bench), each a list of steps with limits of their own.

The last thing it prints is a table; the folder that --out names gets gpu-check-PART.json, with all figures, and
gpu-check-PART.log, with the output of every step. Exit status: 0 all went well, 1 something failed or was stopped at its
limit, 2 nothing did but something was not run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import gpu_machine, gpu_steps
from .gpu_steps import OK, SKIPPED, Json, Step, last_line, row

ROOT = Path(__file__).resolve().parents[1]
BUDGET = 530.0  # seconds of a part
BUILD_NEEDS = ("gpu", "nvcc", "cmake", "package numpy", "package pybind11", "package scikit_build_core")
GROUPS = {"memory": 120, "matmul": 70, "attention": 80, "decode": 50, "step": 70}  # of bench.gpu_bench: seconds
CPU_THREADS = (1, 16, 8, 4, 2)  # a full table leaves out the last
NOT_ON_CUDA = {"test_every_op.py"}  # asks every op for float64
PIP = "-m pip install -v --no-build-isolation --no-deps --force-reinstall"
PYTEST = "-q -p no:cacheprovider --tb=short -rfs -W default"
# Where ordinary tests ask for what costs minutes under a tool that slows kernels a hundred times.
SANITIZED = "tests/cuda/test_training.py"


def pytest_counts(output: str) -> str:
    """ "312 passed, 4 skipped" of pytest's closing line, and how many calls of ops ran on the device."""
    closing = next((text for text in reversed(output.splitlines()) if re.search(r" in [\d.]+s", text)), "")
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?|xfailed)", closing)
    calls = re.findall(r"on a device: (\d+ calls)", output)
    return ", ".join([*counts, *calls])


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def build_steps(wheel: str | None) -> list[Step]:
    cpus = len(os.sched_getaffinity(0))
    if wheel:
        install = Step(
            "install", 120, python("-m", "pip", "install", "--no-index", "--no-deps", "--force-reinstall", wheel)
        )
    else:
        architecture = gpu_machine.architecture() if gpu_machine.gpu() else "native"
        install = Step(
            "build",
            420,
            python(
                *PIP.split(),
                "-Ccmake.define.FASTATTN_CUDA=ON", f"-Ccmake.define.CMAKE_CUDA_ARCHITECTURES={architecture}", ".",
            ),
            BUILD_NEEDS,
            {"CMAKE_BUILD_PARALLEL_LEVEL": str(cpus)},
        )  # fmt: skip
    says = "import fastattn as fa; print(fa.cuda.unavailable() or fa.cuda.get_device_name())"
    first = (
        "import cupy, numpy, fastattn as fa; x = numpy.random.rand(4, 9).astype('f');"
        "d = abs(fa.softmax(cupy.asarray(x)).get() - fa.softmax(x)).max(); print('off by', d); assert d < 1e-6"
    )
    return [
        install,
        Step(
            "import", 60, python("-c", "import fastattn; print(fastattn.__version__)"), ("fastattn",), figure=last_line
        ),
        Step("fastattn info", 60, python("-m", "fastattn", "info"), ("fastattn",)),
        Step("fa.cuda.is_available()", 60, python("-c", says), ("kernels",), figure=last_line),
        Step("a first kernel", 60, python("-c", first), ("kernels", "cupy"), figure=last_line),
    ]


def pytest(*arguments: str) -> list[str]:
    return python("-m", "pytest", *PYTEST.split(), "-m", "not parity", *arguments)


def test_steps() -> list[Step]:
    on_device = {"FASTATTN_TEST_DEVICE": "cuda", "FASTATTN_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    needs = ("gpu", "kernels", "cupy", "package pytest", "package hypothesis")
    losses = f"{SANITIZED}::test_gpt_trains_with_the_losses_of_the_cpu"
    steps = [
        Step("GPT trains with the losses of the CPU", 60, pytest(losses), needs, on_device, pytest_counts),
        Step("tests/cuda", 120, pytest("tests/cuda"), needs, on_device, pytest_counts, "tests"),
    ]
    for path in sorted(p for p in (ROOT / "tests/ops").glob("test_*.py") if p.name not in NOT_ON_CUDA):
        name = str(path.relative_to(ROOT))
        steps.append(Step(name, 240, pytest("--maxfail=30", name), needs, on_device, pytest_counts, "tests"))
    without_pool = {**on_device, "FASTATTN_TEST_POOL": "0"}  # an array's end is then the end of an allocation
    for tool, chosen in (("memcheck", "not plan"), ("racecheck", "layers or optimizers")):
        sanitizer = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", "--target-processes", "all"]
        steps.append(
            Step(
                f"compute-sanitizer, {tool}", 110, [*sanitizer, *pytest(SANITIZED, "-k", chosen)],
                ("compute-sanitizer", *needs), without_pool, sanitizer_summary, "sanitizer",
            )
        )  # fmt: skip
    return steps


def sanitizer_summary(output: str) -> str:
    found = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", output)
    return found[-1] if found else pytest_counts(output)


def bench_steps(dry_run: bool) -> list[Step]:
    flags = ["--dry-run"] if dry_run else []
    needs = ("fastattn", "package torch") if dry_run else ("gpu", "kernels", "torch", "cupy")
    steps = [
        Step(f"bench {g}", s, python("-m", "bench.gpu_bench", "--group", g, *flags), needs) for g, s in GROUPS.items()
    ]
    for n in () if dry_run else CPU_THREADS:
        threads = dict.fromkeys(("FASTATTN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n))
        steps.append(Step(f"CPU, {n} threads", 40, python("-m", "bench.gpu_bench", "--cpu"), ("fastattn",), threads))
    return steps


def run_part(part: str, out: Path, wheel: str | None, budget: float, dry_run: bool) -> int:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        steps = {
            "build": lambda: build_steps(wheel),
            "test": test_steps,
            "bench": lambda: bench_steps(dry_run),
        }[part]()
        gaps = gpu_machine.missing()
        rows = [row("tools and packages", SKIPPED if gaps else OK, "all there" if not gaps else "", "; ".join(gaps))]
        jobs = max(1, min(8, len(os.sched_getaffinity(0)) // 2))
        runner = gpu_steps.Runner(gpu_machine.PROBES, folder / "rows", budget, jobs)
        runner.folder.mkdir()
        rows += runner.run(steps)
    record: Json = {"version": 1, "part": part, "machine": gpu_machine.description(), "rows": rows}
    (out / f"gpu-check-{part}.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / f"gpu-check-{part}.log").write_text(runner.log() + "\n")
    machine = record["machine"]
    print(gpu_steps.ends(runner.logs, rows))
    print(f"{part} on {machine['gpu'].get('name', 'no GPU')}, {machine['date']}; kept in {out}/gpu-check-{part}.json")
    print(gpu_steps.table(rows), flush=True)
    return gpu_steps.exit_code(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/gpu_check.sh", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--part", action="append", required=True, choices=("build", "test", "bench"), help="may be repeated"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check"), help="folder of records and logs")
    parser.add_argument("--wheel", help="a wheel of fastattn to install instead of building one")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of a part")
    parser.add_argument("--dry-run", action="store_true", help="bench: tiny cases on the CPU, times made up")
    given = parser.parse_args(arguments)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # pip's tools
    codes = [run_part(p, given.out, given.wheel, given.budget, given.dry_run) for p in dict.fromkeys(given.part)]
    return 1 if 1 in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main())
