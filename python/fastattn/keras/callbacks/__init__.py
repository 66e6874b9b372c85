"""Callbacks of fit, evaluate and predict."""

from __future__ import annotations

from .callback import Callback, CallbackList, History, ProgbarLogger
from .monitors import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from .others import CSVLogger, LambdaCallback, LearningRateScheduler, TensorBoard, TerminateOnNaN

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
