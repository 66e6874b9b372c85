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
        if not shape:
            return torch.empty((), dtype=dtype, device=like.device)
        return torch.empty(*shape, dtype=dtype, device=like.device)  # 1 microsecond; of a torch.Size 2

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
        if not _is_recorded(arrays):
            result = super().run(op, arrays, attrs, out)
            if out is not None:
                _kinds.mutated([out])
            return result
        if out is not None:
            msg = f"{op.name}: out= cannot be recorded for gradients; leave it out, or call under torch.no_grad()"
            raise RuntimeError(msg)
        results: Any = _Record.apply(op, attrs, *arrays)
        return results[0] if op.public(attrs) == 1 else results


def _is_recorded(arrays: tuple[Array, ...]) -> bool:
    if torch.is_grad_enabled():
        for array in arrays:
            if array is not None and array.requires_grad:
                return True
    return False


TORCH = TorchKind()


class _Record(torch.autograd.Function):
    """An op on torch's tape."""

    @classmethod
    def apply(cls, *args: Any) -> Any:
        # What Function.apply does before this serves functorch's transforms, and takes 2 of 6 microseconds.
        if torch._C._are_functorch_transforms_active():
            return super().apply(*args)  # type: ignore[no-untyped-call]
        return super(torch.autograd.Function, cls).apply(*args)  # type: ignore[misc]

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
