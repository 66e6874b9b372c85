"""A peer with its handicaps removed, in a process of its own: settings that a library reads only once, as it starts.

- "numpy tuned": pip's OpenBLAS takes CPUs that it does not know for older ones; OPENBLAS_CORETYPE names the newest kernels
  that this CPU can run.
- "torch tuned": glibc gives large blocks back to the system and takes them again, page by page, at every call;
  MALLOC_MMAP_MAX_ and MALLOC_TRIM_THRESHOLD_ make it keep them.

The parent sends (method, arguments) by pickle over the child's stdin, and gets the result, or the exception, by stdout.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from .harness import Case, Local
from .suites import cases_of


def _flags() -> set[str]:
    with open("/proc/cpuinfo") as lines:
        return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def tuned_environment(peer: str) -> dict[str, str]:
    """What `peer` wants in its environment; empty where there is nothing to gain."""
    if peer == "torch":
        return {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}
    flags = _flags()
    if "avx512_bf16" in flags:
        return {"OPENBLAS_CORETYPE": "COOPERLAKE"}
    if "avx512vl" in flags:
        return {"OPENBLAS_CORETYPE": "SKYLAKEX"}
    return {}


def child_environment(settings: dict[str, str]) -> dict[str, str]:
    """This process's with `settings`; a child finds the modules that this one does."""
    return os.environ | settings | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}


class Worker:
    """A contestant in a process of its own."""

    def __init__(self, peer: str, threads: int, tiny: bool = False) -> None:
        self.peer, self.name, self.tiny = peer, f"{peer} tuned", tiny
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", peer, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(tuned_environment(peer)),
        )

    def takes(self, case: Case) -> bool:
        return case.strong and self.peer in case.contestants

    def prepare(self, case: Case, seed: Sequence[int], *, checked: bool) -> None:
        names = [c.name for c in cases_of(case.op, self.tiny)]
        self._ask("prepare", case.op, names.index(case.name), self.tiny, tuple(seed), checked)

    def time(self, seconds: float) -> list[float]:
        times: list[float] = self._ask("time", seconds)
        return times

    def done(self) -> None:
        self._ask("done")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # the child's loop ends
        self._process.stdout.close()
        self._process.wait()

    def _ask(self, method: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((method, arguments), self._process.stdin)
        self._process.stdin.flush()
        result = pickle.load(self._process.stdout)
        if isinstance(result, Exception):
            raise result
        return result


def set_peer_threads(threads: int) -> None:
    """The same number of threads for everybody. NumPy's OpenBLAS takes it from the environment, which `fastattn bench
    --threads` sets."""
    if installed("torch"):
        import torch

        torch.set_num_threads(threads)


def installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def _serve(peer: str) -> None:
    local = Local(peer)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints, prints to stderr
    while True:
        try:
            method, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        result: Any = None
        try:
            if method == "prepare":
                op, index, tiny, seed, checked = arguments
                local.prepare(cases_of(op, tiny)[index], seed, checked=checked)
            else:
                result = getattr(local, method)(*arguments)
        except Exception as error:
            result = error
        pickle.dump(result, answers)
        answers.flush()


if __name__ == "__main__":
    if sys.argv[1] == "torch":
        set_peer_threads(int(sys.argv[2]))
    with contextlib.suppress(KeyboardInterrupt):  # the parent says what there is to say
        _serve(sys.argv[1])
