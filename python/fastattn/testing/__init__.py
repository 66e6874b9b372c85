"""What tests compare with: reference implementations, the derived tolerance, awkward layouts, forced variants."""

from .isa import forced_isa, isas, threads
from .layouts import LAYOUTS, padded, reverse, strided, transposed
from .tolerance import EXCEPTIONS, assert_within, check

__all__ = [
    "EXCEPTIONS",
    "LAYOUTS",
    "assert_within",
    "check",
    "forced_isa",
    "isas",
    "padded",
    "reverse",
    "strided",
    "threads",
    "transposed",
]
