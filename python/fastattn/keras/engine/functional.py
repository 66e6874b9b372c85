"""Graph: the calls of layers between some symbols, in an order in which they can be run; and where data come in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from fastattn.autograd.convert import as_data
from fastattn.autograd.node import Base, wrap

from . import masks
from .layer import Layer
from .symbol import Node, Symbol
from .tree import leaves, mapped, nested


class InputLayer(Layer):
    """Where data come into a model; `Input` makes one and gives its symbol.

    Args:
        shape: of one sample, None for a length that varies.
        batch_size: the length of the batch, if it is fixed.
        dtype: of the data, which are cast to it.
        batch_shape: the whole shape, in place of `shape` and `batch_size`.
        name: its name.
        kwargs: see Layer.

    Example:
        >>> from fastattn import keras
        >>> keras.layers.InputLayer(shape=(3,)).output.shape
        (None, 3)
    """

    integers = True

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        batch_shape: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        shape = kwargs.pop("input_shape", None) if shape is None else shape
        if (shape is None) == (batch_shape is None):
            msg = "Input: pass one of shape and batch_shape"
            raise ValueError(msg)
        if batch_shape is None:
            axes = (shape,) if hasattr(shape, "__index__") else tuple(shape)
            batch_shape = (batch_size, *axes)
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.batch_shape = tuple(batch_shape)
        self.built = True
        Node(self, (), {}, Symbol(self.batch_shape, self._dtype, self.name))

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Nothing is computed here."""
        msg = f"{self.title} is where data come in; call the model"
        raise TypeError(msg)

    def get_config(self) -> dict[str, Any]:
        return {"batch_shape": self.batch_shape, "dtype": self.dtype, "name": self.name}


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    batch_shape: Any = None,
    name: str | None = None,
    **kwargs: Any,
) -> Symbol:
    """A symbol for data that come into a model.

    Args:
        shape: of one sample, None for a length that varies.
        batch_size: the length of the batch, if it is fixed.
        dtype: of the data, which are cast to it; default `floatx()`.
        batch_shape: the whole shape, in place of `shape` and `batch_size`.
        name: the key of this input, where data come as a dict.
        kwargs: see Layer.

    Returns:
        A Symbol; layers are called on it.

    Raises:
        ValueError: neither or both of `shape` and `batch_shape`.

    Example:
        >>> from fastattn import keras
        >>> x = keras.Input(shape=(3,))
        >>> keras.Model(x, keras.layers.Dense(2)(x)).count_params()
        8
    """
    symbol: Symbol = InputLayer(shape, batch_size, dtype, batch_shape, name, **kwargs).output
    return symbol


