"""generate and stream, for every model that can say the logits of the next token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastattn._device import CPU, is_cupy, move, where_is
from fastattn.autograd.node import Base, wrap
from fastattn.ops import KVCache

from .beam import beam_search
from .config import GenerationConfig
from .decoding import Ids, Token, decode
from .text import Decoder


class GenerationMixin:
    """Gives a model `generate` and `stream`.

    The model says three things: `context_length`, an empty cache, and the logits of the next token.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.manual_seed(0)
        >>> model = fa.models.GPT(fa.models.GPTConfig(vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=2))
        >>> model.generate(np.array([[1, 2, 3]]), max_new_tokens=4).shape
        (1, 7)
        >>> [len(row) for row in model.generate([[1, 2, 3], [4]], do_sample=True, top_k=5, seed=0, max_new_tokens=20)]
        [23, 21]

    Source: transformers, GenerationMixin.
    """

    @property
    def context_length(self) -> int | None:
        """The longest sequence that the model reads; None: any."""
        return None

    def new_cache(self, capacity: int = 0) -> list[KVCache]:
        """Empty caches, with room for `capacity` tokens a row at first; what is in the list is the model's affair."""
        raise NotImplementedError(type(self).__name__)

    def next_logits(self, input_ids: Any, cache: list[KVCache] | None = None) -> Any:
        """The logits of the token after the last of each row, a Tensor (B, V).

        Args:
            input_ids: (B, T), the tokens that follow those in the cache; they are added to it.
            cache: of `new_cache`; without, the tokens are the whole sequence.
        """
        raise NotImplementedError(type(self).__name__)

    def generate(
        self,
        input_ids: Any,
        generation_config: GenerationConfig | None = None,
        *,
        attention_mask: Any = None,
        tokenizer: Decoder | None = None,
        **options: Any,
    ) -> Any:
        """Continues token sequences. A row's tokens are those that it would get alone, whatever the other rows are.

        Args:
            input_ids: (B, T) token ids, a Tensor or an array; or a list of B sequences of any lengths.
            generation_config: the settings, by default those of GenerationConfig.
            attention_mask: (B, T), 0 where a row is padded, left or right; default all 1.
            tokenizer: decodes token ids, for `stop_strings`.
            options: fields of GenerationConfig, before those of `generation_config`.

        Returns:
            (B, T + N), `input_ids` and up to `max_new_tokens` new tokens, rows that ended early padded with
            `pad_token_id`; for a list, a list of B ndarrays without padding. The kind, dtype and device of `input_ids`.

        Raises:
            ValueError: an empty sequence, or an option out of its range.
            TypeError: token ids that are not integers, or an option that there is not.
            RuntimeError: the model's logits are not finite.
        """
        config = (generation_config or GenerationConfig()).replace(**options)
        new: list[list[int]] = [[] for _ in range(len(input_ids))]
        if config.num_beams > 1:
            new = beam_search(self, _prompts(input_ids, attention_mask), config)
        else:
            for token in self.stream(input_ids, config, attention_mask=attention_mask, tokenizer=tokenizer):
                new[token.row].append(token.id)
        if isinstance(input_ids, (list, tuple)):
            return [
                np.append(row, np.array(more, row.dtype)) for row, more in zip(map(_row, input_ids), new, strict=True)
            ]
        prompt = _array("input_ids", input_ids)
        added = np.full((len(new), max(map(len, new), default=0)), config.padding, prompt.dtype)
        for row, more in zip(added, new, strict=True):
            row[: len(more)] = more
        ids = np.concatenate([prompt, added], axis=1)
        if isinstance(input_ids, Base):
            return wrap(move(ids, input_ids.device))
        return move(ids, where_is(input_ids)) if is_cupy(input_ids) else ids

    def stream(
        self,
        input_ids: Any,
        generation_config: GenerationConfig | None = None,
        *,
        attention_mask: Any = None,
        tokenizer: Decoder | None = None,
        **options: Any,
    ) -> Iterator[Token]:
        """Continues token sequences, a token at a time; the arguments are those of `generate`.

        The model is in eval mode until the iterator has ended or been closed.

        Returns:
            An iterator over tokens (row, id, text, finish_reason), step by step; text is what the token adds to its
            row's text, whole characters only, if there is a `tokenizer`. finish_reason is "stop" or "length" for the
            last token of a row, else None.
        """
        config = (generation_config or GenerationConfig()).replace(**options)
        if config.num_beams > 1:
            msg = f"stream: num_beams is {config.num_beams}; the tokens of beams are known at the end: use generate"
            raise ValueError(msg)
        if config.stops and tokenizer is None:
            msg = "generate: stop_strings are looked for in text; pass tokenizer="
            raise ValueError(msg)
        return decode(self, _prompts(input_ids, attention_mask), config, tokenizer)


def _prompts(input_ids: Any, attention_mask: Any) -> list[Ids]:
    """Each row's own tokens."""
    if isinstance(input_ids, (list, tuple)):
        if attention_mask is not None:
            msg = "generate: attention_mask goes with input_ids (B, T), which is a list; leave the padding out"
            raise TypeError(msg)
        rows = [_row(row) for row in input_ids]
    else:
        ids = _array("input_ids", input_ids)
        if ids.ndim != 2:
            msg = f"generate: input_ids has shape {ids.shape}; expected (B, T), or a list of sequences"
            raise ValueError(msg)
        rows = list(ids)
        if attention_mask is not None:
            mask = _array("attention_mask", attention_mask, "biu")
            if mask.shape != ids.shape:
                msg = f"generate: attention_mask has shape {mask.shape}; expected {ids.shape}, that of input_ids"
                raise ValueError(msg)
            rows = [row[seen != 0] for row, seen in zip(rows, mask, strict=True)]
    for i, row in enumerate(rows):
        if not len(row):
            msg = f"generate: row {i} of input_ids is empty; expected at least one token"
            raise ValueError(msg)
    return rows


def _row(sequence: Sequence[int] | Any) -> Ids:
    ids = _array("input_ids", sequence if _count(sequence) else np.zeros(0, np.int64))
    if ids.ndim != 1:
        msg = f"generate: a row of input_ids has shape {ids.shape}; expected (T,)"
        raise ValueError(msg)
    return ids


def _count(value: Any) -> int:
    return math.prod(value.shape) if hasattr(value, "shape") else np.size(value)


def _array(name: str, value: Any, kinds: str = "iu") -> Ids:
    data = value._data if isinstance(value, Base) else value
    array: Ids = move(data, CPU) if is_cupy(data) else np.asarray(data)
    if array.dtype.kind not in kinds:
        msg = f"generate: {name} has dtype {array.dtype}; expected integers"
        raise TypeError(msg)
    return array
