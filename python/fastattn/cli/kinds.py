"""A command for each kind of model: its flags are the fields of its options and of TrainConfig, with the kind's defaults."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from . import UsageError
from .recipes import DEFAULT, RECIPES, Recipe

# Of TrainConfig, what has a flag; all of it can stand in a --config file.
TRAINING: dict[str, tuple[str, dict[str, Any]]] = {
    "steps": ("Optimizer steps.", {"min": 1}),
    "epochs": ("Instead of --steps: how often each sample is trained on.", {"min": 0.0}),
    "batch_size": ("Samples a step.", {"min": 1}),
    "accumulate": ("Parts in which a batch goes through the model; takes less memory.", {"min": 1}),
    "lr": ("Highest learning rate.", {"min": 0.0}),
    "min_lr": ("The last learning rate, as a part of it.", {"min": 0.0, "max": 1.0}),
    "schedule": ("From the one to the other.", {"choices": ("cosine", "linear", "constant")}),
    "warmup": ("Steps until it is reached.", {"min": 0}),
    "weight_decay": ("Of AdamW, on matrices.", {"min": 0.0}),
    "l1": ("L1 penalty of matrices.", {"min": 0.0}),
    "l2": ("L2 penalty of matrices.", {"min": 0.0}),
    "label_smoothing": ("Part of a target that is spread over all classes.", {"min": 0.0, "max": 1.0}),
    "ema": ("Decay of a mean of the weights, which then is what is kept, 0: none.", {"min": 0.0, "max": 1.0}),
    "grad_clip": ("Largest gradient norm, 0: any.", {"min": 0.0}),
    "eval_every": ("Steps between evaluations, 0: at the end only.", {"min": 0}),
    "patience": ("Evaluations without a better one until the end, 0: go on; keeps the best.", {"min": 0}),
    "checkpoint_every": ("Steps between checkpoints, 0: at the end only.", {"min": 0}),
    "gradient_checkpointing": ("Compute activations of Transformers again for the gradient; takes less memory.", {}),
    "dtype": ("Of weights and activations; with bfloat16, masters are float32.",
              {"choices": ("float32", "bfloat16", "float64")}),
    "seed": ("Of weights, batches and dropout.", {"min": 0}),
}  # fmt: skip


def device_flag(name: str | None) -> str | None:
    """--device as it is; whether there is such a GPU is seen when the command runs."""
    if name is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        msg = f"{name!r} is no device; expected cpu, cuda or cuda:0"
        raise typer.BadParameter(msg)
    return name


COMMON: dict[str, tuple[Any, Any, Any]] = {
    "resume": (Path | None, None, typer.Option(
        metavar="RUN", help="Go on with the run in this folder, with its own settings.")),
    "out": (Path | None, None, typer.Option(metavar="DIR", help="The run folder. [default: runs/DATE-TIME]")),
    "config": (Path | None, None, typer.Option(
        metavar="FILE", help="TOML of settings by the names of flags; flags come before it.")),
    "threads": (int | None, None, typer.Option(
        min=1, help="CPU threads; the result does not depend on it. [default: all cores]")),
    "device": (str | None, None, typer.Option(
        callback=device_flag,
        help="Where the model is: cpu, cuda or cuda:0. [default: cpu; with --resume that of the run]")),
    "quiet": (bool, False, typer.Option("--quiet", help="Print errors only.")),
    "json": (bool, False, typer.Option(
        "--json", help="Print the result as JSON; everything else goes to standard error.")),
}  # fmt: skip


def settings(recipe: Recipe) -> Iterator[tuple[str, Any, str, dict[str, Any]]]:
    """Name, type, help and limits of each setting's flag."""
    hints = typing.get_type_hints(recipe.options)
    for field in dataclasses.fields(recipe.options):
        about = dict(field.metadata)
        yield field.name, hints[field.name], _with_default(about.pop("help"), field.default), about
    defaults, hints = recipe.defaults, typing.get_type_hints(type(recipe.defaults))
    for name, (help, about) in TRAINING.items():
        default = getattr(defaults, name)
        if name == "steps" and defaults.epochs is not None:
            default = None
        yield name, hints[name], _with_default(help, default), dict(about)


def _with_default(help: str, default: Any) -> str:
    if default is None or "[default" in help:
        return help
    return f"{help} [default: {default:g}]" if isinstance(default, float) else f"{help} [default: {default}]"


def command_of(recipe: Recipe, function: Callable[..., None], *, skip: tuple[str, ...] = (), first: Any = ()) -> Any:
    """A function for typer: the flags of a kind; `function` gets the recipe and what was given, by name."""
    parameters = list(first)
    for name, hint, help, about in settings(recipe):
        if name in skip:
            continue
        about.pop("free", None)
        kind = next((part for part in typing.get_args(hint) if part is not type(None)), hint)
        if (choices := about.pop("choices", None)) is not None:
            kind = Literal[choices]
        option = typer.Option(help=help, **about)
        parameters.append(_parameter(name, kind | None, None, option))
    parameters += [_parameter(name, *rest) for name, rest in COMMON.items() if name not in skip]

    def command(**given: Any) -> None:
        function(recipe, given)

    command.__name__ = recipe.name
    command.__doc__ = recipe.help
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameter(name: str, kind: Any, default: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def train_kind(recipe: Recipe, given: dict[str, Any]) -> None:
    """Runs the command of a kind."""
    from .train import INTERRUPTED, Common, run

    common = Common(**{name: given.pop(name) for name in COMMON if name in given})
    given = {name: value for name, value in given.items() if value is not None}
    if "steps" in given and "epochs" in given:
        msg = "--steps and --epochs say the same thing; pass one of them"
        raise UsageError(msg)
    if common.resume is not None:
        free = {f.name for f in dataclasses.fields(recipe.options) if f.metadata.get("free")}
        asked = [*(name for name in given if name not in free), *(["out"] if common.out else [])]
        asked += ["config"] if common.config else []
        if asked:
            flags = ", ".join("--" + name.replace("_", "-") for name in asked)
            msg = f"--resume goes on with the settings of the run; drop {flags}"
            raise UsageError(msg)
    if run(recipe, common, given).interrupted:
        sys.stdout.flush()
        raise typer.Exit(INTERRUPTED)


class TrainGroup(TyperGroup):
    """`fastattn train KIND`; without a kind, the default one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the default kind before flags that stand alone."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = [DEFAULT, *args]
        elif not args[0].startswith("-") and args[0] not in RECIPES:
            near = difflib.get_close_matches(args[0], RECIPES)
            hint = f" Did you mean {' or '.join(near)}?" if near else f" Expected {', '.join(RECIPES)}."
            msg = f"train: there is no kind of model {args[0]!r}.{hint}"
            raise UsageError(msg)
        return super().parse_args(ctx, args)


def train_app() -> typer.Typer:
    """The group of all kinds."""
    group = typer.Typer(
        cls=TrainGroup,
        help=f"Train a model; without a kind, {DEFAULT}. `fastattn train KIND --help` has a kind's flags.",
        rich_markup_mode=None,
    )
    for recipe in RECIPES.values():
        group.command(recipe.name)(command_of(recipe, train_kind))
    return group
