"""What the blocks of all Transformers are made of: two dense layers, and what goes around a sublayer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastattn.autograd.tensor import Tensor

from . import functional as F
from .activation import GELU
from .layers import Dropout, Linear
from .module import Module


def fused(activation: Any) -> str | None:
    """The name in matmul's epilogue of an activation, a function or a layer, if it has one."""
    if activation is F.gelu:
        return "gelu"
    if type(activation) is GELU and activation._hooks is None:
        return {"none": "gelu", "tanh": "gelu_tanh"}.get(activation.approximate)
    return None


def _is_plain(layer: Any) -> bool:
    """Whether nothing hangs on a dense layer, so that what follows it may be part of the product."""
    return type(layer) is Linear and layer._hooks is None


def dense(layer: Module, x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """activation(layer(x)), a GELU within the product."""
    name = fused(activation)
    if name is not None and _is_plain(layer):
        return F.linear(x, layer.weight, layer.bias, activation=name)
    return activation(layer(x))


def add_dense(layer: Module, x: Tensor, residual: Tensor, dropout: Dropout) -> Tensor:
    """residual + dropout(layer(x)); without dropout the sum is part of the product."""
    # Of two dtypes, as under autocast, the sum has the wider.
    if (dropout.training and dropout.p) or not _is_plain(layer) or x.dtype != residual.dtype:
        return residual + dropout(layer(x))  # type: ignore[no-any-return]
    return F.linear(x, layer.weight, layer.bias, residual=residual)


def sublayer(x: Tensor, norm: Module, norm_first: bool, added: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """added(norm(x), x) or norm(added(x, x)), where added(y, residual) is residual + f(y).

    Source: Xiong et al., "On Layer Normalization in the Transformer Architecture" (2020), figure 1.
    """
    if norm_first:
        return added(norm(x), x)
    return norm(added(x, x))  # type: ignore[no-any-return]


class Stack(Module):
    """Layers that come one after the other, whose activations can be computed again instead of kept."""

    gradient_checkpointing = False

    def _run(self, layer: Module, *args: Any, **kwargs: Any) -> Any:
        """layer(*args, **kwargs)"""
        if not (self.gradient_checkpointing and self.training):
            return layer(*args, **kwargs)
        from fastattn.utils.checkpoint import checkpoint

        return checkpoint(layer, *args, **kwargs)


def set_gradient_checkpointing(model: Module, enabled: bool = True) -> None:
    """Has all stacks of layers in a model keep only what goes into each layer, see `utils.checkpoint.checkpoint`.

    Raises:
        ValueError: the model has no such stack.
    """
    stacks = [m for m in model.modules() if isinstance(m, Stack)]
    if not stacks:
        msg = f"gradient checkpointing: a {type(model).__name__} has no stack of layers"
        raise ValueError(msg)
    for stack in stacks:
        stack.gradient_checkpointing = enabled
