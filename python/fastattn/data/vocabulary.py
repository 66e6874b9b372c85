"""A vocabulary of characters."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from fastattn.io import atomic_write


class CharVocabulary:
    """The characters of a text in code-point order; a character's token id is its place among them.

    Args:
        characters: the characters, each once.

    Raises:
        ValueError: there are none, or one comes twice.

    Example:
        >>> import fastattn as fa
        >>> vocabulary = fa.data.CharVocabulary.of("banana")
        >>> vocabulary.encode("nab"), vocabulary.decode([1, 0, 2])
        (array([2, 0, 1], dtype=int32), 'ban')

    Source: none.
    """

    def __init__(self, characters: str) -> None:
        if not characters or len(set(characters)) != len(characters):
            msg = "CharVocabulary: characters must be distinct, and at least one"
            raise ValueError(msg)
        self.characters = characters
        # Looked up by code point: encoding a text is one NumPy gather. -1: not in the vocabulary.
        points = np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), np.uint32)
        self._ids = np.full(int(points.max()) + 1, -1, np.int32)
        self._ids[points] = np.arange(len(characters), dtype=np.int32)

    @classmethod
    def of(cls, text: str) -> CharVocabulary:
        """The vocabulary of a text."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def start(self) -> str:
        """What a text is begun from where nothing is given: a newline, or the first character where there is none."""
        return "\n" if "\n" in self.characters else self.characters[0]

    def encode(self, text: str) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Token ids of a text, (len(text),) int32; ValueError names a character that the vocabulary lacks."""
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = np.where(points < len(self._ids), self._ids[np.minimum(points, len(self._ids) - 1)], np.int32(-1))
        if len(ids) and ids.min() < 0:
            at = int(np.argmin(ids))
            msg = f"encode: the character {text[at]!r} at {at} is not among the {len(self)} of the vocabulary"
            raise ValueError(msg)
        return ids.astype(np.int32)

    def decode(self, ids: Any) -> str:
        """The text of token ids; ValueError names one out of range."""
        ids = np.asarray(ids)
        if ids.size and not 0 <= ids.min() <= ids.max() < len(self):
            msg = f"decode: token ids must be 0 to {len(self) - 1}; got {ids.min()} to {ids.max()}"
            raise ValueError(msg)
        return "".join(self.characters[i] for i in ids)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the vocabulary to a JSON file, atomically."""
        content = {"type": "characters", "characters": self.characters}
        atomic_write(path, json.dumps(content, indent=2, ensure_ascii=True) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CharVocabulary:
        """Reads what `save` wrote; ValueError for another file."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["type"] != "characters":
                raise ValueError
            return cls(content["characters"])
        except (KeyError, TypeError, ValueError):
            msg = f"{path} is not a character vocabulary"
            raise ValueError(msg) from None
