"""Reading cross-attention: its layers in each family of models, their queries and keys, and maps made from them."""

from .families import Family, family_of
from .maps import JointSequence, average_maps, average_self_maps
from .probe import AttentionProbe, Capture

__all__ = ["AttentionProbe", "Capture", "Family", "JointSequence", "average_maps", "average_self_maps", "family_of"]
