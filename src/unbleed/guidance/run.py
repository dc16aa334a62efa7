"""Results recorded during a guided run: entities, losses of every step, attention maps, regions."""

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
    """Guidance of one image at one denoising step.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> with unbleed.guide(pipe, "syngen") as run:
    ...     image = pipe("a red cat and a blue bench", num_inference_steps=2).images[0]
    >>> [(step.image, step.step, step.refinements, step.skipped) for step in run.steps]
    [(0, 0, 0, False)]

    Args:
        call: Index of the pipeline call inside the `with` block.
        image: Index of the image in the batch of that call.
        step: Index of the denoising step in the run.
        timestep: In the scheduler's own units.
        loss: At the latents from which the last update was made.
        terms: The parts of that loss by name; they add up to it.
        losses: At every evaluation of this step; more than one if it was refined.
        gradient_norm: Euclidean norm of the last gradient.
        refinements: Number of updates before the regular one.
        skipped: Whether a loss or gradient was not finite, so that the image kept its latents.
        seconds: Duration of the update of the whole batch.
    """

    call: int
    image: int
    step: int
    timestep: float
    loss: float
    terms: dict[str, float]
    losses: list[float]
    gradient_norm: float
    refinements: int
    skipped: bool
    seconds: float


@dataclass(frozen=True)
class StepMaps:
    """Attention maps of one denoising step, after the update. Recorded with `guide(..., record_maps=True)`.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> with unbleed.guide(pipe, "none", record_maps=True) as run:
    ...     image = pipe("a red cat", num_inference_steps=2).images[0]
    >>> run.maps[0].maps.shape
    torch.Size([1, 24, 16, 16])

    Args:
        call: Index of the pipeline call inside the `with` block.
        step: Index of the denoising step in the run.
        timestep: In the scheduler's own units.
        maps: (image, token, height, width), float32 on the CPU; each pixel sums to 1 over the tokens.
    """

    call: int
    step: int
    timestep: float
    maps: Tensor


@dataclass(frozen=True)
class RegionStep:
    """The regions of one image from one denoising step on, until the next record for this image.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> with unbleed.guide(pipe, "regions", regions={"cat": "left", "dog": "right"}) as run:
    ...     image = pipe("a cat and a dog", num_inference_steps=2).images[0]
    >>> len(run.regions[0].masks)
    2

    Args:
        call: Index of the pipeline call inside the `with` block.
        image: Index of the image in the batch of that call.
        step: Index of the denoising step in the run.
        masks: bool (entity, height, width) on the CPU, in the order of `Run.entities`. A mask of all pixels has no effect.
    """

    call: int
    image: int
    step: int
    masks: Tensor


@dataclass(frozen=True)
class FirstNoise:
    """The first noise of one image, of a method that searches for one.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> with unbleed.guide(pipe, unbleed.method("initno", rounds=1, noise_steps=1, last_noise_steps=0)) as run:
    ...     image = pipe("a cat and a dog", num_inference_steps=1).images[0]
    >>> run.noises[0].used.shape == run.noises[0].own.shape
    True

    Args:
        call: Index of the pipeline call inside the `with` block.
        image: Index of the image in the batch of that call.
        own: The pipeline's noise, (channel, height, width), of unit variance, float32 on the CPU.
        used: The noise that the run began with, of the same shape.
        outcome: Losses and rounds of the search.
    """

    call: int
    image: int
    own: Tensor
    used: Tensor
    outcome: NoiseOutcome


