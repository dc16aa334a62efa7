"""What a method may change inside the denoiser while it runs, without a gradient to the latents.

An `Edit` holds settings. For each call of the pipeline it opens, knowing the prompts, and what it opens is asked at every
run of the denoiser, in the guidance's own evaluations too.
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
from ..settings import check_settings
from .run import Run


@dataclass(frozen=True)
class CallContext:
    """What an edit may know of a call of the pipeline. The lists have one item per image."""

    pipe: Any
    denoiser: nn.Module
    parsed: list[Parsed]
    tokens: list[PromptTokens]
    groups: TokenGroups
    encode: Callable[[Sequence[str]], Tensor]  # texts to embeddings (text, token, channel), as the pipeline makes them
    layers: tuple[str, ...]  # the text layers that the method reads
    family: Family
    regions: list[Mapping[Entity, Region]]  # that the user gave
    run: Run
    call: int  # of the pipeline, from 0


@dataclass(frozen=True)
class BatchRows:
    """The text-conditioned rows of one run of the denoiser: `first` to the last of the batch, one for each of `images`."""

    first: int
    images: tuple[int, ...]
    progress: float  # fraction of the run that is done, from 0 to 1
    grid: tuple[int, int]  # height and width, of the layers that the method reads
    latents: tuple[int, int]  # height and width; of a packed sequence the grid
    step: int = 0  # index of the denoising step
    steps: int = 1  # of the run
    evaluating: bool = False  # the denoiser runs for the guidance, not for the picture
    joint: JointSequence | None = None  # where picture and text stand, if they are one sequence

    @property
    def slice(self) -> slice:
        return slice(self.first, self.first + len(self.images))


class ActiveEdit(ABC):  # noqa: B024 (the hooks are optional)
    """An edit at work in one call of the pipeline."""

    def applies_to(self, image: int) -> bool:
        """Return whether there is something in the image's prompt to act on."""
        del image
        return True

    def text(self, embeddings: Tensor, rows: BatchRows) -> Tensor:
        """Return what the denoiser is to get as text embeddings, (row, token, channel)."""
        del rows
        return embeddings

    def around(self, rows: BatchRows) -> AbstractContextManager[Any]:
        """Return the context in which the denoiser runs."""
        del rows
        return nullcontext()

    def around_negative(self, rows: BatchRows) -> AbstractContextManager[Any]:
        """Return the context in which the denoiser runs on negative prompts alone, as FLUX and Qwen-Image do."""
        del rows
        return nullcontext()

    def reads_maps(self, rows: BatchRows) -> bool:
        """Return whether `see` is to get the attention of this run of the denoiser."""
        del rows
        return False

    def looks_first(self, rows: BatchRows) -> bool:
        """Return whether `see` is to get the attention at the first latents, before the first step. One part of a forward."""
        del rows
        return False

    def see(self, maps: Tensor, rows: BatchRows) -> None:
        """Take the attention maps (batch, token, height, width), without gradient.

        They are those of the pipeline's own run of the denoiser, or with `rows.evaluating` those at the first latents.
        """
        del maps, rows

    @property
    def regions(self) -> Tensor | None:
        """The regions of all entities, bool (entity, height, width), for losses on regions; None while there are none."""
        return None

    def after(self, prediction: Tensor, rows: BatchRows, denoise: Callable[[Tensor, Sequence[int]], Tensor]) -> Tensor:
        """Return what the denoiser is to have predicted, (row, ...), instead of `prediction`.

        `denoise(embeddings, images)` runs it for the latents of `images` on other embeddings, (image, token, channel).
        """
        del rows, denoise
        return prediction


class Edit(ABC):
    """Settings of a change inside the denoiser.

    `families` names those in which it can be made, see `attention.families`; None is all of them.
    """

    families: ClassVar[tuple[str, ...] | None] = ("sd",)
    acts_inside: ClassVar[bool] = True  # on the denoiser's layers, which then run uncompiled; False: on its prediction alone
    needs: ClassVar[str] = "an entity"  # what a prompt must have for it to act

    def __post_init__(self) -> None:
        if is_dataclass(self):
            check_settings(self)

    @property
    def replaces_attention(self) -> bool:
        """Whether the text attention itself is another, so that no second edit can make it another too."""
        return False

    @property
    def takes_regions(self) -> bool:
        """Whether regions that a user gives are of use to it."""
        return False

    @abstractmethod
    def open(self, scene: CallContext) -> ActiveEdit:
        """Return the edit at work on the prompts of `scene`. Raises `ModelError` or `PromptError` where it cannot be."""
