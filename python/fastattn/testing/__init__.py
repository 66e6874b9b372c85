"""What tests compare with: reference implementations, the derived tolerance, awkward layouts, forced variants."""

from .asserts import assert_ran, assert_same_bits, assert_same_for_any_threads, is_kernel, kernel_name, unchanged
from .isa import forced_isa, isas, threads, variants
from .layouts import LAYOUTS, padded, reverse, strided, transposed
from .tolerance import DTYPES, EXCEPTIONS, accumulator, assert_within, check, computed, is_float

__all__ = [
    "DTYPES",
    "EXCEPTIONS",
    "LAYOUTS",
    "accumulator",
    "assert_ran",
    "assert_same_bits",
    "assert_same_for_any_threads",
    "assert_within",
    "check",
    "computed",
    "forced_isa",
    "is_float",
    "is_kernel",
    "isas",
    "kernel_name",
    "padded",
    "reverse",
    "strided",
    "threads",
    "transposed",
    "unchanged",
    "variants",
]
