"""A model on one device that draws recipes: step by step told, stopped within a step, its cost counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..attention.families import denoiser_of
from ..errors import StudioError
from ..estimation import Estimate, estimate
from ..generation import GeneratedImage, draw, with_sampling
from ..methods import method_from
from ..recipes import Recipe
from ..sampling import Sampling, forwards_per_step, guidance_arguments, sampling_of
from ..sizes import check_size, text_length

_MOST_ESTIMATES = 200


@dataclass(frozen=True)
class Cost:
    """What a picture cost, in forwards of the denoiser for one image.

    Args:
        forwards: Whole forwards.
        evaluations: Partial forwards with a gradient.
        readings: Partial forwards without one, for the method; those that record maps are not counted.
        evaluation: Cost of one evaluation, in forwards.
        reading: Cost of one reading, in forwards.
    """

    forwards: int
    evaluations: int
    readings: int
    evaluation: float
    reading: float

    @property
    def total(self) -> float:
        """The sum, in forwards."""
        return self.forwards + self.evaluations * self.evaluation + self.readings * self.reading

    def __str__(self) -> str:
        parts = [f"{self.forwards} forwards"]
        if self.evaluations:
            parts.append(f"{self.evaluations} evaluation{'s' * (self.evaluations != 1)} of {self.evaluation:.2f}")
        if self.readings:
            parts.append(f"{self.readings} reading{'s' * (self.readings != 1)} of {self.reading:.2f}")
        return parts[0] if len(parts) == 1 else f"{' + '.join(parts)} = {self.total:.0f} forwards"


@dataclass
class _Count:
    """Runs of the denoiser, in images."""

    whole: int = 0
    evaluations: int = 0
    readings: int = 0


@dataclass
class Sampler:
    """A loaded pipeline. `draw` belongs to one thread; everything else may be called from any.

    Args:
        pipe: A diffusers pipeline.
        dtype: Its precision, as in a recipe.
        sampling: The steps and the guidance scale that suit it.
    """

    pipe: Any
    dtype: str = field(init=False)
    sampling: Sampling = field(init=False)
    _estimates: dict[tuple[Any, ...], Estimate] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.dtype = str(denoiser_of(self.pipe).dtype).removeprefix("torch.")  # type: ignore[attr-defined]
        self.sampling = sampling_of(self.pipe)

    def check(self, recipe: Recipe) -> Recipe:
        """Return a recipe with the precision and the sampling of this pipeline.

        Raises `PromptError` for a size that the model cannot sample.
        """
        check_size(self.pipe, recipe.height, recipe.width)
        own = self.sampling.guidance_scale is not None
        recipe = replace(recipe, dtype=self.dtype, guidance_scale=recipe.guidance_scale if own else None)
        return with_sampling(recipe, self.sampling)

    def weigh(self, recipe: Recipe, most_forwards: float) -> float:
        """Return the operations of a recipe over those of the unguided one, without refinement.

        Raises:
            StudioError: the recipe may cost more than `most_forwards`.
        """
        cost = self.estimate(recipe)
        most = cost.forwards * cost.ratio
        if most > most_forwards:
            raise StudioError(
                f"this picture may cost {most:.0f} forwards; expected at most {most_forwards:.0f}: take fewer steps, "
                "candidates or refinements"
            )
        return cost.ratio_without_refinement

    def estimate(self, recipe: Recipe) -> Estimate:
        """Return the cost of a recipe before it is drawn; the same question is answered from memory."""
        per_step = forwards_per_step(self.pipe, guidance_arguments(self.pipe, recipe.guidance_scale, recipe.negative_prompt))
        key = (recipe.method, repr(sorted(recipe.settings.items())), recipe.height, recipe.width, recipe.steps, per_step)
        if key not in self._estimates:
            if len(self._estimates) >= _MOST_ESTIMATES:
                self._estimates.clear()
            method = method_from(recipe.method, recipe.settings)
            size = None if recipe.height is None or recipe.width is None else (recipe.height, recipe.width)
            self._estimates[key] = estimate(self.pipe, method, size, steps=recipe.steps, forwards_per_step=per_step)  # type: ignore[arg-type]
        return self._estimates[key]

    def draw(
        self, recipe: Recipe, *, maps: bool, check: Callable[[], None], on_step: Callable[[int], None]
    ) -> tuple[GeneratedImage, Cost]:
        """Return the picture of a recipe and what it cost.

        `check` is called before every run of the denoiser, so what it raises ends the drawing within a step.
        """
        with _counted(denoiser_of(self.pipe), check) as count:
            picture = draw(self.pipe, [recipe], record_maps=maps, on_step=on_step)[0]
        expected = self.estimate(recipe)
        recorded = len(picture.attention.steps) if picture.attention else 0
        readings = max(0, count.readings - recorded)
        return picture, Cost(count.whole, count.evaluations, readings, expected.evaluation, expected.reading)

    def more_arguments(self) -> dict[str, int]:
        """Return the arguments of the pipeline's call that a recipe does not hold."""
        return text_length(self.pipe)


@contextmanager
def _counted(denoiser: Any, check: Callable[[], None]) -> Iterator[_Count]:
    """Count runs of the denoiser. One that reads attention ends early, by an exception, so only whole runs have an end."""
    count = _Count()

    def begin(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        check()
        if torch.is_grad_enabled():
            count.evaluations += _images(arguments, named)
        else:
            count.readings += _images(arguments, named)

    def end(module: Any, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        count.whole += _images(arguments, named)
        count.readings -= _images(arguments, named)

    handles = [
        denoiser.register_forward_pre_hook(begin, with_kwargs=True),
        denoiser.register_forward_hook(end, with_kwargs=True),
    ]
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()


def _images(arguments: tuple[Any, ...], named: dict[str, Any]) -> int:
    return len(next(value for value in (*arguments, *named.values()) if isinstance(value, torch.Tensor)))
