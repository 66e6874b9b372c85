"""References that are computed once for a test which runs several times on the same numbers."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from fastattn.testing import tolerance


@contextmanager
def remembered() -> Iterator[None]:
    """Within it `check` computes what it expects once for the same function and arguments."""
    known = {}
    compute = tolerance.expect

    def expect(function: Callable, *args, **options):
        if "<" in function.__qualname__:  # what it closes over is no argument
            return compute(function, *args, **options)
        key = function.__module__, function.__qualname__, pickle.dumps((args, options))
        if key not in known:
            known[key] = compute(function, *args, **options)
        return known[key]

    with mock.patch.object(tolerance, "expect", expect):
        yield
