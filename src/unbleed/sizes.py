"""The image sizes that a pipeline can sample, and the length of its text."""

from __future__ import annotations

import inspect
from typing import Any

from .attention.families import denoiser_of, family_of
from .attention.family import patch_of
from .errors import PromptError

LEAST, MOST = 64, 4096  # side of an image in pixels


def own_side(pipe: Any) -> int:
    """Return the default side of a pipeline's images in pixels."""
    denoiser: Any = denoiser_of(pipe)
    side = getattr(pipe, "default_sample_size", None) or getattr(denoiser.config, "sample_size", None)
    return side * pipe.vae_scale_factor if side else family_of(denoiser).side


def check_size(pipe: Any, height: int | None, width: int | None) -> None:
    """Raise `PromptError` for a side that does not divide into pixels of the latents, or that is far from the default.

    Sides are multiples of the autoencoder's factor, for transformers times their patch size. Images of more than four times
    the default side would take hours or all memory, for no use. None stands for the default.
    """
    denoiser: Any = denoiser_of(pipe)
    patch = family_of(denoiser).packed or patch_of(denoiser.config)
    multiple, own = pipe.vae_scale_factor * patch, own_side(pipe)
    least = -(-LEAST // multiple) * multiple
    most = min(MOST, 4 * own) // multiple * multiple
    for name, side in (("height", height), ("width", width)):
        if side is not None and (not isinstance(side, int) or side % multiple or not least <= side <= most):
            four = f", which is four times its own {own}" if most == 4 * own else ""
            raise PromptError(f"{name} {side}; this model's pictures have multiples of {multiple} from {least} to {most}{four}")


def text_length(pipe: Any) -> dict[str, int]:
    """Return {"max_sequence_length": tokens} if the pipeline would pad T5's text beyond the length of its tokenizer.

    Stable Diffusion 3 is called with 256 tokens by default, whatever the model was trained with.
    """
    argument = inspect.signature(type(pipe).__call__).parameters.get("max_sequence_length")
    reads = getattr(getattr(pipe, "tokenizer_3", None), "model_max_length", None)
    return {"max_sequence_length": reads} if argument and reads and reads < argument.default else {}
