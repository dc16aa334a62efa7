"""Edits: changes inside the denoiser while it runs, without a gradient to the latents.

An `Edit` holds settings. For each pipeline call it opens an `ActiveEdit` on the prompts, whose methods are called at every run
of the denoiser, in the guidance's own evaluations too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, is_dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ..attention import Family, JointSequence
from ..losses.groups import TokenGroups
from ..prompt import Entity, Parsed, PromptTokens
from ..regions.given import Region
from ..settings import Documented, check_settings
from .noise import NoiseOutcome
from .run import Run


@dataclass(frozen=True)
class CallContext:
    """What an edit gets to know about a pipeline call. The lists have one item per image."""

    pipe: Any
    denoiser: nn.Module
    parsed: list[Parsed]
    tokens: list[PromptTokens]
    groups: TokenGroups
    encode: Callable[[Sequence[str]], Tensor]  # texts to embeddings (text, token, channel)
    layers: tuple[str, ...]  # the attention layers that the method reads
    family: Family
    regions: list[Mapping[Entity, Region]]  # that the user gave
    run: Run
    call: int  # index of the pipeline call


@dataclass(frozen=True)
class BatchRows:
    """The text-conditioned rows of one run of the denoiser: from `first` on, one for each of `images`."""

    first: int
    images: tuple[int, ...]
    progress: float  # fraction of the run that is done, from 0 to 1
    grid: tuple[int, int]  # height and width of the maps of the layers that the method reads
    latents: tuple[int, int]  # height and width; of a packed sequence the grid
    step: int = 0  # index of the denoising step
    steps: int = 1  # of the run
    evaluating: bool = False  # the denoiser runs for the guidance, not for the pipeline
    joint: JointSequence | None = None  # positions of image and text, if they are one sequence

    @property
    def slice(self) -> slice:
        return slice(self.first, self.first + len(self.images))


class ActiveEdit(ABC):  # noqa: B024 (the hooks are optional)
    """An edit at work in one pipeline call."""

    def applies_to(self, image: int) -> bool:
        """Return whether the image's prompt has something to act on."""
        del image
        return True

    def text(self, embeddings: Tensor, rows: BatchRows) -> Tensor:
        """Return the text embeddings that the denoiser gets, (row, token, channel)."""
        del rows
        return embeddings

    def beside(self, rows: BatchRows) -> Tensor | None:
        """Return text embeddings of further rows, (image, token, channel), that the pipeline's own run of the denoiser gets.

        They are the last rows, copies of those of `rows.images` with another text. Their predictions are left out.
        """
        del rows
        return None

    def around(self, rows: BatchRows) -> AbstractContextManager[Any]:
        """Return the context in which the denoiser runs."""
        del rows
        return nullcontext()

    def around_negative(self, rows: BatchRows) -> AbstractContextManager[Any]:
        """Return the context in which the denoiser runs on negative prompts only, as in FLUX and Qwen-Image."""
        del rows
        return nullcontext()

    def reads_maps(self, rows: BatchRows) -> bool:
        """Return whether `see` is to be called with the attention of this run of the denoiser."""
        del rows
        return False

    def composes_noise(self, image: int) -> bool:
        """Return whether `compose_noise` makes the image's first noise."""
        del image
        return False

    def compose_noise(
        self, noise: Tensor, rows: BatchRows, read: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, list[NoiseOutcome]]:
        """Return the first noise of `rows.images`, of unit variance, in place of `noise` (image, ...), and what was done.

        `read(noise)` returns the attention maps that it gives, (image, token, height, width), at one part of a forward.
        """
        raise NotImplementedError

    def looks_first(self, rows: BatchRows) -> bool:
        """Return whether `see` is to be called with the attention at the first latents, at the cost of part of a forward."""
        del rows
        return False

    def see(self, maps: Tensor, rows: BatchRows) -> None:
        """Take the attention maps, (image, token, height, width), without gradient.

        They come from the pipeline's own run of the denoiser, or with `rows.evaluating` from the first latents.
        """
        del maps, rows

    @property
    def regions(self) -> Tensor | None:
        """The regions of all entities, bool (entity, height, width), for losses that read them; None if there are none yet."""
        return None

    def after(self, prediction: Tensor, rows: BatchRows, denoise: Callable[[Tensor, Sequence[int]], Tensor]) -> Tensor:
        """Return the prediction to use in place of the denoiser's, (row, ...).

        `denoise(embeddings, images)` runs the denoiser for `images` on other text embeddings, (image, token, channel).
        """
        del rows, denoise
        return prediction


class Edit(Documented, ABC):
    """Settings of a change inside the denoiser; the base class of the edits in `unbleed.edits`.

    A subclass is a frozen dataclass whose fields are checked against their annotations, and defines `open`. It may also set:

    Args:
        families: Class attribute, names of the model families it works with (see `attention.families`); None for all.
        acts_inside: Class attribute, whether it changes layers, so that a compiled denoiser runs uncompiled; False if it only
            changes text embeddings or the prediction.
        needs: Class attribute, what a prompt must have for it to act, in words.
        forwards: Class attribute, the forwards that it adds to each step for a prompt of two entities, for `unbleed.estimate`.

    >>> from dataclasses import dataclass
    >>> class Halved(ActiveEdit):
    ...     def after(self, prediction, rows, denoise):
    ...         return prediction / 2
    >>> @dataclass(frozen=True)
    ... class Halve(Edit):
    ...     families, acts_inside = None, False
    ...     def open(self, context):
    ...         return Halved()
    >>> Halve().needs
    'an entity'
    """

    families: ClassVar[tuple[str, ...] | None] = ("sd",)
    acts_inside: ClassVar[bool] = True
    needs: ClassVar[str] = "an entity"
    forwards: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if is_dataclass(self):
            check_settings(self)

    @property
    def replaces_attention(self) -> bool:
        """Whether it replaces the attention to the text, which only one edit of a method can do."""
        return False

    @property
    def takes_regions(self) -> bool:
        """Whether it uses regions that the user gives."""
        return False

    @abstractmethod
    def open(self, context: CallContext) -> ActiveEdit:
        """Return the edit at work on the prompts of `context`. Raises `ModelError` or `PromptError` if it cannot work there."""
