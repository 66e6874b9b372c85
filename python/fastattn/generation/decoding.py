"""The loop: logits of every row's next token, a choice, and what ends a row."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastattn import _C, _random
from fastattn.autograd.node import no_grad
from fastattn.nn.utils import evaluation
from fastattn.ops import KVCache

from .config import GenerationConfig
from .logits import Logits, draw, keep_top_k, keep_top_p, penalize_repetition
from .text import Decoder, Detokenizer

if TYPE_CHECKING:
    from .mixin import GenerationMixin

Ids = np.ndarray[Any, Any]

ROOM = 512  # tokens that the cache has room for behind the prompt at first
# Random numbers of a row come in blocks: block k of a row is the Philox stream (seed of the row, _STREAM + k).
_STREAM, _BLOCK = 0x73616D70 << 32, 256


class Token(NamedTuple):
    """A new token of one row."""

    row: int
    id: int
    text: str  # what the token adds to the row's text, "" without a tokenizer
    finish_reason: str | None  # "stop" or "length" for the last of its row


def decode(
    model: GenerationMixin, prompts: Sequence[Ids], config: GenerationConfig, tokenizer: Decoder | None
) -> Iterator[Token]:
    """Yields the tokens of all rows, step by step, in the order of the rows."""
    texts = [Detokenizer(tokenizer, p.tolist(), config.stops) for p in prompts] if tokenizer is not None else None
    ends = frozenset(config.eos_token_ids)
    batch = _Batch(model, prompts, config.max_new_tokens)
    choose = _Choice(config, prompts)
    with evaluation(model):  # type: ignore[arg-type]  # the models that mix it in are modules
        for step in range(config.max_new_tokens):
            if not len(batch.live):
                return
            with no_grad():
                tokens = choose(batch.next_logits(), batch.live, step)
            last = step == config.max_new_tokens - 1
            out = []
            for row, token in zip(batch.live.tolist(), tokens.tolist(), strict=True):
                text = ""
                reason = "stop" if token in ends else None
                if texts is not None:
                    text = texts[row].push(token) if reason is None else ""
                    reason = "stop" if texts[row].stopped else reason
                    text += texts[row].flush() if reason or last else ""
                out.append(Token(row, token, text, reason or ("length" if last else None)))
            batch.append(tokens, [token.finish_reason is None for token in out])
            yield from sorted(out)


class _Batch:
    """The rows of a call: their tokens, which of them still grow, and the cache.

    While a row fits into the model's context, a step reads its last token and the cache. A row that has outgrown the
    context leaves the cache: positions move with every token then, and with them all keys, so each of its tokens is
    computed from the last `context_length` ones.
    """

    def __init__(self, model: GenerationMixin, prompts: Sequence[Ids], max_new_tokens: int) -> None:
        self.model = model
        self.limit = sys.maxsize if model.context_length is None else model.context_length
        self.lengths = np.array([len(p) for p in prompts])
        longest = self.longest = int(self.lengths.max(initial=0))
        self.ids = np.zeros((len(prompts), longest + max_new_tokens), np.int64)
        for row, prompt in zip(self.ids, prompts, strict=True):
            row[: len(prompt)] = prompt
        self.live = np.argsort(self.lengths, kind="stable")  # the rows that still grow; those of one length together
        self.room = min(longest + min(max_new_tokens, ROOM), self.limit)
        self.cache: list[KVCache] = []
        self.cached: Ids | None = None  # the rows in the cache, once the prompts are

    def append(self, tokens: Ids, grows: list[bool]) -> None:
        """Adds a token to each live row; those that do not grow on are live no more."""
        self.ids[self.live, self.lengths[self.live]] = tokens
        self.lengths[self.live] += 1
        self.longest += 1
        if not all(grows):
            self.live = self.live[np.array(grows)]

    def next_logits(self) -> Logits:
        """(rows that are live, V)."""
        if self.longest <= self.limit:
            return self._from_cache(self.live)
        fits = self.lengths[self.live] <= self.limit
        if fits.all():  # those that did not have ended
            return self._from_cache(self.live)
        beyond = self.live[~fits]
        window = self.lengths[beyond, None] + np.arange(-self.limit, 0)
        far = as_logits(self.model.next_logits(self.ids[beyond[:, None], window]))
        if len(beyond) == len(fits):
            return far
        near = self._from_cache(self.live[fits])
        out = np.empty((len(fits), near.shape[1]), near.dtype)
        out[fits], out[~fits] = near, far
        return out

    def _from_cache(self, rows: Ids) -> Logits:
        if self.cached is None:
            logits = self._read_prompts(rows)
        else:
            if len(rows) != len(self.cached):
                kept = np.flatnonzero(np.isin(self.cached, rows))
                for layer in self.cache:
                    layer.reorder(kept)
            logits = as_logits(self.model.next_logits(self.ids[rows, self.lengths[rows] - 1][:, None], self.cache))
        self.cached = rows
        return logits

    def _read_prompts(self, rows: Ids) -> Logits:
        """Those of one length at a time: the last bits of attention depend on T, so padding would show in them."""
        lengths = self.lengths[rows]
        parts, caches = [], []
        for group in np.split(rows, np.flatnonzero(np.diff(lengths)) + 1):
            cache = self.model.new_cache(self.room)
            parts.append(as_logits(self.model.next_logits(self.ids[group, : self.lengths[group[0]]], cache)))
            caches.append(cache)
        self.cache = caches[0] if len(caches) == 1 else [KVCache.cat(layers) for layers in zip(*caches, strict=True)]
        return np.concatenate(parts)


def as_logits(tensor: Any) -> Logits:
    """As NumPy computes with them: 16-bit floats as float32, which is exact."""
    logits: Logits = tensor.numpy()
    return logits if logits.itemsize > 2 else logits.astype(np.float32)


class _Choice:
    """Chooses the next token of each row as the config says."""

    def __init__(self, config: GenerationConfig, prompts: Sequence[Ids]) -> None:
        self.config, self.prompts = config, prompts
        self.seen: Ids | None = None  # (B, V), with a repetition penalty
        if not config.is_greedy:
            first = _seed_of_global_stream() if config.seed is None else config.seed
            self.seeds = [(first + row) % 2**64 for row in range(len(prompts))]
            self.uniforms = np.empty((len(prompts), _BLOCK))

    def __call__(self, logits: Logits, rows: Ids, step: int) -> Ids:
        config = self.config
        if config.repetition_penalty != 1.0:
            if self.seen is None:
                self.seen = np.zeros((len(self.prompts), logits.shape[1]), np.bool_)
                for seen, prompt in zip(self.seen, self.prompts, strict=True):
                    seen[prompt] = True
            logits = penalize_repetition(logits, self.seen[rows], config.repetition_penalty)
        if config.is_greedy:
            tokens = logits.argmax(-1)
            finite = np.isfinite(logits.max(-1))
        else:
            tokens = draw(self._filtered(logits), self._uniforms(rows, step))
            finite = tokens >= 0
        if not finite.all():
            msg = f"generate: the logits of row {int(rows[np.argmin(finite)])} are not finite after {step} new tokens"
            raise RuntimeError(msg)
        if self.seen is not None:
            self.seen[rows, tokens] = True
        return np.asarray(tokens)

    def _filtered(self, logits: Logits) -> Logits:
        """What is drawn from, float64."""
        with np.errstate(all="ignore"):  # a temperature near 0 sends all but the largest to -inf
            scores: Logits = (logits - logits.max(-1, keepdims=True)).astype(np.float64) / self.config.temperature
        if self.config.top_k:
            scores = keep_top_k(scores, self.config.top_k)
        return keep_top_p(scores, self.config.top_p) if self.config.top_p < 1.0 else scores

    def _uniforms(self, rows: Ids, step: int) -> Ids:
        block, at = divmod(step, _BLOCK)
        if at == 0:
            for row in rows.tolist():
                _C.random_fill(self.uniforms[row], 0, 0.0, 1.0, self.seeds[row], _STREAM + block)
        return np.asarray(self.uniforms[rows, at])


def _seed_of_global_stream() -> int:
    """53 random bits of the next place in the global stream."""
    fraction = np.empty(1)
    _C.random_fill(fraction, 0, 0.0, 1.0, *_random.next_key())
    return int(fraction[0] * 2.0**53)
