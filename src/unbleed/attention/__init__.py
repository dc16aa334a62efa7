"""Reading cross-attention: its layers in each family of models, their queries and keys, and maps made from them."""

from .families import family_of
from .family import Family
from .maps import average_maps, average_self_maps
from .probe import AttentionProbe, Capture
from .sequence import JointSequence

__all__ = ["AttentionProbe", "Capture", "Family", "JointSequence", "average_maps", "average_self_maps", "family_of"]
