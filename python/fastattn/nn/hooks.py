"""Functions that are called around a module's forward and backward pass."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from fastattn.autograd.hooks import RemovableHandle, add_hook
from fastattn.autograd.node import Base, Node, Slot, edge_of, is_grad_enabled, no_grad, wrap, wrap_view


class _ForwardHook(NamedTuple):
    call: Callable[..., Any]
    with_kwargs: bool
    always_call: bool = False


class Hooked:
    """What registers hooks and calls them."""

    # By kind; an instance has a dict of its own from its first hook on, so that a module without hooks is called at once.
    _hooks: dict[str, OrderedDict[int, Any]] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; called by calling the module."""
        msg = f"{type(self).__name__} defines no forward()"
        raise NotImplementedError(msg)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(args, kwargs)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` before forward(); what it returns replaces the arguments.

        Args:
            hook: returns None, or a tuple of arguments (or the only one); with `with_kwargs` it is
                `hook(module, args, kwargs)` and returns None or (args, kwargs).
            prepend: call it before the hooks registered earlier.
            with_kwargs: pass the keyword arguments too.

        Returns:
            A handle; its `remove()` takes the hook away.

        Example:
            >>> import fastattn as fa
            >>> layer = fa.nn.Identity()
            >>> handle = layer.register_forward_pre_hook(lambda module, args: args[0] * 2)
            >>> layer(fa.ones(1))
            tensor([2.])
        """
        return self._add_hook("forward_pre", _ForwardHook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after forward(); what it returns replaces the output.

        Args:
            hook: returns None, or another output; with `with_kwargs` it is `hook(module, args, kwargs, output)`.
            prepend: call it before the hooks registered earlier.
            with_kwargs: pass the keyword arguments too.
            always_call: call it also where forward() or another hook raises; the output may be None then.

        Returns:
            A handle; its `remove()` takes the hook away.

        Example:
            >>> import fastattn as fa
            >>> layer, seen = fa.nn.Linear(2, 3), []
            >>> handle = layer.register_forward_hook(lambda module, args, output: seen.append(output.shape))
            >>> _ = layer(fa.ones(4, 2))
            >>> seen
            [(4, 3)]
        """
        return self._add_hook("forward", _ForwardHook(hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_output)` when the gradients of the outputs are there, in backward().

        `grad_output` is a tuple with a tensor, or None, for each output; another tuple that the hook returns replaces it.
        """
        return self._add_hook("backward_pre", hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_input, grad_output)` when the gradients of the inputs are there, in backward().

        Both are tuples with a tensor, or None, for each positional argument and each output. Another tuple that the hook
        returns replaces `grad_input`. Where no input requires a gradient it is called with Nones, after the outputs'.

        Example:
            >>> import fastattn as fa
            >>> layer, seen = fa.nn.Linear(2, 3), []
            >>> handle = layer.register_full_backward_hook(lambda m, grad_input, grad_output: seen.append(grad_input[0]))
            >>> layer(fa.ones(4, 2, requires_grad=True)).sum().backward()
            >>> seen[0].shape
            (4, 2)
        """
        return self._add_hook("backward", hook, prepend)

    def _add_hook(self, kind: str, hook: Any, prepend: bool = False) -> RemovableHandle:
        if self._hooks is None:
            object.__setattr__(self, "_hooks", {})
        assert self._hooks is not None
        return add_hook(self._hooks.setdefault(kind, OrderedDict()), hook, prepend)

    def _hooks_of(self, kind: str) -> list[Any]:
        return list(self._hooks[kind].values()) if self._hooks is not None and kind in self._hooks else []

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in self._hooks_of("forward_pre"):
            args, kwargs = _new_arguments(hook, self, args, kwargs)
        watch = _Watch(self) if is_grad_enabled() and (self._watched()) else None
        if watch is not None:
            args = watch.inputs(args)
        output, waiting = None, self._hooks_of("forward")
        try:
            output = self.forward(*args, **kwargs)
            while waiting:
                output = _new_output(waiting.pop(0), self, args, kwargs, output)
        except Exception:
            for hook in waiting:
                if hook.always_call:
                    try:
                        output = _new_output(hook, self, args, kwargs, output)
                    except Exception as error:  # the first error is the one to report
                        warnings.warn(f"a forward hook with always_call raised as well: {error}", stacklevel=2)
            raise
        return output if watch is None else watch.outputs(output)

    def _watched(self) -> bool:
        return bool(self._hooks_of("backward") or self._hooks_of("backward_pre"))


