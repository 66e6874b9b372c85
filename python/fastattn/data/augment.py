"""Changes of images while they are trained on, as a function of seed, step and place in the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .order import uniforms

_STREAM = 0x696D616765
_DRAWS = 8  # numbers an image


@dataclass(frozen=True)
class Augment:
    """Random shifts, rotations, scales, mirror images and mixtures of the images of a batch.

    What is drawn is a function of (seed, step, place in the batch), so it does not depend on threads, or on whether the run
    was resumed. Moved images are interpolated linearly; what comes in from outside is 0. A random crop of an image padded
    by n pixels is `shift=n`.

    Args:
        shift: pixels up, down and sideways, at most.
        rotate: degrees to either side, at most.
        scale: part by which an image grows or shrinks, at most.
        flip: whether half the images are mirrored, left to right.
        mixup: alpha of the Beta distribution of mixtures of two images and their labels; 0: none.

    Raises:
        ValueError: a number that is negative, or a scale of 1 or more.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> images, labels = np.ones((2, 1, 8, 8), np.float32), np.array([0, 1])
        >>> changed, _ = fa.data.Augment(shift=2)(images, labels, seed=0, step=3)
        >>> changed.shape, bool((changed == fa.data.Augment(shift=2)(images, labels, seed=0, step=3)[0]).all())
        ((2, 1, 8, 8), True)

    Source: Zhang et al., "mixup: Beyond empirical risk minimization" (2018), section 2.
    """

    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    flip: bool = False
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift", "rotate", "scale", "mixup"):
            if not 0 <= getattr(self, name) < (1 if name == "scale" else math.inf):
                msg = f"Augment: {name} is {getattr(self, name)!r}; expected a number of at least 0"
                raise ValueError(msg + (" and under 1" if name == "scale" else ""))

    def __call__(self, images: Any, labels: Any, *, seed: int, step: int) -> tuple[Any, Any]:
        """Images (B, C, H, W) and labels (B,) changed; with mixup, labels are (B, 3): a class, another, the first's part."""
        if images.ndim != 4:
            msg = f"Augment: images has shape {images.shape}; expected (B, channels, height, width)"
            raise ValueError(msg)
        draws = uniforms(seed, _STREAM, step, len(images) * _DRAWS).reshape(-1, _DRAWS)
        if self.shift or self.rotate or self.scale:
            images = self._moved(images, 2.0 * draws[:, :4] - 1.0)
        if self.flip:
            images = np.where((draws[:, 4] < 0.5)[:, None, None, None], images[..., ::-1], images)
        if self.mixup:
            return self._mixed(images, labels, draws)
        return images, labels

    def _moved(self, images: Any, draws: Any) -> Any:
        """Each image turned, scaled and moved about its middle: where a pixel comes from is linear in where it is."""
        batch, channels, height, width = images.shape
        angle, size = np.radians(self.rotate) * draws[:, 0], 1.0 / (1.0 + self.scale * draws[:, 1])
        dy, dx = self.shift * draws[:, 2], self.shift * draws[:, 3]
        if not (self.rotate or self.scale):  # whole pixels: nothing is blurred
            dy, dx = np.round(dy), np.round(dx)
        y, x = np.mgrid[:height, :width] - np.array([height - 1, width - 1]).reshape(2, 1, 1) / 2
        cos, sin = (size * np.cos(angle))[:, None, None], (size * np.sin(angle))[:, None, None]
        from_y = cos * y - sin * x + (height - 1) / 2 - dy[:, None, None]
        from_x = sin * y + cos * x + (width - 1) / 2 - dx[:, None, None]
        # A frame of zeros, one before the image and two behind: what lies outside of it reads those.
        framed = np.zeros((batch, channels, height + 3, width + 3), images.dtype)
        framed[:, :, 1:-2, 1:-2] = images
        from_y, from_x = np.clip(from_y + 1, 0, height + 1), np.clip(from_x + 1, 0, width + 1)
        top, left = from_y.astype(np.intp), from_x.astype(np.intp)
        down = (from_y - top).astype(images.dtype)[:, None]
        right = (from_x - left).astype(images.dtype)[:, None]
        rows = framed.reshape(batch, channels, -1)
        first = (top * (width + 3) + left).reshape(batch, 1, -1)

        def read(offset: int) -> Any:
            return np.take_along_axis(rows, first + offset, 2).reshape(images.shape)

        upper = read(0) * (1 - right) + read(1) * right
        lower = read(width + 3) * (1 - right) + read(width + 4) * right
        return upper * (1 - down) + lower * down

    def _mixed(self, images: Any, labels: Any, draws: Any) -> tuple[Any, Any]:
        """Each image with another of the batch."""
        part = beta(self.mixup, draws[:, 5])
        part = np.maximum(part, 1 - part)
        other = np.argsort(draws[:, 6], kind="stable")
        weight = part.astype(images.dtype)[:, None, None, None]
        mixed = images * weight + images[other] * (1 - weight)
        return mixed, np.stack([labels, labels[other], part], 1)


def beta(alpha: float, uniform: Any) -> Any:
    """Beta(alpha, alpha) of a uniform number: the inverse of its distribution function, by a table."""
    # The density is summed in t with x = sin^2 t, which is smooth at both ends.
    t = (np.arange(4096) + 0.5) / 4096 * np.pi / 2
    density = (np.sin(t) * np.cos(t)) ** (2 * alpha - 1)
    cumulated = np.concatenate([[0.0], np.cumsum(density)])
    edges = np.sin(np.arange(4097) / 4096 * np.pi / 2) ** 2
    return np.interp(uniform, cumulated / cumulated[-1], edges)
