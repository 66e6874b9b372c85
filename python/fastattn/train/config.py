"""What a training run is made of, beside model and data."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# float16 has too little range for gradients that nothing scales.
DTYPES = ("float32", "bfloat16", "float64")
SCHEDULES = ("cosine", "linear", "constant")


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run. The defaults are what docs/training.md found for the default text.

    Args:
        steps: optimizer steps.
        epochs: instead of `steps`: how often each sample is trained on.
        batch_size: samples a step: windows, images, sentences.
        accumulate: parts in which a batch goes through the model, one after the other; their gradients are added up. It
            takes less memory, and changes the result by roundings alone.
        lr: learning rate at its highest, after the warm-up.
        min_lr: learning rate at the end, as a part of `lr`.
        schedule: from there to there: "cosine", "linear" or "constant".
        warmup: steps over which the learning rate grows linearly from lr / warmup.
        beta1, beta2: AdamW's decay rates of the moments.
        weight_decay: AdamW's; applied to tensors of two or more axes, not to biases and norms.
        l1, l2: these times the sum of |w|, and of w^2 / 2, are added to what is minimised, of tensors of two or more axes;
            the losses that are shown are without.
        label_smoothing: part of a target's probability that is spread over all classes in training.
        ema: decay of the running mean of the weights, which then is what is evaluated and kept; 0: the weights themselves.
            It is (1 + n) / (10 + n) in step n at most.
        grad_clip: the norm that the gradient is scaled down to, over all parameters; 0 for none.
        log_every: steps between rows of the history.
        eval_every: steps between evaluations; 0 for the one at the end.
        eval_samples: held-out samples that an evaluation before the end looks at, at most, evenly spread; 0: all.
        patience: evaluations without a better primary measure after which the run ends; what is kept then is the model of
            the best evaluation. 0: it goes on to the last step.
        checkpoint_every: steps between checkpoints; 0 for the one at the end.
        gradient_checkpointing: in training keep of each layer of a Transformer only what goes in, and compute the rest
            again for the gradient: less memory, about a third more time, the same bits.
        dtype: what the model is trained in: "float32", "bfloat16" or "float64". With bfloat16, weights, activations and
            gradients have 16 bits; statistics, the optimizer's state and its masters of the weights have 32.
        seed: of the initial weights, the batches and dropout; 0 to 2^64 - 1.

    Raises:
        ValueError: a value out of its range, named.

    Example:
        >>> import fastattn as fa
        >>> config = fa.train.TrainConfig(steps=100, warmup=10, lr=1.0)
        >>> [config.learning_rate(step) for step in (0, 9, 55)]
        [0.1, 1.0, 0.5]

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), section 3; "SGDR" (2017), section 3.
    Szegedy et al., "Rethinking the Inception architecture" (2016), section 7, of label smoothing; Polyak and Juditsky,
    "Acceleration of stochastic approximation by averaging" (1992), of the mean of the weights.
    """

    steps: int = 3000
    epochs: float | None = None
    batch_size: int = 8
    accumulate: int = 1
    lr: float = 4e-3
    min_lr: float = 0.0
    schedule: str = "cosine"
    warmup: int = 150
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.1
    l1: float = 0.0
    l2: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    grad_clip: float = 1.0
    log_every: int = 10
    eval_every: int = 250
    eval_samples: int = 512
    patience: int = 0
    checkpoint_every: int = 250
    gradient_checkpointing: bool = False
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            *((name, 1) for name in ("steps", "batch_size", "accumulate", "log_every")),
            *((name, 0) for name in ("warmup", "eval_every", "eval_samples", "patience", "checkpoint_every", "seed")),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                self._refuse(name, f"an integer of at least {least}")
        if self.seed >= 2**64:
            self._refuse("seed", "an integer of 0 to 2^64 - 1")
        if self.accumulate > self.batch_size:
            self._refuse("accumulate", f"at most batch_size, {self.batch_size}")
        if self.epochs is not None and not 0.0 < self.epochs < math.inf:
            self._refuse("epochs", "a positive number, or None")
        for name in ("lr", "weight_decay", "l1", "l2", "grad_clip"):
            if not 0.0 <= getattr(self, name) < math.inf:
                self._refuse(name, "a finite number of at least 0")
        for name in ("beta1", "beta2", "ema", "label_smoothing"):
            if not 0.0 <= getattr(self, name) < 1.0:
                self._refuse(name, "a number of at least 0 and under 1")
        if self.dtype not in DTYPES:
            self._refuse("dtype", f"one of {', '.join(DTYPES)}")
        if self.schedule not in SCHEDULES:
            self._refuse("schedule", f"one of {', '.join(SCHEDULES)}")
        if not 0.0 <= self.min_lr <= 1.0:
            self._refuse("min_lr", "a part of lr, 0 to 1")

    def _refuse(self, name: str, expected: str) -> None:
        msg = f"TrainConfig: {name} is {getattr(self, name)!r}; expected {expected}"
        raise ValueError(msg)

    def for_samples(self, num_samples: int) -> TrainConfig:
        """This config with its epochs as steps, for as many samples."""
        if self.epochs is None:
            return self
        return replace(self, steps=math.ceil(self.epochs * num_samples / self.batch_size), epochs=None)

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0: linear warm-up, then by the schedule to min_lr * lr."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.schedule == "constant":
            return self.lr
        left = 1.0 - done if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
        return self.lr * (self.min_lr + (1.0 - self.min_lr) * left)
