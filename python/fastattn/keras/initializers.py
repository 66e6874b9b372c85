"""First values of weights: callables (shape, dtype) -> ndarray, shapes as Keras has them: (..., in, out).

They draw from the project's random stream (`fa.manual_seed`); one with a seed of its own gives the same numbers each time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastattn._random import Generator
from fastattn.autograd.node import wrap
from fastattn.nn import init

from ._lookup import Configured, Names, serialize
from .config import dtype_of

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

Array = np.ndarray[Any, Any]
Shape = Sequence[int]

# The standard deviation of a standard normal number that is cut at -2 and 2.
_CUT_STD = 0.87962566103423978


class Initializer(Configured):
    """Base: `__call__(shape, dtype=None)` gives an ndarray.

    Example:
        >>> from fastattn import keras
        >>> class Halves(keras.initializers.Initializer):
        ...     def __call__(self, shape, dtype=None):
        ...         return keras.initializers.Constant(0.5)(shape, dtype)
        >>> Halves()((2,))
        array([0.5, 0.5], dtype=float32)
    """

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(shape, dtype)")


class Zeros(Initializer):
    """Zeros."""

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        return np.zeros(tuple(shape), dtype_of(dtype))


class Ones(Initializer):
    """Ones."""

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        return np.ones(tuple(shape), dtype_of(dtype))


class Constant(Initializer):
    """`value` everywhere; an array is broadcast."""

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        return np.full(tuple(shape), self.value, dtype_of(dtype))


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, 0 elsewhere."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        if len(shape) != 2:
            msg = f"Identity: shape is {tuple(shape)}; expected 2 axes"
            raise ValueError(msg)
        values: Array = self.gain * np.eye(shape[0], shape[1])
        return values.astype(dtype_of(dtype))


class _Random(Initializer):
    """Random numbers; `seed` gives them a stream of their own, which starts anew at each call."""

    seed: int | None

    def _seeded(self, seed: int | None) -> None:
        if seed is not None and not hasattr(seed, "__index__"):
            msg = f"{type(self).__name__}: seed is {seed!r}; expected an integer or None"
            raise TypeError(msg)
        self.seed = seed

    def _stream(self) -> Generator | None:
        return None if self.seed is None else Generator().manual_seed(self.seed)

    def _normal(self, shape: Shape, dtype: Any, mean: float, std: float) -> Array:
        values = np.empty(tuple(shape), dtype_of(dtype))
        init.normal_(wrap(values), mean, std, self._stream())
        return values

    def _truncated(self, shape: Shape, dtype: Any, mean: float, std: float) -> Array:
        values = np.empty(tuple(shape), dtype_of(dtype))
        if std == 0:
            values[...] = mean
        else:
            init.trunc_normal_(wrap(values), mean, std, mean - 2 * std, mean + 2 * std, self._stream())
        return values

    def _uniform(self, shape: Shape, dtype: Any, low: float, high: float) -> Array:
        values = np.empty(tuple(shape), dtype_of(dtype))
        init.uniform_(wrap(values), low, high, self._stream())
        return values


class RandomNormal(_Random):
    """Normal random numbers."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev = mean, stddev
        self._seeded(seed)

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        return self._normal(shape, dtype, self.mean, self.stddev)


