"""python -m bench: times fastattn beside its peers, prints a table for each op, keeps a record."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

RESULTS = Path(__file__).with_name("results")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--op", action="append", help="only this op; may be repeated (see --list)")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--quick", action="store_true", help="a few cases of each op, and fewer rounds")
    parser.add_argument("--rounds", type=int, help="turns of every contestant in a case (default 7, with --quick 3)")
    parser.add_argument("--seconds", type=float, default=0.2, help="of calls in a turn")
    parser.add_argument("--threads", type=int, help="for everybody (default: fastattn's)")
    parser.add_argument("--peers", default="numpy,torch", help="which of the installed ones take part; may be empty")
    parser.add_argument("--stock", action="store_true", help="no tuned peers in processes of their own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the record (default: bench/results)")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an older record: what has become slower since")
    parser.add_argument("--list", action="store_true", help="only list the cases")
    return parser.parse_args()


def _set_threads(threads: int | None) -> None:
    """OpenBLAS and OpenMP read the environment as they are loaded, which `import numpy` does."""
    if threads is None:
        return
    for name in ("FASTATTN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def main() -> None:
    arguments = _arguments()
    _set_threads(arguments.threads)

    import fastattn as fa

    from . import ceilings, harness, report, suites, worker

    ops = arguments.op or list(suites.OPS)
    if unknown := set(ops) - set(suites.OPS):
        sys.exit(f"bench: no suite of {', '.join(sorted(unknown))}; there are {', '.join(suites.OPS)}")
    cases = [
        case
        for op in ops
        for case in suites.cases_of(op)
        if arguments.case in case.name and (case.quick or not arguments.quick)
    ]
    if arguments.list:
        print("\n".join(case.key for case in cases))
        return
    older = report.read(arguments.compare) if arguments.compare else None

    threads = fa.get_num_threads()
    peers = [p for p in arguments.peers.split(",") if p and worker.installed(p)]
    worker.set_peer_threads(threads)
    contestants: list[harness.Contestant] = [harness.Local(name) for name in ("fastattn", *peers)]
    workers = [] if arguments.stock else [worker.Worker(p, threads) for p in peers if worker.tuned_environment(p)]
    contestants += workers

    environment = report.environment(["fastattn", *(c.name for c in contestants[1:])])
    print(report.environment_text(environment))
    limits = ceilings.survey(threads)
    print(report.limits_text(limits, threads), flush=True)

    rounds = arguments.rounds or (3 if arguments.quick else 7)
    outcomes: list[harness.Outcome] = []
    seed = int.from_bytes(os.urandom(4), "little")
    try:
        for op in dict.fromkeys(case.op for case in cases):
            print(report.heading(op))
            for case in (c for c in cases if c.op == op):
                outcomes.append(harness.measure(case, contestants, rounds, arguments.seconds, seed))
                print(report.outcome_text(outcomes[-1]), flush=True)
    except KeyboardInterrupt:
        print("\nstopped; what is done so far is kept")
    finally:
        for w in workers:
            w.close()

    record = report.record(environment, limits, outcomes)
    path = arguments.json or RESULTS / report.file_name(environment)
    report.write(record, path)
    print(f"\nkept in {path}")
    if older is not None:
        print(report.comparison(older, record))
