"""Regions of the picture that belong to entities: found in attention, or given by the user."""

from .layout import layout
from .settle import settle

__all__ = ["layout", "settle"]