class Graph:
    """The calls between `inputs` and `outputs`.

    Args:
        inputs: a symbol or a structure of them.
        outputs: as well.

    Raises:
        ValueError: outputs that need more than the inputs, or layers of one name.
    """

    def __init__(self, inputs: Any, outputs: Any) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.strict = True  # whether data have the inputs' shapes; where those came from data, only their rank
        self.flat_inputs: list[Symbol] = _symbols("inputs", inputs)
        self.flat_outputs: list[Symbol] = _symbols("outputs", outputs)
        self._starts = {id(s) for s in self.flat_inputs}
        order: list[Node] = []
        self._seen: dict[int, int] = {}  # of layers: when the walk came to them first
        for symbol in self.flat_outputs:
            self._visit(symbol, set(), order)
        self.by_depth = self._depths(order)
        self.nodes = [n for depth in sorted(self.by_depth, reverse=True) for n in self.by_depth[depth]]
        self.input_names = [s.node.layer.name if s.node is not None else s.name for s in self.flat_inputs]
        self.output_names = [s.node.layer.name for s in self.flat_outputs if s.node is not None]

    def _visit(self, symbol: Symbol, under_way: set[int], order: list[Node]) -> None:
        """Depth first, by a stack of its own: models may have thousands of layers."""
        done = {id(n) for n in order}
        stack: list[tuple[Symbol, Iterator[Symbol] | None]] = [(symbol, None)]
        while stack:
            at, rest = stack.pop()
            node = at.node
            if node is None or id(node) in done or (id(at) in self._starts and not node.is_input):
                continue
            if rest is None:
                self._seen.setdefault(id(node.layer), len(self._seen))
                rest = iter(node.inputs)
            below = next(rest, None)
            if below is None:
                done.add(id(node))
                order.append(node)
            else:
                stack += [(at, rest), (below, None)]

    def _depths(self, order: list[Node]) -> dict[int, list[Node]]:
        """Nodes by their distance to the outputs, and the layers from the inputs on."""
        inside = {id(n) for n in order}
        of_node: dict[int, int] = {}
        of_layer: dict[int, int] = {}
        layers: dict[int, Layer] = {}
        by_id = {id(n): n for n in order}
        for node in reversed(order):
            depth = max(of_node.get(id(node), 0), of_layer.get(id(node.layer), 0))
            of_layer[id(node.layer)] = of_node[id(node)] = depth
            layers[id(node.layer)] = node.layer
            for symbol in node.inputs:
                source = symbol.node
                if source is not None and id(source) in inside:
                    of_node[id(source)] = max(depth + 1, of_node.get(id(source), 0))
        for symbol in self.flat_inputs:  # an input that no output needs
            source = symbol.node
            if source is not None and source.is_input and id(source) not in inside:
                of_node[id(source)] = of_layer[id(source.layer)] = 0
                layers[id(source.layer)] = source.layer
                self._seen[id(source.layer)] = -1
                by_id[id(source)] = source
        self._check(order)
        self.layers = sorted(layers.values(), key=lambda layer: (-of_layer[id(layer)], self._seen[id(layer)]))
        names = [layer.name for layer in self.layers]
        for name in names:
            if names.count(name) > 1:
                msg = f"Model: {names.count(name)} layers are named {name!r}; expected names of their own"
                raise ValueError(msg)
        by_depth: defaultdict[int, list[Node]] = defaultdict(list)
        for key, depth in of_node.items():
            by_depth[depth].append(by_id[key])
        return dict(by_depth)

    def _check(self, order: list[Node]) -> None:
        there = set(self._starts)
        for node in order:
            missing = [s for s in node.inputs if id(s) not in there]
            if missing or (node.is_input and not any(id(s) in there for s in leaves(node.outputs))):
                what = missing[0] if missing else next(leaves(node.outputs))
                msg = f"Model: the outputs need {what}, which is not computed from the inputs ({node.layer.title} uses it)"
                raise ValueError(msg)
            there.update(id(s) for s in leaves(node.outputs))

    # Running --------------------------------------------------------------------------------------------------------

    def run(self, title: str, inputs: Any) -> Any:
        """The outputs of data."""
        values: dict[int, Any] = {}
        for symbol, value in zip(self.flat_inputs, self._ordered(title, inputs), strict=True):
            values[id(symbol)] = self._fitted(title, symbol, value)

        def value_of(x: Any) -> Any:
            return values[id(x)] if isinstance(x, Symbol) else x

        for node in self.nodes:
            if node.is_input:
                continue
            args = mapped(value_of, node.args)
            kwargs = {name: mapped(value_of, value) for name, value in node.kwargs.items()}
            results = node.layer(*args, **kwargs)
            for symbol, value in zip(leaves(node.outputs), leaves(results), strict=True):
                values[id(symbol)] = value
        return mapped(value_of, self.outputs)

    def _ordered(self, title: str, inputs: Any) -> list[Any]:
        """The data of the inputs in their order."""
        if isinstance(inputs, Mapping):
            keys = sorted(self.inputs) if isinstance(self.inputs, Mapping) else self.input_names
            missing = [k for k in keys if k not in inputs]
            if missing:
                msg = f"{title}: inputs are {sorted(inputs)}; {missing[0]!r} is missing"
                raise ValueError(msg)
            return [inputs[k] for k in keys]
        flat = list(leaves(inputs))
        if len(flat) != len(self.flat_inputs):
            msg = f"{title}: got {len(flat)} inputs; expected {len(self.flat_inputs)}: {', '.join(self.input_names)}"
            raise ValueError(msg)
        return flat

    def _fitted(self, title: str, symbol: Symbol, value: Any) -> Any:
        """Data in an input's dtype, with an axis of length 1 added or dropped at the end where only that differs."""
        tensor = value if isinstance(value, Base) else wrap(as_data(value))
        mask = masks.mask_of(tensor)
        shape, wanted = tensor.shape, symbol.shape
        if len(shape) == len(wanted) + 1 and shape[-1] == 1:
            tensor = tensor.squeeze(-1)
        elif len(shape) == len(wanted) - 1 and wanted[-1] == 1:
            tensor = tensor.unsqueeze(-1)
        fits = len(tensor.shape) == len(wanted)
        if fits and self.strict:
            fits = all(w in (None, n) for n, w in zip(tensor.shape[1:], wanted[1:], strict=True))
        if not fits:
            msg = f'{title}: input "{symbol.name}" has shape {tuple(shape)}; expected {wanted}'
            raise ValueError(msg)
        if tensor.dtype != symbol.dtype:
            tensor = tensor.to(symbol.dtype)
        if mask is not None and tensor is not value:
            masks.set_mask(tensor, mask)
        return tensor

    # Configs --------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Layers, and how each was called: a symbol is {"symbol": [layer, number of the call, number of the output]}."""
        from .saving import serialize_object

        inside = {id(n) for n in self.nodes}
        calls = {id(layer): [n for n in layer._inbound_nodes if id(n) in inside] for layer in self.layers}

        def told(x: Any) -> Any:
            if isinstance(x, Symbol):
                assert x.node is not None
                return {"symbol": [x.node.layer.name, calls[id(x.node.layer)].index(x.node), x.index]}
            return serialize_object(x)

        def structure(x: Any) -> Any:
            if isinstance(x, Mapping):
                return {key: structure(part) for key, part in x.items()}
            return [structure(part) for part in x] if nested(x) else told(x)

        layers = []
        for layer in self.layers:
            made = [
                {"args": structure(n.args), "kwargs": structure(n.kwargs)} for n in calls[id(layer)] if not n.is_input
            ]
            layers.append({**serialize_object(layer), "name": layer.name, "calls": made})
        return {"layers": layers, "inputs": structure(self.inputs), "outputs": structure(self.outputs)}


