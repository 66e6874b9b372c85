"""CIFAR-100: 60,000 colour images of a hundred kinds, 32 x 32."""

from __future__ import annotations

from typing import Any

from ._cifar import load
from ._files import Split

__all__ = ["load_data"]


def load_data(label_mode: str = "fine", path: Any = "cifar-100-python.tar.gz") -> Split:
    """((x_train, y_train), (x_test, y_test)): images (N, 32, 32, 3) and classes (N, 1), uint8.

    Args:
        label_mode: "fine": the hundred kinds; "coarse": the twenty that they belong to.
        path: the archive as it is downloaded, its folder, or an .npz; or its name in FASTATTN_DATA or Keras's folder.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
        ValueError: another label_mode.
    """
    if label_mode not in ("fine", "coarse"):
        msg = f"cifar100: label_mode is {label_mode!r}; expected 'fine' or 'coarse'"
        raise ValueError(msg)
    return load("cifar100", path, "cifar-100-python", (["train"], ["test"]), f"{label_mode}_labels".encode())
