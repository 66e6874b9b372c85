"""Tensors and reverse-mode gradients."""

from .arithmetic import maximum, minimum, where
from .autocast import autocast, is_autocast_enabled
from .creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from .gradcheck import gradcheck
from .node import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .shape import cat, split, stack
from .tensor import Tensor, grad

__all__ = [
    "Tensor",
    "arange",
    "as_tensor",
    "autocast",
    "cat",
    "empty",
    "empty_like",
    "enable_grad",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "grad",
    "gradcheck",
    "is_autocast_enabled",
    "is_grad_enabled",
    "linspace",
    "maximum",
    "minimum",
    "no_grad",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "set_grad_enabled",
    "split",
    "stack",
    "tensor",
    "where",
    "zeros",
    "zeros_like",
]
