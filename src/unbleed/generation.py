"""Pictures from a prompt and seeds, each with all that is needed to make it again.

An image's noise comes from a CPU generator of its own seed, so it does not depend on the device or on its neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import heat_maps
from .api import guide
from .attention.families import denoiser_of
from .errors import ModelError, OutputError, PrecisionError
from .guidance.run import RegionStep, Step
from .heat_maps import ImageAttention
from .methods import method_from
from .prompt import Entity, PromptTokens
from .recipes import Recipe, initial_image
from .regions.texts import regions_of
from .sizes import check_size, text_length


@dataclass(frozen=True)
class Picture:
    """An image, its recipe, and what was seen on the way."""

    image: Image.Image
    recipe: Recipe
    steps: tuple[Step, ...]
    seconds: float  # of its batch, divided by the batch's pictures
    tokens: PromptTokens
    attention: ImageAttention | None = None  # when recorded
    regions: tuple[RegionStep, ...] = ()  # where the method has some

    @property
    def region_masks(self) -> dict[Entity, Tensor]:
        """The last regions, bool (height, width), by entity; none where the method has none."""
        return dict(zip(self.tokens.kept, self.regions[-1].masks, strict=True)) if self.regions else {}


def generate(
    pipe: Any, recipe: Recipe, seeds: Sequence[int], *, batch_size: int = 1, record_maps: bool = False
) -> Iterator[Picture]:
    """Yield one picture of `recipe` for each of `seeds`, in that order.

    With `batch_size=1` a picture is the same to the bit whatever is drawn beside it. Larger batches are faster on a GPU and
    change the last bits of every product; refinement, tens of steps along a gradient that jumps between places, can make
    another picture of that. Raises as `draw` does.
    """
    for first in range(0, len(seeds), batch_size):
        recipes = [replace(recipe, seed=seed) for seed in seeds[first : first + batch_size]]
        yield from draw(pipe, recipes, record_maps=record_maps)


def draw(pipe: Any, recipes: Sequence[Recipe], *, record_maps: bool = False) -> list[Picture]:
    """Return the pictures of recipes that differ in prompt, entities, regions and seed alone, drawn as one batch.

    Raises `PrecisionError` when a picture holds values that are no numbers, as half precision can give.
    """
    common = recipes[0]
    method = method_from(common.method, common.settings)
    denoiser: Any = denoiser_of(pipe)
    dtype = str(denoiser.dtype).removeprefix("torch.")
    initial = initial_image(common)
    if initial is not None:
        pipe, common = _image_to_image(pipe), replace(common, width=initial.width, height=initial.height)
    check_size(pipe, common.height, common.width)
    # one prompt is parsed and encoded once
    alike = all((r.prompt, r.entities, r.regions) == (common.prompt, common.entities, common.regions) for r in recipes)
    said = recipes[:1] if alike else recipes
    from_noise = {"height": common.height, "width": common.width}
    begin = from_noise if initial is None else {"image": [initial] * len(said), "strength": common.strength}
    named = [recipe.entities for recipe in said]
    regions = [regions_of(recipe.regions) for recipe in said]
    begun = time.perf_counter()
    with guide(
        pipe,
        method,
        entities=None if set(named) == {None} else named,
        record_maps=record_maps,
        regions=regions if any(regions) else None,
    ) as run:
        negative = common.negative_prompt
        images = pipe(
            [recipe.prompt for recipe in said],
            **({} if negative is None else {"negative_prompt": [negative] * len(said)}),
            num_images_per_prompt=len(recipes) if alike else 1,
            generator=[torch.Generator("cpu").manual_seed(recipe.seed) for recipe in recipes],
            num_inference_steps=common.steps,
            guidance_scale=common.guidance_scale,
            **text_length(pipe),
            **begin,
            output_type="np",
        ).images  # (image, height, width, channel), from 0 to 1
    seconds = (time.perf_counter() - begun) / len(recipes)
    for recipe, image in zip(recipes, images, strict=True):
        if not np.isfinite(image).all():
            advice = "bfloat16 or float32" if dtype == "float16" else "another method or smaller steps"
            raise PrecisionError(f'"{recipe.prompt}" came out in {dtype} with values that are no numbers; take {advice}')
    return [
        Picture(
            image=image,
            recipe=replace(recipe, settings=method.settings(), dtype=dtype),
            steps=tuple(step for step in run.steps if step.image == at),
            seconds=seconds,
            tokens=run.tokens[0 if alike else at],
            attention=run.attention(at) if record_maps else None,
            regions=tuple(step for step in run.regions if step.image == at),
        )
        for at, (recipe, image) in enumerate(zip(recipes, pipe.image_processor.numpy_to_pil(images), strict=True))
    ]


def _image_to_image(pipe: Any) -> Any:
    """Return the pipeline of the same parts that begins with a picture."""
    from diffusers import AutoPipelineForImage2Image

    try:
        return AutoPipelineForImage2Image.from_pipe(pipe)
    except (ValueError, TypeError) as error:
        raise ModelError(f"diffusers has no {type(pipe).__name__} that begins with a picture; leave out --image") from error


# ----------------------------------------------------------------------------------------------------- sheets


def unguided(recipe: Recipe) -> Recipe:
    """Return the recipe of the same picture without guidance, whose maps are read as the guided one's are."""
    parts = method_from(recipe.method, recipe.settings).parts()
    reading = {"parity": parts.parity, "resolution": parts.resolution, "layers": parts.layers}
    return replace(recipe, method="none", settings=reading, regions={})


def comparison(plain: Picture, guided: Picture) -> Image.Image:
    """Return a sheet of two pictures of one prompt and seed, with the attention to each entity's words.

    Raises `OutputError` where the maps were not recorded, or were read at different layers.
    """
    label = guided.recipe.method.replace(" + ", "\n+ ")
    both = (("unguided", plain), (label, guided))
    rows = [(row, picture.image, _recorded(picture)) for row, picture in both]
    regions = [picture.region_masks for _, picture in both]
    return heat_maps.compare(rows, regions=regions, title=f"“{guided.recipe.prompt}”", note=_note(guided.recipe))


def attention_sheet(picture: Picture, *, per_step: int = 0) -> Image.Image:
    """Return the attention to every word over the picture; `per_step` adds a row for each of that many steps.

    Raises `OutputError` where no maps were recorded.
    """
    attention, recipe = _recorded(picture), picture.recipe
    return attention.show(picture.image, per_step=per_step, title=f"“{recipe.prompt}”", note=_note(recipe))


def _recorded(picture: Picture) -> ImageAttention:
    if picture.attention is None:
        raise OutputError("the picture has no recorded attention maps; generate it with record_maps=True")
    return picture.attention


def _note(recipe: Recipe) -> str:
    sampled = f"seed {recipe.seed}, {recipe.steps} steps, guidance scale {recipe.guidance_scale:g}"
    return f"Method {recipe.method}, {sampled}, model {recipe.model}."
