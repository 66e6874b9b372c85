r"""The tolerance, derived and never tuned.

.. math:: \mathrm{err(ours)} \le 2 \, \mathrm{err(naive)} + 4 \, \epsilon \max |\mathrm{oracle}|

err(x) is the largest difference from the oracle. Oracle and naive are one function of `reference`: the oracle in twice
the precision (long double for float64, float64 for the others), the naive in the storage dtype, for 16-bit dtypes in
float32 with each result rounded once. eps is that of the result's dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from . import reference, reference_batch_norm, reference_conv, reference_losses

NDArray = np.ndarray[Any, Any]
_finfo: Any = ml_dtypes.finfo  # NumPy's has no bfloat16

HALVES = (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))
_WIDE: dict[Any, Any] = {
    np.dtype(np.float32): np.float64,
    np.dtype(np.float64): np.longdouble,
    **dict.fromkeys(HALVES, np.float64),
}
DTYPES = tuple(_WIDE)  # what the kernels take
_NAIVE: dict[Any, Any] = dict.fromkeys(HALVES, np.float32)


class Exempt(NamedTuple):
    """A case whose bound counts from `magnitude`, a function with the arguments and results of the reference, where that
    is more than the largest value: terms of that size are rounded, and cancel."""

    reason: str
    magnitude: Callable[..., Any]
    stored: bool = False  # whether terms are rounded to the result's dtype, and not just to the one it is computed in


def _of_absolutes(function: Callable[..., Any]) -> Callable[..., Any]:
    def magnitude(*args: Any, **options: Any) -> Any:
        return function(
            *(np.abs(a) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in args), **options
        )

    return magnitude


def _without_cancelling(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return functools.partial(function, magnitude=True, **options)


_FEW = "one number, or a few, may come out near 0, of terms that are not; and the naive one's error there is luck"
_CONSTANT = "of one value, or two, what is normalised does not depend on x: dx is what is left of equal terms"

# Every exception there is, by the `case` that check() is called with.
EXCEPTIONS: dict[str, Exempt] = {
    "sum_over": Exempt(_FEW, _of_absolutes(reference.sum_over)),
    "conv2d": Exempt(_FEW, _of_absolutes(reference_conv.conv2d)),
    "conv2d_backward": Exempt(_FEW, _of_absolutes(reference_conv.conv2d_backward)),
    "layer_norm_backward": Exempt(_CONSTANT, _without_cancelling(reference.layer_norm_backward)),
    "rms_norm_backward": Exempt(_CONSTANT, _without_cancelling(reference.rms_norm_backward)),
    "batch_norm_backward": Exempt(_CONSTANT, _without_cancelling(reference_batch_norm.batch_norm_backward)),
    "cross_entropy_backward": Exempt(
        "softmax - label is 0 where the two agree", _without_cancelling(reference_losses.cross_entropy_backward)
    ),
    "attention": Exempt(
        "a score is rounded at its own size, and exp makes of that a relative error of the weight; " + _FEW,
        _without_cancelling(reference.attention),
    ),
    "attention_backward": Exempt(
        "dP - delta is exactly 0 for a query that sees one key, and sums to 0 over keys, if both are summed in one order; "
        "the kernel sums dP over D and delta over the output, so what is left is the rounding of the two",
        _without_cancelling(reference.attention_backward),
        stored=True,
    ),
    "attention_backward, extreme logits": Exempt(
        "P = exp(s - lse) from a stored lse, which is rounded at its own size of hundreds, where the naive one subtracts "
        "the largest score, which is exact; and dP - delta as above",
        _without_cancelling(reference.attention_backward, extreme=True),
    ),
}


def is_float(dtype: Any) -> bool:
    """Whether kernels compute on `dtype`; NumPy itself does not count bfloat16 among its floats."""
    return np.dtype(dtype) in _WIDE


def accumulator(dtype: Any) -> np.dtype[Any]:
    """The dtype of statistics and optimizer state for data of `dtype`: float64 for float64, else float32."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _convert(value: Any, dtypes: dict[Any, Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_convert(v, dtypes) for v in value)
    dtype = dtypes.get(getattr(value, "dtype", None))
    return value if dtype is None else value.astype(dtype)


def widen(value: Any) -> Any:
    """Float arrays in the oracle's precision; anything else as it is."""
    return _convert(value, _WIDE)


def computed(value: Any) -> Any:
    """16-bit float arrays in float32, which is what they are computed in; anything else as it is."""
    return _convert(value, _NAIVE)


