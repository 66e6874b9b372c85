"""A CuPy whose device memory is the host's, so that Tensor, nn and optim are tested where there is no GPU.

Its arrays hold an ndarray and refuse what CuPy's refuse: to mix with ndarrays, to become one without `get`, to be read
through DLPack or the buffer protocol by NumPy. The functions are those of an allow-list, each of them in CuPy too: what
is not on it is an AttributeError or a TypeError, as it would be there. `install()` puts it in CuPy's place.
"""

import contextlib
import sys
import types

import numpy as np

# Functions of NumPy that CuPy has under the same name and with the arguments that are used here.
FUNCTIONS = """
abs absolute add all allclose amax amin any append arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin
argpartition argsort argwhere array_equal ascontiguousarray bincount bitwise_and bitwise_or bitwise_xor broadcast_to ceil
clip concatenate copyto cos cosh cumprod cumsum diag diagonal divide empty_like equal exp exp2 expand_dims expm1 flatnonzero
flip floor floor_divide fmod greater greater_equal hypot invert isclose isfinite isin isinf isnan less less_equal log log10
log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul maximum mean minimum moveaxis multiply nan_to_num
negative nonzero not_equal ones_like partition permute_dims positive power prod put_along_axis reciprocal remainder repeat
reshape rint roll rot90 round searchsorted sign signbit sin sinh sort split sqrt square squeeze stack std subtract sum
swapaxes take take_along_axis tan tanh tile transpose tril triu true_divide trunc unique var where zeros_like
"""
ALLOWED = FUNCTIONS.split()


class Device:
    """cupy.cuda.Device: one, number 0."""

    def __init__(self, device=0):
        assert device == 0, "the fake CuPy has one device"
        self.id = device

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return None


def _inner(value):
    """The ndarrays in an argument; refuses those that came bare."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, np.ndarray):
        msg = "Unsupported type <class 'numpy.ndarray'>"
        raise TypeError(msg)
    if isinstance(value, (list, tuple)):
        return type(value)(_inner(v) for v in value)
    return value


def _outer(value):
    """Results as arrays of the fake: numbers too, since CuPy's reductions are arrays without axes."""
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    return tuple(_outer(v) for v in value) if isinstance(value, tuple) else value


def _wrapped(function):
    def call(*args, **kwargs):
        return _outer(function(*_inner(args), **{k: _inner(v) for k, v in kwargs.items()}))

    return call


class ndarray:
    """cupy.ndarray."""

    __array_priority__ = 100
    __hash__ = None
    live = 0  # bytes of the arrays that are no views

    def __init__(self, array, base=None):
        self._array = array
        self.base = base
        self._counted = array.nbytes if base is None else 0
        ndarray.live += self._counted

    def __del__(self):
        ndarray.live -= self._counted

    def __array_namespace__(self, *, api_version=None):
        return sys.modules["cupy"]

    def __array__(self, *args, **kwargs):
        msg = "Implicit conversion to a NumPy array is not allowed. Please use `.get()`"
        raise TypeError(msg)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if method != "__call__" or ufunc.__name__ not in ALLOWED:
            return NotImplemented
        given = () if out is None else out
        result = ufunc(*_inner(inputs), **kwargs, **({"out": _inner(given)} if out is not None else {}))
        return given[0] if out is not None else _outer(result)

    def __array_function__(self, function, kinds, args, kwargs):
        if function.__name__ not in ALLOWED:
            return NotImplemented
        return _wrapped(function)(*args, **kwargs)

    @property
    def __cuda_array_interface__(self):
        interface = self._array.__array_interface__
        data = (interface["data"][0] if self._array.size else 0, False)
        return {**interface, "version": 3, "data": data, "stream": 1}

    device = Device(0)
    shape = property(lambda self: self._array.shape)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    dtype = property(lambda self: self._array.dtype)
    nbytes = property(lambda self: self._array.nbytes)
    itemsize = property(lambda self: self._array.itemsize)
    strides = property(lambda self: self._array.strides)
    T = property(lambda self: self._view(self._array.T))

    @property
    def flags(self):
        flags = self._array.flags
        return types.SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._array.__array_interface__["data"][0])

    def get(self):
        return self._array.copy()

    def item(self, *args):
        return self._array.item(*args)

    def tolist(self):
        return self._array.tolist()

    def fill(self, value):
        self._array.fill(_inner(value) if not isinstance(value, ndarray) else value.item())

    def __len__(self):
        return len(self._array)

    def __bool__(self):
        return bool(self._array)

    def __int__(self):
        return int(self._array)

    def __float__(self):
        return float(self._array)

    def __index__(self):
        return self._array.__index__()

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self._array)

    def _view(self, result):
        """A result, which is a view of this array where it shares its memory."""
        if isinstance(result, np.ndarray) and np.may_share_memory(result, self._array):
            return ndarray(result, self if self.base is None else self.base)
        return _outer(result)

    def __getitem__(self, key):
        return self._view(self._array[_inner(key)])

    def __setitem__(self, key, value):
        self._array[_inner(key)] = _inner(value)


