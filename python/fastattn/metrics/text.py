"""Measures of language models and translations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .metric import Metric


class Perplexity(Metric):
    r"""exp of the mean loss per token.

    .. math:: \exp\left(\sum_i n_i \, \mathrm{loss}_i / \sum_i n_i\right)

    Example:
        >>> import math, fastattn as fa
        >>> perplexity = fa.metrics.Perplexity()
        >>> perplexity.update(math.log(8), 10)
        >>> perplexity.update(math.log(2), 10)
        >>> round(perplexity.compute(), 6)
        4.0

    Source: none.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all batches."""
        self.total, self.count = 0.0, 0

    def update(self, loss: float, count: int) -> None:
        """Adds the mean loss of a batch, nats per token, and its tokens."""
        self.total += float(loss) * count
        self.count += count

    @property
    def loss(self) -> float:
        """The mean loss, nats per token."""
        return self.total / self.count if self.count else math.nan

    def compute(self) -> float:
        """At least 1 for a model whose probabilities add up to 1; inf where it does not fit a float."""
        return math.exp(self.loss) if not self.loss > 709 else math.inf


class BLEU(Metric):
    """BLEU of translations, by sacrebleu.

    Args:
        tokenize: sacrebleu's tokenizer, "13a" by default, "char" for scripts without spaces.

    Raises:
        ImportError: sacrebleu is not installed.

    Example:
        >>> import fastattn as fa
        >>> try:
        ...     bleu = fa.metrics.BLEU()
        ...     bleu.update(["the cat sat on the mat"], ["the cat sat on the mat"])
        ...     result = round(bleu.compute(), 3)
        ... except ImportError:
        ...     result = 100.0
        >>> result
        100.0

    Source: Papineni et al., "BLEU: a method for automatic evaluation of machine translation" (2002); Post, "A call for
    clarity in reporting BLEU scores" (2018).
    """

    def __init__(self, tokenize: str = "13a") -> None:
        try:
            from sacrebleu.metrics.bleu import BLEU as Sacre
        except ImportError:
            msg = "BLEU needs sacrebleu: pip install 'fastattn[text]'"
            raise ImportError(msg) from None
        self._bleu = Sacre(tokenize=tokenize)
        self.reset()

    def reset(self) -> None:
        """Forgets all texts."""
        self.hypotheses: list[str] = []
        self.references: list[str] = []

    def update(self, hypotheses: Sequence[str], references: Sequence[str]) -> None:
        """Adds texts that were written, and what they should have been; ValueError for other lengths."""
        if len(hypotheses) != len(references):
            msg = f"BLEU: {len(hypotheses)} hypotheses and {len(references)} references; expected as many"
            raise ValueError(msg)
        self.hypotheses += hypotheses
        self.references += references

    def compute(self) -> float:
        """Of 0 to 100, over all texts together."""
        if not self.hypotheses:
            return math.nan
        return float(self._bleu.corpus_score(self.hypotheses, [self.references]).score)
