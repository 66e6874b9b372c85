"""Writes docs/keras.md: which of Keras's names fastattn.keras has.

    python docs/keras_surface.py            # writes the page
    python docs/keras_surface.py --names    # reads Keras's names anew from the keras that is installed

Keras's names are kept in docs/keras_names.json, so that the page needs no Keras.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMESPACES = (
    "keras",
    "keras.layers",
    "keras.models",
    "keras.Model",
    "keras.Sequential",
    "keras.layers.Layer",
    "keras.losses",
    "keras.metrics",
    "keras.optimizers",
    "keras.optimizers.Optimizer",
    "keras.optimizers.schedules",
    "keras.callbacks",
    "keras.activations",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.utils",
    "keras.datasets",
    "keras.saving",
    "keras.config",
    "keras.backend",
)
HEAD = """# The second door: fastattn.keras

A script written for Keras (`tf.keras`, or keras 3) runs with its imports changed, as far as it keeps to the names below.
Behind them are the modules and kernels of `fastattn.nn`, with one training loop; tests compare every part with keras 3.

```python
import numpy as np
from fastattn import keras
from fastattn.keras import layers

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).standard_normal((256, 4)).astype("float32")
y = (x[:, 0] > x[:, 1]).astype("int64")

hidden, out = layers.Dense(16, activation="relu"), layers.Dense(2, activation="softmax")
model = keras.Sequential([keras.Input((4,)), hidden, out])
model.compile(keras.optimizers.Adam(0.05), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
stopping = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
history = model.fit(x, y, epochs=30, validation_split=0.25, callbacks=[stopping], verbose=0)
print(sorted(history.history))  # -> ['accuracy', 'loss', 'val_accuracy', 'val_loss']
loss, accuracy = model.evaluate(x, y, verbose=0)
print(accuracy > 0.95)  # -> True
```

Losses, metrics, optimizers, initializers, regularizers, constraints and activations go by name, in snake_case or
CamelCase, as a config, a class or an object. A name that nothing has is an error with the nearest that there are.
`keras.utils.register_keras_serializable` makes one's own known.

What differs from keras 3:

- Arithmetic is eager, on `fastattn.Tensor`: a custom layer, loss or metric is written with its operators and `fa`'s
  functions. There is no `keras.ops` and no `GradientTape`; an explicit loop, or a `train_step` of one's own, is
  `loss.backward()` and `optimizer.apply()`.
- Images are channels last.
- `AveragePooling` with padding="same" never counts the padding. `MultiHeadAttention` gives 0 for a query all of whose keys
  are hidden; it has no `attention_axes`. `UpSampling2D` repeats (nearest). Layers that augment images pass no gradient;
  `RandomContrast(f)` is of 1 - f to 1 + f; `RandomCrop` outside training takes the middle.
- `decay=` of optimizers works, as in the first Keras: the rate over 1 + decay * steps. So do `lr=` and `epsilon=None`. Both
  spellings of an option at once are a TypeError.
- Metrics add up in float64 on the host; keras 3 does in float32. `result()` is a number of Python's.
- A loss computes in the dtype of the predictions, not in `floatx`.
- A loss of classes that are out of range is an error.
- Initializers and dropout draw from fastattn's random stream, so the numbers are not Keras's.
- `verbose="auto"` is one line an epoch where standard output is no terminal. The numbers printed are those returned.
- `model.save(path)` writes a folder: `config.json`, the weights and the optimizer's state as safetensors; `save_weights` one
  file of those, whatever its name. `ModelCheckpoint` takes any path. A `Lambda` is saved if its function is registered.
- `plot_model` writes SVG, by itself. `History.plot()` draws the values of an epoch (`pip install 'fastattn[train]'`).
- `TensorBoard` writes values and the weights' distributions (`pip install 'fastattn[tensorboard]'`), no graphs and profiles.
- `keras.datasets` downloads nothing: it reads the files from a folder that you name, by `load_data(path=...)`,
  `FASTATTN_DATA` or `KERAS_HOME`, and an error says where a file can be had.
- `sparsemax` adds up to 1 for every row.

What is not covered, besides the names that are missing below: distribution over devices, mixed precision policies, graph
compilation (`jit_compile`, `run_eagerly` and `steps_per_execution` change nothing), layers of three dimensions, layers
that learn from data before training (`Normalization`, `TextVectorization`), `keras.applications`, and `keras.preprocessing`:
[scikit-learn](https://scikit-learn.org/stable/modules/preprocessing.html) scales, encodes and splits data, and its
`load_digits` and `fa.data` read data sets; `keras.utils.pad_sequences` is there.

The lists are written by `python docs/keras_surface.py`.
"""


def resolve(path: str) -> Any:
    """The module or class of a dotted name."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        parent, _, name = path.rpartition(".")
        return getattr(resolve(parent), name)


def names_of_keras() -> dict[str, str]:
    """Keras's public names by namespace: classes and functions, modules of `keras` and `keras.datasets`; of a class what
    Keras defines, not what one of its backends adds."""
    found = {}
    for path in NAMESPACES:
        space = resolve(path)
        names = []
        for name in dir(space):
            value = inspect.getattr_static(space, name, None)
            if name.startswith("_") or (inspect.ismodule(value) and path not in ("keras", "keras.datasets")):
                continue
            if isinstance(space, type):
                home = next(base.__module__ for base in space.__mro__ if name in vars(base))
                if not home.startswith("keras.") or ".backend." in home:
                    continue
            names.append(name)
        found[path] = " ".join(sorted(names))
    return found


def ours(path: str) -> set[str]:
    """The public names of one of our modules or classes."""
    space = resolve(f"fastattn.{path}")
    names = getattr(space, "__all__", None) if inspect.ismodule(space) else dir(space)
    return {name for name in names or dir(space) if not name.startswith("_")}


def page() -> str:
    """The text of docs/keras.md."""
    keras_names = json.loads((HERE / "keras_names.json").read_text())
    rows, sections = [], []
    for path in NAMESPACES:
        names = set(keras_names[path].split())
        covered, missing = (
            sorted(part, key=lambda n: (n.lower(), n)) for part in (names & ours(path), names - ours(path))
        )
        rows.append(f"| `{path}` | {len(covered)} of {len(names)} |")
        parts = [f"## {path}: {len(covered)}", _listed(covered)]
        if missing:
            parts += [f"Not there: {_listed(missing)}"]
        sections.append("\n\n".join(parts) + "\n")
    table = "\n".join(["| namespace | names |", "|---|---|", *rows])
    return "\n".join([HEAD, table, "", *sections])


def _listed(names: list[str]) -> str:
    return textwrap.fill(" ".join(f"`{name}`" for name in names), 120, break_on_hyphens=False)


if __name__ == "__main__":
    if "--names" in sys.argv:
        os.environ["KERAS_BACKEND"] = "torch"
        lines = [f" {json.dumps(path)}: {json.dumps(names)}" for path, names in names_of_keras().items()]
        (HERE / "keras_names.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    (HERE / "keras.md").write_text(page())
