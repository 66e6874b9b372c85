"""Prices of houses in Boston's suburbs in the 1970s: 506 of them, 13 features."""

from __future__ import annotations

from typing import Any

from ._files import Split, find, npz, shuffled, split

__all__ = ["load_data"]


def load_data(path: Any = "boston_housing.npz", test_split: float = 0.2, seed: int = 113) -> Split:
    """((x_train, y_train), (x_test, y_test)): features (N, 13) and prices (N,).

    Args:
        path: the file, or its name in FASTATTN_DATA or Keras's folder.
        test_split: the part that is for tests.
        seed: of the order.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
        ValueError: test_split out of range.
    """
    data = npz(find("boston_housing", path))
    return split("boston_housing", shuffled(seed, data["x"], data["y"]), test_split)