def graph_from_config(config: Mapping[str, Any], custom_objects: Any = None) -> tuple[Any, Any]:
    """The inputs and outputs of a graph's config, over new layers."""
    from .saving import deserialize_object

    made: dict[str, Layer] = {}
    first: dict[str, int] = {}
    waiting: list[tuple[str, dict[str, Any]]] = []
    for entry in config["layers"]:
        layer = deserialize_object(entry, custom_objects)
        made[entry["name"]] = layer
        first[entry["name"]] = 0 if isinstance(layer, InputLayer) else len(layer._inbound_nodes)
        waiting += [(entry["name"], call) for call in entry["calls"]]

    def known(x: Any) -> bool:
        if isinstance(x, Mapping) and set(x) == {"symbol"}:
            name, call, _ = x["symbol"]
            return bool(len(made[name]._inbound_nodes) > first[name] + call)
        if isinstance(x, Mapping):
            return all(known(part) for part in x.values())
        return all(known(part) for part in x) if isinstance(x, (list, tuple)) else True

    def revived(x: Any) -> Any:
        if isinstance(x, Mapping) and set(x) == {"symbol"}:
            name, call, index = x["symbol"]
            return list(leaves(made[name]._inbound_nodes[first[name] + call].outputs))[index]
        if isinstance(x, Mapping):
            if "class_name" in x:
                return deserialize_object(x, custom_objects)
            return {key: revived(part) for key, part in x.items()}
        return [revived(part) for part in x] if isinstance(x, (list, tuple)) else x

    while waiting:
        later: list[tuple[str, dict[str, Any]]] = []
        for name, call in waiting:
            blocked = any(n == name for n, _ in later)  # the calls of one layer stay in order
            if not blocked and known(call["args"]) and known(call["kwargs"]):
                made[name](*revived(call["args"]), **revived(call["kwargs"]))
            else:
                later.append((name, call))
        if len(later) == len(waiting):
            msg = f"from_config: the calls of {', '.join(sorted({n for n, _ in later}))} wait for each other"
            raise ValueError(msg)
        waiting = later
    return revived(config["inputs"]), revived(config["outputs"])


def _symbols(what: str, structure: Any) -> list[Symbol]:
    flat = list(leaves(structure))
    for x in flat:
        if not isinstance(x, Symbol):
            msg = f"Model: {what} has a {type(x).__name__}; expected what Input() and layers called on it give"
            raise TypeError(msg)
    if not flat:
        msg = f"Model: {what} is empty"
        raise ValueError(msg)
    return flat
