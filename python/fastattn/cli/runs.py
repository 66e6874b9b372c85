"""Run folders: what a run was started with, and the model that it left."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from fastattn.data import load_tokenizer
from fastattn.io import atomic_write, load_model
from fastattn.train import TrainConfig

from .recipes import RECIPES, Recipe

RUN_FILE = "run.json"


@dataclass(frozen=True)
class Settings:
    """What a run is started with, as run.json keeps it: with the data, it determines the result."""

    kind: str
    options: Any
    sizes: dict[str, Any]
    fingerprint: str
    train: TrainConfig
    device: str = "cpu"

    @property
    def recipe(self) -> Recipe:
        """The kind's entry in the table."""
        return RECIPES[self.kind]

    def save(self, folder: Path) -> None:
        """Writes run.json."""
        values = dataclasses.asdict(self)
        options = {name: str(v) if isinstance(v, Path) else v for name, v in values["options"].items()}
        atomic_write(folder / RUN_FILE, json.dumps(values | {"options": options}, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Settings:
        """Reads run.json; one line says what is wrong with it."""
        path = folder / RUN_FILE
        if not path.is_file():
            msg = (
                f"{folder} is no run to resume: it has no {RUN_FILE}"
                if folder.is_dir()
                else f"no such folder: {folder}"
            )
            raise FileNotFoundError(msg)
        try:
            content = json.loads(path.read_text())
            kind = RECIPES[content["kind"]].options
            paths = {f.name for f in dataclasses.fields(kind) if "Path" in str(f.type)}
            values = {k: Path(v) if k in paths and v is not None else v for k, v in content["options"].items()}
            return cls(**(content | {"options": kind(**values), "train": TrainConfig(**content["train"])}))
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{path} is damaged: {error}"
            raise ValueError(msg) from None


class Run:
    """A finished run, opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings.load(folder)
        self.recipe, self.options, self.sizes = self.settings.recipe, self.settings.options, self.settings.sizes

    @cached_property
    def model(self) -> Any:
        """The model with its trained weights, on the CPU."""
        path = self.folder / "model.safetensors"
        if not path.is_file():
            msg = f"{self.folder} holds no trained model: it has no model.safetensors"
            raise FileNotFoundError(f"{msg}; finish the run with: fastattn train --resume {self.folder}")
        options = self.options
        if getattr(options, "start", None) is not None:  # what the run began with may be gone
            return self._of_pretrained()
        model = self.recipe.build(options, self.sizes)
        load_model(model, path)
        return model

    def _of_pretrained(self) -> Any:
        from fastattn.io import from_pretrained

        return from_pretrained(self.folder)

    @cached_property
    def vocabulary(self) -> Any:
        """The vocabulary of the run."""
        return load_tokenizer(self.folder)


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
