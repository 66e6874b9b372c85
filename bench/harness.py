"""A case and how it is timed: ours and every peer, call about, in one process, beside the machine's own limits.

What keeps the figures honest (bench/README.md says more):

- The answer is checked before anything is timed, against a reference in twice the precision, with a derived tolerance.
- Contestants take turns, round after round, on fresh random data. At each switch there is a pause of 35 ms and one
  untimed call: thread pools spin for a while after a call and slow down whoever comes next.
- The limits are measured in every round of every case, not once at the start: a shared machine is not the same machine
  a minute later. `of limit` is the median against the median of the limits of the same rounds, and best against best.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from fastattn import _ceilings
from fastattn.testing.tolerance import HALVES, computed, is_float, widen

PAUSE = 0.035  # seconds at a switch
SHORTEST = 50e-6  # calls shorter than this many seconds are timed in batches
LIMIT_SECONDS = 0.005  # of a burst of a limit beside a case
LIMIT_BURSTS = 4  # the best of them counts: a core that wakes up or is taken away makes a limit too low

Arrays = tuple[Any, ...]
Call = Callable[[], Any]
Bind = Callable[[Arrays], Call]  # takes the inputs as ndarrays, converts them, returns what is timed


@dataclass(frozen=True)
class Case:
    """One thing to time. `contestants` maps "fastattn", "numpy", "torch" to how each of them does it."""

    op: str
    name: str
    make: Callable[[np.random.Generator], Arrays]  # fresh inputs, as ndarrays
    contestants: dict[str, Bind]
    reference: Callable[..., Any]  # of the inputs, in their dtype: what `pick` of a result should be
    pick: Callable[..., Any] = lambda *results: results  # the part of a result that is checked
    dtype: str = "float32"
    flops: float = 0.0
    bytes: float = 0.0  # compulsory traffic: every input read once, every output written once
    traffic: str = "copy"  # what the bytes are compared with (fastattn._ceilings.TRAFFIC)
    copies: int = 1  # of the inputs, which calls take in turn: more than the caches hold
    quick: bool = False  # part of --quick
    strong: bool = True  # whether tuned peers in processes of their own are worth their start

    @property
    def key(self) -> str:
        return f"{self.op}: {self.name}"


# The answer ----------------------------------------------------------------------------------------------------------


def as_arrays(result: Any) -> tuple[np.ndarray, ...]:
    """A result, or several, as ndarrays."""
    results = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(_as_array(r) for r in results if r is not None)


def _as_array(result: Any) -> np.ndarray:
    if not hasattr(result, "detach"):
        return np.asarray(result)
    tensor = result.detach()
    if str(tensor.dtype) != "torch.bfloat16":  # which torch's numpy() does not know
        return np.asarray(tensor.numpy())
    import torch

    return np.asarray(tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16))


def as_torch(array: np.ndarray) -> Any:
    """A torch tensor of the array's memory."""
    import torch

    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


class Answer:
    """What a case's result should be for some inputs, in twice the precision and by the reference in its own dtype; of
    16 bits in float32, rounded once."""

    def __init__(self, case: Case, inputs: Arrays) -> None:
        self.case = case
        self.exact = as_arrays(case.reference(*map(widen, inputs)))
        self.naive = as_arrays(case.reference(*map(computed, inputs)))

    def check(self, who: str, result: Any) -> None:
        """Raises AssertionError unless |result - exact| <= 2 * |naive - exact| + 4 * eps * max|exact|. Peers need only be
        doing the same thing: they get 8 times that, and a thousandth of max|exact| (torch's norm of 38 million numbers
        is wrong by half of it)."""
        key = self.case.key
        got = as_arrays(self.case.pick(*as_arrays(result)))
        assert len(got) == len(self.exact), f"{key}: {who} gave {len(got)} results, not {len(self.exact)}"
        for i, (ours, want, plain) in enumerate(zip(got, self.exact, self.naive, strict=True)):
            assert ours.shape == want.shape, f"{key}: {who}'s result {i} is {ours.shape}, not {want.shape}"
            if want.size == 0:
                continue
            if ours.dtype in HALVES:
                plain = plain.astype(ours.dtype)
            eps = float(ml_dtypes.finfo(self.case.dtype).eps)  # NumPy's has no bfloat16
            allowed = 2 * np.abs(plain - want).max() + 4 * eps * np.abs(want).max()
            if who != "fastattn":
                allowed = max(8 * allowed, 1e-3 * np.abs(want).max())
            error = np.abs(ours - want).max()
            assert error <= allowed, f"{key}: {who}'s result {i} is wrong by {error:.3g}, allowed {allowed:.3g}"


class Round:
    """The inputs of one round of a case, as often as it takes them. The contestants of one process share them, and the
    answer, which takes longer than most of them: none writes to what another reads."""

    def __init__(self, case: Case, seed: Sequence[int]) -> None:
        self.case, self.seed = case, tuple(seed)
        self.inputs = case.make(np.random.default_rng(self.seed))
        self.copies = [self.inputs, *(tuple(np.copy(x) for x in self.inputs) for _ in range(case.copies - 1))]
        self._answer: Answer | None = None

    def check(self, who: str, result: Any) -> None:
        self._answer = self._answer or Answer(self.case, self.inputs)
        self._answer.check(who, result)


