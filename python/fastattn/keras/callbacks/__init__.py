"""Callbacks of fit, evaluate and predict."""

from __future__ import annotations

from .callback import Callback, CallbackList, History, ProgbarLogger

__all__ = ["Callback", "CallbackList", "History", "ProgbarLogger"]
