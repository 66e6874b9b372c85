"""Weighted: what a layer knows of its weights and of the layers within it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fastattn.autograd.tensor import Tensor
from fastattn.keras.config import dtype_of
from fastattn.nn import Buffer, Module, Parameter

from .symbol import Node
from .weight import SAME, Layout, Weight


class _Structure:
    """How often any layer has got another layer or weight, or another `trainable`: what was found before is then old."""

    version = 0


def changed() -> None:
    """Notes a change of some layer's structure."""
    _Structure.version += 1


class Weighted(Module):
    """A module whose weights have Keras's names, layout and order."""

    name: str
    built: bool
    _dtype: np.dtype[Any]
    _trainable: bool
    _weights: list[Weight]
    _inbound_nodes: list[Node]

    # What it is -----------------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Class and name, as errors give them."""
        return f'{type(self).__name__} "{self.name}"'

    @property
    def dtype(self) -> str:
        """The name of the dtype of its weights."""
        return str(self._dtype)

    @property
    def compute_dtype(self) -> str:
        """The name of the dtype that it computes in."""
        return str(self._dtype)

    @property
    def trainable(self) -> bool:
        """Whether its weights are trained; setting it sets that of the layers within."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self._flatten_layers():
            object.__setattr__(layer, "_trainable", bool(value))
            changed()
            for weight in layer._weights:
                weight.follow()

    @property
    def input(self) -> Any:
        """The symbol, or the symbols, that it was first called on."""
        return self._first_node("input").args[0]

    @property
    def output(self) -> Any:
        """The symbol, or the symbols, that its first call gave."""
        return self._first_node("output").outputs

    def _first_node(self, what: str) -> Node:
        if not self._inbound_nodes:
            msg = f"{self.title} has no {what}: it was never called on a symbol"
            raise AttributeError(msg)
        return self._inbound_nodes[0]

    def _once(self, what: str, find: Callable[[], list[Any]]) -> list[Any]:
        """What `find` gives, kept until some layer changes: walks over all layers take as long as a small step."""
        kept: tuple[int, dict[str, list[Any]]] | None = self.__dict__.get("_found")
        if kept is None or kept[0] != _Structure.version:
            kept = (_Structure.version, {})
            object.__setattr__(self, "_found", kept)
        if what not in kept[1]:
            kept[1][what] = find()
        return list(kept[1][what])

    def __getattr__(self, name: str) -> Any:
        own = getattr(type(self), name, None)
        if isinstance(own, property) and own.fget is not None:
            return own.fget(self)  # which raised AttributeError; again, for its message
        try:
            return super().__getattr__(name)
        except AttributeError:
            for weight in self.__dict__.get("_weights", ()):
                if weight.name == name:  # kernel, gamma, moving_mean: Keras's names
                    return weight
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        tables = self.__dict__
        if isinstance(value, (Module, Parameter)) or not name.startswith("_") or name == "_modules":
            changed()
        modules = tables.get("_modules", {})
        if isinstance(value, Parameter):
            for other in [key for key, p in tables.get("_parameters", {}).items() if p is value and key != name]:
                self._renamed(other, name)
                return
        elif name in modules and not isinstance(value, Module):
            object.__setattr__(self, name, value)  # a layer that happens to be called as an attribute is
            return
        super().__setattr__(name, value)
        if isinstance(value, (list, tuple, Mapping)) and "_modules" in tables and not name.startswith("_"):
            self._track(name, value)

    def _renamed(self, old: str, new: str) -> None:
        """`self.w = self.add_weight(...)`: the parameter gets the attribute's name."""
        self._parameters = {new if k == old else k: v for k, v in self._parameters.items()}
        for weight in self._weights:
            weight.where = tuple([(m, new if m is self and a == old else a) for m, a in weight.where])

    def _track(self, name: str, value: Any) -> None:
        """Layers in a list or dict are layers of this one."""
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in items:
            if isinstance(part, Module) and all(part is not m for m in self._modules.values()):
                self._modules[f"{name}_{key}".replace(".", "_")] = part

    def _track_all(self) -> None:
        """Lists that have grown since they were assigned."""
        for name, value in list(self.__dict__.items()):
            if not name.startswith("_") and isinstance(value, (list, dict)) and value:
                self._track(name, value)

    # Weights --------------------------------------------------------------------------------------------------------

    def add_weight(
        self,
        shape: Any = (),
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Makes a weight of this layer.

        Args:
            shape: a tuple, or a number.
            initializer: a name or a callable (shape, dtype); default "glorot_uniform".
            dtype: default the layer's.
            trainable: whether it is trained.
            regularizer: of the weight to a term of the loss.
            constraint: of the weight's array to the one that replaces it after each step.
            name: its name.

        Returns:
            A Parameter, or a buffer if it is not trained.
        """
        from fastattn.keras import constraints, initializers, regularizers

        shape = (int(shape),) if hasattr(shape, "__index__") else tuple(int(n) for n in shape)
        name = f"weight_{len(self._weights)}" if name is None else name
        attribute = name.replace(".", "_").replace("/", "_")
        while attribute in self._parameters or attribute in self._buffers or hasattr(type(self), attribute):
            attribute += "_"
        self._new_weight(
            name,
            shape,
            attribute,
            initializers.get("glorot_uniform" if initializer is None else initializer),
            trainable=trainable,
            regularizer=regularizers.get(regularizer),
            constraint=constraints.get(constraint),
            dtype=dtype,
        )
        tensor: Tensor = getattr(self, attribute)
        return tensor

    def _new_weight(
        self,
        name: str,
        shape: tuple[int, ...],
        attributes: str | tuple[str, ...],
        initializer: Callable[..., Any],
        layout: Layout = SAME,
        *,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        dtype: Any = None,
    ) -> None:
        """A weight of Keras's shape, laid out over parameters of these names."""
        attributes = (attributes,) if isinstance(attributes, str) else attributes
        wanted = self._dtype if dtype is None else dtype_of(dtype)
        array = np.asarray(initializer(shape, wanted)).astype(wanted, copy=False)
        if array.shape != shape:
            msg = f"{self.title}: the initializer of {name} gives shape {array.shape}; expected {shape}"
            raise ValueError(msg)
        weight = Weight(
            self,
            name,
            shape,
            [(self, a) for a in attributes],
            layout,
            trainable=trainable,
            regularizer=regularizer,
            constraint=constraint,
        )
        for attribute, part in zip(attributes, layout.from_keras(array), strict=True):
            data = np.array(part, wanted, order="C")
            if trainable:
                parameter: Any = Parameter(data)
                self._parameters[attribute] = parameter
            else:
                parameter = Buffer(data)
                self._buffers[attribute] = parameter
            parameter.name, parameter.path = name, weight.path
        self._weights.append(weight)
        changed()
        weight.follow()

    def _layers(self) -> list[Any]:
        """The layers directly within."""
        found = []
        for module in self._modules.values():
            if isinstance(module, Weighted):
                found.append(module)
            elif module is not None:  # layers in a module that is none
                found += [m for m in module.modules() if isinstance(m, Weighted)]
        return found

    def _flatten_layers(self) -> Iterator[Any]:
        """This layer and all within, each once."""
        seen: set[int] = set()
        waiting: list[Any] = [self]
        while waiting:
            layer = waiting.pop(0)
            if id(layer) not in seen:
                seen.add(id(layer))
                yield layer
                layer._track_all()
                waiting = [*layer._layers(), *waiting]

    @property
    def weights(self) -> list[Weight]:
        """All weights: of each layer those that are trained, then the others."""
        return self._once("weights", self._find_weights)

    def _find_weights(self) -> list[Weight]:
        found: dict[int, Weight] = {}
        for layer in self._flatten_layers():
            for wanted in (True, False):
                found.update({id(w): w for w in layer._weights if w.wants_training == wanted})
        return list(found.values())

    @property
    def variables(self) -> list[Weight]:
        """The same as `weights`."""
        return self.weights

    @property
    def trainable_weights(self) -> list[Weight]:
        """The weights that are trained."""
        return self._once("trained", lambda: [w for w in self._find_weights() if w.trainable])

    @property
    def trainable_variables(self) -> list[Weight]:
        """The same as `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_weights(self) -> list[Weight]:
        """The weights that are not trained."""
        return [w for w in self.weights if not w.trainable]

    @property
    def non_trainable_variables(self) -> list[Weight]:
        """The same as `non_trainable_weights`."""
        return self.non_trainable_weights

    @property
    def trainable_parameters(self) -> list[Any]:
        """The parameters that are trained, each once: what an optimizer gets."""
        return self._once("parameters", self._find_parameters)

    def _find_parameters(self) -> list[Any]:
        found = {id(t): t for w in self._find_weights() if w.trainable for t in w.tensors}
        for parameter in self.parameters():  # of modules that are no layers
            if parameter.requires_grad:
                found.setdefault(id(parameter), parameter)
        return list(found.values())

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Copies of all weights, in Keras's layout and order."""
        return [w.numpy() for w in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Sets all weights.

        Args:
            weights: arrays as get_weights() gives them.

        Raises:
            ValueError: another number of arrays, or another shape; nothing has changed.
        """
        own, given = self.weights, list(weights)
        if len(own) != len(given):
            msg = f"{self.title}: set_weights got {len(given)} arrays; expected {len(own)}"
            raise ValueError(msg)
        for weight, array in zip(own, given, strict=True):
            if tuple(np.shape(array)) != weight.shape:
                msg = f"{self.title}: set_weights: {weight.path} has shape {weight.shape}; got an array of {np.shape(array)}"
                raise ValueError(msg)
        for weight, array in zip(own, given, strict=True):
            weight.assign(array)

    def count_params(self) -> int:
        """The number of elements of all weights."""
        if not self.built:
            msg = f"{self.title} has no weights yet: it is not built. Call it, or build(input_shape)"
            raise ValueError(msg)
        return sum(w.size for w in self.weights)
