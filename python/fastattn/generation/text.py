"""Tokens to text as they come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

# What decoders put in the place of bytes that are no character, or not yet.
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Tokens of the prompt that the first new one is decoded with: some decoders drop the space that a text begins with.
CONTEXT = 8


class Decoder(Protocol):
    """Anything with decode: a `CharVocabulary`, a `Tokenizer`, a tokenizer of transformers."""

    def decode(self, ids: Any) -> str:
        """The text of token ids."""


class Detokenizer:
    """The text of a sequence, token by token: whole characters only, and nothing from a stop string on.

    Args:
        tokenizer: what decodes a list of token ids.
        prompt: the token ids before the first.
        stop_strings: texts that end the sequence; the end of the text that may begin one is held back.

    Example:
        >>> import fastattn as fa
        >>> vocabulary = fa.data.CharVocabulary("abc.")
        >>> text = fa.generation.Detokenizer(vocabulary, stop_strings=["c."])
        >>> [text.push(token) for token in vocabulary.encode("abca").tolist()], text.flush()
        (['a', 'b', '', 'ca'], '')

    Source: none.
    """

    def __init__(self, tokenizer: Decoder, prompt: Sequence[int] = (), stop_strings: Iterable[str] = ()) -> None:
        self.tokenizer = tokenizer
        self.stop_strings = tuple(stop_strings)
        self.stopped = False
        self._tokens = [int(token) for token in prompt[-CONTEXT:]]  # the last that have been decoded, and new ones
        self._decoded = tokenizer.decode(self._tokens) if self._tokens else ""  # the text of the former
        self._known = len(self._tokens)
        self._held = ""  # may be the beginning of a stop string

    def push(self, token: int) -> str:
        """Adds a token; returns the text that is certain now."""
        self._tokens.append(int(token))
        text = self.tokenizer.decode(self._tokens)
        if text.endswith(REPLACEMENT):
            return ""  # the rest of a character is to come
        return self._take(text)

    def flush(self) -> str:
        """Ends the sequence; returns the text that was held back."""
        if self.stopped:
            return ""
        text = self._take(self.tokenizer.decode(self._tokens)) if len(self._tokens) > self._known else ""
        held, self._held = self._held, ""
        return text + held

    def _take(self, text: str) -> str:
        new = text[len(self._decoded) :]
        self._tokens = self._tokens[self._known :]
        self._known = len(self._tokens)
        self._decoded = self.tokenizer.decode(self._tokens)
        if not self.stop_strings:
            return new
        self._held += new
        found = [at for stop in self.stop_strings if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._held[: min(found)]
        begun = max(_overlap(self._held, stop) for stop in self.stop_strings)
        cut = len(self._held) - begun
        out, self._held = self._held[:cut], self._held[cut:]
        return out


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that `stop` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
