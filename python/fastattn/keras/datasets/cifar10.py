"""CIFAR-10: 60,000 colour images of ten kinds, 32 x 32."""

from __future__ import annotations

from typing import Any

from ._cifar import load
from ._files import Split

__all__ = ["load_data"]

PARTS = ([f"data_batch_{i}" for i in range(1, 6)], ["test_batch"])


def load_data(path: Any = "cifar-10-python.tar.gz") -> Split:
    """((x_train, y_train), (x_test, y_test)): images (N, 32, 32, 3) and classes (N, 1), uint8.

    Args:
        path: the archive as it is downloaded, its folder, or an .npz; or its name in FASTATTN_DATA or Keras's folder.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
    """
    return load("cifar10", path, "cifar-10-batches-py", PARTS, b"labels")
