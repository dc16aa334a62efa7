"""Regions of the picture that belong to entities: found in attention, or given by the user."""

from .given import Given, Region
from .layout import layout
from .settle import settle

__all__ = ["Given", "Region", "layout", "settle"]
