"""Parameters of a GPT, as an optimizer sees them: what the suites of adam, sgd, grad_norm and end_to_end share."""

from __future__ import annotations

from typing import Any

import numpy as np

from .harness import Arrays, normal

# width, blocks, tokens of the vocabulary, positions
SIZES = {"small GPT, 0.8 M": (128, 4, 65, 128), "GPT-2, 124 M": (768, 12, 50257, 1024)}
TINY = (8, 1, 11, 8)

Shapes = dict[str, tuple[int, ...]]


def gpt_shapes(width: int, blocks: int, tokens: int, positions: int) -> Shapes:
    """Shapes of a GPT-2's parameters under Hugging Face's names: a few large ones and many small ones."""
    shapes: Shapes = {"wte.weight": (tokens, width), "wpe.weight": (positions, width)}
    for i in range(blocks):
        shapes |= {
            f"h.{i}.ln_1.weight": (width,),
            f"h.{i}.ln_1.bias": (width,),
            f"h.{i}.attn.c_attn.weight": (width, 3 * width),
            f"h.{i}.attn.c_attn.bias": (3 * width,),
            f"h.{i}.attn.c_proj.weight": (width, width),
            f"h.{i}.attn.c_proj.bias": (width,),
            f"h.{i}.ln_2.weight": (width,),
            f"h.{i}.ln_2.bias": (width,),
            f"h.{i}.mlp.c_fc.weight": (width, 4 * width),
            f"h.{i}.mlp.c_fc.bias": (4 * width,),
            f"h.{i}.mlp.c_proj.weight": (4 * width, width),
            f"h.{i}.mlp.c_proj.bias": (width,),
        }
    return shapes | {"ln_f.weight": (width,), "ln_f.bias": (width,)}


def count(shapes: Shapes) -> int:
    return sum(int(np.prod(s)) for s in shapes.values())


def flat_inputs(rng: np.random.Generator, shapes: Shapes, kinds: tuple[str, ...]) -> Arrays:
    """For each of `kinds` ("normal", or "positive" as a second moment is) the numbers of all tensors in one array: a
    case's inputs are few arrays."""
    n = count(shapes)
    return tuple(np.square(normal(rng, n)) if kind == "positive" else normal(rng, n) for kind in kinds)


def cut(flat: Any, shapes: Shapes) -> list[Any]:
    """The tensors of a flat array, each with memory of its own: an in-place op may not change the inputs."""
    parts, start = [], 0
    for shape in shapes.values():
        n = int(np.prod(shape))
        parts.append(flat[start : start + n].reshape(shape).copy())
        start += n
    return parts


def join(parts: Any) -> Any:
    return np.concatenate([np.asarray(p).ravel() for p in parts])


def sample(n: int, limit: int = 4096) -> np.ndarray:
    """The elements of a flat array that are checked."""
    return np.unique(np.linspace(0, n - 1, min(n, limit)).astype(np.int64))
