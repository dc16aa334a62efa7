"""Images from recipes, each with everything that is needed to make it again.

The noise of an image comes from a CPU generator with its own seed, so it does not depend on the device or on its batch.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .api import guide
from .attention.families import denoiser_of
from .errors import ModelError, PrecisionError, UnbleedWarning
from .guidance.run import RegionStep, Step
from .heat_maps import ImageAttention
from .methods import method_from
from .prompt import Entity, PromptTokens
from .recipes import Recipe, initial_image
from .regions.texts import regions_of
from .sampling import Sampling, forwards_per_step, guidance_arguments, sampling_of
from .sizes import check_size, text_length


@dataclass(frozen=True)
class GeneratedImage:
    """An image with its recipe and the results of its guided run.

    Args:
        image: The image.
        recipe: Its recipe, with the settings, the steps, the scale and the precision that were used.
        steps: Losses and updates of the guided steps.
        seconds: Duration of its batch, divided by the number of images in it.
        tokens: The words of its prompt and their token positions.
        attention: Attention maps, if they were recorded.
        regions: Regions, if the method has some.
    """

    image: Image.Image
    recipe: Recipe
    steps: tuple[Step, ...]
    seconds: float
    tokens: PromptTokens
    attention: ImageAttention | None = None
    regions: tuple[RegionStep, ...] = ()

    @property
    def region_masks(self) -> dict[Entity, Tensor]:
        """The last regions by entity, each bool (height, width); empty if the method has none."""
        return dict(zip(self.tokens.kept, self.regions[-1].masks, strict=True)) if self.regions else {}


def generate(
    pipe: Any, recipe: Recipe, seeds: Sequence[int], *, batch_size: int = 1, record_maps: bool = False
) -> Iterator[GeneratedImage]:
    """Yield one image of `recipe` for each of `seeds`, in that order.

    With `batch_size=1` an image is the same to the bit, whatever else is sampled. Larger batches are faster on a GPU and change
    the last bits of every product; refinement, tens of steps along a gradient that jumps between pixels, can amplify that into
    another image. Raises as `draw` does.
    """
    for first in range(0, len(seeds), batch_size):
        recipes = [replace(recipe, seed=seed) for seed in seeds[first : first + batch_size]]
        yield from draw(pipe, recipes, record_maps=record_maps)


def draw(
    pipe: Any, recipes: Sequence[Recipe], *, record_maps: bool = False, on_step: Callable[[int], None] | None = None
) -> list[GeneratedImage]:
    """Return the images of recipes that differ only in prompt, entities, regions and seed, sampled as one batch.

    `on_step` is called after each denoising step with the number of steps that are done.

    Raises `PrecisionError` if an image contains NaN or infinity, as can happen in half precision.
    """
    common = recipes[0]
    method = method_from(common.method, common.settings)
    denoiser: Any = denoiser_of(pipe)
    dtype = str(denoiser.dtype).removeprefix("torch.")
    initial = initial_image(common)
    if initial is not None:
        pipe, common = _image_to_image(pipe), replace(common, width=initial.width, height=initial.height)
    check_size(pipe, common.height, common.width)
    common = with_sampling(common, sampling_of(pipe))
    # one prompt is parsed and encoded once
    alike = all((r.prompt, r.entities, r.regions) == (common.prompt, common.entities, common.regions) for r in recipes)
    distinct = recipes[:1] if alike else recipes
    from_noise = {"height": common.height, "width": common.width}
    begin = from_noise if initial is None else {"image": [initial] * len(distinct), "strength": common.strength}
    named = [recipe.entities for recipe in distinct]
    regions = [regions_of(recipe.regions) for recipe in distinct]
    guided = guidance_arguments(pipe, common.guidance_scale, common.negative_prompt, len(distinct))
    if common.negative_prompt and forwards_per_step(pipe, guided) == 1:
        warnings.warn(
            f"the negative prompt has no effect: {type(pipe).__name__} runs without classifier-free guidance at guidance scale "
            f"{common.guidance_scale or 0:g}; leave it out, or take the method nag",
            UnbleedWarning,
            stacklevel=2,
        )
    begun = time.perf_counter()
    with guide(
        pipe,
        method,
        entities=None if set(named) == {None} else named,
        record_maps=record_maps,
        regions=regions if any(regions) else None,
    ) as run:
        images = pipe(
            prompt=[recipe.prompt for recipe in distinct],
            **guided,
            num_images_per_prompt=len(recipes) if alike else 1,
            generator=[torch.Generator("cpu").manual_seed(recipe.seed) for recipe in recipes],
            num_inference_steps=common.steps,
            **text_length(pipe),
            **begin,
            **({} if on_step is None else {"callback_on_step_end": _told(on_step)}),
            output_type="np",
        ).images  # (image, height, width, channel), from 0 to 1
    seconds = (time.perf_counter() - begun) / len(recipes)
    for recipe, image in zip(recipes, images, strict=True):
        if not np.isfinite(image).all():
            advice = "bfloat16 or float32" if dtype == "float16" else "another method or smaller steps"
            raise PrecisionError(f'the image of "{recipe.prompt}" contains NaN or infinity in {dtype}; take {advice}')
    return [
        GeneratedImage(
            image=image,
            recipe=replace(
                recipe,
                settings=method.settings(),
                dtype=dtype,
                steps=common.steps,
                guidance_scale=common.guidance_scale,
            ),
            steps=tuple(step for step in run.steps if step.image == at),
            seconds=seconds,
            tokens=run.tokens[0 if alike else at],
            attention=run.attention(at) if record_maps else None,
            regions=tuple(step for step in run.regions if step.image == at),
        )
        for at, (recipe, image) in enumerate(zip(recipes, pipe.image_processor.numpy_to_pil(images), strict=True))
    ]


def with_sampling(recipe: Recipe, own: Sampling) -> Recipe:
    """Return a recipe with the steps and the guidance scale that suit a pipeline, where it names none."""
    return replace(
        recipe,
        steps=own.steps if recipe.steps is None else recipe.steps,
        guidance_scale=own.guidance_scale if recipe.guidance_scale is None else recipe.guidance_scale,
    )


def _told(on_step: Callable[[int], None]) -> Callable[..., dict[str, Any]]:
    """Return a callback for a pipeline that tells how many steps are done."""

    def callback(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        on_step(step + 1)
        return values

    return callback


def _image_to_image(pipe: Any) -> Any:
    """Return the image-to-image pipeline with the same components."""
    from diffusers import AutoPipelineForImage2Image

    try:
        return AutoPipelineForImage2Image.from_pipe(pipe)
    except (ValueError, TypeError) as error:
        raise ModelError(f"diffusers has no image-to-image pipeline for {type(pipe).__name__}; leave out --image") from error
