"""One call of the denoiser by the pipeline: its text-conditioned rows, and its arguments on other latents or texts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..attention import Family
from ..errors import ModelError


class DenoiserCall:
    """One call of the denoiser. `conditional` is the slice of its text-conditioned rows.

    Where a denoiser gets a list with an item per row (Z-Image), the call has them as tensors, texts padded to the longest.
    """

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        images: int,
        doubled: bool | None,
        family: Family,
        pixels: int | None = None,
    ) -> None:
        """Take the arguments of a call for `images` images.

        `doubled` is whether the pipeline says that the batch holds unconditional rows too, None if it does not say. `pixels` is
        the number of the image's own in a packed sequence, where those of other images may follow.

        Raises `ModelError` for any other number of rows.
        """
        self.family, self.pixels = family, pixels
        given = arguments_of(args, kwargs, family)
        sample, text = given[family.sample], given[family.text]
        self.lengths = None if isinstance(text, Tensor) else [len(one) for one in text]  # tokens of each row
        self.args, self.kwargs = _with(args, kwargs, family, {family.sample: as_latents(sample), family.text: as_tensor(text)})
        self.sample: Tensor = self._given[family.sample]
        self.timestep: Any = given[family.time]
        self.copies, rest = divmod(len(self.sample), images)
        allowed = (1, 2) if doubled is None else (1 + doubled,)
        if rest or self.copies not in allowed:
            expected = " or ".join(str(copies * images) for copies in allowed)
            flag = "" if doubled is None else f" and do_classifier_free_guidance={doubled}"
            raise ModelError(
                f"the denoiser was called with {len(self.sample)} rows, but {images} image{'s' * (images > 1)}{flag} make "
                f"{expected}; pipelines that put other rows into a batch cannot be guided"
            )
        first = images * (self.copies - 1) if family.negatives == "first" else 0
        self.conditional = slice(first, first + images)

    @property
    def _given(self) -> dict[str, Any]:
        return arguments_of(self.args, self.kwargs, self.family)

    @property
    def time(self) -> float:
        """The timestep that the denoiser gets. The device is waited for."""
        return float(self.timestep.flatten()[0] if isinstance(self.timestep, Tensor) else self.timestep)

    @property
    def embeddings(self) -> Tensor:
        """The text embeddings of all rows, (row, token, channel)."""
        return self._given[self.family.text]

    @property
    def whole(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the call, as the denoiser gets them."""
        return self._passed(self.args, self.kwargs, self.lengths)

    @property
    def _channels(self) -> int:
        """The axis of the channels: latents are (row, channel, height, width), or packed (row, pixel, channel)."""
        return 1 if self.sample.ndim == 4 else 2

    def texts(self, rows: Sequence[int]) -> int:
        """Return the number of text tokens that a call on some rows has."""
        return self.embeddings.shape[1] if self.lengths is None else max(self.lengths[row] for row in rows)

    def arguments(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return the arguments of some rows by name."""
        return arguments_of(*self._take(list(rows)), self.family)

    def latents(self, channels: int) -> Tensor:
        """Return the latents of the conditional rows: the first `channels` of the denoiser's input at the image's pixels."""
        own = self.sample[self.conditional]
        own = own if self.pixels is None else own[:, : self.pixels]
        return own.narrow(self._channels, 0, min(channels, self.sample.shape[self._channels]))

    def conditional_rows(self, latents: Tensor, rows: Sequence[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of an evaluation: for only the conditional rows of the images `rows`, on other latents."""
        return self._rows_from(self.conditional.start, latents, rows)

    def unconditional_rows(self, latents: Tensor, rows: Sequence[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for only the unconditional rows of the images `rows`, on other latents, if `copies` is 2."""
        return self._rows_from(0 if self.conditional.start else self.conditional.stop, latents, rows)

    def _rows_from(self, first: int, latents: Tensor, rows: Sequence[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        index = [first + row for row in rows]
        args, kwargs = self._take(index)
        kwargs = {key: value for key, value in kwargs.items() if key not in self.family.dropped}
        changed = {self.family.sample: self._with_rest(latents, self.sample[index])}
        return self._passed(*_with(args, kwargs, self.family, changed), self._lengths(index))

    def at(self, timestep: float) -> DenoiserCall:
        """Return the call at another timestep, in the scheduler's units."""
        zero, one = self.family.timestep(0.0), self.family.timestep(1.0)  # the denoiser's own are linear in them
        own = (timestep - zero) / (one - zero)
        other = copy.copy(self)
        other.timestep = torch.full_like(self.timestep, own) if isinstance(self.timestep, Tensor) else own
        other.args, other.kwargs = _with(self.args, self.kwargs, self.family, {self.family.time: other.timestep})
        return other

    def joined(self, conditional: Tensor, unconditional: Tensor) -> Tensor:
        """Return the denoiser's prediction for all rows from those for its conditional and its unconditional ones."""
        first = self.conditional.start > 0  # of the unconditional rows
        return torch.cat([unconditional, conditional] if first else [conditional, unconditional])

    def with_latents(self, latents: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the whole call on other latents, the same for every copy of an image."""
        sample = self._with_rest(torch.cat([latents] * self.copies), self.sample)
        return self._passed(*_with(self.args, self.kwargs, self.family, {self.family.sample: sample}), self.lengths)

    def with_text(self, embeddings: Tensor) -> DenoiserCall:
        """Return the call on other text embeddings, for all of its rows."""
        other = copy.copy(self)
        other.args, other.kwargs = _with(self.args, self.kwargs, self.family, {self.family.text: embeddings})
        return other

    def with_embeddings(self, embeddings: Tensor, rows: Sequence[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for only the conditional rows of the images `rows`, on other text embeddings, one per image."""
        index = [self.conditional.start + row for row in rows]
        changed = {self.family.text: embeddings}
        return self._passed(*_with(*self._take(index), self.family, changed), self._lengths(index))

    def with_more_rows(self, rows: Sequence[int], embeddings: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the whole call, followed by copies of some rows on other text embeddings."""
        index = [*range(len(self.sample)), *rows]
        text = torch.cat([self.embeddings, embeddings.to(self.embeddings)])
        return self._passed(*_with(*self._take(index), self.family, {self.family.text: text}), self._lengths(index))

    def _lengths(self, index: Sequence[int]) -> list[int] | None:
        return None if self.lengths is None else [self.lengths[row] for row in index]

    def _with_rest(self, latents: Tensor, sample: Tensor) -> Tensor:
        """Return the latents in the sample's precision, followed by the channels and pixels of other images (inpainting)."""
        axis, own = self._channels, sample if self.pixels is None else sample[:, : self.pixels]
        others = own.narrow(axis, latents.shape[axis], own.shape[axis] - latents.shape[axis])
        changed = torch.cat([latents.to(sample.dtype), others], dim=axis)
        return changed if own.shape == sample.shape else torch.cat([changed, sample[:, self.pixels :]], dim=1)

    def _take(self, index: list[int]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        rows = len(self.sample)
        args = _take(self.args, index, rows)
        whole = (*self.family.shared, *self.family.listed)
        kwargs = {key: value if key in whole else _take(value, index, rows) for key, value in self.kwargs.items()}
        for name in self.family.listed:
            if kwargs.get(name) is not None:
                kwargs[name] = kwargs[name][:1] * len(index)
        return args, kwargs

    def _passed(self, args: Any, kwargs: Any, lengths: list[int] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return arguments as the denoiser takes them."""
        if lengths is None:
            return args, kwargs
        given = arguments_of(args, kwargs, self.family)
        texts = [text[:length] for text, length in zip(given[self.family.text], lengths, strict=True)]
        latents = list(given[self.family.sample].unsqueeze(2).unbind(0))
        return _with(args, kwargs, self.family, {self.family.sample: latents, self.family.text: texts})


def arguments_of(args: tuple[Any, ...], kwargs: dict[str, Any], family: Family) -> dict[str, Any]:
    """Return the arguments of a call of the denoiser by name."""
    return {**dict(zip(family.arguments, args, strict=False)), **kwargs}


def _with(
    args: tuple[Any, ...], kwargs: dict[str, Any], family: Family, changed: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with some changed, each where it was given."""
    positional = family.arguments[: len(args)]
    own = tuple(changed.get(name, value) for name, value in zip(positional, args, strict=False))
    return (*own, *args[len(own) :]), {**kwargs, **{key: value for key, value in changed.items() if key not in positional}}


def as_latents(sample: Tensor | Sequence[Tensor]) -> Tensor:
    """Return latents as one tensor; those in a list have an axis of frames, (channel, 1, height, width)."""
    return sample if isinstance(sample, Tensor) else torch.stack(list(sample)).squeeze(2)


def as_tensor(texts: Tensor | Sequence[Tensor]) -> Tensor:
    """Return text embeddings as one tensor (row, token, channel); those in a list are padded with 0 to the longest."""
    return texts if isinstance(texts, Tensor) else pad_sequence(list(texts), batch_first=True)


def _take(value: Any, index: list[int], rows: int) -> Any:
    """Return `value` with every tensor of `rows` rows in it cut to the rows `index`."""
    if isinstance(value, Tensor):
        return value[index] if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {key: _take(item, index, rows) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_take(item, index, rows) for item in value)
    return value
