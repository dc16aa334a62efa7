"""What methods change inside the denoiser, without a gradient to the latents: embeddings, values, attention, the prediction."""

from .apart import ApartEdit
from .composition import ComposeEdit
from .regions import RegionEdit
from .regulation import RegulateEdit
from .values import PhraseEdit

__all__ = ["ApartEdit", "ComposeEdit", "PhraseEdit", "RegionEdit", "RegulateEdit"]
