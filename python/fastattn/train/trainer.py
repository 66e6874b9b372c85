"""The training loop, of every task."""

from __future__ import annotations

import copy
import functools
import math
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn import _random, cuda
from fastattn.autograd import no_grad
from fastattn.io import Checkpoint, load_checkpoint, save_checkpoint, save_model, save_pretrained
from fastattn.models.pretrained import PretrainedModel
from fastattn.nn.blocks import set_gradient_checkpointing

from .averaging import Averaged, weights_of
from .checks import NonFiniteError, first_nonfinite, nonfinite_gradients
from .config import TrainConfig
from .history import History, Row
from .prefetch import Prefetch
from .progress import Progress
from .signals import StopRequest
from .task import Task, parts

if TYPE_CHECKING:
    from fastattn.nn import Module
    from fastattn.optim import AdamW


class Trainer:
    """Trains a model on a task, with AdamW, warm-up and a schedule.

    The run is a function of model, task and config: nothing that it computes depends on threads, on the clock, or on
    having been stopped and resumed.

    Args:
        model: the model; cast to the config's dtype, in place. The run is where its parameters are.
        task: data, loss and measures: LanguageModeling, MaskedLanguageModeling, Classification, Translation, or a Task of
            your own.
        config: the settings.
        folder: where checkpoint.safetensors, history.csv, loss.png, model.safetensors and config.json go, or
            None.
        progress: what shows the run; default nothing.

    Raises:
        ValueError: a model that the task does not fit.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> fa.manual_seed(0)
        >>> model = fa.models.GPT(fa.models.GPTConfig(vocab_size=4, n_positions=8, n_embd=8, n_layer=1, n_head=2))
        >>> task = fa.train.LanguageModeling(np.arange(400) % 4, np.arange(40) % 4, context=8)
        >>> config = fa.train.TrainConfig(steps=20, batch_size=4, lr=0.03, warmup=2)
        >>> history = fa.train.Trainer(model, task, config).fit()
        >>> history.rows[-1].step, history.val_loss < 1.3
        (20, True)

    Source: Radford et al., "Language models are unsupervised multitask learners" (2019).
    """

    def __init__(
        self,
        model: Module,
        task: Task,
        config: TrainConfig,
        *,
        folder: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        task.check(model)
        self.model, self.task = model.to(np.dtype(config.dtype)), task
        self.config = config = config.for_samples(task.num_samples)
        if config.gradient_checkpointing:
            set_gradient_checkpointing(model)
        self.batch = task.sampler(config.batch_size, config.seed)
        self._batches = Prefetch(self.batch, config.steps) if task.prefetch else None
        self.optimizer = make_optimizer(model, config)
        self.averaged = Averaged(model, config.ema) if config.ema else None
        self.folder = None if folder is None else Path(folder)
        self.progress = progress or Progress()
        self.step = self.seen = 0
        self.seconds = 0.0
        self.history = History()
        # Early stopping: the weights of the best evaluation, its measure, and how many came after it.
        self.best: dict[str, Any] = {}
        self._best_value: float | None = None
        self._since_best = 0
        # What the next row is made of: losses, sizes and time of the steps since the last one.
        self._losses: list[float] = []
        self._row_seen = 0
        self._row_seconds = 0.0
        self._grad_norm = 0.0
        self._memory: int | None = None

    @property
    def done(self) -> bool:
        """Whether there is no step to come: the last was taken, or nothing has become better for too long."""
        return self.step >= self.config.steps or 0 < self.config.patience <= self._since_best

    @property
    def evaluated(self) -> Module:
        """What is evaluated: the model, or the mean of its weights."""
        return self.averaged.model if self.averaged else self.model

    @property
    def result(self) -> Module:
        """What the run is for, and the folder gets: with early stopping the model of the best evaluation, else the last."""
        if not self.best:
            return self.evaluated
        found = copy.deepcopy(self.evaluated)
        found.load_state_dict(self.best)
        return found

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
        self.progress.start(self.config.steps, self.step, self.task.unit)
        try:
            with StopRequest() as stop:
                while not self.done and not stop.requested:
                    self._train_step()
                    self._record()
                    every = self.config.checkpoint_every
                    if every and self.step % every == 0 and not self.done:
                        self.save_checkpoint()
                self.history.interrupted = not self.done
                self.save()
        except NonFiniteError:
            self.save_history()
            raise
        finally:
            self.progress.close()
            if self._batches:
                self._batches.close()
        return self.history

    def _train_step(self) -> None:
        """One batch: forward, backward, clip, update. Everything is checked before the parameters change."""
        started = time.perf_counter()
        batch = (self._batches or self.batch)(self.step)
        pieces = parts(batch, self.config.accumulate)
        weights = [self.task.weight(piece) for piece in pieces]
        value = 0.0
        for piece, weight in zip(pieces, weights, strict=True):
            # Of a whole batch the loss is as it is: no rounding by a factor of 1.
            value += self._backward(piece, weight / sum(weights) if len(pieces) > 1 else None)
        self._penalise()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate(self.step)
        self._grad_norm = self.optimizer.clip_and_step(self.config.grad_clip or math.inf)
        if not math.isfinite(self._grad_norm):
            names = nonfinite_gradients(self.model)
            self._stop(f"the gradient of {', '.join(names) or 'the model'}", names[0] if names else "")
        self.optimizer.zero_grad()
        if self.averaged:
            self.averaged.update(self.model, self.step)
        self.step += 1
        size = self.task.size(batch)
        self.seen += size
        self._row_seen += size
        self._losses.append(value)
        taken = time.perf_counter() - started
        self.seconds += taken
        self._row_seconds += taken
        self.progress.step(self.step)

    def _backward(self, batch: Any, share: float | None) -> float:
        """Adds the gradients of a batch, or of a part of one; returns its share of the loss."""
        random = _random.get_rng_state()
        loss = self.task.loss(self.model, batch, self.config.label_smoothing)
        value = float(loss.item())
        if not math.isfinite(value):
            _random.set_rng_state(random)  # the same dropout as in the pass that failed
            where = first_nonfinite(self.model, *self.task.inputs(self.model, batch))
            self._stop(f"the output of {where}" if where else f"the loss ({value})", where or "")
        self._watch_memory()
        if share is None:
            loss.backward()
            return value
        (loss * share).backward()
        return value * share

    def _penalise(self) -> None:
        """Adds the gradients of l1 |w| and l2 w^2 / 2."""
        l1, l2 = self.config.l1, self.config.l2
        if not (l1 or l2):
            return
        with no_grad():
            for p in self.model.parameters():
                if p.ndim >= 2 and p.grad is not None:
                    if l1:
                        p.grad.add_(p.detach().sign(), alpha=l1)
                    if l2:
                        p.grad.add_(p.detach(), alpha=l2)

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
        measures: dict[str, float] = {}
        if evaluating:
            limit = None if last else config.eval_samples or None
            measures = self.task.evaluate(self.evaluated, config.batch_size, limit)
            if config.patience:
                self._compare(measures[self.task.primary])
        row = Row(
            step=self.step,
            seen=self.seen,
            loss=math.fsum(self._losses) / len(self._losses),
            val=measures,
            lr=config.learning_rate(self.step - 1),
            grad_norm=self._grad_norm,
            per_second=self._row_seen / self._row_seconds,
            seconds=self.seconds,
            memory=self._memory,
        )
        self._losses, self._row_seen, self._row_seconds, self._memory = [], 0, 0.0, None
        self.history.rows.append(row)
        self.progress.row(row)
        if evaluating:
            self.save_history()

    def _compare(self, value: float) -> None:
        """Keeps the weights where an evaluation is better than all before it."""
        before = self._best_value
        if before is None or (value > before if self.task.higher_is_better else value < before):
            self.best, self._best_value, self._since_best = weights_of(self.evaluated), value, 0
        else:
            self._since_best += 1

    def save(self) -> None:
        """Writes checkpoint, history, picture and model to the folder, if there is one."""
        if self.folder is None:
            return
        self.save_checkpoint()
        if isinstance(self.model, PretrainedModel):
            save_pretrained(self.result, self.folder)  # type: ignore[arg-type]
        else:
            save_model(self.result, self.folder / "model.safetensors")
        if self.history.rows:
            try:
                self.history.plot(self.folder / "loss.png", self.task.unit)
            except ImportError as error:
                warnings.warn(str(error), stacklevel=2)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The task's, which is computed once."""
        return self.task.fingerprint()

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
            "task": type(self.task).__name__,
            "fingerprint": self.fingerprint,
            "seen": self.seen,
            "row_seen": self._row_seen,
            "best_value": self._best_value,
            "since_best": self._since_best,
            "losses": self._losses,
            "row_seconds": self._row_seconds,
            "seconds": self.seconds,
            "grad_norm": self._grad_norm,
        }
        tensors = {f"best.{name}": value for name, value in self.best.items()}
        if self.averaged:
            tensors |= {f"ema.{name}": value for name, value in weights_of(self.averaged.model).items()}
        checkpoint = Checkpoint(self.step, data, self.history.to_json(), tensors=tensors)
        save_checkpoint(self.folder / "checkpoint.safetensors", self.model, self.optimizer, checkpoint)
        self.save_history()

    def resume(self) -> None:
        """Goes back to the folder's checkpoint; to the start where none was written yet.

        history.csv is rewritten to what was recorded by then.

        Raises:
            ValueError: the checkpoint is damaged, of another model, or of a run on other data.
        """
        if self.folder is None:
            msg = "Trainer: without a folder there is nothing to resume"
            raise ValueError(msg)
        for leftover in self.folder.glob(".*.tmp"):  # of a write that was killed
            leftover.unlink(missing_ok=True)
        path = self.folder / "checkpoint.safetensors"
        if path.exists():
            checkpoint = load_checkpoint(path, self.model, self.optimizer)
            data = checkpoint.data
            if (data.get("task"), data.get("fingerprint")) != (type(self.task).__name__, self.fingerprint):
                msg = f"{path} is of a run on other data"
                raise ValueError(msg)
            self.step, self.seen = checkpoint.step, data["seen"]
            self.history = History.from_json(checkpoint.history)
            self._losses = list(data["losses"])
            self._row_seen, self._row_seconds = data["row_seen"], data["row_seconds"]
            self._grad_norm, self.seconds = data["grad_norm"], data["seconds"]
            self._best_value, self._since_best = data["best_value"], data["since_best"]
            self.best = extra(checkpoint.tensors, "best.")
            if self.averaged:
                self.averaged.model.load_state_dict(extra(checkpoint.tensors, "ema."))
        self.save_history()


def extra(tensors: Any, prefix: str) -> dict[str, Any]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def make_optimizer(model: Module, config: TrainConfig) -> AdamW:
    """AdamW with two groups: weight decay for matrices, none for biases and norms."""
    from fastattn.optim import AdamW

    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2))
