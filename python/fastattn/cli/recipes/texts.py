"""What the kinds share that classify texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .recipe import Data, Recipe, classes_of, flag

MOVIES = (".tar.gz", "movieReviewSnippets_GroundTruth.txt")


def read_labelled(source: str) -> tuple[list[str], Any, list[str]]:
    """Texts, classes, and the names of the classes, of a named data set, a .jsonl, a folder or the movie sentences."""
    from fastattn.data import load_dataset, read_jsonl, read_text_folder

    if source == "languages":
        found = load_dataset(source)
        return found.inputs, found.labels, found.names
    path = Path(source)
    if not path.exists():
        msg = f"--data {source}: expected languages, or a .jsonl, archive or folder that exists"
        raise FileNotFoundError(msg)
    if path.name.endswith(MOVIES):
        found = load_dataset("movie_sentences", path=path)
        return found.inputs, found.labels, found.names
    if path.is_dir():
        return read_text_folder(path)
    texts, labels = read_jsonl(path)
    names = sorted({str(label) for label in labels})
    return [str(text) for text in texts], np.array([names.index(str(label)) for label in labels], np.int64), names


def sentences(text: str, longest: int) -> list[str]:
    """A text in pieces of paragraphs, of `longest` words at most."""
    pieces = []
    for paragraph in text.split("\n\n"):
        words = paragraph.split()
        pieces += [" ".join(words[i : i + longest]) for i in range(0, len(words), longest)]
    return [piece for piece in pieces if len(piece.split()) >= 3]


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """Data and vocabulary."""

    data: str = flag(
        "languages", "languages, a .jsonl of text and label, a folder of folders of .txt, or vaderSentiment's archive.",
        metavar="NAME|FILE|DIR",
    )  # fmt: skip
    unit: str = flag("characters", "What a token is: words or characters.", choices=("characters", "words"))
    labels: int | None = flag(None, "Train on this many of the texts only.", min=1)
    held_out: float = flag(0.15, "Part of the texts that is held out.", min=0.001, max=0.999)
    vocabulary: int = flag(4000, "Tokens of the vocabulary, at most.", min=6)
    context: int = flag(64, "Tokens of a text, at most.", min=3)


class TextRecipe(Recipe):
    """Classification of texts."""

    reads = "mask"  # what the model is called with besides token ids; see Classification

    def vocabulary_of(self, options: Any, texts: list[str]) -> Any:
        """The tokens of the texts that are trained on."""
        from fastattn.data import Vocabulary

        return Vocabulary.of(texts, unit=options.unit, lower=True, size=options.vocabulary)

    def load(self, options: Any) -> Data:
        """The texts, a part of them held out by RandomState(0)."""
        from fastattn.data import train_test_split

        texts, labels, names = read_labelled(options.data)
        train, held, y, y_held = train_test_split(texts, labels, test_size=options.held_out, seed=0)
        if options.labels is not None:
            train, y = train[: options.labels], y[: options.labels]
        vocabulary = self.vocabulary_of(options, train)
        rows = [[vocabulary.encode_within(text, options.context) for text in part] for part in (train, held)]
        facts = f"data     {options.data}: {len(train):,} texts, {len(held):,} held out, {len(names)} classes, "
        return Data(
            source=options.data,
            parts=(rows[0], y, rows[1], y_held),
            sizes={"vocab_size": len(vocabulary), "classes": len(names), "names": names},
            facts=[facts + f"{len(vocabulary):,} tokens"],
            vocabulary=vocabulary,
            names=names,
        )

    def task(self, options: Any, data: Data) -> Any:
        """The class of a text."""
        from fastattn.train import Classification

        return Classification(*data.parts, reads=self.reads)

    def noun_of_samples(self, task: Any) -> str:
        """Texts."""
        return "texts"

    def predict(self, model: Any, options: Any, run: Any, inputs: Sequence[str], top: int) -> list[Any]:
        """The class of each text."""
        from fastattn.train import Classification

        rows = [run.vocabulary.encode_within(text, options.context) for text in inputs]
        task = Classification(rows, [0] * len(rows), rows, [0] * len(rows), reads=self.reads)
        found = []
        for text, chances in zip(inputs, classes_of(task.logits(model, rows), run.sizes["names"], top), strict=True):
            line = ", ".join(f"{label} {chance:.4f}" for label, chance in chances.items())
            found.append({"input": text, "classes": chances, "text": line})
        return found

    def tokens(self, options: Any, run: Any, text: str) -> list[str]:
        """The tokens that the model reads."""
        names: list[str] = run.vocabulary.tokens_of(run.vocabulary.encode_within(text, options.context))
        return names
