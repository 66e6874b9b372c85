"""Prices of houses in California's districts in 1990: 20,640 of them, 8 features."""

from __future__ import annotations

from typing import Any

from ._files import Split, find, npz, shuffled, split

__all__ = ["load_data"]


def load_data(
    version: str = "large", path: Any = "california_housing.npz", test_split: float = 0.2, seed: int = 113
) -> Split:
    """((x_train, y_train), (x_test, y_test)): features (N, 8) and prices (N,).

    Args:
        version: "large", or "small": the first 600.
        path: the file, or its name in FASTATTN_DATA or Keras's folder.
        test_split: the part that is for tests.
        seed: of the order.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
        ValueError: another version, test_split out of range.
    """
    if version not in ("large", "small"):
        msg = f"california_housing: version is {version!r}; expected 'large' or 'small'"
        raise ValueError(msg)
    data = npz(find("california_housing", path))
    x, y = (data[name][: 600 if version == "small" else None] for name in ("x", "y"))
    return split("california_housing", shuffled(seed, x, y), test_split)
