"""One call of the denoiser by the pipeline: its text-conditioned rows, and its arguments on other latents or texts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..attention import Family
from ..errors import ModelError

_EMBEDDINGS = 2  # index of the text embeddings among a UNet's positional arguments


class DenoiserCall:
    """One call of the denoiser. `conditional` is the slice of its text-conditioned rows."""

    def __init__(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], images: int, doubled: bool | None, family: Family
    ) -> None:
        """Take the arguments of a call for `images` images.

        `doubled` is whether the pipeline says that the batch holds unconditional rows too, None if it does not say.

        Raises `ModelError` for any other number of rows.
        """
        self.args, self.kwargs, self.family = args, kwargs, family
        self.sample: Tensor = args[0] if args else kwargs[family.sample]
        self.timestep: Any = kwargs["timestep"] if "timestep" in kwargs else args[1]
        self.copies, rest = divmod(len(self.sample), images)
        allowed = (1, 2) if doubled is None else (1 + doubled,)
        if rest or self.copies not in allowed:
            expected = " or ".join(str(copies * images) for copies in allowed)
            flag = "" if doubled is None else f" and do_classifier_free_guidance={doubled}"
            raise ModelError(
                f"the denoiser was called with {len(self.sample)} rows, but {images} image{'s' * (images > 1)}{flag} make "
                f"{expected}; pipelines that put other rows into a batch cannot be guided"
            )
        first = images * (self.copies - 1)  # diffusers stacks [unconditional, conditional]
        self.conditional = slice(first, first + images)

    @property
    def time(self) -> float:
        """The timestep that the denoiser gets. The device is waited for."""
        return float(self.timestep.flatten()[0] if isinstance(self.timestep, Tensor) else self.timestep)

    @property
    def embeddings(self) -> Tensor:
        """The text embeddings of all rows, (row, token, channel)."""
        return self.args[_EMBEDDINGS] if len(self.args) > _EMBEDDINGS else self.kwargs["encoder_hidden_states"]

    @property
    def _channels(self) -> int:
        """The axis of the channels: latents are (row, channel, height, width), or packed (row, pixel, channel)."""
        return 1 if self.sample.ndim == 4 else 2

    def latents(self, channels: int) -> Tensor:
        """Return the latents of the conditional rows: the first `channels` of the denoiser's input."""
        return self.sample[self.conditional].narrow(self._channels, 0, min(channels, self.sample.shape[self._channels]))

    def conditional_rows(self, latents: Tensor, rows: Sequence[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for only the conditional rows of the images `rows`, on other latents."""
        index = [self.conditional.start + row for row in rows]
        args, kwargs = self._take(index)
        return self._replace_sample(args, kwargs, self._with_other_channels(latents, self.sample[index]))

    def with_latents(self, latents: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the whole call on other latents, the same for every copy of an image."""
        sample = self._with_other_channels(torch.cat([latents] * self.copies), self.sample)
        return self._replace_sample(self.args, self.kwargs, sample)

    def with_text(self, embeddings: Tensor) -> DenoiserCall:
        """Return the call on other text embeddings, for all of its rows."""
        other = copy.copy(self)
        if len(self.args) > _EMBEDDINGS:
            other.args = (*self.args[:_EMBEDDINGS], embeddings, *self.args[_EMBEDDINGS + 1 :])
        else:
            other.kwargs = {**self.kwargs, "encoder_hidden_states": embeddings}
        return other

    def with_embeddings(self, embeddings: Tensor, rows: Sequence[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for only the conditional rows of the images `rows`, on other text embeddings, one per image."""
        args, kwargs = self._take([self.conditional.start + row for row in rows])
        if len(args) > _EMBEDDINGS:
            return (*args[:_EMBEDDINGS], embeddings, *args[_EMBEDDINGS + 1 :]), kwargs
        return args, {**kwargs, "encoder_hidden_states": embeddings}

    def _with_other_channels(self, latents: Tensor, sample: Tensor) -> Tensor:
        """Return the latents in the sample's precision, followed by the channels that are not latents (inpainting)."""
        axis = self._channels
        others = sample.narrow(axis, latents.shape[axis], sample.shape[axis] - latents.shape[axis])
        return torch.cat([latents.to(sample.dtype), others], dim=axis)

    def _take(self, index: list[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        rows = len(self.sample)
        args = _take(self.args, index, rows)
        whole = (*self.family.shared, *self.family.listed)
        kwargs = {key: value if key in whole else _take(value, index, rows) for key, value in self.kwargs.items()}
        for name in self.family.listed:
            if kwargs.get(name) is not None:
                kwargs[name] = kwargs[name][:1] * len(index)
        return args, kwargs

    def _replace_sample(self, args: Any, kwargs: Any, sample: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (sample, *args[1:]), kwargs
        return args, {**kwargs, self.family.sample: sample}


def _take(value: Any, index: list[int], rows: int) -> Any:
    """Return `value` with every tensor of `rows` rows in it cut to the rows `index`."""
    if isinstance(value, Tensor):
        return value[index] if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {key: _take(item, index, rows) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_take(item, index, rows) for item in value)
    return value
