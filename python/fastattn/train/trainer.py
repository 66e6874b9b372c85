"""The training loop of causal language models."""

from __future__ import annotations

import math
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn import _random, cuda
from fastattn.data import WindowSampler
from fastattn.io import Checkpoint, load_checkpoint, save_checkpoint, save_pretrained

from .checks import NonFiniteError, first_nonfinite, nonfinite_gradients
from .config import TrainConfig
from .evaluate import evaluate, loss_of, with_model
from .history import History, Row
from .progress import Progress
from .signals import StopRequest

if TYPE_CHECKING:
    from fastattn.models import GPT
    from fastattn.optim import AdamW


class Trainer:
    """Trains a model on random windows of a token sequence, with AdamW, warm-up and cosine.

    The run is a function of model, tokens and config: nothing that it computes depends on threads, on the clock, or on
    having been stopped and resumed.

    Args:
        model: from (B, T) token ids to (B, T, vocabulary) logits; cast to the config's dtype, in place. The run is
            where its parameters are.
        train_ids: (N,) integers, the tokens to train on.
        val_ids: (M,) integers, the tokens held out.
        config: the settings.
        folder: where checkpoint.safetensors, history.csv, loss.png, model.safetensors and config.json go, or
            None.
        progress: what shows the run; default nothing.

    Raises:
        ValueError: too few tokens for a window, or a context that the model has no positions for.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.manual_seed(0)
        >>> model = fa.models.GPT(fa.models.GPTConfig(vocab_size=4, n_positions=8, n_embd=8, n_layer=1, n_head=2))
        >>> config = fa.train.TrainConfig(steps=20, batch_size=4, context=8, lr=0.03, warmup=2)
        >>> history = fa.train.Trainer(model, np.arange(400) % 4, np.arange(40) % 4, config).fit()
        >>> history.rows[-1].step, history.val_loss < 1.3
        (20, True)

    Source: Radford et al., "Language models are unsupervised multitask learners" (2019).
    """

    def __init__(
        self,
        model: GPT,
        train_ids: Any,
        val_ids: Any,
        config: TrainConfig,
        *,
        folder: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        if config.context > model.config.n_positions:
            msg = f"Trainer: context {config.context} exceeds the model's n_positions {model.config.n_positions}"
            raise ValueError(msg)
        self.model, self.config, self.val_ids = model.to(np.dtype(config.dtype)), config, val_ids
        self.sampler = WindowSampler(train_ids, config.batch_size, config.context, config.seed)
        self.optimizer = make_optimizer(model, config)
        self.folder = None if folder is None else Path(folder)
        self.progress = progress or Progress()
        self.step = 0
        self.seconds = 0.0
        self.history = History()
        # What the next row is made of: losses and time of the steps since the last one.
        self._losses: list[float] = []
        self._row_seconds = 0.0
        self._grad_norm = 0.0
        self._memory: int | None = None

    def fit(self) -> History:
        """Trains up to the last step of the config, from where the run stands.

        Ctrl-C (and SIGTERM) end it after the step it is in; then too the state is saved.

        Returns:
            The history; its `interrupted` says whether it was stopped.

        Raises:
            NonFiniteError: loss or gradient is NaN or infinite; the parameters are those before that step.
        """
        self.model.train()
        self.history.interrupted = False
        self.progress.start(self.config.steps, self.step)
        try:
            with StopRequest() as stop:
                while self.step < self.config.steps and not stop.requested:
                    self._train_step()
                    self._record()
                    every = self.config.checkpoint_every
                    if every and self.step % every == 0 and self.step < self.config.steps:
                        self.save_checkpoint()
                self.history.interrupted = self.step < self.config.steps
                self.save()
        except NonFiniteError:
            self.save_history()
            raise
        finally:
            self.progress.close()
        return self.history

    def _train_step(self) -> None:
        """One batch: forward, backward, clip, update. Everything is checked before the parameters change."""
        started = time.perf_counter()
        inputs, targets = self.sampler(self.step)
        random = _random.get_rng_state()
        loss = loss_of(self.model, inputs, targets)
        value = loss.item()
        if not math.isfinite(value):
            _random.set_rng_state(random)  # the same dropout as in the pass that failed
            where = first_nonfinite(self.model, with_model(self.model, inputs))
            self._stop(f"the output of {where}" if where else f"the loss ({value})", where or "")
        self._watch_memory()
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate(self.step)
        self._grad_norm = self.optimizer.clip_and_step(self.config.grad_clip or math.inf)
        if not math.isfinite(self._grad_norm):
            names = nonfinite_gradients(self.model)
            self._stop(f"the gradient of {', '.join(names) or 'the model'}", names[0] if names else "")
        self.optimizer.zero_grad()
        self.step += 1
        self._losses.append(value)
        taken = time.perf_counter() - started
        self.seconds += taken
        self._row_seconds += taken
        self.progress.step(self.step)

    def _watch_memory(self) -> None:
        """Looks at the memory of the model's GPU, if it is on one."""
        where = next(self.model.parameters()).device
        if where.type == "cuda":
            self._memory = max(self._memory or 0, cuda.memory_allocated(where))

    def _stop(self, what: str, layer: str) -> None:
        self.optimizer.zero_grad()
        msg = f"training stopped at step {self.step + 1}: {what} is not finite; the weights are those before that step"
        raise NonFiniteError(msg, self.step, layer.partition(" ")[0])

    def _record(self) -> None:
        """Adds a row to the history where one is due."""
        config = self.config
        last = self.step == config.steps
        evaluating = last or (config.eval_every > 0 and self.step % config.eval_every == 0)
        if not evaluating and self.step % config.log_every:
            return
        val_loss = None
        if evaluating:
            limit = None if last else max(1, config.eval_tokens // config.context)
            val_loss = evaluate(self.model, self.val_ids, config.context, config.batch_size, limit)
        row = Row(
            step=self.step,
            tokens=self.step * config.tokens_per_step,
            loss=math.fsum(self._losses) / len(self._losses),
            val_loss=val_loss,
            lr=config.learning_rate(self.step - 1),
            grad_norm=self._grad_norm,
            tokens_per_second=len(self._losses) * config.tokens_per_step / self._row_seconds,
            seconds=self.seconds,
            memory=self._memory,
        )
        self._losses, self._row_seconds, self._memory = [], 0.0, None
        self.history.rows.append(row)
        self.progress.row(row)
        if evaluating:
            self.save_history()

    def save(self) -> None:
        """Writes checkpoint, history, picture and model to the folder, if there is one."""
        if self.folder is None:
            return
        self.save_checkpoint()
        save_pretrained(self.model, self.folder)
        if self.history.rows:
            try:
                self.history.plot(self.folder / "loss.png")
            except ImportError as error:
                warnings.warn(str(error), stacklevel=2)

    def save_history(self) -> None:
        """Writes history.csv."""
        if self.folder is not None:
            self.history.save_csv(self.folder / "history.csv")

    def save_checkpoint(self) -> None:
        """Writes checkpoint.safetensors, and history.csv as of the same step."""
        if self.folder is None:
            return
        data = {
            "seed": self.config.seed,
            "losses": self._losses,
            "row_seconds": self._row_seconds,
            "seconds": self.seconds,
            "grad_norm": self._grad_norm,
        }
        checkpoint = Checkpoint(self.step, data, self.history.to_json())
        save_checkpoint(self.folder / "checkpoint.safetensors", self.model, self.optimizer, checkpoint)
        self.save_history()

    def resume(self) -> None:
        """Goes back to the folder's checkpoint; to the start where none was written yet.

        history.csv is rewritten to what was recorded by then.

        Raises:
            ValueError: the checkpoint is damaged or of another model; nothing is changed.
        """
        if self.folder is None:
            msg = "Trainer: without a folder there is nothing to resume"
            raise ValueError(msg)
        for leftover in self.folder.glob(".*.tmp"):  # of a write that was killed
            leftover.unlink(missing_ok=True)
        path = self.folder / "checkpoint.safetensors"
        if path.exists():
            checkpoint = load_checkpoint(path, self.model, self.optimizer)
            self.step = checkpoint.step
            self.history = History.from_json(checkpoint.history)
            self._losses = list(checkpoint.data["losses"])
            self._row_seconds = checkpoint.data["row_seconds"]
            self._grad_norm = checkpoint.data["grad_norm"]
            self.seconds = checkpoint.data["seconds"]
        self.save_history()


def make_optimizer(model: GPT, config: TrainConfig) -> AdamW:
    """AdamW with two groups: weight decay for matrices, none for biases and norms."""
    from fastattn.optim import AdamW

    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2))
