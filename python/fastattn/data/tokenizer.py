"""Tokenizers of Hugging Face's form, and finding the one that a model's folder holds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fastattn.io import atomic_write

from .vocabulary import CharVocabulary, Vocabulary


class Tokenizer:
    """A tokenizer.json of Hugging Face's, read by the package `tokenizers`.

    The padding and truncation that a file may ask for are left out.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: `tokenizers` is not installed.
        ValueError: the file is no tokenizer.

    Example:
        >>> import fastattn as fa
        >>> fa.data.Tokenizer("nowhere/tokenizer.json")
        Traceback (most recent call last):
        FileNotFoundError: no such tokenizer: nowhere/tokenizer.json

    Source: https://huggingface.co/docs/tokenizers.
    """

    filename: ClassVar[str] = "tokenizer.json"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        if not path.is_file():
            msg = f"no such tokenizer: {path}"
            raise FileNotFoundError(msg)
        try:
            import tokenizers
        except ImportError:
            msg = f"{path} needs the package tokenizers: pip install 'fastattn[train]'"
            raise ImportError(msg) from None
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises Exception itself
            msg = f"{path} is no tokenizer: {error}"
            raise ValueError(msg) from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> np.ndarray[Any, np.dtype[np.int32]]:
        """Token ids of a text, (N,) int32."""
        return np.array(self._tokenizer.encode(text).ids, np.int32)

    def encode_within(self, text: str, longest: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Token ids of a text between its special tokens, (N,) int64 of at most `longest`: its first ones."""
        self._tokenizer.enable_truncation(longest)
        try:
            return np.array(self._tokenizer.encode(text).ids, np.int64)
        finally:
            self._tokenizer.no_truncation()

    def decode(self, ids: Any) -> str:
        """The text of token ids, without special tokens; bytes that are no character come out as U+FFFD."""
        return str(self._tokenizer.decode([int(i) for i in ids]))

    def tokens_of(self, ids: Any) -> list[str]:
        """The tokens of some ids, special ones too."""
        return [str(self._tokenizer.id_to_token(int(i))) for i in ids]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a tokenizer.json, atomically."""
        atomic_write(path, self._tokenizer.to_str(pretty=True) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """The same as the constructor."""
        return cls(path)


def load_tokenizer(folder: str | os.PathLike[str]) -> CharVocabulary | Vocabulary | Tokenizer:
    """Reads the tokenizer of a model's folder: tokenizer.json, or the vocab.json that `fastattn train` writes.

    Args:
        folder: a run, or a folder of Hugging Face's form.

    Returns:
        An object with `encode` and `decode`.

    Raises:
        FileNotFoundError: the folder holds neither file.
        ImportError: tokenizer.json, and the package `tokenizers` is not installed.
        ValueError: the file is damaged.

    Example:
        >>> import tempfile, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.data.CharVocabulary("abc").save(folder + "/vocab.json")
        ...     len(fa.data.load_tokenizer(folder))
        3

    Source: none.
    """
    folder = Path(folder)
    if (folder / "tokenizer.json").is_file():
        return Tokenizer(folder / "tokenizer.json")
    if (folder / "vocab.json").is_file():
        path = folder / "vocab.json"
        try:
            kind = json.loads(path.read_text(encoding="utf-8"))["type"]
        except (KeyError, TypeError, ValueError):
            msg = f"{path} is not a character vocabulary, nor one of tokens"
            raise ValueError(msg) from None
        return (CharVocabulary if kind == "characters" else Vocabulary).load(path)
    msg = f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json"
    raise FileNotFoundError(msg)
