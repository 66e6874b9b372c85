"""Tensors and reverse-mode gradients."""

from fastattn._missing import missing

from . import functions as _functions
from .autocast import autocast, is_autocast_enabled
from .creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_dlpack,
    from_numpy,
    full,
    full_like,
    get_default_dtype,
    is_tensor,
    linspace,
    logspace,
    ones,
    ones_like,
    scalar_tensor,
    tensor,
    tril_indices,
    triu_indices,
    zeros,
    zeros_like,
)
from .functions import *  # noqa: F403
from .gradcheck import gradcheck
from .gradients import grad
from .node import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .random import (
    bernoulli,
    multinomial,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
)
from .tensor import Tensor

__all__ = [
    "Tensor",
    "arange",
    "as_tensor",
    "autocast",
    "bernoulli",
    "empty",
    "empty_like",
    "enable_grad",
    "eye",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "get_default_dtype",
    "grad",
    "gradcheck",
    "is_autocast_enabled",
    "is_grad_enabled",
    "is_tensor",
    "linspace",
    "logspace",
    "multinomial",
    "no_grad",
    "normal",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "scalar_tensor",
    "set_grad_enabled",
    "tensor",
    "tril_indices",
    "triu_indices",
    "zeros",
    "zeros_like",
    *_functions.__all__,
]

__getattr__ = missing(__name__)