def _method(name):
    def call(self, *args, **kwargs):
        return self._view(getattr(self._array, name)(*_inner(args), **{k: _inner(v) for k, v in kwargs.items()}))

    return call


def _in_place(name):
    def call(self, other):
        getattr(self._array, name)(_inner(other))
        return self

    return call


METHODS = """
all any argmax argmin argsort astype clip copy cumprod cumsum diagonal max mean min nonzero prod ravel repeat reshape round
squeeze std sum swapaxes take trace transpose var view
"""
for _name in METHODS.split():
    setattr(ndarray, _name, _method(_name))
for _name in ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"]:
    setattr(ndarray, f"__{_name}__", _method(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _method(f"__r{_name}__"))
for _name in ["iadd", "isub", "imul", "itruediv"]:
    setattr(ndarray, f"__{_name}__", _in_place(f"__{_name}__"))
for _name in ["neg", "pos", "abs", "invert", "lt", "le", "gt", "ge", "eq", "ne"]:
    setattr(ndarray, f"__{_name}__", _method(f"__{_name}__"))


def asarray(a, dtype=None):
    """A copy of an ndarray, which CuPy uploads; arrays of the fake as they are."""
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else a.astype(dtype)
    return ndarray(np.array(a, dtype))


def _add_at(a, index, values):
    assert a.dtype.kind in "iu", "CuPy adds floats in an order that differs from run to run"
    np.add.at(_inner(a), _inner(index), _inner(values))


class _Pool:
    def used_bytes(self):
        return ndarray.live

    total_bytes = used_bytes

    def free_all_blocks(self):
        pass


def module():
    """The module: `import cupy` after `install()`."""
    cupy = types.ModuleType("cupy")
    ndarray.__module__ = "cupy"
    for name in ALLOWED:
        if hasattr(np, name):
            setattr(cupy, name, _wrapped(getattr(np, name)))
    cupy.add.at = _add_at
    cupy.ndarray, cupy.asarray = ndarray, asarray
    cupy.array = lambda a, dtype=None: asarray(_outer(_inner(a).copy()) if isinstance(a, ndarray) else a, dtype)
    cupy.empty = lambda shape, dtype=float: ndarray(np.empty(shape, dtype))
    cupy.zeros = lambda shape, dtype=float: ndarray(np.zeros(shape, dtype))
    cupy.ones = lambda shape, dtype=float: ndarray(np.ones(shape, dtype))
    cupy.may_share_memory = lambda a, b: np.may_share_memory(_inner(a), _inner(b))
    cupy.get_default_memory_pool = _Pool
    cupy.cuda = types.SimpleNamespace(Device=Device)
    windows = np.lib.stride_tricks.sliding_window_view
    cupy.lib = types.SimpleNamespace(
        stride_tricks=types.SimpleNamespace(sliding_window_view=lambda x, *args: x._view(windows(x._array, *args)))
    )
    cupy.__version__ = "14.2.0"
    return cupy


@contextlib.contextmanager
def installed():
    """The fake in CuPy's place."""
    names = ("cupy", "fastattn.interop.cupy")  # the door imports it
    before = {name: sys.modules.pop(name, None) for name in names}
    sys.modules["cupy"] = module()
    try:
        yield sys.modules["cupy"]
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update({name: found for name, found in before.items() if found is not None})
