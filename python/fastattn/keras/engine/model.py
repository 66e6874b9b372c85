"""Model: a graph of layers, or a subclass with a call of its own, that can be trained, saved and described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from .functional import Graph, InputLayer, graph_from_config
from .layer import Layer
from .signature import call_spec
from .state import auto_name
from .symbol import Symbol
from .training import Trainer
from .tree import leaves, mapped


class Model(Trainer, Layer):
    """Layers between inputs and outputs, with training.

    `Model(inputs, outputs)` is the graph between symbols; a subclass that defines `call` computes what it likes with the
    layers that are its attributes.

    Args:
        inputs: what Input() gave, or a list or dict of such.
        outputs: symbols, or a list or dict of them.
        name: its name.
        trainable: whether its weights are trained.
        kwargs: see Layer.

    Raises:
        ValueError: outputs that need more than the inputs, or two layers of one name.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> x = keras.Input(shape=(4,))
        >>> hidden = keras.layers.Dense(8, activation="relu")(x)
        >>> model = keras.Model(x, keras.layers.Dense(2)(hidden))
        >>> model(np.zeros((3, 4))).shape
        (3, 2)

    Source: keras.Model's form of it.
    """

    integers = True
    supports_masking = True
    _graph: Graph | None = None
    _seen: Any = None  # the shapes of the first input, by which a saved subclass is built again

    def __init__(
        self, inputs: Any = None, outputs: Any = None, name: str | None = None, trainable: bool = True, **kwargs: Any
    ) -> None:
        if (inputs is None) != (outputs is None):
            msg = f"{type(self).__name__}: inputs and outputs belong together; one of them is missing"
            raise ValueError(msg)
        if inputs is not None and name is None and type(self) is Model:
            name = auto_name("functional")
        super().__init__(name=name, **kwargs)
        if inputs is not None:
            self._adopt(Graph(inputs, outputs))
            if not trainable:
                self.trainable = False
        self._trainable = bool(trainable)

    def _adopt(self, graph: Graph) -> None:
        """Takes the layers of a graph for its own."""
        object.__setattr__(self, "_graph", graph)
        self._modules = {
            layer.name.replace(".", "_"): layer for layer in graph.layers if not isinstance(layer, InputLayer)
        }
        self.output_names = graph.output_names
        self.input_names = graph.input_names
        self.built = True

    @property
    def layers(self) -> list[Layer]:
        """The layers directly within."""
        if self._graph is not None:
            return list(self._graph.layers)
        self._track_all()
        found = {id(layer): layer for layer in self._layers()}
        return list(found.values())

    @property
    def inputs(self) -> list[Symbol]:
        """The symbols that data come in by."""
        return list(self._graphed("inputs").flat_inputs)

    @property
    def outputs(self) -> list[Symbol]:
        """The symbols of the outputs."""
        return list(self._graphed("outputs").flat_outputs)

    @property
    def input(self) -> Any:
        """The inputs as they were given."""
        return self._graphed("input").inputs

    @property
    def output(self) -> Any:
        """The outputs as they were given."""
        return self._graphed("output").outputs

    @property
    def input_shape(self) -> Any:
        """The shape of the input, or the structure of shapes."""
        return mapped(lambda s: s.shape, self._graphed("input_shape").inputs)

    @property
    def output_shape(self) -> Any:
        """The shape of the output, or the structure of shapes."""
        return mapped(lambda s: s.shape, self._graphed("output_shape").outputs)

    def _graphed(self, what: str) -> Graph:
        if self._graph is None:
            msg = f"{self.title} has no {what}: it is not a graph between symbols, or not built"
            raise AttributeError(msg)
        return self._graph

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its number.

        Args:
            name: of the layer.
            index: its number.

        Raises:
            ValueError: there is none, or not one of `name` and `index`.
        """
        layers = self.layers
        if (name is None) == (index is None):
            msg = f"{self.title}: get_layer takes a name or an index"
            raise ValueError(msg)
        if index is not None:
            if not -len(layers) <= index < len(layers):
                msg = f"{self.title}: get_layer: there is no layer {index}; there are {len(layers)}"
                raise ValueError(msg)
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        msg = f"{self.title}: get_layer: there is no layer {name!r}; layers are {', '.join(a.name for a in layers)}"
        raise ValueError(msg)

    # Running --------------------------------------------------------------------------------------------------------

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """The outputs; what a subclass defines."""
        if self._graph is None:
            msg = f"{self.title} defines no call(), and has no inputs and outputs"
            raise NotImplementedError(msg)
        return self._graph.run(self.title, inputs)

    def build(self, input_shape: Any) -> None:
        """Makes the weights of all layers for a shape, by a call on zeros.

        Args:
            input_shape: with the batch first; a dict or list of shapes for several inputs.
        """
        self.built = True
        if self._graph is None and call_spec(type(self).call).names and input_shape is not None:
            self.compute_output_shape(input_shape)

    def _maybe_build(self, shapes: dict[str, Any]) -> None:
        if self._seen is None:
            self._seen = next(iter(shapes.values()), None)
        if type(self).build is Model.build:
            self.built = True  # the call that follows builds the layers
        else:
            super()._maybe_build(shapes)

    def compute_output_spec(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        graph = self._graph
        if graph is not None and type(self).call is Model.call:
            given = [x.shape for x in leaves(args[0])]
            if given == [s.shape for s in graph.flat_inputs]:
                return mapped(lambda s: Symbol(s.shape, s.dtype), graph.outputs)
        return super().compute_output_spec(args, kwargs)

    def _attach_masks(self, args: tuple[Any, ...], outputs: Any, previous: Any) -> None:
        """The masks of the outputs come from the layers within."""
        if type(self).compute_mask is not Layer.compute_mask:
            super()._attach_masks(args, outputs, previous)

    def count_params(self) -> int:
        """The number of elements of all weights."""
        if not all(layer.built for layer in self._flatten_layers()):
            msg = f"{self.title} has layers without weights yet: it is not built. Call it, or build(input_shape)"
            raise ValueError(msg)
        return sum(w.size for w in self.weights)

    # Looks and files ------------------------------------------------------------------------------------------------

    def summary(
        self,
        line_length: int | None = None,
        positions: list[float] | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: tuple[str, str] | None = None,
    ) -> None:
        """Prints the layers, their output shapes and numbers of weights.

        Args:
            line_length: of a line.
            positions: where columns end, as parts of a line.
            print_fn: gets the text, instead of print.
            expand_nested: list the layers of models within, too.
            show_trainable: say which layers are trained.
            layer_range: the first and the last layer to list, by names or regular expressions.
        """
        from .summary import summary_text

        text = summary_text(self, line_length, positions, expand_nested, show_trainable, layer_range)
        (print if print_fn is None else print_fn)(text)

    def save(self, filepath: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
        """Writes the model to a folder: config.json, weights and the optimizer's state as safetensors.

        Args:
            filepath: the folder; it is made.
            overwrite: whether it may be there already.
            include_optimizer: whether to write the optimizer's state.

        Raises:
            ValueError: the folder is there, and `overwrite` is False; or `filepath` is a file.
            NotImplementedError: a layer whose arguments cannot be written and that defines no get_config.
        """
        from .saving import save_model

        save_model(self, filepath, overwrite, include_optimizer)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Writes the weights to one safetensors file.

        Args:
            filepath: the file.
            overwrite: whether it may be there already.

        Raises:
            ValueError: the file is there, and `overwrite` is False.
        """
        from .saving import save_weights

        save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Any) -> None:
        """Reads the weights that save_weights, or save, wrote for such a model.

        Args:
            filepath: the file, or the folder of a saved model.

        Raises:
            ValueError: weights of other names or shapes; nothing has changed.
            FileNotFoundError: there is no such file.
        """
        from .saving import load_weights

        load_weights(self, filepath)

    def to_json(self) -> str:
        """The config as a string, for keras.models.model_from_json."""
        import json

        from .saving import serialize_object

        return json.dumps(serialize_object(self))

    def get_config(self) -> dict[str, Any]:
        if self._graph is not None and type(self).__init__ is Model.__init__:
            return {"name": self.name, "trainable": self.trainable, **self._graph.get_config()}
        return super().get_config()

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Self:
        """A model of what get_config() gave, with new weights.

        Args:
            config: the dict.
            custom_objects: classes by name.
        """
        if {"layers", "inputs", "outputs"} <= set(config):
            inputs, outputs = graph_from_config(config, custom_objects)
            return cls(inputs, outputs, name=config.get("name"), trainable=config.get("trainable", True))
        return super().from_config(dict(config))

    def get_compile_config(self) -> dict[str, Any] | None:
        """What compile got, as numbers, strings, lists and dicts; None for a model that is not compiled."""
        from .saving import serialize_object

        if self._compile_config is None:
            return None
        return {name: serialize_object(value) for name, value in self._compile_config.items()}

    def compile_from_config(self, config: Mapping[str, Any], custom_objects: Any = None) -> None:
        """Compiles as get_compile_config() says.

        Args:
            config: the dict.
            custom_objects: classes and functions by name.
        """
        from .saving import deserialize_compile

        self.compile(**deserialize_compile(config, custom_objects))
