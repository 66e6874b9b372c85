"""Where the text comes from, and what is held out of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np


def default_text() -> str:
    """The text that is trained on where none is given: the topics of Python's own help, English of about 465 kB.

    Returns:
        The topics of `pydoc_data.topics`, in its order, joined by a newline.

    Raises:
        RuntimeError: this Python comes without its help topics.

    Example:
        >>> import fastattn as fa
        >>> len(fa.data.default_text()) > 100_000
        True

    Source: the Python language reference, as every CPython carries it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        msg = "this Python has no pydoc_data.topics, the default text; name another with --text FILE"
        raise RuntimeError(msg) from None
    return "\n".join(topics.values())


def load_text(path: str | os.PathLike[str] | None = None) -> str:
    """Reads a UTF-8 text file, or the default text.

    Args:
        path: the file; None for `default_text()`.

    Returns:
        The text, with newlines as they are in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty or not UTF-8.

    Example:
        >>> import fastattn as fa
        >>> fa.data.load_text() == fa.data.default_text()
        True

    Source: none.
    """
    if path is None:
        return default_text()
    path = Path(path)
    if not path.is_file():
        msg = f"no such text file: {path}"
        raise FileNotFoundError(msg)
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        raise ValueError(msg) from None
    if not text:
        msg = f"{path} is empty"
        raise ValueError(msg)
    return text


def split(ids: np.ndarray[Any, Any], held_out: float = 0.1) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Cuts a sequence in two: what is trained on, and the last part, held out for validation.

    Args:
        ids: (N,), the tokens in their order.
        held_out: the part held out, between 0 and 1; its length is rounded down.

    Returns:
        Two views: the first N - floor(N * held_out) tokens, and the rest.

    Raises:
        ValueError: `held_out` is not between 0 and 1, or one of the parts would have fewer than two tokens.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> train, validation = fa.data.split(np.arange(25))
        >>> len(train), validation
        (23, array([23, 24]))

    Source: none.
    """
    if not 0.0 < held_out < 1.0:
        msg = f"split: held_out is {held_out!r}; expected a number between 0 and 1"
        raise ValueError(msg)
    n = len(ids) - int(len(ids) * held_out)
    if n < 2 or len(ids) - n < 2:
        msg = f"split: {len(ids)} tokens are too few to hold out {held_out:g} of them; both parts need at least 2"
        raise ValueError(msg)
    return ids[:n], ids[n:]
