"""Losses on attention maps: pure functions of (maps, groups), one value per image, lower is better."""

from .base import AttentionMaps, Loss
from .binding import BindingLoss, binding
from .contrast import ContrastLoss
from .division import DivisionLoss
from .entropy import EntropyLoss
from .excite import ExciteLoss, excite
from .focus import FocusLoss
from .groups import TokenGroups
from .localization import AnchoringLoss
from .objects import ObjectLoss
from .overlap import OverlapLoss
from .predicates import PredicateLoss
from .regions import RegionLoss
from .segregation import RetentionLoss, SegregationLoss
from .self_attention import ConflictLoss, SelfCrossLoss, StrayLoss
from .suppression import SuppressionLoss

__all__ = [
    "AnchoringLoss",
    "AttentionMaps",
    "BindingLoss",
    "ConflictLoss",
    "ContrastLoss",
    "DivisionLoss",
    "EntropyLoss",
    "ExciteLoss",
    "FocusLoss",
    "Loss",
    "ObjectLoss",
    "OverlapLoss",
    "PredicateLoss",
    "RegionLoss",
    "RetentionLoss",
    "SegregationLoss",
    "SelfCrossLoss",
    "StrayLoss",
    "SuppressionLoss",
    "TokenGroups",
    "binding",
    "excite",
]
