"""The commands and their flags. What they do is in the modules that they import when they run."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from . import TEMPERATURE
from .kinds import command_of, device_flag, train_app, train_kind
from .recipes import RECIPES, Recipe

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
    device: Annotated[str, typer.Option(callback=device_flag, help="Where the model is: cpu, cuda or cuda:0.")] = "cpu",
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


app.add_typer(train_app(), name="train")


def _finetune(recipe: Recipe, given: dict[str, Any]) -> None:
    """Trains a classifier on top of a run."""
    train_kind(recipe, given | {"start": given.pop("start_run")})


_start = inspect.Parameter(
    "start_run",
    inspect.Parameter.KEYWORD_ONLY,
    annotation=Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A run of bert, or a BERT of Hugging Face's form with tokenizer.json."),
    ],
)
# Sizes and vocabulary are those of the model.
_fixed = ("start", "resume", "unit", "vocabulary", "layers", "width", "heads")
app.command("finetune", help="Fine-tune a pretrained BERT to classify texts.")(
    command_of(RECIPES["classifier"], _finetune, skip=_fixed, first=[_start])
)


@app.command("eval")
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="What `fastattn train` wrote.")],
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads. [default: all cores]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a run's model on all of its held-out data; of a classifier, each class too, and confusion.png."""
    from .inspect import evaluate_run

    evaluate_run(folder, threads, json)


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="What `fastattn train` wrote.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Texts, or files of images: .npy, .npz, .png, .csv, IDX.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Likeliest answers to show.")] = 3,
    attention: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw what each head of each layer looks at, for one input.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Say what a run's model makes of inputs: classes, translations, words behind [MASK]."""
    from .inspect import predict_run

    predict_run(folder, inputs, top, attention, json)


@app.command()
def summary(
    what: Annotated[str, typer.Argument(metavar="RUN|KIND", help="A run folder, or a kind of `fastattn train`.")],
) -> None:
    """List a model's modules, with their parameters."""
    from .inspect import summarise

    summarise(what)


@app.command()
def embed(
    folder: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A BERT of Hugging Face's form with tokenizer.json, or a run of bert."),
    ],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Texts.")],
    json: Annotated[bool, typer.Option("--json", help="Print the vectors, a JSON list a line.")] = False,
) -> None:
    """Make a vector of each text; prints the cosines between them."""
    from .inspect import embed_texts

    embed_texts(folder, texts, json)
