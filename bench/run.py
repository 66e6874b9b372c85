"""Times fastattn beside its peers, prints a table for each op, keeps a record and a page, says what became slower."""

from __future__ import annotations

import os
from pathlib import Path

import fastattn as fa
from fastattn import _ceilings
from fastattn.cli import UsageError

from . import compare, harness, page, report, suites, worker
from .harness import Case

PEERS = ("numpy", "torch")
ROUNDS, SECONDS = 7, 0.2  # turns of every contestant in a case, and seconds of calls in a turn
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.05


class SlowerError(RuntimeError):
    """Something is slower than in the record that the run is compared with."""


def run(
    *,
    op: list[str],
    case: str,
    quick: bool,
    rounds: int | None,
    seconds: float | None,
    peers: str,
    stock: bool,
    json: Path | None,
    html: Path | None,
    against: Path | None,
    only_list: bool,
) -> None:
    """One run; the arguments are the flags of `fastattn bench`.

    Raises:
        SlowerError: a case is slower than in the record `against`.
    """
    cases = _chosen(op, case, quick)
    if only_list:
        print("\n".join(c.key for c in cases))
        return
    older = report.read(against) if against else None
    threads = fa.get_num_threads()
    contestants, workers = _contestants(peers, stock, threads)
    environment = report.environment([c.name for c in contestants])
    print(report.environment_text(environment))
    other = compare.other_machine(older, {"environment": environment}) if older else ""
    if other:
        print(f"\n{against} will not be compared with: {other}")
    limits = _ceilings.survey(threads)
    print(report.limits_text(limits, threads), flush=True)

    rounds = rounds or (QUICK_ROUNDS if quick else ROUNDS)
    seconds = seconds or (QUICK_SECONDS if quick else SECONDS)
    outcomes: list[harness.Outcome] = []
    seed = int.from_bytes(os.urandom(4), "little")
    try:
        for name in dict.fromkeys(c.op for c in cases):
            print(report.heading(name))
            for c in (c for c in cases if c.op == name):
                outcomes.append(harness.measure(c, contestants, rounds, seconds, seed))
                print(report.outcome_text(outcomes[-1]), flush=True)
    except KeyboardInterrupt:
        print("\nstopped; what is done so far is kept")
    finally:
        for w in workers:
            w.close()

    record = report.record(environment, limits, outcomes)
    path = json or Path("runs") / report.file_name(environment)
    report.write(record, path)
    comparison = compare.Comparison(older, record) if older else None
    page_path = html or path.with_suffix(".html")
    page.write(record, comparison, page_path)
    print(f"\nkept in {path}, to look at in {page_path}")
    if comparison is not None:
        print(comparison.text())
        if comparison.slower:
            n = len(comparison.slower)
            msg = f"bench: {n} case{'s are' if n > 1 else ' is'} slower than in {against}"
            raise SlowerError(msg)


def _chosen(ops: list[str], part: str, quick: bool) -> list[Case]:
    if unknown := sorted(set(ops) - set(suites.OPS)):
        msg = f"bench: no suite of {', '.join(unknown)}; there are {', '.join(suites.OPS)}"
        raise UsageError(msg)
    cases = [c for name in ops or suites.OPS for c in suites.cases_of(name)]
    chosen = [c for c in cases if part in c.name and (c.quick or not quick)]
    if not chosen:
        msg = f"bench: no case whose name contains {part!r}; --list names them"
        raise UsageError(msg)
    return chosen


def _contestants(peers: str, stock: bool, threads: int) -> tuple[list[harness.Contestant], list[worker.Worker]]:
    wanted = [p for p in peers.split(",") if p]
    if unknown := sorted(set(wanted) - set(PEERS)):
        msg = f"bench: no peer {', '.join(unknown)}; there are {', '.join(PEERS)}"
        raise UsageError(msg)
    here = [p for p in wanted if worker.installed(p)]
    worker.set_peer_threads(threads)
    workers = [] if stock else [worker.Worker(p, threads) for p in here if worker.tuned_environment(p)]
    return [*(harness.Local(name) for name in ("fastattn", *here)), *workers], workers
