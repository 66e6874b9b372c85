"""What the two CIFAR sets share: batches of images, pickled, in an archive or its folder."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from ._files import Split, find, npz, unpickle


def load(name: str, path: Any, folder: str, parts: tuple[list[str], list[str]], labels: bytes) -> Split:
    """Images (N, 32, 32, 3) and classes (N, 1), uint8, of the archive, its folder, or an .npz."""
    origin = f"https://www.cs.toronto.edu/~kriz/{name[:5]}-{name[5:]}-python.tar.gz"
    found = find(name, path, folder, f"{name}.npz", origin=origin)
    if found.suffix == ".npz":
        data = npz(found)
        return (data["x_train"], data["y_train"]), (data["x_test"], data["y_test"])
    train, test = (_read(found, folder, names, labels) for names in parts)
    return train, test


def _read(found: Path, folder: str, names: list[str], key: bytes) -> tuple[Any, Any]:
    batches = []
    if found.is_dir():
        for name in names:
            with (found / name).open("rb") as file:
                batches.append(unpickle(file))
    else:
        with tarfile.open(found) as archive:
            for name in names:
                member = archive.extractfile(f"{folder}/{name}")
                assert member is not None
                batches.append(unpickle(member))
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([np.asarray(batch[key], np.uint8) for batch in batches])
    return images.transpose(0, 2, 3, 1), labels[:, None]