class TruncatedNormal(_Random):
    """Normal random numbers within two `stddev` of the mean."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev = mean, stddev
        self._seeded(seed)

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        return self._truncated(shape, dtype, self.mean, self.stddev)


class RandomUniform(_Random):
    """Uniform random numbers of [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval, self.maxval = minval, maxval
        self._seeded(seed)

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        return self._uniform(shape, dtype, self.minval, self.maxval)


class VarianceScaling(_Random):
    r"""Random numbers whose variance is scale / n, n the inputs or the outputs that a weight joins.

    Args:
        scale: the factor, above 0.
        mode: n is "fan_in", "fan_out" or their mean "fan_avg".
        distribution: "truncated_normal", "untruncated_normal" or "uniform".
        seed: a stream of its own.
        input_axes: the axes whose product is fan_in; needs `output_axes`.
        output_axes: those of fan_out.

    Raises:
        ValueError: an option out of range.

    Example:
        >>> from fastattn import keras
        >>> weight = keras.initializers.VarianceScaling(2.0, "fan_in", "uniform")((6, 3))
        >>> weight.shape, bool((abs(weight) <= 1).all())
        ((6, 3), True)

    Source: He et al., "Delving deep into rectifiers" (2015), section 2.2.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        name = type(self).__name__
        distribution = "truncated_normal" if distribution.lower() == "normal" else distribution.lower()
        if not scale > 0:
            msg = f"{name}: scale is {scale!r}; expected above 0"
            raise ValueError(msg)
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            msg = f"{name}: mode is {mode!r}; expected 'fan_in', 'fan_out' or 'fan_avg'"
            raise ValueError(msg)
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            msg = f"{name}: distribution is {distribution!r}; expected 'truncated_normal', 'untruncated_normal' or 'uniform'"
            raise ValueError(msg)
        self.scale, self.mode, self.distribution = scale, mode, distribution
        self.input_axes, self.output_axes = input_axes, output_axes
        self._seeded(seed)

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            bound = math.sqrt(3 * variance)
            return self._uniform(shape, dtype, -bound, bound)
        if self.distribution == "untruncated_normal":
            return self._normal(shape, dtype, 0.0, math.sqrt(variance))
        return self._truncated(shape, dtype, 0.0, math.sqrt(variance) / _CUT_STD)


class _Scaled(VarianceScaling):
    """VarianceScaling with its first arguments settled."""

    _settled: tuple[float, str, str]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self._settled, seed, input_axes, output_axes)


class GlorotUniform(_Scaled):
    """Uniform of +- sqrt(6 / (fan_in + fan_out)). Glorot and Bengio (2010), equation 16."""

    _settled = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Truncated normal of deviation sqrt(2 / (fan_in + fan_out)). Glorot and Bengio (2010), equation 12."""

    _settled = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Uniform of +- sqrt(6 / fan_in). He et al. (2015), equation 10."""

    _settled = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Truncated normal of deviation sqrt(2 / fan_in). He et al. (2015), equation 10."""

    _settled = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Uniform of +- sqrt(3 / fan_in). LeCun et al., "Efficient backprop" (1998), section 4.6."""

    _settled = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Truncated normal of deviation sqrt(1 / fan_in). LeCun et al., "Efficient backprop" (1998), section 4.6."""

    _settled = (1.0, "fan_in", "truncated_normal")


class Orthogonal(_Random):
    """A random orthogonal matrix times `gain`; axes before the last are taken as one. Saxe et al. (2014)."""

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = gain
        self._seeded(seed)

    def __call__(self, shape: Shape, dtype: Any = None) -> Array:
        if len(shape) < 2:
            msg = f"Orthogonal: shape is {tuple(shape)}; expected at least 2 axes"
            raise ValueError(msg)
        # nn.init has the outputs in the first axis, Keras in the last.
        values = np.empty((math.prod(shape[:-1]), shape[-1]))
        init.orthogonal_(wrap(values), self.gain, self._stream())
        return values.reshape(tuple(shape)).astype(dtype_of(dtype))


def compute_fans(
    shape: Shape, input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
) -> tuple[int, int]:
    """How many inputs and outputs a weight (..., in, out) joins; the axes before those are a window."""
    shape = tuple(shape)
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


# Keras's other spellings, which are called as well: initializers.he_normal(seed=1).
zeros = Zeros
ones = Ones
constant = Constant
identity = Identity
random_normal = RandomNormal
truncated_normal = TruncatedNormal
random_uniform = RandomUniform
variance_scaling = VarianceScaling
orthogonal = Orthogonal
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
he_uniform = HeUniform
he_normal = HeNormal
lecun_uniform = LecunUniform
lecun_normal = LecunNormal
IdentityInitializer, OrthogonalInitializer = Identity, Orthogonal

_NAMES = Names(
    "initializer",
    [
        *(Zeros, Ones, Constant, Identity, RandomNormal, TruncatedNormal, RandomUniform, VarianceScaling, Orthogonal),
        *(GlorotUniform, GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal),
    ],
    {"zero": Zeros, "one": Ones, "normal": RandomNormal, "uniform": RandomUniform, "eye": Identity},
)


def get(identifier: Any) -> Any:
    """The initializer of a name, a config, a class or an object; a number or an array is a constant, None is None."""
    if identifier is None:
        return None
    if isinstance(identifier, (int, float, np.ndarray)) and not isinstance(identifier, bool):
        return Constant(identifier)
    return _NAMES.get(identifier)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initializer that `serialize` described."""
    return _NAMES.get(config, custom_objects)