_round: Round | None = None


def round_of(case: Case, seed: Sequence[int]) -> Round:
    """The round of that seed: the last one, or a new one."""
    global _round
    if _round is None or _round.case is not case or _round.seed != tuple(seed):
        _round = Round(case, seed)
    return _round


# Contestants ---------------------------------------------------------------------------------------------------------


class Contestant(Protocol):
    """Somebody who can be asked to do a case: here, or in a process of its own (worker.Worker)."""

    name: str

    def takes(self, case: Case) -> bool: ...

    def prepare(self, case: Case, seed: Sequence[int], *, checked: bool) -> None:
        """Makes the inputs of a round; with `checked`, does the case once and checks the answer."""

    def time(self, seconds: float) -> list[float]:
        """Seconds of single calls, of about as many calls as fit into `seconds`; at least one."""

    def done(self) -> None:
        """Drops the inputs."""


class Local:
    """A contestant in this process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._calls: list[Call] = []

    def takes(self, case: Case) -> bool:
        return self.name in case.contestants

    def prepare(self, case: Case, seed: Sequence[int], *, checked: bool) -> None:
        here = round_of(case, seed)
        self._calls = [case.contestants[self.name](inputs) for inputs in here.copies]
        if checked:
            here.check(self.name, self._calls[0]())

    def time(self, seconds: float) -> list[float]:
        return time_calls(self._calls, seconds)

    def explain(self) -> float:
        """FLOPs of the kernels of fastattn that a call runs."""
        import fastattn as fa

        return sum(e.flops for e in fa.explain(self._calls[0]))

    def done(self) -> None:
        self._calls = []


def time_calls(calls: Sequence[Call], seconds: float) -> list[float]:
    """Seconds of single calls, one of `calls` after the other, after a pause and an untimed one."""
    clock = time.perf_counter
    time.sleep(PAUSE)
    start = clock()
    calls[-1]()
    batch = max(1, int(SHORTEST / max(clock() - start, 1e-9)))
    times, turns = [], itertools.cycle(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = clock() + seconds
        while True:
            call = next(turns)
            start = clock()
            for _ in range(batch):
                call()
            now = clock()
            times.append((now - start) / batch)
            if now >= end:
                return times
    finally:
        if collecting:
            gc.enable()


# Timing --------------------------------------------------------------------------------------------------------------


@dataclass
class Timing:
    """One contestant's figures of one case."""

    times: list[float] = field(default_factory=list)
    rounds: list[tuple[float, float]] = field(default_factory=list)  # median and best of each
    kernel: str = ""

    def add(self, times: list[float]) -> None:
        """Takes the calls of a round."""
        self.times += times
        self.rounds.append((float(np.median(times)), min(times)))

    @property
    def median(self) -> float:
        return float(np.median(self.times))

    @property
    def best(self) -> float:
        return min(self.times)

    @property
    def spread(self) -> float:
        """Distance of the quartiles, as a fraction of the median."""
        low, high = np.percentile(self.times, [25, 75])
        return float((high - low) / self.median)


@dataclass
class Outcome:
    """A case, timed."""

    case: Case
    peaks: list[float]  # FLOP/s, one a round
    bandwidths: list[float]  # bytes/s, likewise
    timings: dict[str, Timing]
    arithmetic: float = 0.0  # FLOPs: the case's, or where it is held against memory alone, those of our kernels

    def seconds_at(self, pick: Callable[[list[float]], Any]) -> tuple[float, float]:
        """Seconds for the arithmetic and for the traffic, at the median, or the best (max), of the limits."""
        compute = self.case.flops / float(pick(self.peaks)) if self.case.flops else 0.0
        memory = self.case.bytes / float(pick(self.bandwidths)) if self.case.bytes else 0.0
        return compute, memory

    @property
    def ideals(self) -> list[float]:
        """`ideal`, by the limits of each round."""
        n = max(len(self.peaks), len(self.bandwidths))
        compute = [self.case.flops / p for p in self.peaks] or [0.0] * n
        memory = [self.case.bytes / b for b in self.bandwidths] or [0.0] * n
        return [max(pair) for pair in zip(compute, memory, strict=True)]

    @property
    def compute_bound(self) -> bool:
        compute, memory = self.seconds_at(np.median)
        return compute >= memory

    @property
    def ideal(self) -> float:
        """Seconds that the limits allow: the roofline."""
        return max(self.seconds_at(np.median))

    def of_limit(self, timing: Timing) -> float:
        """The median call against the median of the limits."""
        return self.ideal / timing.median

    def of_limit_best(self, timing: Timing) -> float:
        """The best call against the best of the limits: on a busy machine, the figure that says what the code can do."""
        return max(self.seconds_at(max)) / timing.best


def best_burst(measure: Callable[[float], float]) -> float:
    return max(measure(LIMIT_SECONDS) for _ in range(LIMIT_BURSTS))


