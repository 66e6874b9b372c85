"""What torch keeps in `torch.utils`: `checkpoint`."""

from . import checkpoint

__all__ = ["checkpoint"]
