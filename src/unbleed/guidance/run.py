"""What a guided run leaves behind: the entities that were read, the losses of every step, the maps when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image
from torch import Tensor

from ..errors import OutputError
from ..heat_maps import HeatMap, ImageAttention, Words, draw_regions
from ..prompt import Entity, PromptTokens
from .noise import NoiseOutcome


@dataclass(frozen=True)
class Step:
    """Guidance of one image at one denoising step."""

    call: int  # of the pipeline, inside the `with` block, from 0
    image: int  # in that call's batch
    step: int  # index of the denoising step in the run
    timestep: float
    loss: float  # at the latents from which the last update was made
    terms: dict[str, float]  # its parts
    losses: list[float]  # at every evaluation of this step: more than one where it was refined
    gradient_norm: float
    refinements: int
    skipped: bool  # a loss or gradient was not finite, and the image was left alone
    seconds: float  # for the whole batch


@dataclass(frozen=True)
class StepMaps:
    """Attention of one denoising step, after the update."""

    call: int
    step: int
    timestep: float
    maps: Tensor  # (batch, token, height, width), float32 on the CPU


@dataclass(frozen=True)
class RegionStep:
    """The regions of one image from one denoising step on, until the next such record."""

    call: int  # of the pipeline, inside the `with` block, from 0
    image: int  # in that call's batch
    step: int  # index of the denoising step in the run
    masks: Tensor  # bool (entity, height, width) on the CPU, in the order of `Run.entities`; all True: not limited


@dataclass(frozen=True)
class FirstNoise:
    """The search for better first noise of one image."""

    call: int
    image: int
    own: Tensor  # the noise that the pipeline drew, of unit variance, float32 on the CPU
    used: Tensor  # the noise that the run began with
    outcome: NoiseOutcome


@dataclass(repr=False)
class Run:
    """Filled while the pipeline runs inside `guide`; the lists over prompts are aligned with each other.

    An image is `num_images_per_prompt` to a prompt, in the pipeline's order.
    """

    method: str
    prompts: list[str] = field(default_factory=list)
    entities: list[list[Entity]] = field(default_factory=list)
    tokens: list[PromptTokens] = field(default_factory=list)  # where the words stand in the text encoder's sequence
    steps: list[Step] = field(default_factory=list)
    maps: list[StepMaps] = field(default_factory=list)
    noises: list[FirstNoise] = field(default_factory=list)
    layers: tuple[str, ...] = ()  # the attention modules that are read
    calls: list[tuple[int, int]] = field(default_factory=list)  # of each call: its first prompt, and images per prompt
    regions: list[RegionStep] = field(default_factory=list)

    def __repr__(self) -> str:
        images = len({(step.call, step.image) for step in self.steps})
        return (
            f"<Run of {self.method}: {len(self.prompts)} prompts, {images} images guided in {len(self.steps)} steps "
            f"({self.skipped} skipped), maps of {len(self.maps)} steps>"
        )

    @property
    def skipped(self) -> int:
        """How many updates of single images were left out because something was not finite."""
        return sum(step.skipped for step in self.steps)

    def attention(self, image: int = 0, *, call: int = -1) -> ImageAttention:
        """Return the recorded attention of an image of a call of the pipeline (default: the first image of the last call).

        Raises `OutputError` where no maps were recorded, or where there is no such image or call.
        """
        call = self._call(call)
        recorded = [maps for maps in self.maps if maps.call == call]
        if not recorded:
            raise OutputError("no attention maps were recorded; open the block with guide(..., record_maps=True)")
        images = len(recorded[0].maps)
        if not 0 <= image < images:
            raise OutputError(f"image {image}; the call drew {images} image{'s' * (images != 1)}, counted from 0")
        first, per_prompt = self.calls[call]
        return ImageAttention(
            tokens=self.tokens[first + image // per_prompt],
            maps=tuple(maps.maps[image] for maps in recorded),
            steps=tuple(maps.step for maps in recorded),
            layers=self.layers,
        )

    def heat_map(self, words: Words, step: int | None = None, *, image: int = 0, call: int = -1) -> HeatMap:
        """Return how much each pixel attended to some words.

        >>> import unbleed
        >>> pipe = unbleed.load("emoji")
        >>> with unbleed.guide(pipe, "none", record_maps=True) as run:
        ...     picture = pipe("a red cat and a dog", num_inference_steps=4).images[0]
        >>> run.heat_map("cat").values.shape
        torch.Size([16, 16])
        >>> run.heat_map("red cat", step=3, image=0).overlay(picture).size
        (128, 128)

        `words`: a word or phrase of the prompt, an entity, or positions in the text encoder's sequence; the shares of several
        tokens add up. `step`: index of a denoising step; by default the average over all. `image` and `call`: which image of
        the batch, and which call of the pipeline inside the block, by default the last.

        Raises `PromptError` for words that the prompt does not have, or has twice, and `OutputError` for a step, an image or a
        call without maps.
        """
        return self.attention(image, call=call).heat_map(words, step)

    def region_masks(self, *, step: int | None = None, image: int = 0, call: int = -1) -> dict[Entity, Tensor]:
        """Return the regions of an image by entity, bool (height, width); a region of all pixels does not limit anything.

        `step`: index of a denoising step; by default the last. `image` and `call` as in `heat_map`. Raises `OutputError` where
        there are no regions at that step.
        """
        call = self._call(call)
        records = [r for r in self.regions if (r.call, r.image) == (call, image) and (step is None or r.step <= step)]
        if not records:
            known = sorted({r.step for r in self.regions if (r.call, r.image) == (call, image)})
            when = f"; its first are of step {known[0]}" if known else '; take a method that has some, such as "regions"'
            raise OutputError(f"image {image} has no regions{'' if step is None else f' at step {step}'}{when}")
        first, per_prompt = self.calls[call]
        entities = self.tokens[first + image // per_prompt].kept
        return dict(zip(entities, records[-1].masks, strict=True))

    def show_regions(
        self, picture: Image.Image, *, step: int | None = None, side: int = 384, image: int = 0, call: int = -1
    ) -> Image.Image:
        """Return a picture with the outlines and names of its regions, its longer side at least `side` pixels.

        >>> import unbleed
        >>> pipe = unbleed.load("emoji")
        >>> with unbleed.guide(pipe, "regions", regions={"cat": "left", "dog": "right"}) as run:
        ...     picture = pipe("a red cat and a dog", num_inference_steps=2).images[0]
        >>> run.show_regions(picture).size
        (384, 384)

        Arguments and errors are those of `region_masks`; `unbleed.draw_regions` draws any masks.
        """
        return draw_regions(picture, self.region_masks(step=step, image=image, call=call), side=side)

    def _call(self, call: int) -> int:
        """Return the index of a call of the pipeline, counted from 0."""
        calls = len(self.calls)
        if not -calls <= call < calls:
            raise OutputError(f"call {call}; the pipeline was called {calls} time{'s' * (calls != 1)} inside the block")
        return call % calls

    def show(
        self,
        picture: Image.Image | None = None,
        words: Sequence[Words] | None = None,
        *,
        per_step: int = 0,
        image: int = 0,
        call: int = -1,
    ) -> Image.Image:
        """Return a sheet of heat maps, over `picture` if it is given: a column for each of `words` (default: every word).

        The first row is the average over all steps; `per_step` adds rows for that many single steps. `image` and `call` as in
        `heat_map`, which also says what is raised. Notebooks display what is returned; `.save("sheet.png")` writes it.
        """
        prompt = self.prompts[self.calls[call][0] + image // self.calls[call][1]] if self.calls else ""
        return self.attention(image, call=call).show(picture, words, per_step=per_step, title=f"“{prompt}”")
