"""Steps of a check: what each runs, how long it may take, what it needs; how they are run, and what they leave.

A step is a process with a limit of its own. One that lacks something is skipped and says what; none stops the others.
It may leave rows of its own, one JSON object a line, in the file that $GPU_CHECK_ROWS names; those of a step that was
stopped count too.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

OK, FAILED, STOPPED, SKIPPED = "ok", "FAILED", "STOPPED", "skipped"
ROWS = "GPU_CHECK_ROWS"
TABLE, REASON = 11_000, 180  # characters of the table at most, and of a row that did not go well
COLUMNS = {"step": 44, "result": 6, "figure": 21, "bar": 31, "ratio": 5}

Json = dict[str, Any]
Probe = Callable[[], str | None]  # what is missing, or None


@dataclass(frozen=True)
class Step:
    """`figure` makes a few words out of the output. Neighbours of the same `beside` run side by side."""

    name: str
    limit: float  # seconds
    command: Sequence[str]
    needs: Sequence[str] = ()  # names of probes
    environment: Mapping[str, str] = field(default_factory=dict)
    figure: Callable[[str], str] = lambda output: ""
    beside: str = ""


def row(step: str, result: str = OK, figure: str = "", bar: str = "", ratio: float | None = None, **more: Any) -> Json:
    """A line of the table: the figure, what it is held against, and their ratio. `more` is for the record alone."""
    return {"step": step, "result": result, "figure": figure, "bar": bar, "ratio": ratio, **more}


def leave_row(made: Json) -> None:
    """Prints a row and appends it to $GPU_CHECK_ROWS, where there is one."""
    print(line(made), flush=True)
    if path := os.environ.get(ROWS):
        with open(path, "a") as rows:
            rows.write(json.dumps(made) + "\n")


def last_line(output: str) -> str:
    return next((text.strip() for text in reversed(output.splitlines()) if text.strip()), "")


class Runner:
    """Runs steps within `budget` seconds, at most `jobs` side by side; keeps a log of each in `folder`."""

    def __init__(self, probes: Mapping[str, Probe], folder: Path, budget: float, jobs: int) -> None:
        self.probes, self.folder, self.jobs = probes, folder, jobs
        self.end = time.monotonic() + budget
        self.logs: list[tuple[str, str]] = []

    def run(self, steps: Iterable[Step]) -> list[Json]:
        """The rows of all steps, in their order."""
        rows: list[Json] = []
        for beside, group in groupby(steps, key=lambda s: s.beside or id(s)):
            together = list(group)
            with ThreadPoolExecutor(self.jobs if isinstance(beside, str) else 1) as pool:
                for found in pool.map(self._surely, together):
                    rows += found
        return rows

    def _surely(self, step: Step) -> list[Json]:
        """The rows of a step, whatever goes wrong with it here."""
        try:
            return self._one(step)
        except Exception as error:
            return [row(step.name, FAILED, bar=f"{type(error).__name__}: {error}")]

    def _one(self, step: Step) -> list[Json]:
        print(f"-- {step.name}", flush=True)
        missing = [why for name in step.needs if (why := self.probes[name]()) is not None]
        if missing:
            return [row(step.name, SKIPPED, bar="; ".join(missing))]
        left = min(step.limit, self.end - time.monotonic())
        if left < 1:
            return [row(step.name, SKIPPED, bar="no time was left")]
        own = self.folder / (re.sub(r"\W+", "_", step.name) + ".rows")
        start = time.monotonic()
        code, output = run_process(step.command, left, {**step.environment, ROWS: str(own)})
        seconds = time.monotonic() - start
        self.logs.append((f"{step.name}: {' '.join(step.command)}", output))
        rows = [json.loads(text) for text in own.read_text().splitlines()] if own.exists() else []
        if code is None:
            rows.append(row(step.name, STOPPED, f"after {seconds:.0f} s", last_line(output), seconds=seconds))
        elif code != 0:
            rows.append(row(step.name, FAILED, step.figure(output), last_line(output), code=code, seconds=seconds))
        else:
            rows.append(row(step.name, OK, step.figure(output) or f"{seconds:.1f} s", seconds=seconds))
        return rows

    def log(self) -> str:
        return "\n".join(f"==== {title}\n{output}" for title, output in self.logs)


def run_process(command: Sequence[str], seconds: float, environment: Mapping[str, str]) -> tuple[int | None, str]:
    """The exit status and the output of a command; None for one that its limit ended, with all that it had started."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return 127, str(error)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output


# What they leave -------------------------------------------------------------------------------------------------------


def line(made: Json) -> str:
    """A row as text; what did not go well has room to say why."""
    ratio = "" if made["ratio"] is None else f"{made['ratio']:.2f}"
    texts = [str(text).replace("\n", " ") for text in ({**made, "ratio": ratio}[name] for name in COLUMNS)]
    if made["result"] != OK:
        return f"{_cut(texts[0], COLUMNS['step'])}  {made['result']}  {' '.join(texts[2:4]).strip()}"[:REASON]
    return "  ".join(map(_cut, texts, COLUMNS.values())).rstrip()


def _cut(text: str, width: int) -> str:
    return f"{text if len(text) <= width else text[: width - 1] + '~':{width}}"


def table(rows: Sequence[Json], limit: int = TABLE) -> str:
    """All rows, or where they are too long those that did not go well and as many of the others as fit."""
    head = "  ".join(map(_cut, COLUMNS, COLUMNS.values()))
    lines = [(made["result"] == OK, line(made)) for made in rows]
    room = limit - len(head) - 60 - sum(len(text) + 1 for well, text in lines if not well)
    kept, left_out = [], 0
    for well, text in lines:
        if well:
            room -= len(text) + 1
            if room < 0:
                left_out += 1
                continue
        kept.append(text)
    if left_out:
        kept.append(f"({left_out} more rows that went well are in the record)")
    return "\n".join([head, *kept])[:limit]


def ends(logs: Sequence[tuple[str, str]], rows: Sequence[Json], lines: int = 12) -> str:
    """The last lines of the steps that did not go well; all there is to see where only the end of the output is kept."""
    bad = {made["step"] for made in rows if made["result"] in (FAILED, STOPPED)}
    return "\n".join(
        "\n".join([f"==== {title}", *(text[:200] for text in output.splitlines()[-lines:])])
        for title, output in logs
        if title.partition(": ")[0] in bad
    )


def exit_code(rows: Sequence[Json]) -> int:
    """0: all went well. 1: something failed, or was stopped at its limit. 2: nothing did, but something was not run."""
    results = {made["result"] for made in rows}
    return 1 if results & {FAILED, STOPPED} else 2 if SKIPPED in results else 0
