"""Reuters: 11,228 news as word numbers, of 46 topics."""

from __future__ import annotations

import json
from typing import Any

from ._files import Split, find, npz, shuffled, split, words

__all__ = ["get_word_index", "load_data"]


def load_data(
    path: Any = "reuters.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
) -> Split:
    """((x_train, y_train), (x_test, y_test)): lists of word numbers, and topics; options as for imdb.

    Args:
        path: the file, or its name in FASTATTN_DATA or Keras's folder.
        num_words, skip_top, maxlen, seed, start_char, oov_char, index_from: as for imdb.
        test_split: the part that is for tests.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
    """
    data = npz(find("reuters", path))
    texts, labels = shuffled(seed, data["x"], data["y"])
    options = (num_words, skip_top, maxlen, start_char, oov_char, index_from)
    (texts,), (labels,) = words("reuters", [texts], [labels], *options)
    return split("reuters", (texts, labels), test_split)


def get_word_index(path: Any = "reuters_word_index.json") -> dict[str, int]:
    """The number of each word, before `index_from` is added."""
    found: dict[str, int] = json.loads(find("reuters", path).read_text())
    return found
