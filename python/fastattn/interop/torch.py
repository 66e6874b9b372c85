"""torch's door: torch tensors in, torch tensors out, gradients by torch's own autograd.

One autograd.Function serves every op: what it saves and how it goes backward stands in the op's description.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from fastattn.ops import _kinds
from fastattn.ops._op import Array, Op


class TorchKind(_kinds.Kind):
    name = "torch"
    index = torch.int64
    byte = torch.uint8

    def empty(self, shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
        return torch.empty(shape, dtype=dtype, device=like.device)

    def zeros(self, shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
        return torch.zeros(shape, dtype=dtype, device=like.device)

    def accumulator(self, dtype: Any) -> Any:
        return torch.float64 if dtype == torch.float64 else torch.float32

    def contiguous(self, array: Array) -> Array:
        return array.contiguous()

    def classes_last(self, array: Array) -> Array:
        return array.movedim(1, -1).contiguous()

    def asarray(self, array: Any, like: Array) -> Array:
        return torch.from_numpy(array).to(like.device)

    def mutated(self, array: Array) -> None:
        torch.autograd.graph.increment_version(array)

    def run(self, op: Op, arrays: tuple[Array, ...], attrs: tuple[Any, ...], out: Array | None) -> Any:
        recording = torch.is_grad_enabled() and any(a is not None and a.requires_grad for a in arrays)
        if not recording:
            result = super().run(op, arrays, attrs, out)
            if out is not None:
                _kinds.mutated([out])
            return result
        if out is not None:
            msg = f"{op.name}: out= cannot be recorded for gradients; leave it out, or call under torch.no_grad()"
            raise RuntimeError(msg)
        results: Any = _Record.apply(op, attrs, *arrays)  # type: ignore[no-untyped-call]
        return results[0] if op.public(attrs) == 1 else results


TORCH = TorchKind()


class _Record(torch.autograd.Function):
    """An op on torch's tape."""

    @staticmethod
    def forward(ctx: Any, op: Op, attrs: tuple[Any, ...], *arrays: torch.Tensor | None) -> tuple[Any, ...]:
        outs = TORCH.allocate(op, arrays, attrs, None, saving=True)
        op.forward(arrays, attrs, outs)
        ctx.op, ctx.attrs = op, attrs
        ctx.save_for_backward(*op.saved(arrays, attrs, outs))
        ctx.set_materialize_grads(False)
        return outs[: op.public(attrs)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        op = ctx.op
        if all(g is None for g in grads):
            return (None,) * len(ctx.needs_input_grad)
        needs = tuple(
            need and name in op.differentiable for name, need in zip(op.arrays, ctx.needs_input_grad[2:], strict=True)
        )
        return (None, None, *op.backward(TORCH, ctx.saved_tensors, ctx.attrs, grads, needs))


_kinds.register(torch.Tensor, TORCH)
_kinds.register(torch.nn.Parameter, TORCH)
