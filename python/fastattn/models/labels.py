"""Labels, and what a classifier's logits lose by them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastattn.autograd.tensor import Tensor
from fastattn.nn import functional as F

from .config import as_tensor


def fitting(model: str, name: str, value: Any, shape: tuple[int, ...], device: Any) -> Tensor:
    """Labels as a tensor of the shape that they must have."""
    target = as_tensor(model, name, value, device, "labels")
    if target.shape != shape:
        msg = f"{model}: {name} has shape {target.shape}; expected {tuple(shape)}"
        raise ValueError(msg)
    return target


def classification_loss(model: str, logits: Tensor, labels: Any) -> Tensor:
    """Of logits (B, N), as transformers chooses: squared error for N = 1, cross-entropy of classes, or of each by itself."""
    target = as_tensor(model, "labels", labels, logits.device, "labels")
    if logits.shape[1] == 1:
        return F.mse_loss(logits.view(-1), fitting(model, "labels", target.view(-1), logits.shape[:1], logits.device))
    if np.dtype(target.dtype).kind in "iu":
        return F.cross_entropy(logits, fitting(model, "labels", target, logits.shape[:1], logits.device))
    target = fitting(model, "labels", target, logits.shape, logits.device)
    return F.binary_cross_entropy_with_logits(logits, target)