def error(actual: NDArray, oracle: NDArray) -> float:
    """The largest difference where both are finite."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(actual.astype(oracle.dtype) - oracle)
    difference = difference[np.isfinite(oracle) & np.isfinite(actual)]
    return float(difference.max(initial=0))


def bound(oracle: NDArray, naive: NDArray, dtype: Any, magnitude: float = 0.0, stored: bool = False) -> float:
    """How far from the oracle a result of `dtype` may be, of terms as large as `magnitude` (see Exempt)."""
    largest = float(np.abs(oracle[np.isfinite(oracle)]).max(initial=0))
    of_terms = float(_finfo(dtype if stored else accumulator(dtype)).eps) * magnitude
    return 2 * error(naive, oracle) + 4 * max(float(_finfo(dtype).eps) * largest, of_terms)


class Deviation(NamedTuple):
    """How far a result is from the oracle. `problem` says what is wrong with it, and is empty if nothing is."""

    problem: str
    error: float = np.nan
    allowed: float = np.nan
    largest: float = np.nan  # value of the oracle


class Expected(NamedTuple):
    """What a result should be: the oracle, and what sets the bound."""

    oracle: Any
    naive: Any
    case: str = ""  # a name that EXCEPTIONS may list
    magnitude: Any = None  # what EXCEPTIONS' function of that name gave

    def compare(self, actual: Any) -> Deviation:
        """Shape, dtype, NaN and infinity as in the oracle, and everything finite within the bound."""
        actual, oracle, naive = np.asarray(actual), np.asarray(self.oracle), np.asarray(self.naive)
        case = self.case
        if actual.dtype in HALVES and naive.dtype == np.float32:
            with np.errstate(over="ignore"):
                naive = naive.astype(actual.dtype)
        if actual.shape != oracle.shape:
            return Deviation(f"{case}: shape {actual.shape}, expected {oracle.shape}")
        if actual.dtype != naive.dtype:
            return Deviation(f"{case}: dtype {actual.dtype}, expected {naive.dtype}")
        with np.errstate(over="ignore"):
            narrowed = oracle.astype(actual.dtype)  # what overflows the storage dtype is inf
        finite = np.isfinite(narrowed)
        unlike = np.where(finite, ~np.isfinite(actual), (actual != narrowed) & ~(np.isnan(actual) & np.isnan(narrowed)))
        if unlike.any():
            at = tuple(int(i) for i in np.unravel_index(int(unlike.argmax()), unlike.shape))
            return Deviation(f"{case}: NaN and inf: {actual[at]!r} at {at}, expected {narrowed[at]!r}")
        sizes = np.abs(np.asarray(0 if self.magnitude is None else self.magnitude))
        least = float(sizes[np.isfinite(sizes)].max(initial=0))
        stored = case in EXCEPTIONS and EXCEPTIONS[case].stored
        allowed = bound(oracle[finite], naive[finite], actual.dtype, least, stored)
        found = error(actual[finite], oracle[finite])
        problem = ""
        if not found <= allowed:
            difference = np.where(finite, np.abs(actual.astype(oracle.dtype) - oracle), 0)
            at = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), difference.shape))
            problem = f"{case}: error {found:.3e} > {allowed:.3e} at {at}: {actual[at]!r}, expected {oracle[at]!r}"
        return Deviation(problem, found, allowed, float(np.abs(oracle[finite]).max(initial=0)))


def assert_within(actual: Any, oracle: Any, naive: Any, case: str = "", magnitude: Any = None) -> None:
    """Asserts shape, NaN and infinity as in the oracle, and everything finite within the bound.

    Args:
        actual: the result under test.
        oracle: the same in twice the precision.
        naive: the same by one rounding per operation in the dtype of `actual`.
        case: a name that EXCEPTIONS may list.
        magnitude: what EXCEPTIONS' function of that name gave.

    Raises:
        AssertionError: says by how much and where.
    """
    problem = Expected(oracle, naive, case, magnitude).compare(actual).problem
    if problem:
        raise AssertionError(problem)


def expect(function: Callable[..., Any], *args: Any, case: str = "", **options: Any) -> list[Expected]:
    """What each result of a function of `reference` should be for these arguments, given in the storage dtype."""
    case = case or function.__name__
    magnitude = EXCEPTIONS[case].magnitude if case in EXCEPTIONS else None
    wide, narrow = (
        (tuple(map(convert, args)), {k: convert(v) for k, v in options.items()}) for convert in (widen, computed)
    )
    with np.errstate(all="ignore"):
        oracle = function(*wide[0], **wide[1])
        naive = function(*narrow[0], **narrow[1])
        largest = None if magnitude is None else magnitude(*wide[0], **wide[1])
    if not isinstance(oracle, (tuple, list)):
        return [Expected(oracle, naive, case, largest)]
    sizes: Sequence[Any] = [None] * len(oracle) if largest is None else largest
    return [Expected(o, n, case, m) for o, n, m in zip(oracle, naive, sizes, strict=True)]


def check(actual: Any, function: Callable[..., Any], *args: Any, case: str = "", **options: Any) -> None:
    """Holds a result, or a sequence of results (None = not looked at), to a function of `reference`.

    Args:
        actual: what fastattn returned for these arguments.
        function: of `fastattn.testing.reference`.
        args, options: its arguments, in the storage dtype.
        case: a name for messages and for EXCEPTIONS.

    Raises:
        AssertionError: a result is further from the oracle than the derived tolerance allows.
    """
    results = actual if isinstance(actual, (tuple, list)) else [actual]
    for result, expected in zip(results, expect(function, *args, case=case, **options), strict=True):
        if result is not None:
            problem = expected.compare(result).problem
            if problem:
                raise AssertionError(problem)
