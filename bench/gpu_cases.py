"""What is timed on a GPU: our op and its peers on the same memory, FLOPs, compulsory bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

import fastattn as fa

from . import bench_end_to_end as model
from .parameters import count, gpt_shapes

Call = Callable[[], Any]
OURS = "fastattn"
BACKENDS = {"flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION"}
HALF = 0.02  # of the largest element: what results of 16 bits and of tf32 may differ by, each rounded in its own way


class Place:
    """Where the cases run: on the GPU, or for a dry run on the CPU, in tiny sizes."""

    def __init__(self, dry: bool = False) -> None:
        import torch

        self.torch, self.dry = torch, dry
        self.device = "cpu" if dry else "cuda"
        torch.manual_seed(0)

    def size(self, n: int) -> int:
        return min(n, 16) if self.dry else n

    def normal(self, *shape: int, dtype: str = "bfloat16") -> Any:
        """A torch tensor."""
        return self.torch.randn(tuple(map(self.size, shape)), device=self.device, dtype=getattr(self.torch, dtype))

    def ours(self, tensor: Any) -> Any:
        """The same memory as an array of CuPy's, or of NumPy's in a dry run."""
        name = str(tensor.dtype).removeprefix("torch.")
        dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
        if self.dry:
            return (tensor.view(self.torch.int16) if name == "bfloat16" else tensor).numpy().view(dtype)
        import cupy

        memory = cupy.cuda.UnownedMemory(tensor.data_ptr(), tensor.nbytes, tensor)
        return cupy.ndarray(tuple(tensor.shape), dtype, cupy.cuda.MemoryPointer(memory, 0))

    def numbers(self, result: Any) -> list[np.ndarray]:
        """Results as float32 ndarrays."""
        if isinstance(result, (tuple, list)):
            return [n for r in result for n in self.numbers(r)]
        if isinstance(result, self.torch.Tensor):
            return [result.detach().float().cpu().numpy()]
        if isinstance(result, fa.Tensor):
            result = result.detach().cpu().numpy()
        return [np.asarray(result.get() if hasattr(result, "get") else result).astype(np.float32)]


@dataclass(frozen=True)
class GpuCase:
    """`make` gives what each contestant does, by name. With `bytes` ours is held against the copy bandwidth too. `tokens`
    of a training step."""

    group: str
    name: str
    make: Callable[[Place], dict[str, Call]]
    flops: float = 0.0
    bytes: float = 0.0
    tolerance: float | None = HALF  # None: results are not compared
    tokens: int = 0


def _copy(place: Place) -> dict[str, Call]:
    source = place.normal(1 << 14, 1 << 15)
    target = place.torch.empty_like(source)
    ours, there = place.ours(source), place.ours(target)
    np_like = np if place.dry else __import__("cupy")
    return {"torch": lambda: target.copy_(source), "cupy": lambda: np_like.copyto(there, ours)}


COPY = GpuCase("ceiling", "copy", _copy, bytes=4.0 * (1 << 29), tolerance=None)


def _rows(name: str, ours: Callable[..., Any], torchs: Callable[..., Any], dtype: str, weights: int = 0) -> GpuCase:
    """An op over the rows of (16384, 4096), in its own dtype, compiled by torch too where that can."""
    shape = (16384, 4096)

    def make(place: Place) -> dict[str, Call]:
        x = place.normal(*shape, dtype=dtype)
        parameters = [place.normal(shape[1], dtype=dtype) for _ in range(weights)]
        arrays = [place.ours(t) for t in (x, *parameters)]
        calls = {OURS: lambda: ours(*arrays), "torch": lambda: torchs(place.torch.nn.functional, x, *parameters)}
        if not place.dry and name == "rms_norm":
            compiled = place.torch.compile(lambda *tensors: torchs(place.torch.nn.functional, *tensors))
            calls["torch.compile"] = lambda: compiled(x, *parameters)
        return calls

    return GpuCase(
        "memory", f"{name} {dtype} 16384 x 4096", make, bytes=2.0 * math.prod(shape) * (2 if "16" in dtype else 4)
    )


def _cross_entropy() -> GpuCase:
    rows, classes = 8192, 50257

    def make(place: Place) -> dict[str, Call]:
        x = place.normal(rows, classes)
        target = place.torch.randint(0, place.size(classes), (place.size(rows),), device=place.device)
        a, t = place.ours(x), place.ours(target)
        return {
            OURS: lambda: fa.cross_entropy(a, t),
            "torch": lambda: place.torch.nn.functional.cross_entropy(x, target),
        }

    return GpuCase("memory", f"cross_entropy bfloat16 {rows} x {classes}", make, bytes=2.0 * rows * classes)


def _adam() -> GpuCase:
    shapes = gpt_shapes(768, 12, 50257, 1024)

    def make(place: Place) -> dict[str, Call]:
        lists = [[place.normal(*s, dtype="float32") for s in shapes.values()] for _ in range(2)]
        states = [[place.torch.zeros_like(p) for p in lists[0]] for _ in range(2)]
        plan = fa.AdamPlan(*[[place.ours(t) for t in tensors] for tensors in (*lists, *states)])
        params = [p.clone().requires_grad_() for p in lists[0]]
        for p, g in zip(params, lists[1], strict=True):
            p.grad = g
        optimizer = place.torch.optim.AdamW(params, lr=1e-4, fused=True)
        return {
            OURS: lambda: plan.step(step=2, lr=1e-4, weight_decay=0.01, decoupled=True),
            "torch fused AdamW": lambda: optimizer.step(),
        }

    return GpuCase("memory", "AdamW float32, GPT-2 124M", make, bytes=7 * 4.0 * count(shapes), tolerance=None)


def _matmul(m: int, n: int, k: int, dtype: str, what: str = "") -> GpuCase:
    def make(place: Place) -> dict[str, Call]:
        kind = "float32" if dtype == "tf32" else dtype
        a, b = place.normal(m, k, dtype=kind), place.normal(k, n, dtype=kind)
        x, y = place.ours(a), place.ours(b)
        precision = "high" if dtype == "tf32" else "highest"

        def ours() -> Any:
            fa.set_float32_matmul_precision(precision)
            return fa.matmul(x, y)

        def torchs() -> Any:
            place.torch.set_float32_matmul_precision(precision)
            return place.torch.matmul(a, b)

        return {OURS: ours, "cuBLAS": torchs}

    return GpuCase("matmul", f"matmul {dtype} {m} x {n} x {k}{what}", make, flops=2.0 * m * n * k)


def _attention(b: int, h: int, t: int, d: int, causal: bool, training: bool) -> GpuCase:
    def make(place: Place) -> dict[str, Call]:
        torch = place.torch
        q, k, v, dout = (place.normal(b, h, t, d) for _ in range(4))
        arrays = [place.ours(x) for x in (q, k, v)]
        gradient = fa.Tensor(place.ours(dout))

        def ours() -> Any:
            if not training:
                return fa.scaled_dot_product_attention(*arrays, is_causal=causal)
            leaves = [fa.Tensor(x, requires_grad=True) for x in arrays]
            out = fa.scaled_dot_product_attention(*leaves, is_causal=causal)
            out.backward(gradient)
            return [leaf.grad for leaf in leaves]

        def torchs(backend: Any) -> Any:
            leaves = [x.detach().requires_grad_(training) for x in (q, k, v)]
            with torch.nn.attention.sdpa_kernel(backend):
                out = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=causal)
            return torch.autograd.grad(out, leaves, dout) if training else out

        found = {name: getattr(torch.nn.attention.SDPBackend, name) for name in BACKENDS.values()}
        peers = {f"torch {short}": (lambda f=found[name]: torchs(f)) for short, name in BACKENDS.items()}
        return {OURS: ours, **peers}

    name = f"attn {'fwd+bwd' if training else 'fwd'} bf16 {b}x{h}x{t}x{d} {'causal' if causal else 'full'}"
    flops = 4.0 * b * h * t * t * d * (3.5 if training else 1) * (0.5 if causal else 1)
    return GpuCase("attention", name, make, flops=flops)


def _decode(b: int, heads: int, kv_heads: int, s: int, d: int) -> GpuCase:
    def make(place: Place) -> dict[str, Call]:
        few = min(kv_heads, 2) if place.dry else kv_heads
        q, k, v = place.normal(b, few * (heads // kv_heads), 1, d), *(place.normal(b, few, s, d) for _ in range(2))
        arrays = [place.ours(x) for x in (q, k, v)]
        gqa = heads != kv_heads
        sdpa = place.torch.nn.functional.scaled_dot_product_attention
        return {
            OURS: lambda: fa.scaled_dot_product_attention(*arrays, enable_gqa=gqa),
            "torch": lambda: sdpa(q, k, v, enable_gqa=gqa),
        }

    return GpuCase("decode", f"decode bf16 B{b} H{heads}/{kv_heads} S{s} D{d}", make, bytes=4.0 * b * kv_heads * s * d)


def _step(batch: int, length: int) -> GpuCase:
    full = model.Size("GPT-2 124M", 768, 12, 12, 50257, batch, length, False)

    def make(place: Place) -> dict[str, Call]:
        torch = place.torch
        size = model.TINY if place.dry else full
        shapes = gpt_shapes(size.width, size.blocks, size.tokens, size.length)
        flat, ids = model.make_inputs(size, shapes, np.random.default_rng(0))
        ours = model.our_model(size, shapes, flat).to(place.device)
        optimizer = fa.optim.AdamW(ours.parameters(), lr=model.LR, weight_decay=model.DECAY)
        tokens = fa.Tensor(ids).to(place.device)

        def step() -> Any:
            with fa.autocast(dtype=fa.bfloat16):
                loss = ours(tokens, labels=tokens)[1]
            loss.backward()
            fa.nn.utils.clip_grad_norm_(ours.parameters(), model.CLIP)
            optimizer.step()
            optimizer.zero_grad()
            return loss

        params = [torch.from_numpy(p).to(place.device).requires_grad_() for p in model.cut(flat, shapes)]
        peer = torch.optim.AdamW(params, lr=model.LR, weight_decay=model.DECAY, fused=True)
        there = torch.from_numpy(ids).to(place.device)
        targets = torch.full_like(there, -100)
        targets[:, :-1] = there[:, 1:]

        def torchs() -> Any:
            with torch.autocast(place.device, torch.bfloat16):
                logits = model.gpt_logits(model.OfTorch, params, there, size.heads)
                loss = torch.nn.functional.cross_entropy(logits.view(-1, size.tokens), targets.view(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(params, model.CLIP)
            peer.step()
            peer.zero_grad()
            return loss

        return {OURS: step, "torch eager": torchs}

    shapes = gpt_shapes(full.width, full.blocks, full.tokens, full.length)
    products = 2 * model.weights_of_products(shapes) + 2 * full.blocks * full.width * (length + 1)
    name = f"GPT-2 124M step bf16 B{batch} T{length}"
    return GpuCase("step", name, make, flops=3.0 * batch * length * products, tokens=batch * length)


def cases() -> Iterator[GpuCase]:
    for dtype in ("bfloat16", "float32"):
        yield _rows("softmax", lambda x: fa.softmax(x, axis=-1), lambda f, x: f.softmax(x, -1), dtype)
        yield _rows(
            "layer_norm",
            lambda x, w, b: fa.layer_norm(x, x.shape[-1], w, b),
            lambda f, x, w, b: f.layer_norm(x, x.shape[-1:], w, b),
            dtype,
            weights=2,
        )
        yield _rows(
            "rms_norm",
            lambda x, w: fa.rms_norm(x, x.shape[-1], w, 1e-6),
            lambda f, x, w: f.rms_norm(x, x.shape[-1:], w, 1e-6),
            dtype,
            weights=1,
        )
    yield _cross_entropy()
    yield _adam()
    for dtype in ("bfloat16", "float16", "float32", "tf32"):
        yield _matmul(4096, 4096, 4096, dtype)
    yield _matmul(8192, 8192, 8192, "bfloat16", " (the peak)")
    for n, k in ((2304, 768), (768, 768), (3072, 768), (768, 3072), (50257, 768)):
        yield _matmul(8192, n, k, "bfloat16")
    for shape in ((8, 12, 1024, 64), (4, 16, 4096, 128)):
        for causal in (True, False):
            for training in (False, True):
                yield _attention(*shape, causal, training)
    yield _decode(32, 32, 32, 2048, 128)
    yield _decode(32, 32, 8, 4096, 128)
    yield _decode(1, 32, 8, 16384, 128)
    yield _step(8, 1024)