@dataclass(repr=False)
class Run:
    """Results of the pipeline calls inside one `unbleed.guide` block, filled while they run.

    Each call makes `num_images_per_prompt` images of its first prompt, then of its second, and so on.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> with unbleed.guide(pipe, "syngen") as run:
    ...     image = pipe("a red cat and a blue bench", num_inference_steps=2).images[0]
    >>> run
    <Run of syngen: 1 prompts, 1 images guided in 1 steps (0 skipped), maps of 0 steps>
    >>> [str(entity) for entity in run.entities[0]]
    ['red cat', 'blue bench']

    Args:
        method: Name of the method.
        prompts: The prompts of all calls.
        entities: The entities of each prompt.
        tokens: The positions of its words among the tokens of the text encoders, of each prompt.
        steps: Losses and updates, one record per image and guided step.
        maps: Attention maps, one record per step, if they are recorded.
        noises: First noises, of methods that search for one.
        layers: Names of the attention modules that are read.
        calls: Index of the first prompt, and images per prompt, of each pipeline call.
        regions: Regions of the images, of methods that have some.
    """

    method: str
    prompts: list[str] = field(default_factory=list)
    entities: list[list[Entity]] = field(default_factory=list)
    tokens: list[PromptTokens] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    maps: list[StepMaps] = field(default_factory=list)
    noises: list[FirstNoise] = field(default_factory=list)
    layers: tuple[str, ...] = ()
    calls: list[tuple[int, int]] = field(default_factory=list)
    regions: list[RegionStep] = field(default_factory=list)

    def __repr__(self) -> str:
        images = len({(step.call, step.image) for step in self.steps})
        return (
            f"<Run of {self.method}: {len(self.prompts)} prompts, {images} images guided in {len(self.steps)} steps "
            f"({self.skipped} skipped), maps of {len(self.maps)} steps>"
        )

    @property
    def skipped(self) -> int:
        """The number of updates that were left out because a loss or gradient was not finite."""
        return sum(step.skipped for step in self.steps)

    def attention(self, image: int = 0, *, call: int = -1) -> ImageAttention:
        """Return the recorded attention of one image.

        Args:
            image: Index of the image in the batch.
            call: Index of the pipeline call inside the block; negative numbers count from the last.

        Raises:
            OutputError: if no maps were recorded, or there is no such image or call.
        """
        call = self._call(call)
        recorded = [maps for maps in self.maps if maps.call == call]
        if not recorded:
            raise OutputError("no attention maps were recorded; open the block with guide(..., record_maps=True)")
        images = len(recorded[0].maps)
        if not 0 <= image < images:
            raise OutputError(f"image {image}; the call made {images} image{'s' * (images != 1)}, counted from 0")
        first, per_prompt = self.calls[call]
        return ImageAttention(
            tokens=self.tokens[first + image // per_prompt],
            maps=tuple(maps.maps[image] for maps in recorded),
            steps=tuple(maps.step for maps in recorded),
            layers=self.layers,
        )

    def heat_map(self, words: Words, step: int | None = None, *, image: int = 0, call: int = -1) -> HeatMap:
        """Return how much each pixel attends to some words.

        >>> import unbleed
        >>> pipe = unbleed.load("emoji")
        >>> with unbleed.guide(pipe, "none", record_maps=True) as run:
        ...     picture = pipe("a red cat and a dog", num_inference_steps=4).images[0]
        >>> run.heat_map("cat").values.shape
        torch.Size([16, 16])
        >>> run.heat_map("red cat", step=3, image=0).overlay(picture).size
        (128, 128)

        Args:
            words: A word or phrase of the prompt, an entity, or positions in the text encoder's sequence. The attention to
                several tokens adds up.
            step: Index of a denoising step; by default the average over all.
            image: Index of the image in the batch.
            call: Index of the pipeline call inside the block; negative numbers count from the last.

        Raises:
            PromptError: for words that the prompt does not have, or has twice.
            OutputError: for a step, an image or a call without maps.
        """
        return self.attention(image, call=call).heat_map(words, step)

    def region_masks(self, *, step: int | None = None, image: int = 0, call: int = -1) -> dict[Entity, Tensor]:
        """Return the regions of an image by entity, each bool (height, width). A region of all pixels has no effect.

        Args:
            step: Index of a denoising step; by default the last.
            image: As in `heat_map`.
            call: As in `heat_map`.

        Raises:
            OutputError: if there are no regions at that step.
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
        """Return an image with the outlines and names of its regions, its longer side at least `side` pixels.

        >>> import unbleed
        >>> pipe = unbleed.load("emoji")
        >>> with unbleed.guide(pipe, "regions", regions={"cat": "left", "dog": "right"}) as run:
        ...     picture = pipe("a red cat and a dog", num_inference_steps=2).images[0]
        >>> run.show_regions(picture).size
        (384, 384)

        Further arguments and errors are those of `region_masks`. `unbleed.draw_regions` draws any masks.
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
        """Return a sheet of heat maps, a Pillow image: a column for each word, the average over all steps in the first row.

        Args:
            picture: The image to put under the maps.
            words: As in `heat_map`; by default every word of the prompt.
            per_step: Number of further rows, each of a single step.
            image: As in `heat_map`, like the errors.
            call: As in `heat_map`.
        """
        prompt = self.prompts[self.calls[call][0] + image // self.calls[call][1]] if self.calls else ""
        return self.attention(image, call=call).show(picture, words, per_step=per_step, title=f"“{prompt}”")
