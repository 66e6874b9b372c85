"""What there is of GPUs: whether kernels can run on one, waiting for it, its memory. Names are those of torch.cuda."""

from __future__ import annotations

import sys
from typing import Any

from . import _C, _random

__all__ = [
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "is_available",
    "manual_seed",
    "manual_seed_all",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "synchronize",
    "unavailable",
]


def is_available() -> bool:
    """Whether kernels can run on a GPU of this machine. Never raises; `unavailable` says why not.

    Returns:
        False where the build has no CUDA backend, and where there is no driver, GPU, or none that is new enough.

    Example:
        >>> import fastattn as fa
        >>> fa.cuda.is_available() == (fa.cuda.unavailable() is None)
        True
    """
    return unavailable() is None


def unavailable() -> str | None:
    """Why no kernel can run on a GPU here.

    Returns:
        One line, or None where one can.

    Example:
        >>> import fastattn as fa
        >>> fa.cuda.unavailable() is None or len(fa.cuda.unavailable()) > 10
        True
    """
    try:
        why: str | None = _C.cuda_unavailable()
    except ImportError as error:  # a library of another version, or a broken one
        why = str(error)
    return why


def device_count() -> int:
    """How many GPUs there are.

    Returns:
        Their number; 0 where none can be used.

    Example:
        >>> import fastattn as fa
        >>> (fa.cuda.device_count() > 0) == fa.cuda.is_available()
        True
    """
    return _C.cuda_device_count() if is_available() else 0


def manual_seed(seed: int) -> None:
    """Restarts the global random stream at `seed`: it is one for all devices, so this is `fa.manual_seed`.

    Args:
        seed: the key of the Philox stream.

    Example:
        >>> import fastattn as fa
        >>> fa.cuda.manual_seed(3)
        >>> fa.initial_seed()
        3
    """
    _random.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Restarts the global random stream at `seed`: it is one for all devices, so this is `fa.manual_seed`.

    Args:
        seed: the key of the Philox stream.

    Example:
        >>> import fastattn as fa
        >>> fa.cuda.manual_seed_all(3)
        >>> fa.initial_seed()
        3
    """
    _random.manual_seed(seed)


def get_device_name(device: Any = 0) -> str:
    """The name of a GPU.

    Args:
        device: its number, or "cuda:0".

    Raises:
        ValueError: there is no such GPU.
    """
    return str(_info("get_device_name", device)["name"])


def get_device_capability(device: Any = 0) -> tuple[int, int]:
    """The compute capability of a GPU, such as (9, 0).

    Args:
        device: its number, or "cuda:0".

    Raises:
        ValueError: there is no such GPU.
    """
    major, minor = _info("get_device_capability", device)["capability"]
    return major, minor


def mem_get_info(device: Any = 0) -> tuple[int, int]:
    """The bytes of a GPU's memory that are free, and how many it has.

    Args:
        device: its number, or "cuda:0".

    Raises:
        ValueError: there is no such GPU.
    """
    info = _info("mem_get_info", device)
    return info["free_bytes"], info["total_bytes"]


def synchronize(device: Any = 0) -> None:
    """Waits for everything that a GPU has been given to do.

    Args:
        device: its number, or "cuda:0".

    Raises:
        ValueError: there is no such GPU.
        RuntimeError: a kernel before this call failed.
    """
    _C.cuda_synchronize(_index("synchronize", device))


def memory_allocated(device: Any = 0) -> int:
    """The bytes that arrays and workspaces of a GPU take now.

    Args:
        device: its number, or "cuda:0".

    Returns:
        Bytes of CuPy's arrays on that GPU, and of workspaces on all; 0 where there is no GPU.

    Example:
        >>> import fastattn as fa
        >>> fa.cuda.memory_allocated() >= 0
        True
    """
    return _pool(device)[0] + _C.cuda_live_bytes() if is_available() else 0


def memory_reserved(device: Any = 0) -> int:
    """The bytes of `memory_allocated`, and those that are kept for reuse.

    Args:
        device: its number, or "cuda:0".

    Returns:
        Bytes; 0 where there is no GPU.

    Example:
        >>> import fastattn as fa
        >>> fa.cuda.memory_reserved() >= fa.cuda.memory_allocated()
        True
    """
    return _pool(device)[1] + _C.cuda_live_bytes() + _C.cuda_cache_bytes() if is_available() else 0


def empty_cache() -> None:
    """Gives back the memory of GPUs that is kept for reuse: CuPy's, and that of the workspaces.

    Example:
        >>> import fastattn as fa
        >>> fa.cuda.empty_cache()
    """
    if "cupy" in sys.modules:
        from .interop import cupy

        cupy.free_memory()
    if is_available():
        _C.cuda_empty_cache()


def _index(name: str, device: Any) -> int:
    from ._device import resolve

    where = resolve(name, device)
    if where.type != "cuda":
        msg = f"{name}: device is {str(device)!r}; expected a GPU, 'cuda:0'"
        raise ValueError(msg)
    return where.index or 0


def _info(name: str, device: Any) -> dict[str, Any]:
    return _C.cuda_device_info(_index(name, device))


def _pool(device: Any) -> tuple[int, int]:
    """CuPy's bytes; none before something has imported it."""
    if "cupy" not in sys.modules:
        return 0, 0
    from .interop import cupy

    return cupy.memory(_index("memory_allocated", device))
