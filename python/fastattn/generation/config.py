"""How the next tokens are chosen, and when to stop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """The settings of `generate` and `stream`, with transformers' names.

    Args:
        max_new_tokens: how many tokens to add to a row, at most.
        do_sample: draw from the model's distribution; False takes the likeliest token.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draw from the k likeliest tokens only; 0 for all.
        top_p: draw from the likeliest tokens whose probabilities reach this sum only; 1 for all.
        repetition_penalty: divides the positive logits of tokens that the row has already, and multiplies the negative.
        eos_token_id: a token, or several, that ends its row; the row keeps it.
        pad_token_id: fills rows that end early; default the first of `eos_token_id`, or 0.
        stop_strings: a text, or several, that ends its row when it has been generated; needs `tokenizer`.
        num_beams: how many candidates of a row are kept at every step; 1 keeps the one that is chosen. More of them find the
            likeliest sequence (beam search), with greedy settings and without `stop_strings`.
        length_penalty: of beams: the sum of logarithms is divided by the number of new tokens to this power; over 0 favours
            long sequences.
        early_stopping: of beams: a row is done when `num_beams` sequences have ended, though a better one might follow.
        seed: row r draws from the stream of seed + r, so its tokens do not depend on the other rows; default the next of
            the global stream (`fa.manual_seed`).

    Raises:
        ValueError: a value out of its range, named; settings of sampling without `do_sample`.

    Example:
        >>> import fastattn as fa
        >>> fa.generation.GenerationConfig(do_sample=True, temperature=0.8, top_k=40).eos_token_ids
        ()

    Source: transformers, GenerationConfig; Holtzman et al., "The curious case of neural text degeneration" (2020),
    section 3.1 (top-p); Graves (2012), algorithm 1 (beams); Keskar et al., "CTRL" (2019), section 4.1 (repetition_penalty).
    """

    max_new_tokens: int = 20
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    eos_token_id: int | Sequence[int] | None = None
    pad_token_id: int | None = None
    stop_strings: str | Sequence[str] | None = None
    seed: int | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool = False

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "top_k"):
            value = getattr(self, name)
            if not _is_integer(value) or value < 0:
                self._refuse(name, "an integer of at least 0")
        if not 0.0 <= self.temperature < math.inf:
            self._refuse("temperature", "a finite number of at least 0")
        if not 0.0 < self.top_p <= 1.0:
            self._refuse("top_p", "a number over 0 and at most 1")
        if not 0.0 < self.repetition_penalty < math.inf:
            self._refuse("repetition_penalty", "a finite number over 0")
        if self.seed is not None and not (_is_integer(self.seed) and 0 <= self.seed < 2**64):
            self._refuse("seed", "an integer of 0 to 2^64 - 1")
        if not all(_is_integer(token) and token >= 0 for token in self.eos_token_ids):
            self._refuse("eos_token_id", "token ids")
        if self.pad_token_id is not None and not (_is_integer(self.pad_token_id) and self.pad_token_id >= 0):
            self._refuse("pad_token_id", "a token id")
        if not all(isinstance(text, str) and text for text in self.stops):
            self._refuse("stop_strings", "texts that are not empty")
        if not _is_integer(self.num_beams) or self.num_beams < 1:
            self._refuse("num_beams", "an integer of at least 1")
        if not math.isfinite(self.length_penalty):
            self._refuse("length_penalty", "a finite number")
        self._check_beams()
        if not self.do_sample:
            unused = [name for name in ("temperature", "top_k", "top_p", "seed") if not self._is_default(name)]
            if unused:
                verb = "has" if len(unused) == 1 else "have"
                msg = f"GenerationConfig: {' and '.join(unused)} {verb} no effect without do_sample=True"
                raise ValueError(msg)

    def _check_beams(self) -> None:
        if self.num_beams == 1:
            unused = [name for name in ("length_penalty", "early_stopping") if not self._is_default(name)]
            reason = "no effect without num_beams over 1"
        else:
            unused = [n for n in ("do_sample", "repetition_penalty", "stop_strings") if not self._is_default(n)]
            reason = "no meaning with num_beams over 1"
        if unused:
            verb = "has" if len(unused) == 1 else "have"
            msg = f"GenerationConfig: {' and '.join(unused)} {verb} {reason}"
            raise ValueError(msg)

    def _is_default(self, name: str) -> bool:
        return bool(getattr(self, name) == type(self).__dataclass_fields__[name].default)

    def _refuse(self, name: str, expected: str) -> None:
        msg = f"GenerationConfig: {name} is {getattr(self, name)!r}; expected {expected}"
        raise ValueError(msg)

    @property
    def is_greedy(self) -> bool:
        """Whether every token is the likeliest."""
        return not self.do_sample or self.temperature == 0.0

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens that end a row."""
        if self.eos_token_id is None:
            return ()
        return (self.eos_token_id,) if _is_integer(self.eos_token_id) else tuple(self.eos_token_id)  # type: ignore[arg-type,return-value]

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end a row."""
        if self.stop_strings is None:
            return ()
        return (self.stop_strings,) if isinstance(self.stop_strings, str) else tuple(self.stop_strings)

    @property
    def padding(self) -> int:
        """What fills rows that end early."""
        return self.pad_token_id if self.pad_token_id is not None else next(iter(self.eos_token_ids), 0)

    def replace(self, **options: Any) -> GenerationConfig:
        """This config with other values; TypeError names an option that there is not."""
        names = [field.name for field in dataclasses.fields(self)]
        unknown = [name for name in options if name not in names]
        if unknown:
            msg = f"generate: there is no option {unknown[0]!r}; expected {', '.join(names)}"
            raise TypeError(msg)
        return dataclasses.replace(self, **options) if options else self


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)
