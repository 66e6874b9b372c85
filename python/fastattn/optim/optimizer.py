"""Optimizer: the base of SGD, Adam and AdamW: groups of parameters, their state, and torch's form of both on disk."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastattn import ops
from fastattn._device import write
from fastattn.autograd.convert import as_data
from fastattn.autograd.hooks import Hooks, RemovableHandle, add_hook
from fastattn.autograd.node import Base, enable_grad, kind_of, wrap
from fastattn.autograd.tensor import Tensor

Params = Iterable[Any]


class Optimizer:
    """Changes parameters by their gradients.

    A subclass gives its options as `defaults` and defines `_update(group, params, grads)`, which gets the parameters of
    a group that have a gradient, those of one dtype at a time. State is kept in the accumulator's dtype: of bfloat16
    and float16 parameters in float32, and with it a float32 master of the parameter (state "master"), so that updates
    smaller than its rounding add up.

    Args:
        params: parameters, or dicts {"params": [...], option: value} for groups with options of their own.
        defaults: options of the groups that say nothing else.

    Raises:
        ValueError: no parameters, or one in two groups.
        TypeError: something that is not a tensor.

    Example:
        >>> import fastattn as fa
        >>> class Descent(fa.optim.Optimizer):
        ...     def _update(self, group, params, grads):
        ...         with fa.no_grad():
        ...             for p, g in zip(params, grads):
        ...                 p -= group["lr"] * g
        >>> w = fa.ones(1, requires_grad=True)
        >>> optimizer = Descent([w], {"lr": 0.5})
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> w.item()
        0.5

    Source: torch.optim.Optimizer's form of it.
    """

    # Whether `_update` multiplies the gradients by `_grad_scale`; without, clip_and_step writes them scaled.
    _takes_grad_scale = False
    _grad_scale: float | None = None

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._synced: dict[int, int] = {}  # by id: the version of a parameter that its master agrees with
        self.param_groups: list[dict[str, Any]] = []
        self._step_pre_hooks: Hooks = OrderedDict()
        self._step_post_hooks: Hooks = OrderedDict()
        if isinstance(params, Base):
            msg = f"{type(self).__name__}: params is one tensor; expected a list. Pass [tensor]"
            raise TypeError(msg)
        groups = list(params)
        if not groups:
            msg = f"{type(self).__name__}: params is empty; expected parameters (model.parameters() gives them once)"
            raise ValueError(msg)
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group {"params": [...], option: value}; options it lacks are the defaults."""
        name = type(self).__name__
        params = param_group["params"]
        params = [params] if isinstance(params, Base) else list(params)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, Base):
                msg = f"{name}: parameter {i} is a {type(p).__name__}; expected a Tensor"
                raise TypeError(msg)
            if p._node is not None:
                msg = f"{name}: parameter {i} is the result of an op; expected a leaf"
                raise ValueError(msg)
            if id(p) in known:
                msg = f"{name}: parameter {i} of the group is there already; a parameter belongs to one group, once"
                raise ValueError(msg)
            known.add(id(p))
        group = {**self.defaults, **param_group, "params": params}
        unknown = [
            key for key in param_group if key not in self.defaults and key not in ("params", "initial_lr", "name")
        ]
        if unknown:
            msg = f"{name}: unknown option {unknown[0]!r} of a group; expected {', '.join(self.defaults)}"
            raise TypeError(msg)
        self._validate(group)
        self.param_groups.append(group)

    def _validate(self, group: dict[str, Any]) -> None:
        """Raises for options out of range."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients, or sets them to 0."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = p.grad.detach().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes every parameter that has a gradient, in place.

        Args:
            closure: computes the loss and its gradients again; called first.

        Returns:
            What `closure` returned.
        """
        for hook in list(self._step_pre_hooks.values()):
            hook(self, (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_dtype: dict[Any, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_dtype.setdefault(p._data.dtype, []).append(p)
            for params in by_dtype.values():
                self._update(group, params, [_contiguous(p.grad) for p in params if p.grad is not None])
                for p in params:
                    if "master" in self.state[p]:
                        self._synced[id(p)] = p._version[0]
        for hook in list(self._step_post_hooks.values()):
            hook(self, (closure,), {})
        return loss

    def clip_and_step(self, max_norm: float) -> float:
        """`clip_grad_norm_` over all parameters, then `step`: the gradients are scaled as the step reads them, which saves
        a pass that writes them. The result has the bits of the two calls where gradients are float32 or float64; of 16
        bits, scaled gradients are not rounded.

        Args:
            max_norm: the largest norm of the gradients.

        Returns:
            The norm before. Where it is inf or NaN nothing has changed.

        Example:
            >>> import fastattn as fa
            >>> w = fa.zeros(2, requires_grad=True)
            >>> optimizer = fa.optim.SGD([w], lr=1.0)
            >>> (w * fa.tensor([3.0, 4.0])).sum().backward()
            >>> optimizer.clip_and_step(0.5)
            5.0
            >>> round(w[0].item(), 4), round(w[1].item(), 4)
            (-0.3, -0.4)

        Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013), section 3.2.
        """
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if self._takes_grad_scale:
            norm = ops.grad_norm([_contiguous(p.grad) for p in params if p.grad is not None])
            factor = max_norm / (norm + 1e-6)  # as clip_grad_norm_
            self._grad_scale = factor if factor < 1 else None
        else:
            from fastattn.nn.utils import clip_grad_norm_

            norm = float(clip_grad_norm_(params, max_norm))
        try:
            if math.isfinite(norm):
                self.step()
        finally:
            self._grad_scale = None
        return norm

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(optimizer, args, kwargs)` before each step()."""
        return add_hook(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(optimizer, args, kwargs)` after each step()."""
        return add_hook(self._step_post_hooks, hook)

    def _update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        raise TypeError(type(self).__name__)

    def _masters(self, params: list[Tensor]) -> list[Tensor] | None:
        """The float32 masters of 16-bit parameters, made on their first step; None for other dtypes. A parameter that
        somebody else has changed since the last step, or since the state was loaded, gets its master anew."""
        if kind_of(params[0]._data).accumulator(params[0].dtype) == params[0].dtype:
            return None
        masters = []
        for p in params:
            master = self.state[p].get("master")
            if master is None:
                master = self.state[p]["master"] = zeros_like(p)
                master._data[...] = p._data
            elif self._synced.get(id(p)) != p._version[0]:
                changed = master._data.astype(p.dtype) != p._data
                np.copyto(master._data, p._data, where=changed)
            masters.append(master)
        return masters

    # On disk --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """torch's form: {"state": {number: {name: value}}, "param_groups": [{option: value, "params": [numbers]}]}.

        Parameters are numbered in the order of the groups; tensors are shared, not copied.
        """
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for p in group["params"]:
                numbers.setdefault(id(p), len(numbers))
            packed = {key: value for key, value in group.items() if key != "params"}
            groups.append({**packed, "params": [numbers[id(p)] for p in group["params"]]})
        state = {numbers[id(p)]: dict(values) for p, values in self.state.items()}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state of the same groups; tensors are copied, and cast to the dtype of the state.

        Raises:
            ValueError: groups of other sizes, or tensors of other shapes; nothing has been changed.
        """
        name = type(self).__name__
        saved = state_dict["param_groups"]
        sizes, own = [len(g["params"]) for g in saved], [len(g["params"]) for g in self.param_groups]
        if sizes != own:
            msg = f"{name}.load_state_dict: groups of {sizes} parameters; expected {own}"
            raise ValueError(msg)
        by_number = {
            number: p
            for theirs, group in zip(saved, self.param_groups, strict=True)
            for number, p in zip(theirs["params"], group["params"], strict=True)
        }
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for key, values in state_dict["state"].items():
            number = int(key)
            if number not in by_number:
                msg = f"{name}.load_state_dict: state of parameter {number}, which no group has"
                raise ValueError(msg)
            p = by_number[number]
            for field, value in values.items():
                state[p][field] = self._loaded(
                    f"{name}.load_state_dict: {field} of parameter {number}", p, field, value
                )
        groups = []
        for theirs, group in zip(saved, self.param_groups, strict=True):
            options = {key: copy.deepcopy(value) for key, value in theirs.items() if key != "params"}
            groups.append({**group, **options, "params": group["params"]})
        self.state = state
        self._synced.clear()
        self.param_groups[:] = groups

    def _loaded(self, where: str, p: Tensor, field: str, value: Any) -> Any:
        if field == "step":
            return int(value)
        if value is None or isinstance(value, (int, float, bool)):
            return value
        array = _as_array(value)
        if array.shape != p.shape:
            msg = f"{where} has shape {array.shape}; expected {p.shape}"
            raise ValueError(msg)
        copied = zeros_like(p)
        write(copied._data, array)
        return copied

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {value}" for key, value in sorted(group.items()) if key != "params"]
        return "\n".join([*lines, ")"])


def zeros_like(p: Tensor) -> Tensor:
    """State of the shape of a parameter, in the accumulator's dtype."""
    kind = kind_of(p._data)
    return wrap(kind.zeros(p.shape, kind.accumulator(p.dtype), p._data))


def _contiguous(grad: Tensor) -> Tensor:
    return grad if grad._data.flags.c_contiguous else grad.contiguous()


def _as_array(value: Any) -> Any:
    if isinstance(value, Base) or hasattr(value, "__array_namespace__"):
        return as_data(value)
    return np.from_dlpack(value.detach() if hasattr(value, "detach") else value)


def alias(name: str, options: dict[str, Any], aliases: Mapping[str, Any], torch_name: str, keras_name: str) -> None:
    """Moves Keras's spelling of an option to torch's; `options` holds only what the caller gave."""
    if aliases.get(keras_name) is None:
        return
    if torch_name in options:
        msg = f"{name}: {torch_name} and {keras_name} are the same option; pass one of them"
        raise TypeError(msg)
    options[torch_name] = aliases[keras_name]


def non_negative(name: str, group: Mapping[str, Any], *options: str) -> None:
    for option in options:
        if not group[option] >= 0:
            msg = f"{name}: {option} is {group[option]!r}; expected at least 0"
            raise ValueError(msg)


def decayed(group: Mapping[str, Any], steps: int) -> float:
    """The learning rate of a step with Keras's decay: lr / (1 + decay * steps before)."""
    lr: float = group["lr"]
    return lr / (1.0 + group["decay"] * steps) if group["decay"] else lr
