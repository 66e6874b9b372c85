"""Several tensors to one."""

from __future__ import annotations

import functools
from typing import Any

import fastattn as fa
from fastattn.autograd.tensor import Tensor
from fastattn.keras.engine.layer import Layer
from fastattn.nn import functional as F

Shape = tuple[int | None, ...]


class _Merge(Layer):
    """What the elementwise ones share."""

    supports_masking = True
    exactly: int | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def build(self, input_shape: Any) -> None:
        self._several(input_shape)
        self.compute_output_shape(input_shape)
        self.built = True

    def _several(self, shapes: Any) -> None:
        count = self.exactly
        if not isinstance(shapes, (list, tuple)) or not shapes or not isinstance(shapes[0], (list, tuple)):
            msg = f"{self.title}: input is one tensor; expected a list of {count or 'at least one'}"
            raise ValueError(msg)
        if count is not None and len(shapes) != count:
            msg = f"{self.title}: input is a list of {len(shapes)}; expected {count}"
            raise ValueError(msg)

    def merge(self, a: Any, b: Any) -> Any:
        """Two of them."""
        raise NotImplementedError

    def finish(self, total: Any, count: int) -> Any:
        """What becomes of the last."""
        return total

    def call(self, inputs: Any) -> Any:
        ndim = max(x.ndim for x in inputs)
        raised = [x if x.ndim == ndim else x.reshape(x.shape[0], *[1] * (ndim - x.ndim), *x.shape[1:]) for x in inputs]
        return self.finish(functools.reduce(self.merge, raised), len(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        ndim = max(len(s) for s in input_shape)
        shapes = [(s[0], *[1] * (ndim - len(s)), *s[1:]) for s in input_shape]
        out: list[int | None] = []
        for lengths in zip(*shapes, strict=True):
            sizes = {n for n in lengths if n not in (1, None)}
            if len(sizes) > 1:
                msg = (
                    f"{self.title}: inputs have shapes {', '.join(str(tuple(s)) for s in input_shape)}; they do not fit"
                )
                raise ValueError(msg)
            out.append(next(iter(sizes)) if sizes else None if None in lengths else 1)
        return tuple(out)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        if not isinstance(previous_mask, (list, tuple)) or any(m is None for m in previous_mask):
            return None
        return functools.reduce(lambda a, b: a | b, previous_mask)


class Add(_Merge):
    """The sum of tensors.

    Args:
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Add()([np.ones((1, 2)), np.ones((1, 2))])
        tensor([[2., 2.]])
    """

    def merge(self, a: Any, b: Any) -> Any:
        return a + b


class Subtract(_Merge):
    """The first of two tensors less the second.

    Args:
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Subtract()([np.ones((1, 2)), np.ones((1, 2))])
        tensor([[0., 0.]])
    """

    exactly = 2

    def merge(self, a: Any, b: Any) -> Any:
        return a - b


class Multiply(_Merge):
    """The product of tensors, element by element.

    Args:
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Multiply()([np.full((1, 2), 3.0), np.full((1, 2), 2.0)])
        tensor([[6., 6.]])
    """

    def merge(self, a: Any, b: Any) -> Any:
        return a * b


class Average(_Merge):
    """The mean of tensors.

    Args:
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Average()([np.ones((1, 2)), np.zeros((1, 2))])
        tensor([[0.5, 0.5]])
    """

    def merge(self, a: Any, b: Any) -> Any:
        return a + b

    def finish(self, total: Any, count: int) -> Any:
        return total / count


class Maximum(_Merge):
    """The larger of tensors, element by element.

    Args:
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Maximum()([np.ones((1, 2)), np.zeros((1, 2))])
        tensor([[1., 1.]])
    """

    def merge(self, a: Any, b: Any) -> Any:
        return fa.maximum(a, b)


class Minimum(_Merge):
    """The smaller of tensors, element by element.

    Args:
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Minimum()([np.ones((1, 2)), np.zeros((1, 2))])
        tensor([[0., 0.]])
    """

    def merge(self, a: Any, b: Any) -> Any:
        return fa.minimum(a, b)


class Concatenate(_Merge):
    """Tensors one behind the other along an axis.

    Args:
        axis: the axis.
        kwargs: see Layer.

    Raises:
        ValueError: other axes that differ.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Concatenate()([np.ones((1, 2)), np.ones((1, 3))]).shape
        (1, 5)
    """

    integers = True
    keeps_dtype = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = int(axis)

    def call(self, inputs: Any) -> Any:
        return fa.cat(list(inputs), self.axis)

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = list(input_shape[0])
        axis = self.axis % len(first)
        for shape in input_shape[1:]:
            rest = [i for i in range(len(first)) if i != axis]
            if len(shape) != len(first) or any(None not in (shape[i], first[i]) and shape[i] != first[i] for i in rest):
                msg = f"{self.title}: inputs have shapes {', '.join(str(tuple(s)) for s in input_shape)}; "
                msg += f"expected the same but for axis {self.axis}"
                raise ValueError(msg)
            first = [a if b is None else b for a, b in zip(shape, first, strict=True)]
        lengths = [shape[axis] for shape in input_shape]
        first[axis] = None if None in lengths else sum(lengths)
        return tuple(first)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        if not isinstance(previous_mask, (list, tuple)) or all(m is None for m in previous_mask):
            return None
        whole = []
        for x, mask in zip(inputs, previous_mask, strict=True):
            mask = fa.ones(x.shape, dtype=bool) if mask is None else mask
            whole.append(mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim)).expand(*x.shape))
        return fa.cat(whole, self.axis).any(-1)


