"""Whole models besides GPT: a training step of a small convolutional network, and sentences through a BERT of MiniLM's
size. What a model gives is what is checked; gradients are the tests' business."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import fastattn as fa
from fastattn.testing import reference_conv, reference_pool

from .bench_activation import gelu
from .bench_layer_norm import layer_norm
from .harness import Arrays, Call, Case, normal, with_pytest
from .parameters import Shapes, count, cut

# The convolutional network -------------------------------------------------------------------------------------------

LR = 1e-3


class Network(NamedTuple):
    batch: int
    image: int
    channels: tuple[int, int]
    quick: bool

    @property
    def shapes(self) -> Shapes:
        first, second = self.channels
        return {
            "convolutions.0.weight": (first, 1, 3, 3),
            "convolutions.0.bias": (first,),
            "convolutions.1.weight": (second, first, 3, 3),
            "convolutions.1.bias": (second,),
            "classifier.weight": (10, second * (self.image // 4) ** 2),
            "classifier.bias": (10,),
        }


NETWORKS = [Network(32, 28, (32, 64), False), Network(128, 28, (32, 64), True)]
TINY_NETWORK = Network(2, 8, (3, 4), True)


def make_images(network: Network, rng: np.random.Generator) -> Arrays:
    parts = [normal(rng, *s) * np.float32(math.prod(s[1:]) ** -0.5) for s in network.shapes.values()]
    flat = np.concatenate([part.ravel() for part in parts])
    return flat, normal(rng, network.batch, 1, network.image, network.image), rng.integers(0, 10, network.batch)


def our_network(network: Network, inputs: Arrays) -> Call:
    flat, images, labels = inputs
    config = fa.models.LeNetConfig(image_size=network.image, channels=network.channels, kernel_size=3)
    model = fa.models.LeNet(config)
    model.load_state_dict(dict(zip(network.shapes, map(fa.Tensor, cut(flat, network.shapes)), strict=True)))
    optimizer = fa.optim.AdamW(model.parameters(), lr=LR)
    x, y = fa.Tensor(images), fa.Tensor(labels)

    def call() -> Any:
        logits, loss = model(x, labels=y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return logits

    return call


def torchs_network(network: Network, inputs: Arrays) -> Call:
    import torch

    flat, images, labels = inputs
    F = torch.nn.functional
    parts = [torch.from_numpy(p) for p in cut(flat, network.shapes)]
    # Channels last is what torch is fastest in.
    last = [p.to(memory_format=torch.channels_last) if p.ndim == 4 else p for p in parts]
    w1, b1, w2, b2, w3, b3 = params = [p.requires_grad_() for p in last]
    optimizer = torch.optim.AdamW(params, lr=LR, fused=True)
    x = torch.from_numpy(images).to(memory_format=torch.channels_last)
    y = torch.from_numpy(labels)

    def call() -> Any:
        h = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, padding=1)), 2)
        h = F.max_pool2d(F.relu(F.conv2d(h, w2, b2, padding=1)), 2)
        logits = F.linear(h.flatten(1), w3, b3)
        F.cross_entropy(logits, y).backward()
        optimizer.step()
        optimizer.zero_grad()
        return logits

    return call


def training(network: Network) -> Case:
    first, second = network.channels
    pixels = network.image**2

    def reference(flat: Any, images: Any, labels: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = cut(flat, network.shapes)
        h = images[:2]
        for weight, bias in ((w1, b1), (w2, b2)):
            h = np.maximum(reference_conv.conv2d(h, weight, bias, padding=(1, 1, 1, 1)), 0)
            h = reference_pool.max_pool(h, (2, 2), stride=(2, 2))[0]
        return h.reshape(len(h), -1) @ w3.T + b3

    # Forward, and each gradient as much again; images have none.
    work = 2 * 9 * first * pixels * 2 + 3 * 2 * 9 * first * second * pixels / 4 + 3 * 2 * 10 * second * pixels / 16
    return Case(
        op="models",
        name=f"float32 training step, CNN {first}-{second}-10, {network.image} x {network.image}, B {network.batch}",
        make=lambda rng: make_images(network, rng),
        contestants={
            "fastattn": lambda inputs: our_network(network, inputs),
            "torch": lambda inputs: torchs_network(network, inputs),
        },
        reference=reference,
        pick=lambda logits: (logits[:2],),
        flops=network.batch * work,
        quick=network.quick,
    )


# Sentences -----------------------------------------------------------------------------------------------------------


class Encoder(NamedTuple):
    sentences: int
    length: int
    layers: int
    width: int
    heads: int
    tokens: int
    quick: bool

    @property
    def shapes(self) -> Shapes:
        c = self.width
        shapes: Shapes = {
            "embeddings.word_embeddings.weight": (self.tokens, c),
            "embeddings.position_embeddings.weight": (self.length, c),
            "embeddings.token_type_embeddings.weight": (2, c),
            "embeddings.LayerNorm.weight": (c,),
            "embeddings.LayerNorm.bias": (c,),
        }
        for i in range(self.layers):
            layer = f"encoder.layer.{i}"
            for name, out, into in (
                ("attention.self.query", c, c),
                ("attention.self.key", c, c),
                ("attention.self.value", c, c),
                ("attention.output.dense", c, c),
                ("attention.output.LayerNorm", c, 0),
                ("intermediate.dense", 4 * c, c),
                ("output.dense", c, 4 * c),
                ("output.LayerNorm", c, 0),
            ):
                shapes[f"{layer}.{name}.weight"] = (out, into) if into else (out,)
                shapes[f"{layer}.{name}.bias"] = (out,)
        return shapes


ENCODERS = [Encoder(32, 32, 6, 384, 12, 30522, True)]  # all-MiniLM-L6-v2
TINY_ENCODER = Encoder(3, 5, 1, 8, 2, 11, True)
EPS = 1e-12


class OfNumpy:
    """For the reference."""

    @staticmethod
    def norm(x: Any, weight: Any, bias: Any) -> Any:
        return layer_norm(x, weight, bias, EPS)

    @staticmethod
    def dense(x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight.T + bias

    @staticmethod
    def gelu(x: Any) -> Any:
        return gelu(x, "none")

    @staticmethod
    def attention(q: Any, k: Any, v: Any, keep: Any) -> Any:
        scores = q @ k.swapaxes(-1, -2) * q.dtype.type(q.shape[-1] ** -0.5)
        scores = np.where(keep, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return (weights / weights.sum(-1, keepdims=True)) @ v


class OfTorch:
    @staticmethod
    def norm(x: Any, weight: Any, bias: Any) -> Any:
        import torch

        return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, EPS)

    @staticmethod
    def dense(x: Any, weight: Any, bias: Any) -> Any:
        import torch

        return torch.nn.functional.linear(x, weight, bias)

    @staticmethod
    def gelu(x: Any) -> Any:
        import torch

        return torch.nn.functional.gelu(x)

    @staticmethod
    def attention(q: Any, k: Any, v: Any, keep: Any) -> Any:
        import torch

        return torch.nn.functional.scaled_dot_product_attention(q, k, v, keep)


def states(library: Any, params: list[Any], ids: Any, keep: Any, heads: int) -> Any:
    """(B, T) ids, of which `keep` are no padding, to the last hidden states; `params` in the order of Encoder.shapes."""
    take = iter(params).__next__
    words, places, kinds = take(), take(), take()
    batch, length = ids.shape
    x = library.norm(words[ids] + places[:length] + kinds[0], take(), take())
    keep = keep[:, None, None]
    for _ in range((len(params) - 5) // 16):
        q, k, v = (library.dense(x, take(), take()).reshape(batch, length, heads, -1).swapaxes(1, 2) for _ in range(3))
        y = library.attention(q, k, v, keep).swapaxes(1, 2).reshape(x.shape)
        x = library.norm(x + library.dense(y, take(), take()), take(), take())
        y = library.gelu(library.dense(x, take(), take()))
        x = library.norm(x + library.dense(y, take(), take()), take(), take())
    return x


def make_sentences(encoder: Encoder, rng: np.random.Generator) -> Arrays:
    parts = []
    for name, shape in encoder.shapes.items():
        part = normal(rng, math.prod(shape))
        parts.append(part * np.float32(0.1) + 1 if "Norm" in name else part * np.float32(shape[-1] ** -0.5))
    lengths = rng.integers(max(1, encoder.length // 4), encoder.length + 1, encoder.sentences)
    lengths[0] = encoder.length
    keep = np.arange(encoder.length) < lengths[:, None]
    return np.concatenate(parts), rng.integers(0, encoder.tokens, keep.shape), keep


def our_encoder(encoder: Encoder, inputs: Arrays) -> Call:
    flat, ids, keep = inputs
    config = fa.models.BERTConfig(
        vocab_size=encoder.tokens,
        hidden_size=encoder.width,
        num_hidden_layers=encoder.layers,
        num_attention_heads=encoder.heads,
        intermediate_size=4 * encoder.width,
        max_position_embeddings=encoder.length,
    )
    model = fa.models.BERT(config, add_pooling_layer=False).eval()
    model.load_state_dict(dict(zip(encoder.shapes, map(fa.Tensor, cut(flat, encoder.shapes)), strict=True)))
    x, mask = fa.Tensor(ids), fa.Tensor(keep)

    def call() -> Any:
        with fa.no_grad():
            return model(x, mask).last_hidden_state

    return call


def torchs_encoder(encoder: Encoder, inputs: Arrays) -> Call:
    import torch

    flat, ids, keep = inputs
    params = [torch.from_numpy(p) for p in cut(flat, encoder.shapes)]
    x, mask = torch.from_numpy(ids), torch.from_numpy(keep)

    def call() -> Any:
        with torch.no_grad():
            return states(OfTorch, params, x, mask, encoder.heads)

    return call


def sentences(encoder: Encoder) -> Case:
    shapes = encoder.shapes

    def reference(flat: Any, ids: Any, keep: Any) -> Any:
        return states(OfNumpy, cut(flat, shapes), ids[:1], keep[:1], encoder.heads)

    tokens = encoder.sentences * encoder.length
    weights = 12 * encoder.layers * encoder.width**2
    return Case(
        op="models",
        name=f"float32 {encoder.sentences} sentences of {encoder.length} tokens, BERT {encoder.layers} x {encoder.width}",
        make=lambda rng: make_sentences(encoder, rng),
        contestants={
            "fastattn": lambda inputs: our_encoder(encoder, inputs),
            "torch": lambda inputs: torchs_encoder(encoder, inputs),
        },
        reference=reference,
        pick=lambda hidden: (hidden[:1],),
        flops=2.0 * tokens * (weights + 2 * encoder.layers * encoder.width * encoder.length),
        bytes=4.0 * (count(shapes) - encoder.tokens * encoder.width + 2 * tokens * encoder.width),
        traffic="read",
        quick=encoder.quick,
    )


def cases(tiny: bool = False) -> Iterator[Case]:
    for network in [TINY_NETWORK] if tiny else NETWORKS:
        yield training(network)
    for encoder in [TINY_ENCODER] if tiny else ENCODERS:
        yield sentences(encoder)


def test_models(benchmark: Any, case: Case, contestant: str) -> None:
    with_pytest(benchmark, case, contestant)
