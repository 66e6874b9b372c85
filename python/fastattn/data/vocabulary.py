"""Vocabularies: of a text's characters; of words or characters, with tokens that are neither."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

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

    filename: ClassVar[str] = "vocab.json"

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


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


class Vocabulary:
    """Words, or characters, behind five special tokens; what is not among them is the unknown token.

    Ids 0 to 4 are padding, unknown, begin (BERT's [CLS]), end ([SEP]) and mask.

    Args:
        tokens: the words or characters, each once, without the special ones.
        unit: "words": runs of letters and digits, and every other mark by itself; or "characters".
        lower: whether texts are put in lower case.

    Raises:
        ValueError: a token that comes twice, or an unknown unit.

    Example:
        >>> import fastattn as fa
        >>> vocabulary = fa.data.Vocabulary.of(["A fine film.", "A film!"], lower=True)
        >>> vocabulary.encode("a bad film."), vocabulary.decode(vocabulary.encode("A bad film."))
        (array([5, 1, 6, 8]), 'a [UNK] film .')

    Source: none.
    """

    pad, unknown, begin, end, mask = range(5)

    filename: ClassVar[str] = "vocab.json"

    def __init__(self, tokens: Sequence[str], unit: str = "words", lower: bool = False) -> None:
        if unit not in ("words", "characters"):
            msg = f"Vocabulary: unit is {unit!r}; expected 'words' or 'characters'"
            raise ValueError(msg)
        self.tokens, self.unit, self.lower = [*SPECIAL, *tokens], unit, lower
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self._ids) != len(self.tokens):
            twice = next(token for token, n in Counter(self.tokens).items() if n > 1)
            msg = f"Vocabulary: the token {twice!r} comes twice"
            raise ValueError(msg)

    @classmethod
    def of(
        cls, texts: Iterable[str], unit: str = "words", lower: bool = False, size: int | None = None, at_least: int = 1
    ) -> Vocabulary:
        """The vocabulary of texts: what comes at least `at_least` times, the most frequent first, `size` tokens at most."""
        empty = cls((), unit, lower)
        counts = Counter(token for text in texts for token in empty.split(text))
        found = sorted((token for token in counts if counts[token] >= at_least), key=lambda t: (-counts[t], t))
        found = [token for token in found if token not in SPECIAL]
        return cls(found[: None if size is None else max(0, size - len(SPECIAL))], unit, lower)

    def __len__(self) -> int:
        return len(self.tokens)

    def split(self, text: str) -> list[str]:
        """A text's words, or characters."""
        text = text.lower() if self.lower else text
        return _WORD.findall(text) if self.unit == "words" else list(text)

    def encode(self, text: str, *, begin: bool = False, end: bool = False) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Token ids of a text, (N,) int64, between the tokens that begin and end it if they are wanted."""
        ids = [self._ids.get(token, self.unknown) for token in self.split(text)]
        return np.array([self.begin] * begin + ids + [self.end] * end, np.int64)

    def encode_within(self, text: str, longest: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Token ids of a text between the tokens that begin and end it, (N,) int64 of at most `longest`: its first ones."""
        ids = self.encode(text, begin=True, end=True)
        return ids if len(ids) <= longest else np.append(ids[: longest - 1], self.end)

    def decode(self, ids: Any) -> str:
        """The text of token ids, without those that pad, begin or end; words with a space between."""
        skipped = {self.pad, self.begin, self.end}
        found = [self.tokens[int(i)] for i in ids if int(i) not in skipped]
        return (" " if self.unit == "words" else "").join(found)

    def tokens_of(self, ids: Any) -> list[str]:
        """The tokens of some ids, special ones too."""
        return [self.tokens[int(i)] for i in ids]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the vocabulary to a JSON file, atomically."""
        content = {"type": "tokens", "unit": self.unit, "lower": self.lower, "tokens": self.tokens[len(SPECIAL) :]}
        atomic_write(path, json.dumps(content, ensure_ascii=True) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Reads what `save` wrote; ValueError for another file."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["type"] != "tokens":
                raise ValueError
            return cls(content["tokens"], content["unit"], content["lower"])
        except (KeyError, TypeError, ValueError):
            msg = f"{path} is not a vocabulary"
            raise ValueError(msg) from None
