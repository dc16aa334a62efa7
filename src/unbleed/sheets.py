"""Sheets of generated images: a comparison with the unguided image, and the attention to every word."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from . import heat_maps
from .errors import OutputError
from .generation import GeneratedImage
from .heat_maps import ImageAttention
from .methods import method_from
from .recipes import Recipe, sampled_as


def unguided(recipe: Recipe) -> Recipe:
    """Return the recipe of the same image without guidance, whose maps come from the same layers."""
    parts = method_from(recipe.method, recipe.settings).parts()
    same = {"parity": parts.parity, "resolution": parts.resolution, "layers": parts.layers}
    return replace(recipe, method="none", settings=method_from("none", same).settings(), regions={})


def comparison(plain: GeneratedImage, guided: GeneratedImage) -> Image.Image:
    """Return a sheet of two images of one prompt and seed, with the attention to each entity's words.

    Raises `OutputError` if the maps were not recorded, or are of different layers.
    """
    label = guided.recipe.method.replace(" + ", "\n+ ")
    both = (("unguided", plain), (label, guided))
    rows = [(row, picture.image, _recorded(picture)) for row, picture in both]
    regions = [picture.region_masks for _, picture in both]
    return heat_maps.compare(rows, regions=regions, title=f"“{guided.recipe.prompt}”", note=_note(guided.recipe))


def attention_sheet(picture: GeneratedImage, *, per_step: int = 0) -> Image.Image:
    """Return a sheet of the attention to every word, over the image; `per_step` adds that many rows of single steps.

    Raises `OutputError` if no maps were recorded.
    """
    attention, recipe = _recorded(picture), picture.recipe
    return attention.show(picture.image, per_step=per_step, title=f"“{recipe.prompt}”", note=_note(recipe))


def _recorded(picture: GeneratedImage) -> ImageAttention:
    if picture.attention is None:
        raise OutputError("the image has no recorded attention maps; generate it with record_maps=True")
    return picture.attention


def _note(recipe: Recipe) -> str:
    return f"Method {recipe.method}, seed {recipe.seed}, {sampled_as(recipe)}, model {recipe.model}."
