"""Forcing what runs a kernel: the instruction set and the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastattn._runtime import build_info, force_isa, get_num_threads, set_num_threads


def isas() -> list[str]:
    """The instruction sets that this machine runs, best first, without their variants."""
    return [name for name in build_info()["isas"] if "_" not in name]


def variants() -> list[str]:
    """The variants that this machine runs: instruction sets with a few kernels of their own."""
    return [name for name in build_info()["isas"] if "_" in name]


@contextmanager
def forced_isa(name: str) -> Iterator[None]:
    """Within, kernels run in the variant `name`; after it, in the one before."""
    before = build_info()["isa"]
    force_isa(name)
    try:
        yield
    finally:
        force_isa(before)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Within, kernels use up to `n` threads."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)
