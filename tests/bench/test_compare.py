"""--compare: a planted slowdown is found, a rerun is silent, a busy machine and another machine are said. The times are
made up; none is measured."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from bench import compare, page
from bench.compare import Comparison

CASES, ROUNDS = 30, 7
ENVIRONMENT = {"date": "2026-01-01", "cpu": "A", "isa": "avx2", "threads": 2, "fastattn": "0", "contestants": []}


def record(
    seed: int, *, noise: float = 0.03, hour: float = 1.0, slower: dict[int, float] | None = None, rounds: int = ROUNDS
) -> dict[str, Any]:
    """A run on a machine whose rounds vary by `noise`, in an hour in which everything takes `hour` times as long, with
    some cases slower by a factor."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(CASES):
        busy = hour * np.exp(noise * np.abs(rng.standard_normal(rounds)))  # of the limits, and of the calls
        medians = (
            1e-3 * (i + 1) * (slower or {}).get(i, 1.0) * hour * np.exp(noise * np.abs(rng.standard_normal(rounds)))
        )
        ideals = 5e-4 * (i + 1) * busy
        cases.append(
            {
                "op": "op",
                "case": f"case {i}",
                "dtype": "float32",
                "peaks": list(1e11 / busy),
                "bandwidths": list(1e10 / busy),
                "ideal": float(np.median(ideals)),
                "ideals": list(ideals),
                "results": {"fastattn": {"rounds": [(m, 0.97 * m) for m in medians]}},
            }
        )
    made: dict[str, Any] = json.loads(json.dumps({"environment": ENVIRONMENT, "cases": cases}))
    return made


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rounds", [3, 7])
def test_a_planted_slowdown_is_found_and_a_rerun_is_silent(seed: int, rounds: int) -> None:
    old = record(seed, rounds=rounds)
    again = Comparison(old, record(1000 + seed, hour=1.2, rounds=rounds))
    assert (again.slower, again.faster, again.compared) == ([], [], CASES)
    assert "nothing is slower" in again.text()
    planted = Comparison(old, record(2000 + seed, slower={3: 1.3, 17: 1.3}, rounds=rounds))
    assert [c.case for c in planted.slower] == ["case 3", "case 17"]
    assert all(0.15 < c.fraction < 0.45 for c in planted.slower)
    assert "slower: op: case 3: +" in planted.text()
    better = Comparison(record(2000 + seed, slower={3: 1.3}, rounds=rounds), old)
    assert ([c.case for c in better.faster], better.slower) == (["case 3"], [])


@pytest.mark.parametrize("seed", range(20))
def test_a_busy_machine_is_silent_and_says_so(seed: int) -> None:
    old, new = record(seed, noise=0.3, rounds=3), record(1000 + seed, noise=0.3, rounds=3)
    found = Comparison(old, new)
    assert (found.slower, found.faster) == ([], [])
    assert found.noise > 0.3
    assert "others used the machine" in found.text()


def test_a_slow_hour_alone_is_not_slower_code() -> None:
    assert Comparison(record(1), record(2, hour=3.0)).slower == []


@pytest.mark.parametrize(("field", "value"), [("cpu", "B"), ("isa", "avx512"), ("threads", 1)])
def test_another_machine_is_not_compared(field: str, value: object) -> None:
    old, new = record(1), record(2, slower={0: 2.0})
    new["environment"][field] = value
    found = Comparison(old, new)
    assert (found.slower, found.compared) == ([], 0)
    assert f"not compared, it was another machine or setting: {field} was " in found.text()
    assert compare.other_machine(old, old) == ""


def test_cases_that_one_record_lacks_are_left_out() -> None:
    old, new = record(1), record(2, slower={0: 2.0})
    del old["cases"][:5]
    assert (Comparison(old, new).slower, Comparison(old, new).compared) == ([], CASES - 5)
    del new["cases"][5]["results"]["fastattn"]
    assert Comparison(old, new).compared == CASES - 6


def test_a_record_without_rounds_counts_as_one() -> None:
    old = record(1)
    for case in old["cases"]:
        del case["ideals"]
        case["results"]["fastattn"] = {"median": 1e-3, "best": 9e-4}
    assert Comparison(old, old).slower == []


def test_unrest_without_peaks_is_that_of_the_bandwidth() -> None:
    calm = record(1, noise=0.0)
    assert compare.unrest(calm) == 0
    for case in calm["cases"]:
        case["peaks"] = []
        case["bandwidths"] = [2.0, 1.0, 1.0]
    assert compare.unrest(calm) == 1
    assert compare.unrest({"cases": []}) == 0


def test_the_page_lists_changes() -> None:
    old, new = record(1), record(2, slower={3: 1.3})
    text = page._changes(Comparison(old, new))
    assert '<li class="slower">slower: op: case 3: +' in text
    assert "none." in page._changes(Comparison(old, record(3)))
    new["environment"]["cpu"] = "<B>"
    assert "another machine or setting: cpu was A, is &lt;B&gt;" in page._changes(Comparison(old, new))
