"""pytest bench/ --benchmark-...: every case of a suite, by every contestant that is installed."""

from __future__ import annotations

from typing import Any

from bench.worker import installed


def pytest_generate_tests(metafunc: Any) -> None:
    if "contestant" not in metafunc.fixturenames:
        return
    pairs = [
        (case, name)
        for case in metafunc.module.cases()
        for name in case.contestants
        if name == "fastattn" or installed(name)
    ]
    metafunc.parametrize(("case", "contestant"), pairs, ids=[f"{case.name}-{name}" for case, name in pairs])
