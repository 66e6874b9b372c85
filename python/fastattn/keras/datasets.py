"""Data sets, read from files that the user has."""

from __future__ import annotations

__all__: list[str] = []
