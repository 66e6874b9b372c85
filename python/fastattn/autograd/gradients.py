"""Which tensors want gradients, and asking for them: `backward()`, `grad()`, and hooks on the way."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from . import walk
from .convert import is_float
from .hooks import RemovableHandle, add_hook
from .node import Array, Base, Node, Slot, wrap, wrap_view

if TYPE_CHECKING:
    from .tensor import Tensor


class Gradients(Base):
    """A tensor's place on the tape."""

    __slots__ = ()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self._node is not None:
            if not value:
                msg = "requires_grad: only a leaf's can be turned off; use detach()"
                raise RuntimeError(msg)
            return
        if value and not is_float(self._data.dtype):
            msg = f"requires_grad: dtype is {self._data.dtype}; expected floats. Call float() first"
            raise TypeError(msg)
        self._requires_grad = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets requires_grad; returns self."""
        self.requires_grad = requires_grad
        return self  # type: ignore[return-value]

    @property
    def is_leaf(self) -> bool:
        """Whether it came from the user, not from a recorded op."""
        return self._node is None

    @property
    def grad_fn(self) -> Node | Slot | None:
        """The recorded op that it came from."""
        return self._node

    @property
    def version(self) -> int:
        """How often the data were changed in place."""
        return self._version[0]

    def detach(self) -> Tensor:
        """The same data (shared), without the record."""
        return wrap_view(self._data, self)

    def detach_(self) -> Tensor:
        """Makes this tensor a leaf that requires no gradient."""
        self._node = None
        self._requires_grad = False
        return self  # type: ignore[return-value]

    def backward(
        self, gradient: Any = None, retain_graph: bool = False, inputs: Sequence[Tensor] | None = None
    ) -> None:
        """Adds the gradients of this tensor to `grad` of every leaf that it was computed from.

        Args:
            gradient: what flows into this tensor, of its shape and dtype; 1 for a scalar by default.
            retain_graph: keep what a second walk needs; otherwise it is freed on the way.
            inputs: only these leaves, instead of all.

        Raises:
            RuntimeError: no gradient is required; the graph was walked before; a tensor that a gradient needs was
                changed in place; `gradient` is missing or has another shape.

        Example:
            >>> import fastattn as fa
            >>> x = fa.ones(3, requires_grad=True)
            >>> (2 * x).backward(fa.ones(3))
            >>> x.grad
            tensor([2., 2., 2.])
        """
        start = walk.seed_gradient("backward", self, gradient)
        if inputs is None:
            walk.walk([(self, start)], retain_graph)
            return
        wanted: dict[Any, Array | None] = {walk.target_of(t): None for t in inputs}
        walk.walk([(self, start)], retain_graph, wanted)
        for t in inputs:
            found = wanted[walk.target_of(t)]
            if found is not None:
                t.grad = wrap(found if t.grad is None else t.grad._data + found)
                if hasattr(t, "_hooks"):
                    walk.call_after(t, t._hooks[1])

    def retain_grad(self) -> None:
        """Makes backward() fill `grad` of this tensor too, though it is no leaf."""
        node = self._node
        if node is None:
            return
        index, owner = (node.index, node.node) if isinstance(node, Slot) else (0, node)
        owner.retained = [*(owner.retained or ()), (index, weakref.ref(self))]  # type: ignore[arg-type]

    @property
    def retains_grad(self) -> bool:
        """Whether retain_grad() was called on it."""
        node = self._node.node if isinstance(self._node, Slot) else self._node
        return node is not None and any(reference() is self for _, reference in node.retained or ())

    def register_hook(self, hook: Callable[[Tensor], Any]) -> RemovableHandle:
        """Calls `hook(gradient)` in backward(), once all of this tensor's gradient is there; what it returns replaces it.

        Args:
            hook: gets the gradient; returns None, or another of its shape and dtype.

        Returns:
            A handle; its `remove()` takes the hook away.

        Raises:
            RuntimeError: the tensor requires no gradient.

        Example:
            >>> import fastattn as fa
            >>> x = fa.ones(2, requires_grad=True)
            >>> handle = x.register_hook(lambda gradient: gradient * 10)
            >>> x.sum().backward()
            >>> x.grad
            tensor([10., 10.])
        """
        if not self._requires_grad:
            msg = "register_hook: the tensor requires no gradient; call requires_grad_() first"
            raise RuntimeError(msg)
        node = self._node
        if node is None:
            return add_hook(self._leaf_hooks()[0], hook)
        index, owner = (node.index, node.node) if isinstance(node, Slot) else (0, node)
        owner.hooks = owner.hooks or {}
        return add_hook(owner.hooks.setdefault(index, OrderedDict()), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], Any]) -> RemovableHandle:
        """Calls `hook(tensor)` at the end of backward(), after the gradient was added to this leaf's `grad`."""
        if not self._requires_grad or self._node is not None:
            msg = "register_post_accumulate_grad_hook: expected a leaf that requires a gradient"
            raise RuntimeError(msg)
        return add_hook(self._leaf_hooks()[1], hook)

    def _leaf_hooks(self) -> Any:
        if not hasattr(self, "_hooks"):
            self._hooks = OrderedDict(), OrderedDict()
        return self._hooks


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    r"""Gradients of outputs with respect to inputs, without touching any `grad`.

    .. math:: g_i = \sum_j \mathrm{grad\_output}_j \, \partial \mathrm{output}_j / \partial \mathrm{input}_i

    Args:
        outputs: a tensor or several.
        inputs: a tensor or several, leaves or not.
        grad_outputs: what flows into each output; 1 for scalars by default.
        retain_graph: keep what a second walk needs.
        create_graph: not supported: gradients of gradients.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.

    Returns:
        A tuple with a tensor for each input.

    Raises:
        RuntimeError: an input requires no gradient, or was not used.
        NotImplementedError: `create_graph`.

    Example:
        >>> import fastattn as fa
        >>> x = fa.tensor(3.0, requires_grad=True)
        >>> fa.grad(x * x, x)
        (tensor(6.),)

    Source: torch.autograd.grad's form of it.
    """
    if create_graph:
        msg = "grad: create_graph=True is not supported: backward passes are not recorded"
        raise NotImplementedError(msg)
    outs = [outputs] if isinstance(outputs, Base) else list(outputs)
    ins = [inputs] if isinstance(inputs, Base) else list(inputs)
    given = [grad_outputs] * len(outs) if not isinstance(grad_outputs, (list, tuple)) else list(grad_outputs)
    for i, t in enumerate(ins):
        if not t._requires_grad:
            msg = (
                f"grad: input {i} does not require a gradient; call requires_grad_() on it before the outputs are made"
            )
            raise RuntimeError(msg)
    starts = [(t, walk.seed_gradient("grad", t, g)) for t, g in zip(outs, given, strict=True)]
    wanted: dict[Any, Array | None] = {walk.target_of(t): None for t in ins}
    walk.walk(starts, retain_graph, wanted)
    found = [wanted[walk.target_of(t)] for t in ins]
    for i, g in enumerate(found):
        if g is None and not allow_unused:
            msg = f"grad: the outputs do not depend on input {i}; pass allow_unused=True to get None for it"
            raise RuntimeError(msg)
    return tuple([None if g is None else wrap(g) for g in found])
