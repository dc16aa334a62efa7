"""Losses on attention maps: pure functions of (maps, groups), one value per image, lower is better."""

from .base import Loss
from .binding import BindingLoss, binding
from .excite import ExciteLoss, excite
from .groups import TokenGroups

__all__ = ["BindingLoss", "ExciteLoss", "Loss", "TokenGroups", "binding", "excite"]
