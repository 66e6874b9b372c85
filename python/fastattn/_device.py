"""Where tensors are, as torch.device says it."""

from __future__ import annotations

from typing import Any


class device(str):
    """The name of a device, "cpu" or "cuda:0".

    Args:
        type: a name, or its part before the colon.
        index: the number after it.

    Example:
        >>> import fastattn as fa
        >>> fa.device("cpu").type
        'cpu'
    """

    __slots__ = ()

    def __new__(cls, type: str, index: int | None = None) -> device:
        return super().__new__(cls, type if index is None else f"{type}:{index}")

    @property
    def type(self) -> str:
        """The part before the colon."""
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        """The number after the colon, if there is one."""
        number = self.partition(":")[2]
        return int(number) if number else None


CPU = device("cpu")


def check_device(name: str, wanted: Any) -> None:
    """Raises unless a `device=` argument is one that this build makes tensors on."""
    if wanted is not None and str(wanted).partition(":")[0] != "cpu":
        msg = f"{name}: this build has no device {str(wanted)!r}; tensors are made on 'cpu'"
        raise ValueError(msg)
