"""Layer: a module that makes its parameters when it first sees the shape of its input."""

from __future__ import annotations

import threading
import warnings
from typing import Any, Self

import numpy as np

from fastattn import _random
from fastattn.autograd.convert import as_data, is_float
from fastattn.autograd.node import Base, no_grad, wrap
from fastattn.keras.config import dtype_of

from . import masks
from .signature import call_spec, recording, shape_names, takes
from .state import auto_name
from .symbol import Node, Symbol, has_symbol
from .tree import is_shape, leaves, mapped, shapes_mapped
from .weighted import Weighted


class _Calls(threading.local):
    """The calls of layers that are under way."""

    depth = 0
    training: Any = None
    losses: list[Any] | None = None


_calls = _Calls()


class Layer(Weighted):
    """Base of all layers and models; a subclass defines `call`, and `build` if it has weights.

    The first call, on data or on a symbol, builds the layer for the shape that it sees. In between, a layer is a
    `fastattn.nn.Module`: it has parameters(), state_dict() and train().

    Args:
        name: unique within a model; by default the class's name with a number.
        trainable: whether its weights are trained.
        dtype: of the weights and of what floats are cast to; default `floatx()`.
        activity_regularizer: of the output to a term of the loss.
        input_shape: without the batch; what a Sequential whose first layer this is starts from.
        kwargs: `batch_input_shape`, `input_dim` and `weights`, of older Keras.

    Raises:
        TypeError: an unknown argument.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, input_shape):
        ...         self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")
        ...     def call(self, inputs):
        ...         return inputs * self.factor
        >>> Scale()(np.ones((2, 3))).shape
        (2, 3)

    Source: keras.layers.Layer's form of it.
    """

    integers = False  # whether the first arguments may be integers; otherwise they are cast
    keeps_dtype = False  # whether outputs have the dtype of the input, not the layer's
    supports_masking = False
    expected_ndim: int | None = None
    _first_outputs: list[Any] | None = None  # shapes, for the summary of what was never called on a symbol
    expected_min_ndim: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            setattr(cls, "__init__", recording(cls, cls.__dict__["__init__"]))  # noqa: B010

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        activity_regularizer: Any = None,
        input_shape: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.training = False  # Keras's rule: a call is not training unless it says so
        self._batch_shape = _batch_shape(input_shape, kwargs)
        self._initial_weights = kwargs.pop("weights", None)
        kwargs.pop("autocast", None)
        if kwargs:
            msg = f"{type(self).__name__}: unknown argument {next(iter(kwargs))!r}"
            raise TypeError(msg)
        self.name = auto_name(type(self).__name__) if name is None else str(name)
        self._trainable = bool(trainable)
        try:
            self._dtype = dtype_of(dtype)
        except TypeError:
            msg = f"{type(self).__name__}: dtype is {dtype!r}; expected one of floats. Mixed policies are not supported"
            raise TypeError(msg) from None
        self.built = False
        self._weights = []
        self._inbound_nodes: list[Node] = []
        self._losses: list[Any] = []
        self._expected_axes: dict[int, int] = {}
        self.activity_regularizer = None
        if activity_regularizer is not None:
            from fastattn.keras import regularizers

            self.activity_regularizer = regularizers.get(activity_regularizer)

    # Losses ---------------------------------------------------------------------------------------------------------

    def add_loss(self, loss: Any) -> None:
        """Adds scalar tensors to the loss of the call that is under way."""
        table = self._losses if _calls.losses is None else _calls.losses
        table += list(leaves(loss))

    @property
    def losses(self) -> list[Any]:
        """The terms that add_loss and activity regularizers gave in the last call, and the weights' regularizers'."""
        terms = list(self._losses if _calls.losses is None else _calls.losses)
        regularized = self._once(
            "regularized", lambda: [w for w in self.trainable_weights if w.regularizer is not None]
        )
        terms += [w.regularizer(w.value) for w in regularized]
        return terms

    # Building -------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Makes the weights for a shape; None is a length that is not known.

        Args:
            input_shape: with the batch first.
        """
        self.built = True

    def _maybe_build(self, shapes: dict[str, Any]) -> None:
        if self.built:
            return
        function = type(self).build
        names = shape_names(function)
        if len(names) <= 1 or not set(names) & set(shapes):
            first = next(iter(shapes.values()), None)
            self._check(first)
            self.build(first)
        else:
            self.build(**{name: shapes[name] for name in names if name in shapes})
        self.built = True
        if self._initial_weights is not None:
            self.set_weights(self._initial_weights)
            self._initial_weights = None

    def _shapes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The shapes of the tensors among the arguments of a call, by name: inputs_shape."""
        names = call_spec(type(self).call).names
        given = [*zip(names, args, strict=False), *kwargs.items()] if names else [("inputs", a) for a in args]
        shapes = {}
        for name, value in given:
            parts = list(leaves(value))
            if name != "mask" and parts and all(isinstance(p, (Base, Symbol)) for p in parts):
                shapes[f"{name}_shape"] = mapped(lambda t: tuple(t.shape), value)
        return shapes

    def _check(self, shape: Any) -> None:
        """Raises for an input that the layer cannot take."""
        if not is_shape(shape):
            return
        wanted = None
        if self.expected_ndim is not None and len(shape) != self.expected_ndim:
            wanted = f"{self.expected_ndim} axes"
        elif self.expected_min_ndim is not None and len(shape) < self.expected_min_ndim:
            wanted = f"at least {self.expected_min_ndim} axes"
        else:
            for axis, length in self._expected_axes.items():
                if shape[axis] not in (None, length):
                    wanted = f"{length} along axis {axis}"
        if wanted is not None:
            msg = f"{self.title}: input has shape {tuple(shape)}; expected {wanted}"
            raise ValueError(msg)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output.

        Args:
            input_shape: with the batch first; None is a length that is not known.
        """
        symbols = shapes_mapped(lambda s: Symbol(s, self.compute_dtype, ""), input_shape)
        return mapped(lambda s: s.shape, self._traced((symbols,), {}))

    def compute_output_spec(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The symbols that a call on symbols gives."""
        function = type(self).compute_output_shape
        if function is Layer.compute_output_shape:
            return self._traced(args, kwargs)
        shapes = self._shapes(args, kwargs)
        names = shape_names(function)
        if len(names) <= 1:
            shape = self.compute_output_shape(next(iter(shapes.values())))
        else:
            shape = self.compute_output_shape(**{n: shapes[n] for n in names if n in shapes})
        dtype = (
            next(x.dtype for x in leaves((args, kwargs)) if isinstance(x, Symbol)) if self.keeps_dtype else self._dtype
        )
        return shapes_mapped(lambda s: Symbol(s, dtype), shape)

    def _traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The symbols of a call on zeros, twice: lengths that are not known are what differs."""
        state, runs = _random.get_rng_state(), []
        for batch, length in ((2, 17), (3, 19)):

            def zeros(x: Any, batch: int = batch, length: int = length) -> Any:
                if not isinstance(x, Symbol):
                    return x
                shape = [batch if i == 0 else length if n is None else n for i, n in enumerate(x.shape)]
                if x.shape and x.shape[0] is not None:
                    shape[0] = x.shape[0]
                return wrap(np.zeros(shape, x.dtype))

            with no_grad():
                given = {**mapped(zeros, kwargs)}
                if call_spec(type(self).call).training:
                    given["training"] = False
                runs.append(Layer._run(self, mapped(zeros, args), given))
        _random.set_rng_state(state)

        def symbol(a: Any, b: Any) -> Symbol:
            shape = tuple([n if n == m else None for n, m in zip(a.shape, b.shape, strict=True)])
            return Symbol(shape, a.dtype)

        return mapped(symbol, *runs)

    # Calling --------------------------------------------------------------------------------------------------------

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; called by calling the layer."""
        msg = f"{self.title} defines no call()"
        raise NotImplementedError(msg)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if has_symbol((args, kwargs)):
            return self._record(args, kwargs)
        return self._run(args, kwargs)

    def _record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        shapes = self._shapes(args, kwargs)
        self._maybe_build(shapes)
        self._check(next(iter(shapes.values()), None))
        outputs = self.compute_output_spec(args, kwargs)
        Node(self, args, kwargs, outputs)
        return outputs

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args = tuple([self._cast(a, not self.integers) for a in args])
        kwargs = {name: self._cast(value, False) for name, value in kwargs.items()}
        spec = call_spec(type(self).call)
        if not self.built or self._expected_axes or self.expected_ndim is not None:
            shapes = self._shapes(args, kwargs)
            self._maybe_build(shapes)
            self._check(next(iter(shapes.values()), None))
        training = kwargs.pop("training", None)
        if training is None:
            training = _calls.training
        if training is None:
            training = self.training or bool(spec.default)
        if spec.training:
            kwargs["training"] = training
        previous = self._incoming_masks(spec.names, args, kwargs)
        before = _calls.training, _calls.losses
        _calls.training = training
        if not _calls.depth:
            _calls.losses = []
        _calls.depth += 1
        try:
            outputs = super().__call__(*args, **kwargs)
            if self.activity_regularizer is not None:
                for part in leaves(outputs):
                    term = self.activity_regularizer(part)  # over the batch, so that its size does not matter
                    self.add_loss(term / max(part.shape[0], 1) if part.ndim else term)
            self._attach_masks(args, outputs, previous)
            if self._first_outputs is None:
                seen = [(None, *x.shape[1:]) for x in leaves(outputs) if isinstance(x, Base)]
                object.__setattr__(self, "_first_outputs", seen)
        finally:
            _calls.depth -= 1
            if not _calls.depth:
                self._losses = _calls.losses or []
            _calls.training, _calls.losses = before
        return outputs

    def _cast(self, value: Any, floats: bool) -> Any:
        """Arrays as tensors, floats in the layer's dtype, and with `floats` integers too."""
        if isinstance(value, Base):
            tensor: Any = value
        elif isinstance(value, (np.ndarray, np.generic)):
            tensor = wrap(as_data(value))
        elif isinstance(value, (list, tuple, dict)) and any(isinstance(x, (Base, np.ndarray)) for x in leaves(value)):
            return mapped(lambda x: self._cast(x, floats), value)
        else:
            return value
        if tensor._data.dtype == self._dtype or not (floats or is_float(tensor._data.dtype)):
            return tensor
        cast = tensor.to(self._dtype)
        mask = masks.mask_of(tensor)
        if mask is not None:
            masks.set_mask(cast, mask)
        return cast

    # Masks ----------------------------------------------------------------------------------------------------------

    def _incoming_masks(self, names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The masks of the first argument; those of all are put among `kwargs` where `call` takes them."""
        if not masks._table:
            return kwargs.get("mask")
        given = [*zip(names, args, strict=False), *kwargs.items()]
        tensors = [(name, v) for name, v in given if any(isinstance(x, Base) for x in leaves(v)) and "mask" not in name]
        for name, value in tensors:
            wanted = "mask" if len(tensors) == 1 else f"{name}_mask"
            if wanted in names and kwargs.get(wanted) is None and names.index(wanted) >= len(args):
                found = mapped(masks.mask_of, value)
                if any(m is not None for m in leaves(found)):
                    kwargs[wanted] = found
        if kwargs.get("mask") is not None:
            return kwargs["mask"]
        return mapped(masks.mask_of, args[0]) if args else None

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the output, or None.

        Args:
            inputs: what the layer was called on.
            previous_mask: the mask of that.
        """
        return previous_mask

    def _attach_masks(self, args: tuple[Any, ...], outputs: Any, previous: Any) -> None:
        computes = type(self).compute_mask is not Layer.compute_mask
        if not (self.supports_masking or computes):
            if any(m is not None for m in leaves(previous)):
                text = f"{self.title} got an input with a mask, which it does not pass on"
                warnings.warn(text, UserWarning, stacklevel=4)
            return
        parts = list(leaves(outputs))
        if not computes and all(m is None for m in leaves(previous)):
            return
        made = self.compute_mask(args[0] if args else None, previous)
        if made is None:
            return
        for tensor, mask in zip(parts, leaves(made), strict=False):
            if mask is not None and masks.mask_of(tensor) is None:
                masks.set_mask(tensor, mask)

    # Configs --------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The arguments that make such a layer again, as numbers, strings, lists and dicts."""
        from .saving import serialize_arguments

        config = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype}
        if self.activity_regularizer is not None:
            config |= serialize_arguments(self, {"activity_regularizer": self.activity_regularizer})
        noted = self.__dict__.get("_arguments", {})
        classes = [c for c in type(self).__mro__ if c in noted]
        says = next(c for c in type(self).__mro__ if "get_config" in c.__dict__)
        if not says.__module__.startswith("fastattn.keras"):  # a class of somebody's adds to what it inherits
            classes = [c for c in classes if c.__module__.startswith("fastattn.keras")]
        return config | serialize_arguments(self, noted[classes[0]] if classes else {})

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """A layer of what get_config() gave; a class that takes no `name` and the like gets them afterwards."""
        later = {key: config[key] for key in ("name", "trainable", "dtype") if key in config and not takes(cls, key)}
        layer = cls(**{key: value for key, value in config.items() if key not in later})
        layer.name = later.get("name", layer.name)
        layer._dtype = dtype_of(later.get("dtype", layer.dtype))
        if not later.get("trainable", True):
            layer.trainable = False
        return layer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _batch_shape(input_shape: Any, kwargs: dict[str, Any]) -> tuple[int | None, ...] | None:
    """The shape with the batch that `input_shape` and its older spellings say, or None."""
    whole = kwargs.pop("batch_input_shape", None)
    whole = kwargs.pop("batch_shape", None) if whole is None else whole
    dim, size = kwargs.pop("input_dim", None), kwargs.pop("batch_size", None)
    kwargs.pop("input_length", None)
    if whole is not None:
        return tuple(whole)
    if input_shape is not None:
        axes = (input_shape,) if hasattr(input_shape, "__index__") else tuple(input_shape)
        return (size, *axes)
    return None if dim is None else (size, int(dim))
