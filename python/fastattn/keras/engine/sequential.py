"""Sequential: a list of layers, each on the output of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from .functional import Graph, Input, InputLayer
from .layer import Layer
from .model import Model
from .symbol import Symbol
from .tree import is_shape


class Sequential(Model):
    """Layers one after the other.

    It is built when the shape of its input is known: by an Input as its first, by `input_shape=` of its first layer, or by
    the first data.

    Args:
        layers: a list.
        trainable: whether its weights are trained.
        name: its name.

    Example:
        >>> from fastattn import keras
        >>> model = keras.Sequential([keras.Input(shape=(4,)), keras.layers.Dense(2)])
        >>> model.count_params(), model.output_shape
        (10, (None, 2))

    Source: keras.Sequential's form of it.
    """

    _start: InputLayer | None = None
    _list: tuple[Layer, ...] = ()

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(name=name, trainable=trainable)
        for layer in layers or ():
            self._append(layer)
        self._connect()

    def add(self, layer: Any) -> None:
        """Adds a layer at the end.

        Args:
            layer: a Layer, or what Input() gave, as the first.

        Raises:
            TypeError: something else.
            ValueError: a layer that cannot take what comes before, or of a name that is there already.
        """
        start, layers, graph = self._start, self._list, self._graph
        self._append(layer)
        try:
            self._connect(before=graph)
        except Exception:
            self._begin_with(start)
            self._list = layers
            object.__setattr__(self, "_graph", graph)
            raise

    def pop(self) -> Layer:
        """Takes the last layer off."""
        if not self._list:
            msg = f"{self.title}: there is no layer to take off"
            raise TypeError(msg)
        *rest, last = self._list
        self._list = tuple(rest)
        self._connect()
        return last

    def _append(self, layer: Any) -> None:
        if isinstance(layer, Symbol) and layer.node is not None and isinstance(layer.node.layer, InputLayer):
            layer = layer.node.layer
        if not isinstance(layer, Layer):
            msg = f"{self.title}: add got a {type(layer).__name__}; expected a Layer"
            raise TypeError(msg)
        if isinstance(layer, InputLayer):
            if self._list or self._start is not None:
                msg = f"{self.title}: an Input comes first; there are layers already"
                raise ValueError(msg)
            self._begin_with(layer)
            return
        if any(layer.name == other.name for other in self._list):
            msg = f"{self.title}: a layer is named {layer.name!r} already; expected names of their own"
            raise ValueError(msg)
        if not self._list and self._start is None:
            if layer._batch_shape is not None:
                self._begin_with(InputLayer(batch_shape=layer._batch_shape, dtype=layer.dtype))
            elif isinstance(layer, Model) and layer._graph is not None and len(layer._graph.flat_inputs) == 1:
                first = layer._graph.flat_inputs[0]
                self._begin_with(InputLayer(batch_shape=first.shape, dtype=first.dtype))
        self._list = (*self._list, layer)

    def _begin_with(self, start: InputLayer | None) -> None:
        object.__setattr__(self, "_start", start)  # it is no layer of the model's

    def _connect(self, strict: bool = True, before: Graph | None = None) -> None:
        """Makes the graph, if the shape of the input is known; `before` is the graph without the last layer."""
        object.__setattr__(self, "_graph", None)
        self.built = False
        if self._start is not None and self._list:
            symbol, rest = self._start.output, self._list
            if before is not None:  # only the last is new
                symbol, rest = before.outputs, rest[-1:]
            for layer in rest:
                symbol = layer(symbol)
            graph = Graph(self._start.output, symbol)
            graph.strict = strict
            self._adopt(graph)
        self._modules = {str(i): layer for i, layer in enumerate(self._list)}  # as torch's Sequential names them

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the Input."""
        return list(self._list)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights of all layers.

        Args:
            input_shape: with the batch first.
        """
        if self._graph is not None or input_shape is None:
            return
        if not self._list:
            msg = f"{self.title}: it has no layers to build"
            raise ValueError(msg)
        if not is_shape(input_shape):
            msg = f"{self.title}: build got {input_shape!r}; expected one shape. Models of several inputs are made of Input"
            raise ValueError(msg)
        self._begin(InputLayer(batch_shape=(None, *tuple(input_shape)[1:]), dtype=self._list[0].dtype), strict=True)

    def _begin(self, start: InputLayer, strict: bool) -> None:
        self._begin_with(start)
        try:
            self._connect(strict)
        except Exception:
            self._begin_with(None)
            raise

    def _maybe_build(self, shapes: dict[str, Any]) -> None:
        if self._graph is None and self._list:
            first = next(iter(shapes.values()))
            if is_shape(first):
                start = InputLayer(batch_shape=(None, *first[1:]), dtype=self._first_dtype)
                self._begin(start, strict=False)

    def _shapes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        self._first_dtype = getattr(args[0], "dtype", None) if args else None
        return super()._shapes(args, kwargs)

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """The output of the last layer."""
        if not self._list:
            return inputs
        return super().call(inputs, training, mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output.

        Args:
            input_shape: with the batch first.
        """
        for layer in self._list:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def compute_output_spec(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        shape = self.compute_output_shape(args[0].shape)
        return Symbol(shape, self.outputs[0].dtype if self._graph is not None else None)

    def get_config(self) -> dict[str, Any]:
        from .saving import serialize_object

        first = () if self._start is None else (self._start,)
        layers = [serialize_object(layer) for layer in (*first, *self._list)]
        return {"name": self.name, "trainable": self.trainable, "layers": layers}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Self:
        """A model of what get_config() gave, with new weights.

        Args:
            config: the dict.
            custom_objects: classes by name.
        """
        from .saving import deserialize_object

        model = cls(name=config.get("name"))
        for entry in config["layers"]:
            model._append(deserialize_object(entry, custom_objects))
        model._connect()
        if not config.get("trainable", True):
            model.trainable = False
        return model


__all__ = ["Input", "Sequential"]
