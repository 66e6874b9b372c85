"""Fashion-MNIST: 70,000 grey images of clothes, 28 x 28."""

from __future__ import annotations

from typing import Any

from fastattn.data import read_idx

from ._files import ORIGIN, Split, find, npz

__all__ = ["load_data"]


def load_data(path: Any = "fashion-mnist") -> Split:
    """((x_train, y_train), (x_test, y_test)): images (N, 28, 28) and classes (N,), uint8.

    Args:
        path: an .npz, or the folder of the four *-ubyte.gz files; or its name in FASTATTN_DATA or Keras's folder.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
    """
    found = find(
        "fashion_mnist", path, "fashion-mnist.npz", "fashion_mnist.npz", origin=f"{ORIGIN}train-images-idx3-ubyte.gz"
    )
    if not found.is_dir():
        data = npz(found)
        return (data["x_train"], data["y_train"]), (data["x_test"], data["y_test"])
    parts = []
    for part in ("train", "t10k"):
        files = [found / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
        parts.append((read_idx(files[0]), read_idx(files[1])))
    return parts[0], parts[1]
