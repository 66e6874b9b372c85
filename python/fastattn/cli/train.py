"""`fastattn train` and `finetune`: from flags to a run folder."""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastattn.train import History, TrainConfig, Trainer, progress_for
from fastattn.train.progress import clock

from . import INTERRUPTED, UsageError, device_of
from .info import cpu_name, gpu
from .recipes import Data, Recipe
from .recipes.recipe import parameters
from .runs import Printer, Settings, new_folder

if TYPE_CHECKING:
    from fastattn._device import device

__all__ = ["INTERRUPTED", "run"]


@dataclass(frozen=True)
class Common:
    """The flags of every kind that are no settings of the training: where, and what is shown."""

    resume: Path | None = None
    out: Path | None = None
    config: Path | None = None
    threads: int | None = None
    device: str | None = None
    quiet: bool = False
    json: bool = False


def run(recipe: Recipe, common: Common, given: Mapping[str, Any]) -> History:
    """Trains as the flags say; returns the history. `given` are the settings that were asked for, by their names."""
    say = Printer(sys.stderr if common.json else sys.stdout, common.quiet)
    if common.threads is not None:
        import fastattn

        fastattn.set_num_threads(common.threads)
    if common.device is not None:
        device_of(common.device)
    if common.resume is None:
        wanted = with_file(recipe, common.config, given)
        options, config = settings_of(recipe, wanted)
        if config.dtype == "float64" and (common.device or "").startswith("cuda"):
            msg = "--dtype float64 has no kernels on a GPU; pass float32 or bfloat16, or --device cpu"
            raise UsageError(msg)
        data = recipe.load(options)
        task = recipe.task(options, data)
        config = config.for_samples(task.num_samples)
        if "warmup" not in wanted:  # a short run must not end before its warm-up does
            config = dataclasses.replace(config, warmup=min(config.warmup, config.steps // 10))
        settings = Settings(recipe.name, options, data.sizes, task.fingerprint(), config, common.device or "cpu")
        trainer = build(settings, task, None, common)
        folder = new_folder(common.out)
        if data.vocabulary is not None:
            data.vocabulary.save(folder / data.vocabulary.filename)
        settings.save(folder)
        trainer.folder = folder
    else:
        trainer, settings, data = resumed(common.resume, common, given)
    introduce(say, trainer, settings, data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = trainer.fit()
    for warning in caught:
        print(f"fastattn: {warning.message}", file=sys.stderr)
    conclude(say, common, trainer, settings, data)
    return history


def resumed(folder: Path, common: Common, given: Mapping[str, Any]) -> tuple[Trainer, Settings, Data]:
    """The run of a folder, as it stands."""
    settings = Settings.load(folder)
    recipe = settings.recipe
    ours = {f.name for f in dataclasses.fields(settings.options) if f.metadata.get("free")}
    options = dataclasses.replace(settings.options, **{name: v for name, v in given.items() if name in ours})
    settings = dataclasses.replace(settings, options=options)
    data = recipe.load(options)
    task = recipe.task(options, data)
    if task.fingerprint() != settings.fingerprint:
        msg = f"{data.source} is not the text that {folder} was started with"
        raise ValueError(msg if recipe.name == "gpt" else msg.replace("the text that", "what"))
    if data.vocabulary is not None:
        data.vocabulary = type(data.vocabulary).load(folder / data.vocabulary.filename)
    trainer = build(settings, task, folder, common)
    trainer.resume()
    return trainer, settings, data


def with_file(recipe: Recipe, path: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a TOML file, and over them those of the flags."""
    if path is None:
        return dict(given)
    if not path.is_file():
        msg = f"no such config file: {path}"
        raise FileNotFoundError(msg)
    try:
        values = {name.replace("-", "_"): value for name, value in tomllib.loads(path.read_text()).items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not TOML: {error}"
        raise UsageError(msg) from None
    fields = {f.name: f for kind in (recipe.options, TrainConfig) for f in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            msg = f"{path}: {recipe.name} has no setting {name!r}.{hint}"
            raise UsageError(msg)
        values[name] = as_field(f"{path}: {name}", fields[name], value)
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if one in given:  # a flag takes the place of its counterpart
            values.pop(other, None)
    return values | dict(given)


def as_field(what: str, field: Any, value: Any) -> Any:
    """A value of a file as its field's type."""
    kind = str(field.type)
    if "Path" in kind and isinstance(value, str):
        return Path(value)
    if "float" in kind and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    names = {"int": int, "float": float, "str": str, "bool": bool}
    wanted = [names[part] for part in kind.split(" | ") if part in names]
    if type(value) not in wanted:
        msg = f"{what} is {value!r}; expected {kind.replace(' | None', '').replace('Path', 'a path')}"
        raise UsageError(msg)
    limits = field.metadata
    if ("min" in limits and value < limits["min"]) or ("max" in limits and value > limits["max"]):
        expected = " and ".join(f"at {m} {limits[k]}" for k, m in (("min", "least"), ("max", "most")) if k in limits)
        msg = f"{what} is {value!r}; expected {expected}"
        raise UsageError(msg)
    if value not in limits.get("choices", (value,)):
        msg = f"{what} is {value!r}; expected {' or '.join(limits['choices'])}"
        raise UsageError(msg)
    return value


def settings_of(recipe: Recipe, given: Mapping[str, Any]) -> tuple[Any, TrainConfig]:
    """The kind's options and the training's settings: its defaults, and what was asked for instead."""
    if "steps" in given and "epochs" in given:
        msg = "--steps and --epochs say the same thing; pass one of them"
        raise UsageError(msg)
    mine = {f.name for f in dataclasses.fields(recipe.options)}
    options = recipe.options(**{name: value for name, value in given.items() if name in mine})
    changes = {name: value for name, value in given.items() if name not in mine}
    if "steps" in changes:
        changes["epochs"] = None
    try:
        config = dataclasses.replace(recipe.defaults, **changes)
    except ValueError as error:
        raise UsageError(str(error).removeprefix("TrainConfig: ")) from None
    return options, recipe.config(options, config, set(given))


def build(settings: Settings, task: Any, folder: Path | None, common: Common) -> Trainer:
    """The trainer of a model with its initial weights, which are drawn on the CPU for every device."""
    import fastattn

    where = device_of(common.device or settings.device)
    fastattn.manual_seed(settings.train.seed)
    model = settings.recipe.build(settings.options, settings.sizes).to(where)
    progress = progress_for(common.quiet, sys.stderr if common.json else sys.stdout)
    return Trainer(model, task, settings.train, folder=folder, progress=progress)


def introduce(say: Printer, trainer: Trainer, settings: Settings, data: Data) -> None:
    """Says what the run is and what it runs on."""
    config, recipe, options = trainer.config, settings.recipe, settings.options
    say(f"device   {described(next(trainer.model.parameters()).device)}")
    for line in data.facts:
        say(line)
    say(f"model    {recipe.noun}, {recipe.shape(options)}, {parameters(trainer.model):,} parameters")
    say(
        f"training {recipe.training(config, trainer.task, options)}, {config.dtype}, learning rate {config.lr:g}, "
        f"seed {config.seed}"
    )
    say(f"folder   {trainer.folder}")
    if trainer.step:
        say(f"resumed after step {trainer.step} of {config.steps}")
    say()


def described(where: device) -> str:
    """What a run runs on."""
    from fastattn import _C

    if where.type == "cuda":
        return gpu(where.index or 0)
    threads = _C.num_threads()
    return f"{cpu_name()}, {_C.isa_active()}, {threads} thread{'s' * (threads != 1)}"


def conclude(say: Printer, common: Common, trainer: Trainer, settings: Settings, data: Data) -> None:
    """Says what came of the run."""
    config, history, unit = trainer.config, trainer.history, trainer.task.unit
    text = ""
    if history.interrupted:
        say(f"\nstopped after step {trainer.step} of {config.steps}")
        say(f"go on with: fastattn train --resume {trainer.folder}")
    else:
        say()
        for line in settings.recipe.outcome(trainer, settings.options):
            say(line)
        seconds = trainer.seconds
        say(f"trained on {trainer.seen:,} {unit} in {clock(seconds)} ({trainer.seen / seconds:,.0f} {unit}/s)")
        title, text = settings.recipe.sample(trainer.result, data, settings.options, config.seed)
        if title:
            say(f"\n{title}\n{text}\n")
        assert trainer.folder is not None
        files = sorted(path.name for path in trainer.folder.iterdir() if path.suffix != ".tmp")
        say(f"wrote {trainer.folder}: {', '.join(files)}")
    if common.json:
        result: dict[str, Any] = {
            "kind": settings.kind,
            "folder": str(trainer.folder),
            "step": trainer.step,
            "steps": config.steps,
            "interrupted": history.interrupted,
            unit: trainer.seen,
            "loss": history.rows[-1].loss if history.rows else None,
            **{f"val_{name}": value for name, value in history.measures.items()},
            "seconds": trainer.seconds,
            "device": str(next(trainer.model.parameters()).device),
            "sample": text,
        }
        print(json.dumps(result))
