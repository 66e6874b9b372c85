"""What activations and losses are: a function of nn.functional as a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastattn.autograd.tensor import Tensor

from .module import Module


class FunctionLayer(Module):
    """Calls `function` with the options that the layer was made with, which are its attributes.

    Args:
        options: the function's keywords; tensors, and None in the place of one of `tensors`, become buffers.
    """

    function: Callable[..., Tensor]
    tensors: tuple[str, ...] = ()  # options that are tensors

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = tuple(options)
        for name, value in options.items():
            if name in self.tensors:
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.function(*args, **kwargs, **{name: getattr(self, name) for name in self.options})
