"""What tests compare with: reference implementations, the derived tolerance, awkward layouts, forced variants."""

from .asserts import assert_ran, assert_same_bits, assert_same_for_any_threads, unchanged
from .isa import forced_isa, isas, threads
from .layouts import LAYOUTS, padded, reverse, strided, transposed
from .tolerance import EXCEPTIONS, assert_within, check

__all__ = [
    "EXCEPTIONS",
    "LAYOUTS",
    "assert_ran",
    "assert_same_bits",
    "assert_same_for_any_threads",
    "assert_within",
    "check",
    "forced_isa",
    "isas",
    "padded",
    "reverse",
    "strided",
    "threads",
    "transposed",
    "unchanged",
]
