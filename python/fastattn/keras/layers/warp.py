"""Images read at other places than their pixels: what rotation, zoom and translation share."""

from __future__ import annotations

from typing import Any

import numpy as np

FILL_MODES = ("reflect", "constant", "nearest", "wrap")
INTERPOLATIONS = ("bilinear", "nearest")


def warped(images: Any, matrices: Any, fill_mode: str, fill_value: float, interpolation: str) -> Any:
    """Images (B, H, W, C) whose pixel (y, x) is what was at matrix (B, 2, 3) times (y, x, 1)."""
    height, width = images.shape[1:3]
    y, x = np.mgrid[:height, :width]
    places = np.stack([y, x, np.ones_like(y)]).reshape(3, -1).astype(np.float64)
    return read(images, matrices @ places, (height, width), fill_mode, fill_value, interpolation)


def read(
    images: Any, places: Any, shape: tuple[int, int], fill_mode: str, fill_value: float, interpolation: str
) -> Any:
    """Images (B, *shape, C), read at places (B, 2, number of pixels)."""
    batch, height, width, channels = images.shape
    flat = images.reshape(batch, height * width, channels)

    def at(y: Any, x: Any) -> Any:
        """Pixels, with what `fill_mode` puts outside of the image."""
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        rows, columns = _folded(y, height, fill_mode), _folded(x, width, fill_mode)
        pixels = np.take_along_axis(flat, (rows * width + columns)[..., None], 1)
        return np.where(inside[..., None], pixels, fill_value) if fill_mode == "constant" else pixels

    y, x = places[:, 0], places[:, 1]
    if interpolation == "nearest":
        out = at(np.floor(y + 0.5).astype(np.int64), np.floor(x + 0.5).astype(np.int64))
    else:
        top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
        down, right = (y - top)[..., None], (x - left)[..., None]
        upper = at(top, left) * (1 - right) + at(top, left + 1) * right
        lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
        out = upper * (1 - down) + lower * down
    return out.reshape(batch, *shape, channels).astype(images.dtype)


def _folded(index: Any, size: int, fill_mode: str) -> Any:
    """Numbers of pixels that are all there: of those outside, what stands for them."""
    if fill_mode == "wrap":
        return index % size
    if fill_mode == "reflect":  # with the edge itself: d c b a | a b c d | d c b a
        index = index % (2 * size)
        return np.minimum(index, 2 * size - 1 - index)
    return np.clip(index, 0, size - 1)


def resized(images: Any, height: int, width: int) -> Any:
    """Images (B, height, width, C): read linearly at the middles of the new pixels."""
    batch, old_height, old_width, _ = images.shape
    y = (np.arange(height) + 0.5) * old_height / height - 0.5
    x = (np.arange(width) + 0.5) * old_width / width - 0.5
    places = np.stack(np.meshgrid(y, x, indexing="ij")).reshape(1, 2, -1)
    return read(
        images, np.broadcast_to(places, (batch, 2, height * width)), (height, width), "nearest", 0.0, "bilinear"
    )


def filled(matrices: int) -> Any:
    """So many matrices that change nothing."""
    out = np.zeros((matrices, 2, 3))
    out[:, 0, 0] = out[:, 1, 1] = 1
    return out
