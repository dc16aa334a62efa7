"""Reading cross-attention: which layers hold it, the exact queries and keys, and the maps made of them."""

from .families import Family, family_of
from .maps import JointSequence, average_maps, average_self_maps
from .probe import AttentionProbe, Capture

__all__ = ["AttentionProbe", "Capture", "Family", "JointSequence", "average_maps", "average_self_maps", "family_of"]