def _new_arguments(
    hook: _ForwardHook, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    result = hook.call(module, args, kwargs) if hook.with_kwargs else hook.call(module, args)
    if result is None:
        return args, kwargs
    if not hook.with_kwargs:
        return result if isinstance(result, tuple) else (result,), kwargs
    if not (isinstance(result, tuple) and len(result) == 2):
        msg = f"register_forward_pre_hook: the hook returned {type(result).__name__}; expected None or (args, kwargs)"
        raise RuntimeError(msg)
    return result


def _new_output(hook: _ForwardHook, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    result = hook.call(module, args, kwargs, output) if hook.with_kwargs else hook.call(module, args, output)
    return output if result is None else result


class _Watch:
    """Two nodes of the tape that do nothing, around one call of a module: its inputs go through one, its outputs through
    the other, and so their gradients do."""

    def __init__(self, module: Hooked) -> None:
        self.module = module
        self.input_count = 0
        self.watches_inputs = False
        self.grad_output: tuple[Any, ...] = ()

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        passed = _pass_through("inputs of a module with hooks", args, self._inputs_backward)
        self.input_count, self.watches_inputs = len(args), passed is not args
        return passed

    def outputs(self, output: Any) -> Any:
        outputs = output if isinstance(output, tuple) else (output,)
        passed = _pass_through("outputs of a module with hooks", outputs, self._outputs_backward)
        if passed is outputs:
            return output
        if hasattr(output, "_fields"):
            return type(output)(*passed)
        return passed if isinstance(output, tuple) else passed[0]

    def _outputs_backward(self, node: Node, dout: Any) -> tuple[Any, ...]:
        places, count = node.saved
        self.grad_output = _spread(places, count, dout if node.outputs > 1 else [dout])
        for hook in self.module._hooks_of("backward_pre"):
            with no_grad():
                self.grad_output = _new_gradients(hook(self.module, self.grad_output), self.grad_output)
        result = [self.grad_output[i] for i in places]
        if not self.watches_inputs:
            self._call((None,) * self.input_count)
        return tuple([None if g is None else g._data for g in result])

    def _inputs_backward(self, node: Node, dout: Any) -> tuple[Any, ...]:
        places, count = node.saved
        found = self._call(_spread(places, count, dout if node.outputs > 1 else [dout]))
        return tuple([None if found[i] is None else found[i]._data for i in places])

    def _call(self, grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.module._hooks_of("backward"):
            with no_grad():
                grad_input = _new_gradients(hook(self.module, grad_input, self.grad_output), grad_input)
        self.grad_output = ()
        return grad_input


def _pass_through(name: str, values: tuple[Any, ...], backward: Any) -> tuple[Any, ...]:
    """The values, those tensors that want a gradient as outputs of one node; the tuple itself where there are none."""
    places = [i for i, v in enumerate(values) if isinstance(v, Base) and v._requires_grad]
    if not places:
        return values
    node = Node(name, tuple([edge_of(values[i]) for i in places]), backward, (places, len(values)), (), len(places))
    passed = list(values)
    for slot, i in enumerate(places):
        out = wrap_view(values[i]._data, values[i])
        out._node, out._requires_grad = (Slot(node, slot) if len(places) > 1 else node), True
        passed[i] = out
    return tuple(passed)


def _spread(places: list[int], count: int, arrays: Any) -> tuple[Any, ...]:
    """Gradients by argument; None for those without."""
    found: list[Any] = [None] * count
    for i, array in zip(places, arrays, strict=True):
        found[i] = None if array is None else wrap(array)
    return tuple(found)


def _new_gradients(result: Any, before: tuple[Any, ...]) -> tuple[Any, ...]:
    if result is None:
        return before
    new = result if isinstance(result, tuple) else (result,)
    if len(new) != len(before):
        msg = f"a full backward hook returned {len(new)} gradients; expected {len(before)}"
        raise RuntimeError(msg)
    return new
