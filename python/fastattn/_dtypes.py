"""dtypes by torch's names; each is NumPy's dtype of that name (bfloat16: that of ml_dtypes)."""

import numpy as np
from ml_dtypes import bfloat16 as _bfloat16
from ml_dtypes import finfo as _finfo

dtype = np.dtype
float32 = float = np.dtype(np.float32)
float64 = double = np.dtype(np.float64)
float16 = half = np.dtype(np.float16)
bfloat16 = np.dtype(_bfloat16)
uint8 = np.dtype(np.uint8)
int8 = np.dtype(np.int8)
int16 = short = np.dtype(np.int16)
int32 = int = np.dtype(np.int32)
int64 = long = np.dtype(np.int64)
bool = bool_ = np.dtype(np.bool_)


def finfo(dtype: np.dtype = float32) -> _finfo:
    """The limits of a dtype of floats: `max`, `min`, `eps`, `tiny`, `bits`.

    Args:
        dtype: the dtype.

    Example:
        >>> import fastattn as fa
        >>> fa.finfo(fa.bfloat16).bits
        16
    """
    return _finfo(dtype)  # type: ignore[no-untyped-call]


def iinfo(dtype: np.dtype) -> np.iinfo:
    """The limits of a dtype of integers: `max`, `min`, `bits`.

    Args:
        dtype: the dtype.

    Example:
        >>> import fastattn as fa
        >>> fa.iinfo(fa.int8).max
        127
    """
    return np.iinfo(dtype)
