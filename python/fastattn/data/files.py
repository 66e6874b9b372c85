"""Files of samples: IDX, npz, csv, jsonl, folders of text."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Path_ = str | os.PathLike[str]
_IDX = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def _bytes(path: Path_) -> bytes:
    """The content of a file, unpacked if it is gzip."""
    path = Path(path)
    if not path.is_file():
        msg = f"no such file: {path}"
        raise FileNotFoundError(msg)
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError) as error:
        msg = f"{path} is damaged gzip: {error}"
        raise ValueError(msg) from None


def _text(path: Path_) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        raise ValueError(msg) from None


def read_idx(path: Path_) -> np.ndarray[Any, Any]:
    """Reads an IDX file, as MNIST and Fashion-MNIST come in; gzip or not.

    Args:
        path: the file.

    Returns:
        The array, in this machine's byte order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not IDX, or not whole.

    Example:
        >>> import pathlib, tempfile, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     n = pathlib.Path(folder, "labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 5]))
        ...     fa.data.read_idx(folder + "/labels-idx1-ubyte")
        array([7, 5], dtype=uint8)

    Source: LeCun, Cortes and Burges, "The MNIST database", the section on file formats.
    """
    data = _bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX or len(data) < 4 + 4 * data[3]:
        msg = f"{path} is not an IDX file"
        raise ValueError(msg)
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", data[3], 4))
    dtype = np.dtype(_IDX[data[2]])
    start, count = 4 + 4 * data[3], int(np.prod(shape, dtype=np.int64))
    if len(data) != start + count * dtype.itemsize:
        msg = f"{path} has {len(data) - start} bytes of data; expected {count * dtype.itemsize} for shape {shape}"
        raise ValueError(msg)
    return np.frombuffer(data, dtype, count, start).reshape(shape).astype(dtype.newbyteorder("="))


def read_npz(path: Path_, names: Sequence[str] = ("x", "y")) -> tuple[np.ndarray[Any, Any], ...]:
    """Reads arrays of an npz file by their names; nothing in it is unpickled.

    Args:
        path: the file.
        names: the arrays wanted, in order.

    Returns:
        The arrays.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no npz file, or lacks an array.

    Example:
        >>> import tempfile, numpy as np, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(folder + "/a.npz", x=np.ones((2, 3)), y=[0, 1])
        ...     [array.shape for array in fa.data.read_npz(folder + "/a.npz")]
        [(2, 3), (2,)]

    Source: NumPy's npz format.
    """
    if not Path(path).is_file():
        msg = f"no such file: {path}"
        raise FileNotFoundError(msg)
    try:
        with np.load(path, allow_pickle=False) as file:
            there = file.files
            arrays = {name: file[name] for name in names if name in there}
    except (OSError, AttributeError, EOFError, ValueError) as error:
        msg = f"{path} is no npz file of plain arrays: {error}"
        raise ValueError(msg) from None
    if missing := [name for name in names if name not in there]:
        msg = f"{path} has no array {', '.join(missing)}; it has {', '.join(there) or 'none'}"
        raise ValueError(msg)
    return tuple(arrays[name] for name in names)


def read_csv(
    path: Path_, *, label: int = -1, header: bool = False
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Reads a table of numbers with a column of classes; gzip or not.

    Args:
        path: the file: numbers, separated by commas.
        label: the column of the classes; negative counts from the last.
        header: whether the first line names the columns.

    Returns:
        (N, columns - 1) float32, and (N,) int64.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a table of numbers, no such column, or classes that are no integers.

    Example:
        >>> import pathlib, tempfile, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     n = pathlib.Path(folder, "a.csv").write_text("0.5,1,0\\n2,3,1\\n")
        ...     fa.data.read_csv(folder + "/a.csv")[1]
        array([0, 1])

    Source: none.
    """
    lines = _text(path).splitlines()[1 if header else 0 :]
    try:
        table = np.loadtxt(lines, delimiter=",", ndmin=2)
    except ValueError as error:
        msg = f"{path} is no table of numbers: {error}"
        raise ValueError(msg) from None
    columns = table.shape[1]
    if not -columns <= label < columns or columns < 2:
        msg = f"{path} has {columns} columns; there is no column {label} of classes beside others"
        raise ValueError(msg)
    classes = table[:, label]
    if (classes != np.round(classes)).any() or (classes < 0).any():
        msg = f"{path}: column {label} holds no classes; expected integers of at least 0"
        raise ValueError(msg)
    return np.delete(table, label % columns, 1).astype(np.float32), classes.astype(np.int64)


def read_jsonl(path: Path_, fields: Sequence[str] = ("text", "label")) -> tuple[list[Any], ...]:
    """Reads fields of a file with a JSON object a line; gzip or not.

    Args:
        path: the file.
        fields: the fields wanted, in order.

    Returns:
        A list for each field, of one length.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line that is not an object with these fields, with its number.

    Example:
        >>> import pathlib, tempfile, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     n = pathlib.Path(folder, "a.jsonl").write_text('{"text": "fine", "label": 1}\\n')
        ...     fa.data.read_jsonl(folder + "/a.jsonl")
        (['fine'], [1])

    Source: https://jsonlines.org.
    """
    columns: tuple[list[Any], ...] = tuple([] for _ in fields)
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            row = [values[name] for name in fields]
        except (KeyError, TypeError, ValueError):
            msg = f"{path}, line {number}: expected a JSON object with {', '.join(fields)}"
            raise ValueError(msg) from None
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns


def read_text_folder(path: Path_) -> tuple[list[str], np.ndarray[Any, Any], list[str]]:
    """Reads a folder with a folder of UTF-8 text files for each class.

    Args:
        path: the folder.

    Returns:
        The texts, their classes (N,) int64, and the names of the classes; folders and files in the order of their names.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it.
        ValueError: a file that is not UTF-8.

    Example:
        >>> import pathlib, tempfile, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("bad", "good"):
        ...         pathlib.Path(folder, name).mkdir()
        ...         n = pathlib.Path(folder, name, "1.txt").write_text(f"a {name} one")
        ...     fa.data.read_text_folder(folder)
        (['a bad one', 'a good one'], array([0, 1]), ['bad', 'good'])

    Source: none.
    """
    folder = Path(path)
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    files = [(file, i) for i, name in enumerate(names) for file in sorted((folder / name).glob("*.txt"))]
    if not files:
        msg = f"{folder} has no folders of .txt files, one for each class"
        raise FileNotFoundError(msg)
    return [_text(file) for file, _ in files], np.array([i for _, i in files], np.int64), names


def train_test_split(*arrays: Any, test_size: float = 0.2, seed: int = 0) -> list[Any]:
    """Cuts arrays in two by one random permutation, that of numpy.random.RandomState(seed); scikit-learn's rows.

    Args:
        arrays: of one length; lists stay lists.
        test_size: a part of the samples, or their number.
        seed: of the permutation.

    Returns:
        For each array, what is trained on and what is held out: a train, a test, b train, b test.

    Raises:
        ValueError: other lengths, or a part that would be empty.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> train, test = fa.data.train_test_split(np.arange(10), test_size=3)
        >>> len(train), test
        (7, array([2, 8, 4]))

    Source: scikit-learn, model_selection.train_test_split.
    """
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1:
        msg = f"train_test_split: arrays of lengths {sorted(lengths)}; expected one length"
        raise ValueError(msg)
    (n,) = lengths
    held = test_size if isinstance(test_size, int) else int(np.ceil(test_size * n))
    if not 0 < held < n:
        msg = f"train_test_split: test_size {test_size!r} holds out {held} of {n} samples; expected some of both"
        raise ValueError(msg)
    order = np.random.RandomState(seed).permutation(n)
    out = []
    for array in arrays:
        for rows in (order[held:], order[:held]):
            out.append([array[i] for i in rows] if isinstance(array, list) else array[rows])
    return out