class Limits:
    """The limits beside a case: one sample a round."""

    def __init__(self, case: Case, isa: str, threads: int) -> None:
        self.case, self.isa, self.threads = case, isa, threads
        self.peaks: list[float] = []
        self.bandwidths: list[float] = []

    def sample(self) -> None:
        case = self.case
        if case.flops:
            self.peaks.append(best_burst(lambda s: _ceilings.peak(self.isa, case.dtype, self.threads, s)))
        if case.bytes:
            size = int(case.bytes) * case.copies
            self.bandwidths.append(best_burst(lambda s: _ceilings.best_bandwidth(case.traffic, size, self.threads, s)))


def measure(case: Case, contestants: Sequence[Contestant], rounds: int, seconds: float, seed: int) -> Outcome:
    """Times a case: `rounds` rounds, each with `seconds` of calls for every contestant that takes it."""
    import fastattn as fa

    taking = [c for c in contestants if c.takes(case)]
    limits = Limits(case, fa.build_info()["isa"], fa.get_num_threads())
    timings = {c.name: Timing() for c in taking}
    arithmetic = 0.0
    for r in range(rounds):
        limits.sample()
        for c in taking[r % len(taking) :] + taking[: r % len(taking)]:  # nobody is always the first
            c.prepare(case, (seed, r), checked=r == 0)
            timings[c.name].add(c.time(seconds))
            if c.name == "fastattn":
                timings[c.name].kernel = fa.last_kernel()
                if isinstance(c, Local) and not case.flops:
                    arithmetic = c.explain()
            c.done()
    return Outcome(case, limits.peaks, limits.bandwidths, timings, case.flops or arithmetic)


# pytest-benchmark ----------------------------------------------------------------------------------------------------


def with_pytest(benchmark: Any, case: Case, name: str) -> None:
    """A case of one contestant under pytest-benchmark, which groups the contestants of a case into a table."""
    import fastattn as fa

    inputs = case.make(np.random.default_rng())
    call = case.contestants[name](inputs)
    Answer(case, inputs).check(name, call())
    limits = Limits(case, fa.build_info()["isa"], fa.get_num_threads())
    limits.sample()
    time.sleep(PAUSE)
    benchmark.group = case.key
    benchmark.pedantic(call, rounds=5, warmup_rounds=1)
    if benchmark.stats is None:  # --benchmark-disable
        return
    timing = Timing([benchmark.stats.stats.median])
    outcome = Outcome(case, limits.peaks, limits.bandwidths, {name: timing})
    work, unit = (case.flops, "GFLOP/s") if outcome.compute_bound else (case.bytes, "GB/s")
    benchmark.extra_info[unit] = work / timing.median / 1e9
    benchmark.extra_info["of limit"] = outcome.of_limit(timing)


# What the suites share -----------------------------------------------------------------------------------------------


def normal(rng: np.random.Generator, *shape: int, dtype: str = "float32") -> np.ndarray:
    """Random data of deviation 1; uniform, because drawing it is quick and timing does not see the difference."""
    drawn = np.dtype(np.float64 if dtype == "float64" else np.float32)
    return ((rng.random(shape, dtype=drawn) - drawn.type(0.5)) * drawn.type(12**0.5)).astype(dtype, copy=False)


def shrink(shape: tuple[int, ...], limit: int = 40) -> tuple[int, ...]:
    """A shape of the same kind that takes no time: for the tests of the suites."""
    return tuple(min(n, limit) for n in shape)


def sample_rows(n: int, count: int = 16) -> np.ndarray:
    """Row numbers over 0 to n - 1, the first and the last among them: checking all of a large result takes longer than
    timing it."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).astype(np.int64))


def on_torch(function: Callable[..., Any]) -> Bind:
    """How torch does it: `function` of tensors that share the ndarrays' memory, without gradients."""

    def bind(inputs: Arrays) -> Call:
        import torch

        tensors = [as_torch(x) if isinstance(x, np.ndarray) else x for x in inputs]

        def call() -> Any:
            with torch.no_grad():
                return function(*tensors)

        return call

    return bind


def on_arrays(function: Callable[..., Any]) -> Bind:
    """How fastattn, or NumPy, does it: `function` of the ndarrays."""
    return lambda inputs: lambda: function(*inputs)


def with_gradients(module: str, function: Callable[..., Any]) -> Bind:
    """Forward and backward through a framework's tape: the last input is the gradient of the result, float inputs
    before it get one each. Returns the result and those gradients."""

    def bind(inputs: Arrays) -> Call:
        *inputs, dout = inputs
        import fastattn as fa

        tensor = as_torch if module == "torch" else fa.Tensor
        tensors = [tensor(x) for x in inputs]
        leaves = [t for t, x in zip(tensors, inputs, strict=True) if is_float(x.dtype)]
        for leaf in leaves:
            leaf.requires_grad = True
        gradient = tensor(dout)

        def call() -> Any:
            for leaf in leaves:
                leaf.grad = None
            out = function(*tensors)
            out.backward(gradient)
            return (out, *(leaf.grad for leaf in leaves))

        return call

    return bind
