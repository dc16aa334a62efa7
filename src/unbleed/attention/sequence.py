"""Image and text in the one sequence of a joint attention: where they stand, and parts of tensors along it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CaptureError
from .family import Joint, Starts


@dataclass(frozen=True)
class JointSequence:
    """Positions of image and text in a joint sequence, which may also hold padding and reference pictures.

    >>> import torch
    >>> sequence = JointSequence.of("text first", pixels=4, texts=3, wanted=torch.tensor([1, 2]), axis=8)
    >>> sequence.pixels_at, sequence.texts_at, sequence.end
    (3, 0, 7)

    Args:
        pixels: Number of pixels.
        pixels_at: Position of the first one, or a tuple with one per row of the batch.
        texts: Number of text tokens, at most.
        texts_at: Position of the first one, or a tuple with one per row.
        wanted: Long (wanted,), the tokens whose maps are read, all of them below `texts`.
        axis: Length of the maps' token axis, on which all other tokens are 0.
    """

    pixels: int
    pixels_at: Starts
    texts: int
    texts_at: Starts
    wanted: Tensor
    axis: int

    @classmethod
    def of(
        cls,
        order: Joint,
        *,
        pixels: int,
        texts: int,
        wanted: Tensor,
        axis: int,
        starts: tuple[Starts, Starts] | None = None,
    ) -> JointSequence:
        """Return the sequence with these `starts` of pixels and text; by default the one follows the other in `order`."""
        pixels_at, texts_at = starts or ((texts, 0) if order == "text first" else (0, pixels))
        return cls(pixels, pixels_at, texts, texts_at, wanted, axis)

    @property
    def end(self) -> int:
        """The position after the last pixel and the last token."""
        return max(at + length for row in self.rows() for at, length in row)

    def rows(self, count: int = 1) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Return (start, number) of the pixels and of the text, for each row of a batch of `count`."""
        given = [len(at) for at in (self.pixels_at, self.texts_at) if isinstance(at, tuple)]
        found = []
        for row in range(max([count, *given])):
            pixels, texts = (at[row] if isinstance(at, tuple) else at for at in (self.pixels_at, self.texts_at))
            length = min(self.texts, pixels - texts) if pixels > texts else self.texts
            found.append(((pixels, self.pixels), (texts, length)))
        return found

    def of_pixels(self, values: Tensor, axis: int) -> Tensor:
        """Return the part of `values` (row, ...) at the pixels along `axis`; all of it if it is of pixels alone.

        Raises `CaptureError` if the axis is too short.
        """
        length = values.shape[axis]
        if length == self.pixels:
            return values
        self.check(length)
        if isinstance(self.pixels_at, int):
            return values.narrow(axis, self.pixels_at, self.pixels)
        if len(values) == 1:  # a mask for all rows
            values = values.expand(len(self.pixels_at), *values.shape[1:])
        return torch.stack([row.narrow(axis - 1, at, self.pixels) for row, at in zip(values, self.pixels_at, strict=True)])

    def check(self, length: int) -> None:
        """Raise `CaptureError` if image and text do not fit into a sequence of `length`."""
        if self.end > length:
            raise CaptureError(
                f"a joint attention has {length} positions, but {self.texts} of text and {self.pixels} of the image are "
                "expected; the family table's row does not fit this denoiser"
            )

    def tokens(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Return the positions of the wanted tokens, long (row, wanted), and which of them a row has, bool (row, wanted).

        With the same positions in all rows there is one row, which has them all: then None.
        """
        if isinstance(self.pixels_at, int) and isinstance(self.texts_at, int):
            return self.texts_at + self.wanted[None], None
        spans = [text for _, text in self.rows(count)]
        start, length = torch.tensor(spans, device=self.wanted.device).T[:, :, None]
        there = self.wanted < length
        return torch.where(there, start + self.wanted, start), there
