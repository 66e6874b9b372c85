"""What the kinds share that classify images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastattn.cli import UsageError

from .recipe import Data, Recipe, classes_of, existing, flag

NAMED = ("mnist_5k", "digits")
HELD = {"mnist_5k": 1000, "digits": 0.2}


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """Data and augmentation."""

    data: str = flag("mnist_5k", "mnist_5k, digits, a .csv or .npz, or a folder of IDX files.", metavar="NAME|FILE|DIR")
    shift: float = flag(2.0, "Augmentation: pixels, at most.", min=0.0)
    rotate: float = flag(10.0, "Augmentation: degrees, at most.", min=0.0)
    scale: float = flag(0.1, "Augmentation: part of the size, at most.", min=0.0, max=0.99)
    flip: bool = flag(False, "Augmentation: mirror half the images.")
    mixup: float = flag(0.0, "Augmentation: mix images, alpha of Beta.", min=0.0)
    dropout: float = flag(0.0, "Dropout probability.", min=0.0, max=1.0)


class ImageRecipe(Recipe):
    """Classification of images."""

    def load(self, options: Any) -> Data:
        """The images, a part of them held out by RandomState(0)."""
        from fastattn.data import train_test_split

        train, held, names = read(options.data)
        if held is None:
            x, x_held, y, y_held = train_test_split(*train, test_size=HELD.get(options.data, 0.2), seed=0)
        else:
            (x, y), (x_held, y_held) = train, held
        facts = f"data     {options.data}: {len(x):,} images of {x.shape[1]} x {x.shape[2]} x {x.shape[3]}, "
        return Data(
            source=options.data,
            parts=(x, y, x_held, y_held),
            sizes={"image": list(x.shape[1:]), "classes": len(names), "names": names},
            facts=[facts + f"{len(x_held):,} held out, {len(names)} classes"],
            names=names,
        )

    def task(self, options: Any, data: Data) -> Any:
        """The class of an image, which is changed as it is trained on."""
        from fastattn.data import Augment
        from fastattn.train import Classification

        chosen = {name: getattr(options, name) for name in ("shift", "rotate", "scale", "flip", "mixup")}
        return Classification(*data.parts, augment=Augment(**chosen) if any(chosen.values()) else None)

    def noun_of_samples(self, task: Any) -> str:
        """Images."""
        return "images"

    def predict(self, model: Any, options: Any, run: Any, inputs: Sequence[str], top: int) -> list[Any]:
        """The class of every image in the files."""
        from fastattn.train import Classification

        found = []
        for path in inputs:
            images = read_images(path, tuple(run.sizes["image"]))
            # A task of nothing but these: it knows how a model is called.
            task = Classification(images, np.zeros(len(images), int), images, np.zeros(len(images), int))
            for i, chances in enumerate(classes_of(task.logits(model, images), run.sizes["names"], top)):
                name = path if len(images) == 1 else f"{path}[{i}]"
                text = ", ".join(f"{label} {chance:.4f}" for label, chance in chances.items())
                found.append({"input": name, "classes": chances, "text": f"{name}: {text}"})
        return found


def read(source: str) -> tuple[Any, Any, list[str]]:
    """Images and labels to train on, those held out if they come apart, and the names of the classes."""
    from fastattn.data import load_dataset, read_csv, read_idx, read_npz

    if source in NAMED:
        found = load_dataset(source)
        return (found.inputs, found.labels), None, found.names
    path = Path(source)
    if not path.exists():
        msg = f"--data {source}: expected {' or '.join(NAMED)}, or a .csv, .npz or folder that exists"
        raise FileNotFoundError(msg)
    held = None
    if path.is_dir():
        parts = {}
        for part, prefix in (("train", "train"), ("held", "t10k")):
            files = [sorted(path.glob(f"{prefix}-{what}-idx*-ubyte*")) for what in ("images", "labels")]
            if not all(files):
                msg = f"{path} has no {prefix}-images-idx3-ubyte and {prefix}-labels-idx1-ubyte, with or without .gz"
                raise FileNotFoundError(msg)
            parts[part] = (as_images(read_idx(files[0][0])), read_idx(files[1][0]).astype(np.int64))
        train, held = parts["train"], parts["held"]
    elif path.suffix == ".npz":
        x, y = read_npz(path)
        train = as_images(x), y.astype(np.int64)
    else:
        x, y = read_csv(path)
        train = as_images(x), y
    classes = int(max(part[1].max() for part in (train, held) if part is not None)) + 1
    return train, held, [str(i) for i in range(classes)]


def as_images(array: Any, image: tuple[int, ...] | None = None) -> Any:
    """Arrays of pixels as (N, channels, height, width) float32 of 0 to 1: of bytes, and of numbers over 1, by 255."""
    array = np.asarray(array)
    if array.ndim == 2:
        side = round(array.shape[1] ** 0.5)
        shape = image or (1, side, side)
        if np.prod(shape) != array.shape[1]:
            msg = f"rows of {array.shape[1]} pixels are no images of {' x '.join(map(str, shape))}"
            raise ValueError(msg)
        array = array.reshape(-1, *shape)
    elif array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4:
        msg = (
            f"images have shape {array.shape}; expected (N, pixels), (N, height, width) or (N, channels, height, width)"
        )
        raise ValueError(msg)
    pixels = array.astype(np.float32)
    return pixels / np.float32(255) if array.dtype == np.uint8 or pixels.max(initial=0) > 1 else pixels


def read_images(path: str, image: tuple[int, ...]) -> Any:
    """The images of a file, of the size that the model takes."""
    from fastattn.data import read_idx, read_npz

    file = existing(path)
    if file.suffix == ".npy":
        array = np.load(file, allow_pickle=False)
    elif file.suffix == ".npz":
        (array,) = read_npz(file, ["x"])
    elif file.suffix == ".png":
        try:
            from matplotlib.image import imread
        except ImportError:
            msg = f"{file} needs matplotlib: pip install 'fastattn[train]'"
            raise ImportError(msg) from None
        array = imread(file)
        array = (
            array if array.ndim == 2 else array[..., : image[0]].mean(-1) if image[0] == 1 else array.transpose(2, 0, 1)
        )
    elif "idx" in file.name:
        array = read_idx(file)
    elif file.name.endswith((".csv", ".csv.gz")):
        array = np.loadtxt(file, delimiter=",", ndmin=2)
    else:
        msg = f"{file}: expected a .npy, .npz, .png, .csv or IDX file of images"
        raise UsageError(msg)
    # One image by itself is a batch of one.
    if array.shape in (image, image[1:]):
        array = array[None]
    images = as_images(array, image)
    if images.shape[1:] != image:
        msg = f"{file} has images of {images.shape[1:]}; the model takes {image}"
        raise ValueError(msg)
    return images
