"""Tensor: an array that remembers how it was computed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy import ndarray

from fastattn import ops
from fastattn._device import device, move, named, place, resolve, where_is
from fastattn._dtypes import bfloat16
from fastattn._missing import missing
from fastattn.ops import _kinds
from fastattn.ops._native import FLOAT64, FLOATS, LEAST, preferred

from . import node as tape
from .convert import FLOAT32, as_data, is_float
from .elementwise import Elementwise
from .gradients import Gradients
from .indexing import Indexing
from .inplace import Fills, add_to
from .joining import Cutting
from .kind import TensorKind
from .node import Array, Base, Node, array_module, empty_on, mode, record, wrap
from .operators import Arithmetic
from .products import Products
from .reductions import Reductions
from .shape import Shaping, ints
from .sorting import Sorting


class Tensor(Gradients, Arithmetic, Elementwise, Fills, Shaping, Cutting, Indexing, Sorting, Reductions, Products):
    r"""An array with reverse-mode gradients, with torch's method names and NumPy's broadcasting.

    Every op on a tensor that requires a gradient is recorded; `backward()` walks the record and adds
    :math:`\partial\, \mathrm{loss} / \partial x` to `x.grad` of every leaf.

    Args:
        data: an array (shared, not copied), or numbers in nested lists (floats become float32).
        requires_grad: whether gradients are wanted for it; floats only.

    Raises:
        TypeError: `requires_grad` of a tensor that is not of floats.

    Example:
        >>> import fastattn as fa
        >>> x = fa.Tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])

    Source: Baydin et al., "Automatic differentiation in machine learning: a survey" (2018), section 3.2.
    """

    __slots__ = ()
    __array_priority__ = 1000  # ndarray + Tensor is a Tensor
    __match_args__ = ()

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self._data = as_data(data)
        self._node = self.grad = None
        self._requires_grad = False
        self._version = [0, 0]
        if requires_grad:
            self.requires_grad = True

    if not TYPE_CHECKING:  # which would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            return missing("Tensor")(name)

    # What it is -----------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self._data.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the elements, a NumPy dtype."""
        return self._data.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim  # type: ignore[no-any-return]

    @property
    def device(self) -> device:
        """Where the data are."""
        return where_is(self._data)

    @property
    def is_cuda(self) -> bool:
        """Whether the data are on a GPU."""
        return type(self._data) is not ndarray

    @property
    def is_cpu(self) -> bool:
        """Whether the data are in host memory."""
        return type(self._data) is ndarray

    def get_device(self) -> int:
        """The number of the GPU that the data are on; -1 in host memory."""
        return -1 if self.is_cpu else self._data.device.id

    @property
    def nbytes(self) -> int:
        """The size of the elements in bytes."""
        return int(self._data.nbytes)

    @property
    def itemsize(self) -> int:
        """The size of an element in bytes."""
        return int(self._data.itemsize)

    def element_size(self) -> int:
        """The size of an element in bytes."""
        return self.itemsize

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one axis."""
        return self._data.shape if dim is None else self._data.shape[dim]

    def dim(self) -> int:
        """The number of axes."""
        return self.ndim

    def numel(self) -> int:
        """The number of elements."""
        return int(self._data.size)

    nelement = numel
    ndimension = dim

    def is_complex(self) -> bool:
        """Whether the elements are complex: never."""
        return False

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self._data.dtype.kind not in "bu"

    def is_same_size(self, other: Tensor) -> bool:
        """Whether both have one shape."""
        return self.shape == other.shape

    def storage_offset(self) -> int:
        """How many elements of the memory that it is a view of come before its first."""
        base = self._data
        while isinstance(base.base, type(base)):
            base = base.base
        return (self.data_ptr() - place(base)[0]) // self.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """The strides in elements, or one of them."""
        strides = tuple(n // self.itemsize for n in self._data.strides)
        return strides if dim is None else strides[dim]

    def data_ptr(self) -> int:
        """The address of the first element."""
        if type(self._data) is ndarray:
            return int(self._data.__array_interface__["data"][0])
        return int(self._data.data.ptr)

    def is_floating_point(self) -> bool:
        """Whether the elements are floats."""
        return is_float(self._data.dtype)

    @property
    def data(self) -> Tensor:
        """The same data without the record; changes of it are not noticed by the tape."""
        return wrap(self._data)

    @data.setter
    def data(self, value: Any) -> None:
        self._data = as_data(value)
        self._version = [0, 0]

    # In-place changes -----------------------------------------------------------------------------------------------

    def _allow_inplace(self, name: str) -> None:
        """Raises where an in-place op would spoil the record; before anything is written."""
        if mode.enabled and self._requires_grad and self._node is None:
            msg = f"{name}: a leaf that requires a gradient cannot be changed in place; use fa.no_grad(), or a clone()"
            raise RuntimeError(msg)

    def _before(self, *others: Any) -> Tensor:
        """This tensor as it is before an in-place op: a copy where the op is recorded, whose gradient may need it."""
        if not mode.enabled or not any(isinstance(t, Base) and t._requires_grad for t in (self, *others)):
            return self
        kept = wrap(self._data.copy())
        kept._node, kept._requires_grad = self._node, self._requires_grad
        return kept

    def _become(self, name: str, result: Tensor) -> Tensor:
        """Writes the result of an op on this tensor to its memory, and takes over the record."""
        data = result._data
        if data.shape != self._data.shape:
            msg = f"{name}: the result has shape {data.shape}; it does not fit this tensor of {self._data.shape}"
            raise ValueError(msg)
        if not np.can_cast(data.dtype, self._data.dtype, "same_kind"):
            msg = f"{name}: the result is {data.dtype}; it cannot be written to this tensor of {self._data.dtype}"
            raise TypeError(msg)
        if result._requires_grad:
            if self._version[1]:
                msg = (
                    f"{name}: this tensor shares its memory with a view, which would lose its gradient; "
                    "use the op that makes a new tensor (fa.stack or fa.cat to fill one by parts)"
                )
                raise RuntimeError(msg)
            self._node, self._requires_grad = result._node, True
        self._data[...] = data
        self._version[0] += 1
        return self

    # Out of it ------------------------------------------------------------------------------------------------------

    def numpy(self) -> Array:
        """The data as an ndarray, shared."""
        if self._requires_grad:
            msg = "numpy: this tensor requires a gradient, which an ndarray does not record; use detach().numpy()"
            raise RuntimeError(msg)
        return self._data if type(self._data) is ndarray else self._data.get()

    def item(self) -> Any:
        """The one element as a Python number."""
        if self._data.size != 1:
            msg = f"item: a tensor of shape {self._data.shape} has {self._data.size} elements; expected one"
            raise ValueError(msg)
        return self._data.item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self._data.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        if self._requires_grad:
            msg = "__dlpack__: this tensor requires a gradient, which DLPack does not carry; use detach()"
            raise BufferError(msg)
        return self._data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self._data.dtype.kind not in "biu":
            msg = f"a tensor of {self._data.dtype} as an index; expected integers"
            raise TypeError(msg)
        return int(self.item())

    def __len__(self) -> int:
        if not self._data.ndim:
            msg = "len() of a tensor without axes"
            raise TypeError(msg)
        return int(self._data.shape[0])

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self._data.ndim == 0 else str(self)

    def __repr__(self) -> str:
        name = "Parameter containing:\ntensor" if type(self) is not Tensor else "tensor"
        body = np.array2string(np.asarray(self.detach().numpy()), separator=", ", prefix="tensor(")
        parts = [body]
        if self._data.dtype not in (FLOAT32, np.dtype(np.int64), np.dtype(np.bool_)) or not self._data.size:
            parts.append(f"dtype={self._data.dtype}")
        if self._node is not None:
            parts.append(f"grad_fn={self._node!r}")
        elif self._requires_grad:
            parts.append("requires_grad=True")
        return f"{name}({', '.join(parts)})"

    # New ones like it -----------------------------------------------------------------------------------------------

    def new_empty(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        """A tensor of this dtype, not filled."""
        where = self.device if device is None else resolve("new_empty", device)
        wanted = self._data.dtype if dtype is None else np.dtype(dtype)
        return wrap(empty_on(where, ints(size), wanted)).requires_grad_(requires_grad)

    def new_full(self, size: Any, fill_value: Any, *, requires_grad: bool = False, **options: Any) -> Tensor:
        """One number in this dtype."""
        out: Tensor = self.new_empty(size, **options).fill_(fill_value)
        return out.requires_grad_(requires_grad)

    def new_zeros(self, *size: Any, **options: Any) -> Tensor:
        """Zeros of this dtype."""
        return self.new_full(ints(size), 0, **options)

    def new_ones(self, *size: Any, **options: Any) -> Tensor:
        """Ones of this dtype."""
        return self.new_full(ints(size), 1, **options)

    def new_tensor(self, data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
        """A copy of `data` in this dtype, where this tensor is."""
        copied = as_data(data, self._data.dtype if dtype is None else dtype).copy()
        return Tensor(move(copied, self.device), requires_grad)

    # Copies and casts -----------------------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        if self._node is not None:
            msg = "only leaves can be pickled or deep-copied; detach() this tensor first"
            raise RuntimeError(msg)
        return _rebuild, (type(self), self._data, self._requires_grad, getattr(self, "__dict__", {}))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            msg = "only leaves can be pickled or deep-copied; detach() this tensor first"
            raise RuntimeError(msg)
        fields = copy.deepcopy(getattr(self, "__dict__", {}), memo)
        new = _rebuild(type(self), self._data.copy(), self._requires_grad, fields)
        memo[id(self)] = new
        if self.grad is not None:
            new.grad = copy.deepcopy(self.grad, memo)
        return new

    def to(
        self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False
    ) -> Tensor:
        """This tensor in another dtype or on another device (itself where it is so already), as `to(dtype)`,
        `to(device)`, `to(device, dtype)`, `to(other)`."""
        where = self.device
        for arg in args if device is None else (*args, device):
            if isinstance(arg, Base):
                where, dtype = arg.device, arg._data.dtype
            elif isinstance(arg, bool) or arg is None:
                continue  # to(device, dtype, non_blocking)
            elif (there := named("to", arg)) is not None:
                where = there
            else:
                dtype = arg
        if where != self.device:
            return record("to", wrap(move(self._data, where)), (self,), _move_backward, self.device).to(dtype=dtype)
        if dtype is None or self._data.dtype == dtype:
            return self.clone() if copy else self
        return record("to", wrap(_cast(self._data, dtype)), (self,), _to_backward, self._data.dtype)

    def type(self, dtype: Any) -> Tensor:
        """This tensor in another dtype."""
        return self.to(dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """This tensor in the dtype of `other`."""
        return self.to(other.dtype)

    def float(self) -> Tensor:
        """As float32."""
        return self.to(FLOAT32)

    def double(self) -> Tensor:
        """As float64."""
        return self.to(np.dtype(np.float64))

    def long(self) -> Tensor:
        """As int64."""
        return self.to(np.dtype(np.int64))

    def int(self) -> Tensor:
        """As int32."""
        return self.to(np.dtype(np.int32))

    def bool(self) -> Tensor:
        """As bool: whether elements are not 0."""
        return self.to(np.dtype(np.bool_))

    def half(self) -> Tensor:
        """As float16."""
        return self.to(np.dtype(np.float16))

    def bfloat16(self) -> Tensor:
        """As bfloat16."""
        return self.to(bfloat16)

    def short(self) -> Tensor:
        """As int16."""
        return self.to(np.dtype(np.int16))

    def char(self) -> Tensor:
        """As int8."""
        return self.to(np.dtype(np.int8))

    def byte(self) -> Tensor:
        """As uint8."""
        return self.to(np.dtype(np.uint8))

    def cpu(self) -> Tensor:
        """This tensor in host memory."""
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> Tensor:
        """This tensor on a GPU."""
        return self.to(device)


def _to_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    return (_cast(dout, node.saved) if is_float(node.saved) else None,)


def _move_backward(node: Node, dout: Array) -> tuple[Array | None, ...]:
    return (move(dout, node.saved),)


def _cast(array: Array, dtype: Any) -> Array:
    """array.astype(dtype), by the kernel where that is faster."""
    dtype = np.dtype(dtype)
    if dtype in FLOATS and preferred(array, LEAST) and (type(array) is ndarray or dtype != FLOAT64):
        return ops.cast(array, dtype)
    return array.astype(dtype)


def _rebuild(cls: type, data: Array, requires_grad: bool, fields: dict[str, Any]) -> Tensor:
    tensor = cast("Tensor", object.__new__(cls))
    Tensor.__init__(tensor, data)
    tensor._requires_grad = requires_grad
    for name, value in fields.items():
        setattr(tensor, name, value)
    return tensor


add_to(Tensor)
tape.tensor_type = Tensor
_kinds.register(Tensor, TensorKind())


__all__ = ["Tensor", "array_module"]
