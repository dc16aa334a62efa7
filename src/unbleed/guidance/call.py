"""One call of the denoiser, as the pipeline made it: which rows are the text-conditioned ones, and how to make it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelError

_EMBEDDINGS = 2  # place of the text embeddings among a UNet's positional arguments


class DenoiserCall:
    """One call of the denoiser, and which of its rows are the text-conditioned ones."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], images: int, doubled: bool | None) -> None:
        """`doubled` is what the pipeline says of classifier-free guidance, where it says so."""
        self.args, self.kwargs = args, kwargs
        self.sample: Tensor = args[0] if args else kwargs["sample"]
        self.timestep: Any = args[1] if len(args) > 1 else kwargs["timestep"]
        self.time = float(self.timestep.flatten()[0] if isinstance(self.timestep, Tensor) else self.timestep)
        self.copies, rest = divmod(len(self.sample), images)
        if rest or self.copies not in (1, 2) or (doubled is not None and self.copies != 1 + doubled):
            raise ModelError(
                f"the denoiser was called with {len(self.sample)} rows for the {images} images of the prompts; "
                "expected as many, or with classifier-free guidance twice as many"
            )
        first = images * (self.copies - 1)  # diffusers stacks [unconditional, conditional]
        self.conditional = slice(first, first + images)

    def conditional_rows(self, latents: Tensor, rows: Sequence[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the call cut to the conditional rows of the images `rows`, on other latents."""
        index = [self.conditional.start + row for row in rows]
        args = _take(self.args, index, len(self.sample))
        kwargs = _take(self.kwargs, index, len(self.sample))
        return self._replace_sample(args, kwargs, self._with_other_channels(latents, self.sample[index]))

    def with_latents(self, latents: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the whole call on other latents, the same for every copy of an image."""
        sample = self._with_other_channels(torch.cat([latents] * self.copies), self.sample)
        return self._replace_sample(self.args, self.kwargs, sample)

    def with_embeddings(self, embeddings: Tensor, rows: Sequence[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the call cut to the conditional rows of the images `rows`, on other embeddings of text, one per image."""
        index = [self.conditional.start + row for row in rows]
        args = _take(self.args, index, len(self.sample))
        kwargs = _take(self.kwargs, index, len(self.sample))
        if len(args) > _EMBEDDINGS:
            return (*args[:_EMBEDDINGS], embeddings, *args[_EMBEDDINGS + 1 :]), kwargs
        return args, {**kwargs, "encoder_hidden_states": embeddings}

    @staticmethod
    def _with_other_channels(latents: Tensor, sample: Tensor) -> Tensor:
        """Return the latents in the sample's precision, followed by the channels that are not latents (inpainting)."""
        return torch.cat([latents.to(sample.dtype), sample[:, latents.shape[1] :]], dim=1)

    @staticmethod
    def _replace_sample(args: Any, kwargs: Any, sample: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (sample, *args[1:]), kwargs
        return args, {**kwargs, "sample": sample}


def _take(value: Any, index: list[int], rows: int) -> Any:
    """Return `value` with every tensor of `rows` rows in it cut to the rows `index`."""
    if isinstance(value, Tensor):
        return value[index] if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {key: _take(item, index, rows) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_take(item, index, rows) for item in value)
    return value
