"""What a training run is made of, beside model and data."""

from __future__ import annotations

import math
from dataclasses import dataclass

# float16 has too little range for gradients that nothing scales.
DTYPES = ("float32", "bfloat16", "float64")


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run. The defaults are what docs/training.md found for the default text.

    Args:
        steps: optimizer steps.
        batch_size: windows a step.
        context: tokens a window.
        lr: learning rate at its highest, after the warm-up.
        min_lr: learning rate at the end, as a part of `lr`.
        warmup: steps over which the learning rate grows linearly from lr / warmup.
        beta1, beta2: AdamW's decay rates of the moments.
        weight_decay: AdamW's; applied to tensors of two or more axes, not to biases and norms.
        grad_clip: the norm that the gradient is scaled down to, over all parameters; 0 for none.
        log_every: steps between rows of the history.
        eval_every: steps between evaluations; 0 for the one at the end.
        eval_tokens: held-out tokens that an evaluation before the end looks at, at most, evenly spread.
        checkpoint_every: steps between checkpoints; 0 for the one at the end.
        dtype: what the model is trained in: "float32", "bfloat16" or "float64". With bfloat16, weights, activations and
            gradients have 16 bits; statistics, the optimizer's state and its masters of the weights have 32.
        seed: of the initial weights, the batches and dropout; 0 to 2^64 - 1.

    Raises:
        ValueError: a value out of its range, named.

    Example:
        >>> import fastattn as fa
        >>> config = fa.train.TrainConfig(steps=100, batch_size=8, context=64)
        >>> config.tokens
        51200

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), section 3; "SGDR" (2017), section 3.
    """

    steps: int = 3000
    batch_size: int = 8
    context: int = 128
    lr: float = 4e-3
    min_lr: float = 0.0
    warmup: int = 150
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.1
    grad_clip: float = 1.0
    log_every: int = 10
    eval_every: int = 250
    eval_tokens: int = 65536
    checkpoint_every: int = 250
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            *((name, 1) for name in ("steps", "batch_size", "context", "log_every", "eval_tokens")),
            *((name, 0) for name in ("warmup", "eval_every", "checkpoint_every", "seed")),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                self._refuse(name, f"an integer of at least {least}")
        if self.seed >= 2**64:
            self._refuse("seed", "an integer of 0 to 2^64 - 1")
        for name in ("lr", "weight_decay", "grad_clip"):
            if not 0.0 <= getattr(self, name) < math.inf:
                self._refuse(name, "a finite number of at least 0")
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                self._refuse(name, "a number of at least 0 and under 1")
        if self.dtype not in DTYPES:
            self._refuse("dtype", f"one of {', '.join(DTYPES)}")
        if not 0.0 <= self.min_lr <= 1.0:
            self._refuse("min_lr", "a part of lr, 0 to 1")

    def _refuse(self, name: str, expected: str) -> None:
        msg = f"TrainConfig: {name} is {getattr(self, name)!r}; expected {expected}"
        raise ValueError(msg)

    @property
    def tokens_per_step(self) -> int:
        """Tokens that a step trains on."""
        return self.batch_size * self.context

    @property
    def tokens(self) -> int:
        """Tokens that the run trains on."""
        return self.steps * self.tokens_per_step

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0: linear warm-up, then half a cosine down to min_lr * lr."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (self.min_lr + (1.0 - self.min_lr) * 0.5 * (1.0 + math.cos(math.pi * done)))
