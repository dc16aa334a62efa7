"""What methods change inside the denoiser, without a gradient to the latents: embeddings, values, attention, the prediction."""

from .amplify import AmplifyEdit
from .apart import ApartEdit
from .composition import ComposeEdit
from .negative import NegativeEdit
from .regions import RegionEdit
from .regulation import RegulateEdit
from .separation import SeparationEdit
from .values import PhraseEdit

__all__ = [
    "AmplifyEdit",
    "ApartEdit",
    "ComposeEdit",
    "NegativeEdit",
    "PhraseEdit",
    "RegionEdit",
    "RegulateEdit",
    "SeparationEdit",
]
