"""Beam search: the likeliest continuation as a whole, of the few that are kept at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn.autograd.node import no_grad
from fastattn.nn.utils import evaluation

from .config import GenerationConfig
from .decoding import ROOM, Ids, as_logits

if TYPE_CHECKING:
    from .mixin import GenerationMixin


def beam_search(model: GenerationMixin, prompts: Sequence[Ids], config: GenerationConfig) -> list[list[int]]:
    r"""The tokens that continue each prompt best, of `num_beams` candidates a row.

    .. math:: \mathrm{score} = \sum_t \log p(y_t \mid y_{<t}) / n^{\mathrm{length\_penalty}}

    Source: Graves, "Sequence transduction with recurrent neural networks" (2012), algorithm 1; transformers' rules of when a
    row is done, and of which candidates count.
    """
    limit = model.context_length
    longest = max(map(len, prompts), default=0) + config.max_new_tokens
    if limit is not None and longest > limit:
        msg = f"generate: num_beams {config.num_beams} with up to {longest} tokens a row; expected at most {limit}"
        raise ValueError(msg)
    found: list[list[int]] = [[] for _ in prompts]
    lengths = np.array([len(prompt) for prompt in prompts])
    with evaluation(model), no_grad():  # type: ignore[arg-type]  # the models that mix it in are modules
        for length in np.unique(lengths):  # those of one length at a time, without padding
            rows = np.flatnonzero(lengths == length)
            search = _Search(model, np.stack([prompts[row] for row in rows.tolist()]), config)
            for row, tokens in zip(rows.tolist(), search.run(), strict=True):
                found[row] = tokens
    return found


class _Search:
    """Prompts of one length: their beams, the sequences that have ended, and the cache with a row for each beam."""

    def __init__(self, model: GenerationMixin, ids: Ids, config: GenerationConfig) -> None:
        self.model, self.ids, self.config = model, ids, config
        count, beams = len(ids), config.num_beams
        self.live = np.arange(count)  # the rows that are not done
        self.tokens = np.zeros((count, beams, 0), np.int64)
        self.scores = np.full((count, beams), -np.inf)  # all beams of a row begin alike, so all but one are out
        self.scores[:, 0] = 0.0
        self.ended: list[list[tuple[float, list[int]]]] = [[] for _ in ids]  # (score, tokens), the best first

    def run(self) -> list[list[int]]:
        """The best tokens of each row."""
        config, beams = self.config, self.config.num_beams
        if not config.max_new_tokens:
            return [[] for _ in self.ids]
        cache = self.model.new_cache(self.ids.shape[1] + min(config.max_new_tokens, ROOM))
        logits = as_logits(self.model.next_logits(self.ids, cache)).repeat(beams, 0)
        origin = np.arange(len(self.ids)).repeat(beams)
        for step in range(config.max_new_tokens):
            chosen = self._extend(logits, step)
            if not len(self.live):
                break
            for layer in cache:
                layer.reorder(origin[chosen])
            origin = np.arange(len(chosen))
            logits = as_logits(self.model.next_logits(self.tokens[:, :, -1].reshape(-1, 1), cache))
        return [best[0][1] for best in self.ended]

    def _extend(self, logits: Any, step: int) -> Ids:
        """One more token for every beam; returns which beams, of all of the live rows, those kept come from."""
        config, beams, rows = self.config, self.config.num_beams, len(self.live)
        total = (self.scores[:, :, None] + self._log_softmax(logits, step).reshape(rows, beams, -1)).reshape(rows, -1)
        vocabulary = total.shape[1] // beams
        # So many that enough go on, whatever number of them ends.
        keep = min(max(2, 1 + len(config.eos_token_ids)) * beams, total.shape[1])
        top = np.argpartition(-total, keep - 1, axis=1)[:, :keep]
        score = np.take_along_axis(total, top, 1)
        order = np.argsort(-score, axis=1, kind="stable")
        top, score = np.take_along_axis(top, order, 1), np.take_along_axis(score, order, 1)
        beam, token = np.divmod(top, vocabulary)
        ends = np.isin(token, config.eos_token_ids) | (step == config.max_new_tokens - 1)
        for i, row in enumerate(self.live.tolist()):
            for j in np.flatnonzero(ends[i, :beams] & np.isfinite(score[i, :beams])):
                text = [*self.tokens[i, beam[i, j]].tolist(), int(token[i, j])]
                self.ended[row].append((float(score[i, j]) / (step + 1) ** config.length_penalty, text))
            self.ended[row].sort(key=lambda one: -one[0])
            del self.ended[row][beams:]
        on = np.argsort(-np.where(ends, -np.inf, score), axis=1, kind="stable")[:, :beams]
        score, beam, token = (np.take_along_axis(x, on, 1) for x in (np.where(ends, -np.inf, score), beam, token))
        best = zip(self.live.tolist(), score[:, 0].tolist(), strict=True)
        going = np.array([not self._is_done(row, highest, step + 1) for row, highest in best])
        at = (np.arange(rows)[:, None] * beams + beam)[going].reshape(-1)
        before = self.tokens.reshape(rows * beams, step)[at].reshape(int(going.sum()), beams, step)
        self.tokens = np.concatenate([before, token[going][:, :, None]], 2)
        self.scores, self.live = score[going], self.live[going]
        return np.asarray(at)

    def _is_done(self, row: int, best: float, length: int) -> bool:
        """Whether nothing better is to be expected of a row whose best beam has the score `best`."""
        if not np.isfinite(best):
            return True
        ended = self.ended[row]
        if len(ended) < self.config.num_beams:
            return False
        return self.config.early_stopping or best / length**self.config.length_penalty <= ended[-1][0]

    def _log_softmax(self, logits: Any, step: int) -> Any:
        x = logits.astype(np.float64)
        largest = x.max(-1, keepdims=True)
        alive = np.isfinite(self.scores).reshape(-1)
        if not np.isfinite(largest[alive]).all():
            msg = f"generate: the logits of a beam are not finite after {step} new tokens"
            raise RuntimeError(msg)
        with np.errstate(invalid="ignore"):
            x -= largest
            return x - np.log(np.exp(x).sum(-1, keepdims=True))
