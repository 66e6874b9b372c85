"""Where the files of data sets are, and how they are read. Nothing is downloaded."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

Array = np.ndarray[Any, Any]
Split = tuple[tuple[Any, Any], tuple[Any, Any]]

ORIGIN = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"


def folders() -> list[Path]:
    """Where files are looked for: FASTATTN_DATA, and Keras's folders."""
    home = os.environ.get("KERAS_HOME")
    asked = [Path(os.environ["FASTATTN_DATA"])] if os.environ.get("FASTATTN_DATA") else []
    keras = Path(home) if home else Path("~/.keras").expanduser()
    return [*asked, keras / "datasets"]


def find(name: str, path: Any, *others: str, origin: str | None = None) -> Path:
    """The file of a data set.

    Args:
        name: the data set, for messages.
        path: a file, or a name that is looked for in `folders`.
        others: names that will do as well.
        origin: where it can be had.

    Raises:
        FileNotFoundError: it is nowhere; says how to get it.
    """
    given = Path(path).expanduser()
    places = [given] if given.is_absolute() else [given, *(folder / given for folder in folders())]
    for place in [*places, *(folder / other for folder in folders() for other in others)]:
        if place.exists():
            return place
    origin = origin or f"{ORIGIN}{given.name}"
    where = ", ".join(str(place.parent) for place in places)
    msg = (
        f"{name}: there is no {given.name} in {where}. Nothing is downloaded here: "
        f"get {origin} and name it as load_data(path=...), or set FASTATTN_DATA to its folder"
    )
    raise FileNotFoundError(msg)


class _Arrays(pickle.Unpickler):
    """Reads arrays of lists, and calls nothing but what makes those."""

    _known = ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer")

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in self._known:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        msg = f"the file wants {module}.{name}, which no array of numbers needs; it is not read"
        raise pickle.UnpicklingError(msg)


def unpickle(file: IO[bytes]) -> Any:
    """What a pickle of arrays, lists and dictionaries has; nothing in it is run."""
    return _Arrays(file, encoding="bytes").load()


def npz(path: Path) -> dict[str, Any]:
    """The arrays of an .npz; lists of different lengths among them, which NumPy keeps as pickles."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read: Callable[..., Any] = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, _, dtype = read(file)
                if dtype.hasobject:
                    found[member.removesuffix(".npy")] = unpickle(file).reshape(shape)
                    continue
            with archive.open(member) as file:
                found[member.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    return found


def shuffled(seed: int, *arrays: Array) -> list[Array]:
    """Arrays in Keras's random order."""
    order = np.arange(len(arrays[0]))
    np.random.RandomState(seed).shuffle(order)
    return [array[order] for array in arrays]


def split(name: str, data: Sequence[Any], test_split: float) -> Split:
    """The first part to train, the rest to test."""
    if not 0 <= test_split < 1:
        msg = f"{name}: test_split is {test_split!r}; expected at least 0 and below 1"
        raise ValueError(msg)
    x, y = data
    n = int(len(x) * (1 - test_split))
    return (x[:n], y[:n]), (x[n:], y[n:])


def words(
    name: str,
    texts: list[Any],
    labels: list[Array],
    num_words: int | None,
    skip_top: int,
    maxlen: int | None,
    start_char: int | None,
    oov_char: int | None,
    index_from: int,
) -> tuple[list[Array], list[Array]]:
    """Texts of word numbers, as Keras gives them: from `index_from` on, those out of range as `oov_char`."""
    parts = []
    kept = []
    for part, label in zip(texts, labels, strict=True):
        start = [] if start_char is None else [start_char]
        shift = index_from if start_char is not None or index_from else 0
        part = [start + [word + shift for word in text] for text in part]
        if maxlen:
            chosen = [i for i, text in enumerate(part) if len(text) < maxlen]
            part, label = [part[i] for i in chosen], label[chosen]
            if not part:
                msg = f"{name}: no text is shorter than maxlen {maxlen}"
                raise ValueError(msg)
        parts.append(part)
        kept.append(label)
    limit = num_words or max(max(text) for part in parts for text in part)

    def known(text: list[int]) -> list[int]:
        if oov_char is None:
            return [word for word in text if skip_top <= word < limit]
        return [word if skip_top <= word < limit else oov_char for word in text]

    return [ragged([known(text) for text in part]) for part in parts], kept


def ragged(texts: list[list[int]]) -> Array:
    """Lists as an array of objects, also where all are of one length."""
    out = np.empty(len(texts), object)
    out[:] = texts
    return out
