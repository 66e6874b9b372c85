"""MNIST: 70,000 grey images of digits, 28 x 28."""

from __future__ import annotations

from typing import Any

from ._files import Split, find, npz

__all__ = ["load_data"]


def load_data(path: Any = "mnist.npz") -> Split:
    """((x_train, y_train), (x_test, y_test)) of mnist.npz: images (N, 28, 28) and classes (N,), uint8.

    Args:
        path: the file, or its name in FASTATTN_DATA or Keras's folder.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
    """
    data = npz(find("mnist", path))
    return (data["x_train"], data["y_train"]), (data["x_test"], data["y_test"])
