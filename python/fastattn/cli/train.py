"""`fastattn train`: from flags to a run folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fastattn.data import CharVocabulary, load_text, split
from fastattn.io import atomic_write
from fastattn.train import History, TrainConfig, Trainer, progress_for
from fastattn.train.progress import clock

from . import INTERRUPTED, TEMPERATURE, UsageError, device_of
from .info import cpu_name, gpu

if TYPE_CHECKING:
    from fastattn._device import device
    from fastattn.models import GPT

    from .app import TrainArguments

__all__ = ["INTERRUPTED", "run"]

# The model that is trained where no flag says otherwise; the other defaults are TrainConfig's.
LAYERS, WIDTH, HEADS = 4, 128, 4
RUN_FILE = "run.json"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run is started with, as run.json keeps it: with the text, it determines the result."""

    text: str | None
    text_sha256: str
    layers: int
    width: int
    heads: int
    dropout: float
    train: TrainConfig
    device: str = "cpu"

    def save(self, folder: Path) -> None:
        atomic_write(folder / RUN_FILE, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Settings:
        path = folder / RUN_FILE
        if not path.is_file():
            msg = f"{folder} is no run to resume: it has no {RUN_FILE}"
            raise FileNotFoundError(msg)
        try:
            content = json.loads(path.read_text())
            return cls(**(content | {"train": TrainConfig(**content["train"])}))
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{path} is damaged: {error}"
            raise ValueError(msg) from None


def run(arguments: TrainArguments) -> History:
    """Trains as the flags say; returns the history."""
    say = Printer(sys.stderr if arguments.json else sys.stdout, arguments.quiet)
    if arguments.threads is not None:
        import fastattn

        fastattn.set_num_threads(arguments.threads)
    if arguments.device is not None:
        device_of(arguments.device)
    if arguments.resume is None:
        text = load_text(arguments.text)
        settings = settings_of(arguments, text)
        vocabulary = CharVocabulary.of(text)
        model, trainer = build(settings, text, vocabulary, None, arguments)
        folder = new_folder(arguments.out)
        vocabulary.save(folder / "vocab.json")
        settings.save(folder)
        trainer.folder = folder
    else:
        folder = arguments.resume
        settings = Settings.load(folder)
        text = load_text(settings.text)
        if digest(text) != settings.text_sha256:
            msg = f"{settings.text or 'the default text'} is not the text that {folder} was started with"
            raise ValueError(msg)
        vocabulary = CharVocabulary.load(folder / "vocab.json")
        model, trainer = build(settings, text, vocabulary, folder, arguments)
        trainer.resume()
    introduce(say, model, trainer, text, vocabulary, settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = trainer.fit()
    for warning in caught:
        print(f"fastattn: {warning.message}", file=sys.stderr)
    conclude(say, arguments, model, trainer, vocabulary)
    return history


def settings_of(arguments: TrainArguments, text: str) -> Settings:
    """The settings that the flags ask for."""
    given = {
        field.name: value
        for field in dataclasses.fields(TrainConfig)
        if (value := getattr(arguments, field.name, None)) is not None
    }
    try:
        config = TrainConfig(**given)
    except ValueError as error:
        raise UsageError(str(error).removeprefix("TrainConfig: ")) from None
    if arguments.tokens is not None:
        steps = math.ceil(arguments.tokens / config.tokens_per_step)
        config = dataclasses.replace(config, steps=steps)
    if arguments.warmup is None:  # a short run must not end before its warm-up does
        config = dataclasses.replace(config, warmup=min(config.warmup, config.steps // 10))
    if config.dtype == "float64" and arguments.device is not None and arguments.device.startswith("cuda"):
        msg = "--dtype float64 has no kernels on a GPU; pass float32 or bfloat16, or --device cpu"
        raise UsageError(msg)
    width, heads = arguments.width or WIDTH, arguments.heads or HEADS
    if width % heads:
        msg = f"--width {width} is not a multiple of --heads {heads}"
        raise UsageError(msg)
    return Settings(
        text=None if arguments.text is None else str(arguments.text.resolve()),
        text_sha256=digest(text),
        layers=arguments.layers or LAYERS,
        width=width,
        heads=heads,
        dropout=arguments.dropout or 0.0,
        train=config,
        device=arguments.device or "cpu",
    )


def build(
    settings: Settings, text: str, vocabulary: CharVocabulary, folder: Path | None, arguments: TrainArguments
) -> tuple[GPT, Trainer]:
    """The model with its initial weights, which are drawn on the CPU for every device, and its trainer."""
    import fastattn
    from fastattn.models import GPT, GPTConfig

    where = device_of(arguments.device or settings.device)
    fastattn.manual_seed(settings.train.seed)
    model = GPT(
        GPTConfig(
            vocab_size=len(vocabulary),
            n_positions=settings.train.context,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            embd_pdrop=settings.dropout,
            attn_pdrop=settings.dropout,
            resid_pdrop=settings.dropout,
        )
    ).to(where)
    train_ids, val_ids = split(vocabulary.encode(text))
    progress = progress_for(arguments.quiet, sys.stderr if arguments.json else sys.stdout)
    return model, Trainer(model, train_ids, val_ids, settings.train, folder=folder, progress=progress)


def new_folder(out: Path | None) -> Path:
    """Makes the run folder; a run that is already there is never written over."""
    if out is not None:
        if (out / RUN_FILE).exists():
            msg = f"{out} already holds a run; go on with it by --resume {out}, or name another --out"
            raise FileExistsError(msg)
        out.mkdir(parents=True, exist_ok=True)
        return out
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for name in (stamp, *(f"{stamp}-{i}" for i in range(1, 1000))):
        folder = Path("runs", name)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    msg = f"runs/{stamp} and 999 like it exist"
    raise FileExistsError(msg)


class Printer:
    """Prints to one stream, unless quiet."""

    def __init__(self, stream: TextIO, quiet: bool) -> None:
        self.stream, self.quiet = stream, quiet

    def __call__(self, text: str = "") -> None:
        if not self.quiet:
            print(text, file=self.stream, flush=True)


def introduce(
    say: Printer, model: GPT, trainer: Trainer, text: str, vocabulary: CharVocabulary, settings: Settings
) -> None:
    """Says what the run is and what it runs on."""
    config = trainer.config
    parameters = sum(math.prod(p.shape) for p in model.parameters())
    say(f"device   {described(next(model.parameters()).device)}")
    name = settings.text or "the topics of Python's help"
    say(f"text     {name}: {len(text):,} characters, {len(vocabulary)} different")
    say(f"         {len(trainer.val_ids):,} of them, the last tenth, are held out for validation")
    say(f"model    GPT, {settings.layers} layers x {settings.width}, {settings.heads} heads, {parameters:,} parameters")
    say(
        f"training {config.steps:,} steps x {config.tokens_per_step:,} tokens ({config.batch_size} windows of "
        f"{config.context}) = {config.tokens:,} tokens, {config.dtype}, learning rate {config.lr:g}, seed {config.seed}"
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


def conclude(say: Printer, arguments: TrainArguments, model: GPT, trainer: Trainer, vocabulary: CharVocabulary) -> None:
    """Says what came of the run."""
    config, history = trainer.config, trainer.history
    text = ""
    if history.interrupted:
        say(f"\nstopped after step {trainer.step} of {config.steps}")
        say(f"go on with: fastattn train --resume {trainer.folder}")
    else:
        count = len(trainer.val_ids) - 1  # the first has nothing before it to be predicted from
        say(f"\nvalidation loss {history.val_loss:.4f} nats per character, over all {count:,} predictions of the")
        say(f"held-out text, read in windows of {config.context} that do not overlap")
        tokens, seconds = config.tokens, trainer.seconds
        say(f"trained on {tokens:,} tokens in {clock(seconds)} ({tokens / seconds:,.0f} tokens/s)")
        if arguments.sample:
            start = vocabulary.encode(vocabulary.start)
            (ids,) = model.generate(
                [start], do_sample=True, temperature=TEMPERATURE, max_new_tokens=arguments.sample, seed=config.seed
            )
            text = vocabulary.decode(ids[len(start) :])
            say(f"\nsample at temperature {TEMPERATURE}:\n{text}\n")
        assert trainer.folder is not None
        files = sorted(path.name for path in trainer.folder.iterdir() if path.suffix != ".tmp")
        say(f"wrote {trainer.folder}: {', '.join(files)}")
    if arguments.json:
        result: dict[str, Any] = {
            "folder": str(trainer.folder),
            "step": trainer.step,
            "steps": config.steps,
            "interrupted": history.interrupted,
            "tokens": trainer.step * config.tokens_per_step,
            "loss": history.rows[-1].loss if history.rows else None,
            "val_loss": history.val_loss,
            "seconds": trainer.seconds,
            "device": str(next(model.parameters()).device),
            "sample": text,
        }
        print(json.dumps(result))


def digest(text: str) -> str:
    """What a text is recognised by."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
