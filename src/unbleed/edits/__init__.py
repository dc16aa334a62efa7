"""What methods change inside the denoiser, without a gradient to the latents: values, attention, the prediction."""

from .composition import ComposeEdit
from .regulation import RegulateEdit
from .values import PhraseEdit

__all__ = ["ComposeEdit", "PhraseEdit", "RegulateEdit"]
