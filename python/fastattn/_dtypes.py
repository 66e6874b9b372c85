"""dtypes by torch's names; each is NumPy's dtype of that name (bfloat16: that of ml_dtypes)."""

import numpy as np
from ml_dtypes import bfloat16 as _bfloat16

float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
float16 = np.dtype(np.float16)
bfloat16 = np.dtype(_bfloat16)
int32 = np.dtype(np.int32)
int64 = np.dtype(np.int64)
bool_ = np.dtype(np.bool_)