class Dot(_Merge):
    """The dot products of two tensors along an axis of each, sample by sample.

    Args:
        axes: the axis, or one for each of the two.
        normalize: whether both are scaled to length 1 first.
        kwargs: see Layer.

    Example:
        >>> import numpy as np
        >>> from fastattn import keras
        >>> keras.layers.Dot(axes=1)([np.ones((2, 3)), np.ones((2, 3))])
        tensor([[3.],
                [3.]])
    """

    exactly = 2

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = axes
        self.normalize = normalize

    def _pair(self, shapes: Any) -> tuple[int, int]:
        a, b = (self.axes, self.axes) if hasattr(self.axes, "__index__") else tuple(self.axes)
        first, second = a % len(shapes[0]), b % len(shapes[1])
        left, right = shapes[0][first], shapes[1][second]
        if 0 in (first, second) or (None not in (left, right) and left != right):
            msg = f"{self.title}: inputs have shapes {tuple(shapes[0])} and {tuple(shapes[1])}; axes {self.axes} do not fit"
            raise ValueError(msg)
        return first, second

    def call(self, inputs: Any) -> Any:
        a, b = inputs
        first, second = self._pair((a.shape, b.shape))
        if self.normalize:
            a, b = F.normalize(a, dim=first, eps=1e-6), F.normalize(b, dim=second, eps=1e-6)
        rest_a = [n for i, n in enumerate(a.shape) if i not in (0, first)]
        rest_b = [n for i, n in enumerate(b.shape) if i not in (0, second)]
        rows = a.movedim(first, -1).reshape(a.shape[0], -1, a.shape[first])
        columns = b.movedim(second, 1).reshape(b.shape[0], b.shape[second], -1)
        out: Tensor = rows @ columns
        return out.reshape(a.shape[0], *(rest_a + rest_b or [1]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        first, second = self._pair(input_shape)
        rest = [n for i, n in enumerate(input_shape[0]) if i not in (0, first)]
        rest += [n for i, n in enumerate(input_shape[1]) if i not in (0, second)]
        return (input_shape[0][0], *(rest or [1]))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return None


# The layers as functions --------------------------------------------------------------------------------------------


def add(inputs: Any, **kwargs: Any) -> Any:
    """Add()(inputs)."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """Subtract()(inputs)."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """Multiply()(inputs)."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """Average()(inputs)."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """Maximum()(inputs)."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """Minimum()(inputs)."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """Concatenate(axis)(inputs)."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs: Any, axes: Any = -1, normalize: bool = False, **kwargs: Any) -> Any:
    """Dot(axes, normalize)(inputs)."""
    return Dot(axes, normalize, **kwargs)(inputs)
