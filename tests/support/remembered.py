"""References that are computed once for all tests that ask for them: for every instruction set, layout and schedule of
threads the numbers are the same, and so is what `check` expects of them."""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from fastattn.testing import tolerance
from fastattn.testing.tolerance import Expected


class Remembered:
    """Computes what a function of `reference` expects once for the same arguments, as long as it fits: of what was
    asked for last, so many bytes of arguments."""

    MOST_BYTES = 32 << 20

    def __init__(self, compute: Callable[..., list[Expected]]):
        self.compute = compute
        self.known: OrderedDict[tuple, tuple[int, list[Expected]]] = OrderedDict()
        self.bytes = 0

    def __call__(self, function: Callable, *args, **options) -> list[Expected]:
        if "<" in function.__qualname__:  # what it closes over is no argument
            return self.compute(function, *args, **options)
        arguments = pickle.dumps((args, options))
        key = function.__module__, function.__qualname__, blake2b(arguments).digest()
        if key in self.known:
            self.known.move_to_end(key)
        else:
            self.known[key] = len(arguments), self.compute(function, *args, **options)
            self.bytes += len(arguments)
        expected = self.known[key][1]
        while self.bytes > self.MOST_BYTES:
            self.bytes -= self.known.popitem(last=False)[1][0]
        return expected


def remember() -> None:
    tolerance.expect = Remembered(tolerance.expect)
