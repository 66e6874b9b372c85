"""Texts with labels, for the kinds that classify them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MOVIES = (".tar.gz", "movieReviewSnippets_GroundTruth.txt")


def read_labelled(source: str) -> tuple[list[str], Any, list[str]]:
    """Texts, classes, and the names of the classes, of a named data set, a .jsonl, a folder or the movie sentences."""
    from fastattn.data import load_dataset, read_jsonl, read_text_folder

    if source == "languages":
        found = load_dataset(source)
        return found.inputs, found.labels, found.names
    path = Path(source)
    if not path.exists():
        msg = f"--data {source}: expected languages, or a .jsonl, archive or folder that exists"
        raise FileNotFoundError(msg)
    if path.name.endswith(MOVIES):
        found = load_dataset("movie_sentences", path=path)
        return found.inputs, found.labels, found.names
    if path.is_dir():
        return read_text_folder(path)
    texts, labels = read_jsonl(path)
    names = sorted({str(label) for label in labels})
    return [str(text) for text in texts], np.array([names.index(str(label)) for label in labels], np.int64), names


def sentences(text: str, longest: int) -> list[str]:
    """A text in pieces of paragraphs, of `longest` words at most."""
    pieces = []
    for paragraph in text.split("\n\n"):
        words = paragraph.split()
        pieces += [" ".join(words[i : i + longest]) for i in range(0, len(words), longest)]
    return [piece for piece in pieces if len(piece.split()) >= 3]


def encoded(vocabulary: Any, texts: Sequence[str], longest: int) -> list[Any]:
    """Token ids of texts between the tokens that begin and end them, `longest` at most."""
    rows = []
    for text in texts:
        ids = vocabulary.encode(text, begin=True, end=True)
        rows.append(ids if len(ids) <= longest else np.append(ids[: longest - 1], vocabulary.end))
    return rows
