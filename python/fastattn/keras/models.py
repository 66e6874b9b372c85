"""Models."""

from .engine.model import Model
from .engine.saving import clone_model, load_model, model_from_json, save_model
from .engine.sequential import Sequential

Functional = Model

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model"]
