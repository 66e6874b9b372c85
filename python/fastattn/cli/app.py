"""The commands and their flags. What they do is in the modules that they import when they run."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import TEMPERATURE, UsageError

Dtype = Literal["float32", "bfloat16", "float64"]

app = typer.Typer(
    help="Hand-written kernels for attention, matmul, softmax and Adam, and models trained with them.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        import fastattn

        print(f"fastattn {fastattn.__version__}")
        raise typer.Exit


def _device(name: str | None) -> str | None:
    """--device as it is; whether there is such a GPU is seen when the command runs."""
    if name is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        msg = f"{name!r} is no device; expected cpu, cuda or cuda:0"
        raise typer.BadParameter(msg)
    return name


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Says what there is when no command is given."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def info(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what fastattn runs on: version, instruction sets, threads, build."""
    from .info import print_info

    print_info(json)


@app.command()
def doctor(
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep a receipt: every error, the machine, what is installed.")
    ] = None,
) -> None:
    """Check every op on this machine, against float64 and finite differences, and say what is optional and missing."""
    from .doctor import run

    run(json)


@app.command()
def bench(
    op: Annotated[list[str] | None, typer.Option(help="Only this op; may be repeated. [default: all]")] = None,
    case: Annotated[str, typer.Option(help="Only cases whose name contains this.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="A few cases of each op, in two minutes.")] = False,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Turns of every contestant in a case. [default: 7, quick 3]")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Of calls in a turn. [default: 0.2, quick 0.05]")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of every contestant. [default: all cores]")] = None,
    peers: Annotated[str, typer.Option(help="Who takes part where it is installed; may be empty.")] = "numpy,torch",
    stock: Annotated[
        bool, typer.Option("--stock", help="No tuned peers, which run in processes of their own.")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to keep the record. [default: runs/bench-DATE-ISA.json]")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write the page. [default: beside the record]")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An older record: what became slower since; exit code 1 if any.")
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Only list the cases.")] = False,
) -> None:
    """Time every op beside its peers and this machine's own limits."""
    from .bench import run

    run(
        threads, op=op or [], case=case, quick=quick, rounds=rounds, seconds=seconds, peers=peers, stock=stock,
        json=json, html=html, against=compare, only_list=only_list,
    )  # fmt: skip


@dataclass(frozen=True)
class GenerateArguments:
    """The folder and the flags of `fastattn generate`."""

    folder: Path
    prompt: str | None
    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    stop: list[str]
    num_samples: int
    seed: int
    threads: int | None
    device: str
    quiet: bool


@app.command()
def generate(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="What `fastattn train` wrote, or a GPT-2 of Hugging Face's form.")
    ],
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The text to continue; - reads it from standard input. [default: none]"),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=0, help="Tokens to add, at most.")] = 300,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Divides the logits, 0: the likeliest token.")
    ] = TEMPERATURE,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from the k likeliest tokens, 0: all.")] = 0,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Draw from the likeliest tokens of this probability.")
    ] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option(min=0.0, help="Over 1: tokens that are there already become less likely.")
    ] = 1.0,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Stop before this text; may be given several times.")
    ] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="Continuations, from seeds of their own.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; the text does not depend on it. [default: all cores]")
    ] = None,
    device: Annotated[str, typer.Option(callback=_device, help="Where the model is: cpu, cuda or cuda:0.")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", help="No statistics on standard error.")] = False,
) -> None:
    """Continue a text with a trained model; the text goes to standard output as it comes."""
    from .generate import run

    run(
        GenerateArguments(
            folder, prompt, max_new_tokens, temperature, top_k, top_p, repetition_penalty, stop or [], num_samples,
            seed, threads, device, quiet,
        )
    )  # fmt: skip


@dataclass(frozen=True)
class TrainArguments:
    """The flags of `fastattn train` as given; None: the default."""

    text: Path | None = None
    resume: Path | None = None
    out: Path | None = None
    steps: int | None = None
    tokens: int | None = None
    batch_size: int | None = None
    context: int | None = None
    layers: int | None = None
    width: int | None = None
    heads: int | None = None
    dropout: float | None = None
    lr: float | None = None
    warmup: int | None = None
    weight_decay: float | None = None
    grad_clip: float | None = None
    eval_every: int | None = None
    checkpoint_every: int | None = None
    dtype: str | None = None
    seed: int | None = None
    sample: int = 300
    threads: int | None = None
    device: str | None = None
    quiet: bool = False
    json: bool = False


@app.command()
def train(
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="UTF-8 text to train on. [default: the topics of Python's help]")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with the run in this folder, with its own settings.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run folder. [default: runs/DATE-TIME]")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps. [default: 3000]")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Train on this many tokens, instead of --steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Windows a step. [default: 8]")] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Characters a window. [default: 128]")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="Transformer blocks. [default: 4]")] = None,
    width: Annotated[int | None, typer.Option(min=1, help="Width of the model. [default: 128]")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads a block. [default: 4]")] = None,
    dropout: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Dropout probability. [default: 0]")] = None,
    lr: Annotated[float | None, typer.Option(min=0.0, help="Highest learning rate. [default: 0.004]")] = None,
    warmup: Annotated[int | None, typer.Option(min=0, help="Steps until it is reached. [default: 150]")] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0.0, help="Of AdamW, on matrices. [default: 0.1]")] = None,
    grad_clip: Annotated[
        float | None, typer.Option(min=0.0, help="Largest gradient norm, 0: any. [default: 1]")
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(min=0, help="Steps between evaluations, 0: at the end only. [default: 250]")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=0, help="Steps between checkpoints, 0: at the end only. [default: 250]")
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Of weights and activations; with bfloat16, masters are float32. [default: float32]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, batches and dropout. [default: 0]")] = None,
    sample: Annotated[int, typer.Option(min=0, help="Characters of the sample, 0: none. [default: 300]")] = 300,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; the result does not depend on it. [default: all cores]")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            callback=_device,
            help="Where the model is: cpu, cuda or cuda:0. [default: cpu; with --resume that of the run]",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON; everything else goes to standard error.")
    ] = False,
) -> None:
    """Train a small GPT on text, characters as tokens; with no flags, for some minutes on Python's own help."""
    from .train import INTERRUPTED, run

    arguments = TrainArguments(
        text, resume, out, steps, tokens, batch_size, context, layers, width, heads, dropout, lr, warmup,
        weight_decay, grad_clip, eval_every, checkpoint_every, dtype, seed, sample, threads, device, quiet, json,
    )  # fmt: skip
    problem = _problem(arguments)
    if problem:
        raise UsageError(problem)
    if run(arguments).interrupted:
        sys.stdout.flush()
        raise typer.Exit(INTERRUPTED)


def _problem(arguments: TrainArguments) -> str | None:
    """What is wrong with the flags together."""
    if arguments.steps is not None and arguments.tokens is not None:
        return "--steps and --tokens say the same thing; pass one of them"
    if arguments.resume is not None:
        ours = {"resume", "sample", "threads", "device", "quiet", "json"}
        given = [name for name, value in vars(arguments).items() if name not in ours and value is not None]
        if given:
            flags = ", ".join("--" + name.replace("_", "-") for name in given)
            return f"--resume goes on with the settings of the run; drop {flags}"
    return None
