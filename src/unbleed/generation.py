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

from . import figures
from .api import guide
from .attention.families import denoiser_of
from .errors import OutputError, PrecisionError, PromptError
from .guidance.run import Step
from .methods import method_from
from .prompt import PromptTokens
from .recipes import Recipe


@dataclass(frozen=True)
class Picture:
    """An image, its recipe, and what was seen on the way."""

    image: Image.Image
    recipe: Recipe
    steps: tuple[Step, ...]
    seconds: float  # of its batch, divided by the batch's pictures
    tokens: PromptTokens
    maps: Tensor | None = None  # (step, token, height, width) when recorded


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
    """Return the pictures of recipes that differ in prompt, entities and seed alone, drawn as one batch.

    Raises `PrecisionError` when a picture holds values that are no numbers, as half precision can give.
    """
    common = recipes[0]
    method = method_from(common.method, common.settings)
    denoiser: Any = denoiser_of(pipe)
    dtype = str(denoiser.dtype).removeprefix("torch.")
    own = (getattr(pipe, "default_sample_size", None) or denoiser.config.sample_size) * pipe.vae_scale_factor
    _check_size(common, own, pipe.vae_scale_factor * (getattr(denoiser.config, "patch_size", None) or 1))
    alike = len({(recipe.prompt, recipe.entities) for recipe in recipes}) == 1  # one prompt is parsed and encoded once
    said = recipes[:1] if alike else recipes
    named = [recipe.entities for recipe in said]
    begun = time.perf_counter()
    with guide(pipe, method, entities=None if set(named) == {None} else named, record_maps=record_maps) as run:
        negative = common.negative_prompt
        images = pipe(
            [recipe.prompt for recipe in said],
            **({} if negative is None else {"negative_prompt": [negative] * len(said)}),
            num_images_per_prompt=len(recipes) if alike else 1,
            generator=[torch.Generator("cpu").manual_seed(recipe.seed) for recipe in recipes],
            num_inference_steps=common.steps,
            guidance_scale=common.guidance_scale,
            height=common.height,
            width=common.width,
            output_type="np",
        ).images  # (image, height, width, channel), from 0 to 1
    seconds = (time.perf_counter() - begun) / len(recipes)
    for recipe, image in zip(recipes, images, strict=True):
        if not np.isfinite(image).all():
            advice = "bfloat16 or float32" if dtype == "float16" else "another method or smaller steps"
            raise PrecisionError(f'"{recipe.prompt}" came out in {dtype} with values that are no numbers; take {advice}')
    maps = torch.stack([step.maps for step in run.maps]) if run.maps else None  # (step, image, token, height, width)
    return [
        Picture(
            image=image,
            recipe=replace(recipe, settings=method.settings(), dtype=dtype),
            steps=tuple(step for step in run.steps if step.image == at),
            seconds=seconds,
            tokens=run.tokens[0 if alike else at],
            maps=None if maps is None else maps[:, at],
        )
        for at, (recipe, image) in enumerate(zip(recipes, pipe.image_processor.numpy_to_pil(images), strict=True))
    ]


def _check_size(recipe: Recipe, own: int, multiple: int) -> None:
    """Refuse what the model cannot cut into places, and what would take hours or all memory, for no use."""
    for name, size in (("height", recipe.height), ("width", recipe.width)):
        if size is not None and size % multiple:
            raise PromptError(f"{name} {size}; this model's pictures have multiples of {multiple}")
        if size is not None and size > 4 * own:
            raise PromptError(f"{name} {size} is more than four times the model's own {own}; take at most {4 * own}")


# ----------------------------------------------------------------------------------------------------- sheets


def entity_maps(picture: Picture) -> list[tuple[str, Tensor]]:
    """Return (entity, map (height, width)) for each entity: the sum of its noun's pieces, averaged over the steps."""
    if picture.maps is None:
        return []
    average = picture.maps.mean(dim=0)  # (token, height, width)
    return [
        (str(entity), average[list(noun)].sum(dim=0))
        for entity, (noun, _) in zip(picture.tokens.kept, picture.tokens.entities, strict=True)
    ]


def comparison(plain: Picture, guided: Picture, side: int = 256) -> Image.Image:
    """Return both pictures of one prompt and seed side by side, labelled, with each entity's attention beneath.

    The two heat maps of an entity share one scale, whose end (a share of the attention of a place) is printed.
    """
    pair = [figures.enlarge(p.image, side) for p in (plain, guided)]
    rows: list[list[Image.Image | None]] = [list(pair)]
    labels = ["picture"]
    for (name, before), (_, after) in zip(entity_maps(plain), entity_maps(guided), strict=True):
        peak = max(float(before.max()), float(after.max()))
        rows.append([figures.overlay(image, values, peak) for image, values in zip(pair, (before, after), strict=True)])
        labels.append(f"{name}\n0 … {peak:.2f}")
    recipe = guided.recipe
    return figures.grid(
        rows,
        columns=["unguided", recipe.method],
        labels=labels,
        title=f"“{recipe.prompt}”",
        note=(
            f"seed {recipe.seed}, {recipe.steps} steps, guidance scale {recipe.guidance_scale:g}, model {recipe.model}. "
            "Heat: the entity's share of each place's attention to the text, averaged over the steps."
        ),
    )


def attention_sheet(picture: Picture, *, per_step: int = 0, side: int = 192) -> Image.Image:
    """Return the attention of every word over the picture; with `per_step`, a row for each of so many moments of the run.

    Each word has a scale of its own in the averaged row; down a column of moments the scale stays the same.
    """
    if picture.maps is None:
        raise OutputError("the picture has no recorded maps; generate it with record_maps=True")
    image = figures.enlarge(picture.image, side)
    words = [(word, list(places)) for word, places in picture.tokens.words]
    by_word = [picture.maps[:, places].sum(dim=1) for _, places in words]  # each (step, height, width)
    rows: list[list[Image.Image | None]] = [[image, *(figures.overlay(image, maps.mean(dim=0)) for maps in by_word)]]
    captions = [["", *(f"max {float(maps.mean(dim=0).max()):.2f}" for maps in by_word)]]
    labels = ["all steps"]
    if per_step:
        count = len(picture.maps)
        for step in sorted({round(k * (count - 1) / max(1, per_step - 1)) for k in range(per_step)}):
            peaks = [float(maps.max()) for maps in by_word]
            overlays = [figures.overlay(image, maps[step], peak) for maps, peak in zip(by_word, peaks, strict=True)]
            rows.append([None, *overlays])
            captions.append(["", *(f"max {float(maps[step].max()):.2f}" for maps in by_word)])
            labels.append(f"step {step}")
    recipe = picture.recipe
    return figures.grid(
        rows,
        columns=["picture", *(word for word, _ in words)],
        labels=labels,
        captions=captions,
        title=f"“{recipe.prompt}”",
        note=f"method {recipe.method}, seed {recipe.seed}, {recipe.steps} steps, model {recipe.model}. "
        "max: the word's largest share of a place's attention to the text.",
    )
