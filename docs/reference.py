"""The text of those pages that are written as they are built: the API, the command line, records of benchmarks.

Markdown, from the package and bench/results alone. conf.py has a directive for each.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

PAGES = Path(__file__).parent / "api"
RECORDS = Path(__file__).parents[1] / "bench/results"


def selection(options: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The options of an `api` directive as arguments: modules (a package stands for all in it)."""
    return {key: tuple(options.get(name, "").split()) for key, name in (("only", "only"), ("without", "except"))}


def public(module: str, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The names of a module's `__all__`, and what they are; of those defined in `only`, and not in `without`."""
    space = importlib.import_module(module)
    for name in space.__all__:
        value = getattr(space, name)
        if isinstance(value, ModuleType) or name.startswith("__"):
            continue
        home = f"{value.__module__}." if _has_docstring(value) else f"{module}."
        inside = [any(home.startswith(f"{package}.") for package in packages) for packages in (only, without)]
        if (inside[0] or not only) and not inside[1]:
            yield name, value


def pages() -> Iterator[tuple[Path, str, dict[str, tuple[str, ...]]]]:
    """The `api` directives of the pages: page, module, selection."""
    for page in sorted(PAGES.glob("*.md")):
        for module, options in re.findall(r"^```\{api\} (\S+)\n(.*?)^```$", page.read_text(), re.M | re.S):
            yield page, module, selection(dict(re.findall(r"^:(\w+): *(.*)$", options, re.M)))


def api(module: str, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> str:
    """Everything that the module's names say about themselves."""
    described, same, values = [], [], []
    for name, value in public(module, only, without):
        if not _has_docstring(value):
            values.append(f"`{name}`")
        elif (parent := _shown_in(module, name, value)) is not None:
            same.append(f"- `{module}.{name}` is {{any}}`{parent}.{name}`.")
        else:
            described += _autodoc(f"{module}.{name}", value)
    parts = [["```{eval-rst}", *described, "```"] if described else [], same, [", ".join(values)] if values else []]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _shown_in(module: str, name: str, value: Any) -> str | None:
    """The package above a module that has the same under this name, and a page of its own."""
    for parent in ("fastattn", "fastattn.keras"):
        if module.startswith(f"{parent}.") and value is getattr(importlib.import_module(parent), name, None):
            return parent
    return None


def _has_docstring(value: Any) -> bool:
    return inspect.isroutine(value) or inspect.isclass(value)


def _autodoc(path: str, value: Any) -> list[str]:
    if not inspect.isclass(value):
        return [f".. autofunction:: {path}", ""]
    # What a class has from bases that are somewhere in these pages (or Python's) is told there.
    known = (base.__name__ for base in value.__mro__[1:] if base in _classes() or not _ours(base))
    fields = ", ".join(getattr(value, "_fields", ()))  # of a named tuple: they are in its signature
    options = {"members": "", "inherited-members": next(known), "exclude-members": fields}
    return [
        f".. autoclass:: {path}",
        *(f"   :{name}: {text}" for name, text in options.items() if text or name == "members"),
        "",
    ]


def _ours(value: type) -> bool:
    return value.__module__.partition(".")[0] == "fastattn"


@functools.cache
def _classes() -> set[type]:
    found = (value for _, module, chosen in pages() for _, value in public(module, **chosen))
    return {value for value in found if inspect.isclass(value)}


def escaped(lines: list[str]) -> list[str]:
    """A docstring for Sphinx: a bare * or | is itself, as it is for who reads the source."""
    out = []
    block: int | None = None  # the indentation of the line whose block, which is no text, we are in
    example = False
    for line in lines:
        text, indent = line.strip(), len(line) - len(line.lstrip())
        example = bool(text) and (example or text.startswith(">>>"))
        if block is not None and text and indent <= block:
            block = None
        directive = text.startswith("..")
        if block is None and not example and not directive:
            line = re.sub(r"(`+[^`]*`+)|([*|])", lambda m: m[1] or f"\\{m[2]}", line)
        if block is None and (directive or text.endswith("::")):
            block = indent
        out.append(line)
    return out


def commands() -> str:
    """A section for each command of `fastattn`."""
    import typer.main
    from typer.testing import CliRunner

    from fastattn.cli.app import app

    parts = []
    names: list[list[str]] = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        names += [[name], *([name, kind] for kind in getattr(command, "commands", ()))]
    for words in names:
        run = CliRunner().invoke(app, [*words, "--help"], prog_name="fastattn", env={"COLUMNS": "80"}, color=False)
        parts.append(f"## fastattn {' '.join(words)}\n\n```text\n{run.output.strip()}\n```\n")
    return "\n".join(parts)


def record(path: Path) -> str:
    """A record of `bench`: the machine, its limits, and a table of all cases."""
    run = json.loads(path.read_text())
    machine, contestants = run["environment"], run["environment"]["contestants"]
    versions = ", ".join(
        f"{name} {machine[name]}" for name in ("fastattn", "python", "numpy", "torch") if name in machine
    )
    lines = [
        f"{machine['cpu']}, {machine['threads']} threads, {machine['isa']}, {machine['date'][:10]}; {versions}.",
        "",
        "| limit of the machine | |",
        "|---|---|",
        *(f"| {name} | {_rate(value, name)} |" for name, value in run["limits"].items()),
        "",
        f"| op | case | limit | {' | '.join(contestants)} | of limit |",
        "|---|---|" + "---:|" * (len(contestants) + 2),
    ]
    for case in run["cases"]:
        results = [case["results"].get(name) for name in contestants]
        times = [_time(result["median"]) if result else "" for result in results]
        share = case["results"]["fastattn"]["of_limit"]
        lines.append(f"| {case['op']} | {case['case']} | {' | '.join([_time(case['ideal']), *times])} | {share:.0%} |")
    return "\n".join(lines)


def _rate(value: float, limit: str) -> str:
    return f"{value / 1e9:.1f} {'GFLOP/s' if limit.startswith(('float', 'bfloat')) else 'GB/s'}"


def _time(seconds: float) -> str:
    """Three digits, in a unit that suits; the two stay on one line."""
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
    unit, name = next(((u, n) for u, n in units if seconds >= 0.9995 * u), (1e-9, "ns"))
    return f"{seconds / unit:#.3g}\u00a0{name}".replace(".\u00a0", "\u00a0")
