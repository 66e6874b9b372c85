"""What became slower, or faster, between two records of one machine.

A time alone does not say: a busy hour makes everything slower. So four figures of every round are asked, the median call
and the best one, each as it is and against the machine's limits of that round. A case counts as slower if by all four
every round of the newer record is slower than every round of the older one, and the four medians agree on more than the
noise. Slower code does that; a busy machine changes some figures of some rounds.

The noise is measured too: the peak of the units is one number, so what its samples over a run lack to their best is what
others took of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

Json = dict[str, Any]

LEAST_NOISE = 0.10  # a smaller change, as a fraction of the time, is never reported
SAME = ("cpu", "isa", "threads")  # what must be equal for two records to be compared


def other_machine(older: Json, newer: Json) -> str:
    """What sets the machines or settings of two records apart, in one line; empty if nothing."""
    then, now = older["environment"], newer["environment"]
    return ", ".join(f"{key} was {then[key]}, is {now[key]}" for key in SAME if then[key] != now[key])


def _figures(case: Json, result: Json) -> list[list[float]]:
    """The four figures of every round: seconds, and seconds over those that the limits allow. A record without its
    rounds counts as one round."""
    rounds = result.get("rounds") or [(result["median"], result["best"])]
    ideals = case.get("ideals") or [case["ideal"]]
    return [
        [middle for middle, _ in rounds],
        [best for _, best in rounds],
        [middle / ideal for (middle, _), ideal in zip(rounds, ideals, strict=True)],
        [best / ideal for (_, best), ideal in zip(rounds, ideals, strict=True)],
    ]


def unrest(record: Json) -> float:
    """By how much the machine was typically slower than at its best during a run, by its peaks; where no case has one,
    by each case's bandwidth."""
    samples: dict[Any, list[float]] = {}
    for case in record["cases"]:
        samples.setdefault(case.get("dtype"), []).extend(case["peaks"])
    if not any(samples.values()):
        samples = {i: case["bandwidths"] for i, case in enumerate(record["cases"])}
    lacking = [max(rates) / rate - 1 for rates in samples.values() for rate in rates]
    return median(lacking) if lacking else 0.0


def change(then: list[list[float]], now: list[list[float]], noise: float) -> float:
    """By which fraction of the time a case became slower (positive) or faster (negative), from its figures; 0 for
    anything that noise may be."""
    ratios = [median(n) / median(t) for t, n in zip(then, now, strict=True)]
    if all(min(n) > max(t) for t, n in zip(then, now, strict=True)) and min(ratios) > 1 + noise:
        return min(ratios) - 1
    if all(max(n) < min(t) for t, n in zip(then, now, strict=True)) and max(ratios) < 1 / (1 + noise):
        return max(ratios) - 1
    return 0.0


@dataclass(frozen=True)
class Change:
    """A case that changed beyond the noise."""

    op: str
    case: str
    fraction: float

    def __str__(self) -> str:
        return f"{self.op}: {self.case}: {self.fraction:+.0%} time"


class Comparison:
    """Two records, the older first. `slower` and `faster` are empty where the machines differ."""

    def __init__(self, older: Json, newer: Json) -> None:
        self.since = older["environment"]["date"]
        self.other_machine = other_machine(older, newer)
        self.compared = 0
        # Half of the samples lack more than `unrest`; few lack twice as much.
        self.noise = max(LEAST_NOISE, 2 * (unrest(older) + unrest(newer)))
        self.slower: list[Change] = []
        self.faster: list[Change] = []
        if self.other_machine:
            return
        before = {(c["op"], c["case"]): c for c in older["cases"] if "fastattn" in c["results"]}
        for case in newer["cases"]:
            old = before.get((case["op"], case["case"]))
            if old is None or "fastattn" not in case["results"]:
                continue
            self.compared += 1
            fraction = change(*(_figures(c, c["results"]["fastattn"]) for c in (old, case)), self.noise)
            if fraction:
                which = self.slower if fraction > 0 else self.faster
                which.append(Change(case["op"], case["case"], fraction))

    def text(self) -> str:
        head = f"\nsince {self.since}"
        if self.other_machine:
            return f"{head}: not compared, it was another machine or setting: {self.other_machine}"
        head += f", {self.compared} cases, changes beyond {self.noise:.0%}"
        if self.noise > LEAST_NOISE:
            head += ", for others used the machine during these runs; smaller ones cannot be told"
        slower = [f"  slower: {c}" for c in self.slower] or ["  nothing is slower"]
        return "\n".join([f"{head}:", *slower, *(f"  faster: {c}" for c in self.faster)])
