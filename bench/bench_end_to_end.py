"""One training step of a GPT (forward, loss, backward, clipping by norm, AdamW), and its decoding, a token at a time. The
logits are what is checked; the gradients of the model are the tests' business."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import fastattn as fa

from .bench_activation import gelu
from .bench_attention import causal_attention
from .bench_layer_norm import EPS, layer_norm
from .harness import Arrays, Call, Case, normal, with_pytest
from .parameters import Shapes, count, cut, gpt_shapes

LR, DECAY, CLIP = 3e-4, 0.1, 1.0


class Size(NamedTuple):
    name: str
    width: int
    blocks: int
    heads: int
    tokens: int  # of the vocabulary
    batch: int
    length: int
    quick: bool


SIZES = [
    Size("characters 4 x 128, B 16 T 128", 128, 4, 4, 65, 16, 128, True),
    Size("characters 6 x 384, B 16 T 256", 384, 6, 6, 65, 16, 256, False),
    Size("GPT-2 124M, B 4 T 256", 768, 12, 12, 50257, 4, 256, False),
]
TINY = Size("tiny", 8, 2, 2, 11, 2, 6, True)
# Decoding: of `length` tokens, all but the last NEW are in the cache.
NEW = 16
DECODED = [
    Size("characters 4 x 128, B 1 T 128", 128, 4, 4, 65, 1, 128, True),
    Size("characters 4 x 128, B 16 T 128", 128, 4, 4, 65, 16, 128, False),
    Size("GPT-2 124M, B 1 T 256", 768, 12, 12, 50257, 1, 256, False),
]
DECODED_TINY = Size("tiny", 8, 2, 2, 11, 2, NEW + 4, True)


# The model, once, over the functions of a library ---------------------------------------------------------------------


class OfNumpy:
    """For the reference."""

    layer_norm = staticmethod(layer_norm)
    attention = staticmethod(causal_attention)

    @staticmethod
    def dense(x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight + bias

    @staticmethod
    def gelu(x: Any) -> Any:
        return gelu(x, "tanh")


class OfTorch:
    @staticmethod
    def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
        import torch

        return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, EPS)

    @staticmethod
    def attention(q: Any, k: Any, v: Any) -> Any:
        import torch

        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    @staticmethod
    def dense(x: Any, weight: Any, bias: Any) -> Any:
        import torch

        return torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight).view(*x.shape[:-1], -1)

    @staticmethod
    def gelu(x: Any) -> Any:
        import torch

        return torch.nn.functional.gelu(x, approximate="tanh")


class OfTorchWithCache(OfTorch):
    """Keys and values of each block in buffers; `start` is the position of the tokens that come next."""

    def __init__(self, size: Size) -> None:
        import torch

        shape = size.batch, size.heads, size.length, size.width // size.heads
        self.buffers = [(torch.empty(shape), torch.empty(shape)) for _ in range(size.blocks)]
        self.start = self.block = 0

    def attention(self, q: Any, k: Any, v: Any) -> Any:  # type: ignore[override]
        import torch

        keys, values = self.buffers[self.block % len(self.buffers)]
        self.block += 1
        end = self.start + q.shape[2]
        keys[:, :, self.start : end], values[:, :, self.start : end] = k, v
        causal = q.shape[2] > 1
        return torch.nn.functional.scaled_dot_product_attention(
            q, keys[:, :, :end], values[:, :, :end], is_causal=causal
        )


def gpt_logits(library: Any, params: list[Any], ids: Any, heads: int, start: int = 0) -> Any:
    """(B, T) ids, the first at position `start`, to (B, T, V) logits; `params` in the order of gpt_shapes."""
    take = iter(params).__next__
    table, positions = take(), take()
    batch, length = ids.shape
    width = table.shape[1]
    x = table[ids] + positions[start : start + length]
    for _ in range((len(params) - 4) // 12):
        h = library.layer_norm(x, take(), take())
        qkv = library.dense(h, take(), take()).reshape(batch, length, 3, heads, width // heads)
        q, k, v = (qkv[:, :, i].swapaxes(1, 2) for i in range(3))
        y = library.attention(q, k, v).swapaxes(1, 2).reshape(batch, length, width)
        x = x + library.dense(y, take(), take())
        h = library.layer_norm(x, take(), take())
        h = library.gelu(library.dense(h, take(), take()))
        x = x + library.dense(h, take(), take())
    return library.layer_norm(x, take(), take()) @ table.T


# The steps -----------------------------------------------------------------------------------------------------------


def our_model(size: Size, shapes: Shapes, flat: Any) -> Any:
    config = fa.models.GPTConfig(
        vocab_size=size.tokens,
        n_positions=size.length,
        n_embd=size.width,
        n_layer=size.blocks,
        n_head=size.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = fa.models.GPT(config)
    model.load_state_dict(dict(zip(shapes, map(fa.Tensor, cut(flat, shapes)), strict=True)))
    return model


def ours(size: Size, shapes: Shapes, inputs: Arrays, dtype: str = "float32") -> Call:
    flat, ids = inputs
    model = our_model(size, shapes, flat).to(np.dtype(dtype))  # of 16 bits the optimizer keeps float32 masters
    optimizer = fa.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    ids = fa.Tensor(ids)

    def call() -> Any:
        logits, loss = model(ids, labels=ids)
        loss.backward()
        fa.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return logits

    return call


def torchs(size: Size, shapes: Shapes, inputs: Arrays, dtype: str = "float32") -> Call:
    import torch

    lower = torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16")
    flat, ids = inputs
    params = [torch.from_numpy(p).requires_grad_() for p in cut(flat, shapes)]
    optimizer = torch.optim.AdamW(params, lr=LR, weight_decay=DECAY, fused=True)
    ids = torch.from_numpy(ids)
    targets = torch.full_like(ids, -100)
    targets[:, :-1] = ids[:, 1:]
    targets = targets.view(-1)

    def call() -> Any:
        with lower:
            logits = gpt_logits(OfTorch, params, ids, size.heads)
        torch.nn.functional.cross_entropy(logits.view(-1, size.tokens), targets).backward()
        torch.nn.utils.clip_grad_norm_(params, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return logits

    return call


def make_inputs(size: Size, shapes: Shapes, rng: np.random.Generator) -> Arrays:
    parts = []
    for name, shape in shapes.items():
        part = normal(rng, math.prod(shape))
        # Scales at which every layer matters to the logits.
        parts.append(part * np.float32(0.1) + 1 if "ln" in name else part * np.float32(shape[0] ** -0.5))
    return np.concatenate(parts), rng.integers(0, size.tokens, (size.batch, size.length))


def weights_of_products(shapes: Shapes) -> int:
    """Weights that a token is multiplied with."""
    return sum(math.prod(s) for name, s in shapes.items() if len(s) == 2 and name != "wpe.weight")


def step(size: Size, dtype: str = "float32") -> Case:
    shapes = gpt_shapes(size.width, size.blocks, size.tokens, size.length)

    def reference(flat: Any, ids: Any) -> Any:
        return gpt_logits(OfNumpy, cut(flat, shapes), ids[:1], size.heads)[:, -16:]

    # A multiply and an add for each weight of a product and token, and for the scores; the backward has twice as many.
    weights = weights_of_products(shapes)
    scores = size.blocks * size.width * (size.length + 1)
    return Case(
        op="end_to_end",
        name=f"{dtype} training step, {size.name}",
        make=lambda rng: make_inputs(size, shapes, rng),
        contestants={
            "fastattn": lambda inputs: ours(size, shapes, inputs, dtype),
            "torch": lambda inputs: torchs(size, shapes, inputs, dtype),
        },
        reference=reference,
        pick=lambda logits: (logits[:1, -16:],),
        dtype=dtype,
        flops=3.0 * size.batch * size.length * (2 * weights + 2 * scores),
        bytes=4.0 * 10 * count(shapes),  # the optimizer's traffic, the clip's, and the weights twice
        traffic="update",
        quick=size.quick,
    )


# Decoding ------------------------------------------------------------------------------------------------------------


def ours_decoding(size: Size, shapes: Shapes, inputs: Arrays) -> Call:
    flat, ids = inputs
    model = our_model(size, shapes, flat).eval()
    cache = model.new_cache(size.length)
    first = size.length - NEW
    with fa.no_grad():
        model(ids[:, :first], cache=cache)
    tokens = [fa.Tensor(ids[:, i : i + 1].copy()) for i in range(first, size.length)]

    def call() -> Any:
        for layer in cache:
            layer.truncate(first)
        with fa.no_grad():
            return [model(token, cache=cache) for token in tokens]

    return call


def torchs_decoding(size: Size, shapes: Shapes, inputs: Arrays) -> Call:
    import torch

    flat, ids = inputs
    params = [torch.from_numpy(p) for p in cut(flat, shapes)]
    library, first = OfTorchWithCache(size), size.length - NEW
    with torch.no_grad():
        gpt_logits(library, params, torch.from_numpy(ids[:, :first].copy()), size.heads)
    tokens = [torch.from_numpy(ids[:, i : i + 1].copy()) for i in range(first, size.length)]

    def call() -> Any:
        found = []
        with torch.no_grad():
            for library.start, token in enumerate(tokens, first):
                found.append(gpt_logits(library, params, token, size.heads, library.start))
        return found

    return call


def decoding(size: Size) -> Case:
    """The last NEW tokens, which are given, one after the other: every step is a forward of one token a row."""
    shapes = gpt_shapes(size.width, size.blocks, size.tokens, size.length)
    weights = weights_of_products(shapes)
    held = size.batch * size.blocks * size.width * (size.length - NEW / 2)  # keys, and as many values

    return Case(
        op="end_to_end",
        name=f"float32 decoding {NEW} tokens, {size.name}",
        make=lambda rng: make_inputs(size, shapes, rng),
        contestants={
            "fastattn": lambda inputs: ours_decoding(size, shapes, inputs),
            "torch": lambda inputs: torchs_decoding(size, shapes, inputs),
        },
        reference=lambda flat, ids: gpt_logits(OfNumpy, cut(flat, shapes), ids[:1], size.heads)[:, -NEW:],
        pick=lambda *logits: (np.concatenate([x[:1] for x in logits], 1),),
        flops=NEW * (2.0 * size.batch * weights + 4.0 * held),
        bytes=NEW * 4.0 * (weights + 2 * held),  # a step reads the weights, the keys and the values
        traffic="read",
        quick=size.quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for size in [TINY] if tiny else SIZES:
        yield step(size)
    yield step(TINY if tiny else SIZES[-1], "bfloat16")
    for size in [DECODED_TINY] if tiny else DECODED:
        yield decoding(size)


def test_end_to_end(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
