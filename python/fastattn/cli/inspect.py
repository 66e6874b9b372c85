"""`fastattn eval`, `predict`, `summary`, `embed`: what a model is and does, after training."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from fastattn.metrics import ConfusionMatrix
from fastattn.ops import capture_attention
from fastattn.train import Classification, plot_attention, plot_confusion

from . import UsageError
from .recipes import RECIPES
from .recipes.recipe import parameters
from .runs import RUN_FILE, Run


def evaluate_run(folder: Path, threads: int | None, as_json: bool) -> None:
    """Measures of a run's model on all that was held out."""
    if threads is not None:
        import fastattn

        fastattn.set_num_threads(threads)
    run = Run(folder)
    model = run.model
    data = run.recipe.load(run.options)
    task = run.recipe.task(run.options, data)
    if task.fingerprint() != run.settings.fingerprint:
        msg = f"{data.source} is not what {folder} was started with"
        raise ValueError(msg)
    measures: dict[str, Any] = task.evaluate(model, run.settings.train.batch_size)
    classes = None
    if isinstance(task, Classification):
        classes = per_class(task, model, run.sizes["names"], folder)
    if as_json:
        print(json.dumps(measures | ({} if classes is None else {"classes": classes})))
        return
    for name, value in measures.items():
        print(f"{name:12} {value:.4f}")
    if classes is not None:
        width = max(5, *(len(name) for name in classes))
        print(f"\n{'class':{width}}  precision  recall      f1  samples")
        for name, row in classes.items():
            numbers = f"{row['precision']:9.4f} {row['recall']:7.4f} {row['f1']:7.4f} {row['samples']:8}"
            print(f"{name:{width}}  {numbers}")


def per_class(task: Classification, model: Any, names: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Precision, recall and F1 of each class; and the picture of what was taken for what, where matplotlib is."""
    inputs, labels = task.val
    matrix = ConfusionMatrix(len(names))
    matrix.update(task.logits(model, inputs), labels)
    try:
        plot_confusion(matrix.compute(), folder / "confusion.png", names)
    except ImportError as error:
        print(f"fastattn: {error}", file=sys.stderr)
    columns = zip(matrix.precision(None), matrix.recall(None), matrix.f1(None), matrix.compute().sum(1), strict=True)
    return {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "samples": int(n)}
        for name, (p, r, f, n) in zip(names, columns, strict=True)
    }


def predict_run(folder: Path, inputs: Sequence[str], top: int, attention: Path | None, as_json: bool) -> None:
    """What a run's model says of inputs, and a picture of its attention if there is a place for one."""
    if attention is not None and len(inputs) != 1:
        msg = f"--attention draws one input; got {len(inputs)}"
        raise UsageError(msg)
    run = Run(folder)
    with capture_attention() if attention is not None else nullcontext([]) as maps:
        answers = run.recipe.predict(run.model, run.options, run, inputs, top)
    if attention is not None:
        if not maps or any(len(m) != 1 for m in maps):
            msg = f"--attention: {folder} is no model whose attention reads an input as a whole"
            raise UsageError(msg)
        plot_attention(maps, attention, run.recipe.tokens(run.options, run, inputs[0]))
    for found in answers:
        text = found.pop("text")
        print(json.dumps(found, ensure_ascii=False) if as_json else text)


def summarise(what: str) -> None:
    """The modules of a run's model, or of a kind with its defaults."""
    if (Path(what) / RUN_FILE).is_file():
        model = Run(Path(what)).model
    elif what in RECIPES:
        recipe = RECIPES[what]
        options = recipe.options()
        model = recipe.build(options, recipe.load(options).sizes)
    else:
        msg = f"{what!r} is neither a run folder nor a kind; expected one of {', '.join(RECIPES)}"
        raise UsageError(msg)
    rows = []
    for name, module in model.named_modules():
        own = [p for _, p in module.named_parameters(recurse=False)]
        if own or not name:
            shapes = ", ".join(" x ".join(map(str, p.shape)) for p in own)
            rows.append((name or type(model).__name__, type(module).__name__, shapes, sum(p.numel() for p in own)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for name, kind, shapes, count in rows[1:]:
        print(f"{name:{widths[0]}}  {kind:{widths[1]}}  {shapes:{widths[2]}}  {count:>12,}")
    total = parameters(model)
    size = sum(p.nbytes for p in model.parameters())
    print(f"\n{rows[0][0]}: {total:,} parameters, {size / 2**20:.2f} MiB")


def embed_texts(folder: Path, texts: Sequence[str], as_json: bool) -> None:
    """Vectors of texts by a BERT's mean hidden states."""
    from fastattn import no_grad
    from fastattn.data import CharVocabulary, load_tokenizer, pad
    from fastattn.models import BERT
    from fastattn.nn.utils import evaluation

    if not folder.is_dir():
        msg = f"no such folder: {folder}"
        raise FileNotFoundError(msg)
    tokenizer = load_tokenizer(folder)
    model = BERT.from_pretrained(folder)
    limit = model.config.max_position_embeddings
    if isinstance(tokenizer, CharVocabulary):
        msg = f"{folder} is no BERT: its vocabulary is of characters alone"
        raise ValueError(msg)
    rows = [tokenizer.encode_within(text, limit) for text in texts]
    lengths = np.array([len(row) for row in rows])
    ids = pad(rows, model.config.pad_token_id or 0)
    mask = (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)
    with evaluation(model), no_grad():
        vectors = model.embed(ids, mask).numpy()
    if as_json:
        for vector in vectors:
            print(json.dumps([float(x) for x in vector]))
        return
    cosines = vectors @ vectors.T
    for row, text in zip(cosines, texts, strict=True):
        print(" ".join(f"{x:7.4f}" for x in row), f" {text}")
