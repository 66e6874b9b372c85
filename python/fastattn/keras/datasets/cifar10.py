"""CIFAR-10: 60,000 colour images of ten kinds, 32 x 32."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from ._files import Split, find, npz, unpickle

__all__ = ["load_data"]

ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
PARTS = ([f"data_batch_{i}" for i in range(1, 6)], ["test_batch"])


def load_data(path: Any = "cifar-10-python.tar.gz") -> Split:
    """((x_train, y_train), (x_test, y_test)): images (N, 32, 32, 3) and classes (N, 1), uint8.

    Args:
        path: the archive as it is downloaded, its folder, or an .npz; or its name in FASTATTN_DATA or Keras's folder.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
    """
    found = find("cifar10", path, "cifar-10-batches-py", "cifar10.npz", origin=ORIGIN)
    if found.suffix == ".npz":
        data = npz(found)
        return (data["x_train"], data["y_train"]), (data["x_test"], data["y_test"])
    parts = [_read(found, names) for names in PARTS]
    return parts[0], parts[1]


def _read(found: Path, names: list[str]) -> tuple[Any, Any]:
    batches = []
    if found.is_dir():
        for name in names:
            with (found / name).open("rb") as file:
                batches.append(unpickle(file))
    else:
        with tarfile.open(found) as archive:
            for name in names:
                member = archive.extractfile(f"cifar-10-batches-py/{name}")
                assert member is not None
                batches.append(unpickle(member))
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([np.asarray(batch[b"labels"], np.uint8) for batch in batches])
    return images.transpose(0, 2, 3, 1), labels[:, None]
