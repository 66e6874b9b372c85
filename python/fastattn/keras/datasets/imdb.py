"""IMDB: 50,000 film reviews as word numbers, bad or good."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ._files import Split, find, npz, shuffled, words

__all__ = ["get_word_index", "load_data"]


def load_data(
    path: Any = "imdb.npz",
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
) -> Split:
    """((x_train, y_train), (x_test, y_test)): lists of word numbers, and 0 for bad or 1 for good.

    Args:
        path: the file, or its name in FASTATTN_DATA or Keras's folder.
        num_words: numbers from this on, those of rare words, become `oov_char`; None: none do.
        skip_top: as do numbers below this.
        maxlen: longer reviews are left out.
        seed: of the order.
        start_char: the first number of each review; None: none.
        oov_char: None: such words are left out.
        index_from: numbers of words begin after this.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
        ValueError: no review is shorter than maxlen.
    """
    data = npz(find("imdb", path))
    train = shuffled(seed, data["x_train"], data["y_train"])
    # One generator shuffles both in Keras.
    rng = np.random.RandomState(seed)
    rng.shuffle(np.arange(len(train[0])))
    order = np.arange(len(data["x_test"]))
    rng.shuffle(order)
    texts = [train[0], data["x_test"][order]]
    labels = [train[1], data["y_test"][order]]
    options = (num_words, skip_top, maxlen, start_char, oov_char, index_from)
    texts, labels = words("imdb", texts, labels, *options)
    return (texts[0], labels[0]), (texts[1], labels[1])


def get_word_index(path: Any = "imdb_word_index.json") -> dict[str, int]:
    """The number of each word, before `index_from` is added."""
    found: dict[str, int] = json.loads(find("imdb", path).read_text())
    return found
