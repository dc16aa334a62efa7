"""A picture that is dropped on the page: its recipe, as far as this studio can draw it."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ..errors import StudioError, UnbleedWarning
from ..files import open_image
from ..foreign import foreign_in
from ..generation import with_sampling
from ..recipes import NoRecipe, Recipe, recipe_in, texts_of
from ..sampling import Sampling
from .form import Form, House, form_of, start
from .limits import Limits


@dataclass(frozen=True)
class Replay:
    """What a dropped picture says.

    Args:
        form: The values of the page.
        recipe: The recipe that makes the same picture here; None if only some of its values could be taken.
        note: One line about what differs.
        pixels: The picture itself.
    """

    form: Form
    recipe: Recipe | None
    note: str
    pixels: Image.Image


def replay_of(name: str, data: str, house: House, dtype: str, limits: Limits, sampling: Sampling) -> Replay:
    """Return the recipe in a picture's bytes.

    No path in a recipe is followed: the model is this studio's own, and a picture that began with another picture is refused.

    Args:
        name: Name of its file, for messages.
        data: Its bytes in base64, also as a data URL.
        house: What this studio draws with.
        dtype: The precision of its model.
        limits: Bounds.
        sampling: What suits its model, for what the picture leaves open.

    Raises:
        StudioError: the bytes are too many, or the recipe needs something that this studio does not have.
        OutputError: there is no recipe, or it cannot be understood.
    """
    content = _decoded(data, limits)
    name = f'"{name[:80]}"'
    texts = texts_of(io.BytesIO(content), name)
    pixels = _pixels(content, name)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UnbleedWarning)
            recipe = recipe_in(texts, name)
    except NoRecipe:
        foreign = foreign_in(texts, name)
        if foreign is None:
            raise
        left = f" Not used: {', '.join(foreign.left)}." if foreign.left else ""
        form = replace(start(sampling), **foreign.taken)
        said = f"Made by {foreign.program}, whose noise and samplers differ: expect another picture.{left}"
        return Replay(form, None, said, pixels)
    _refuse_files(recipe)
    notes = [f"{one.message}." for one in caught]
    own: Mapping[str, Any] = vars(house) | {"dtype": dtype}
    differs = [f"{key} {getattr(recipe, key)} (here {own[key]})" for key in own if getattr(recipe, key) != own[key]]
    if differs:
        notes.append(f"Made with {', '.join(differs)}: expect another picture.")
    mine = with_sampling(replace(recipe, **own), sampling)
    return Replay(form_of(mine), None if differs else mine, " ".join(notes), pixels)


def _decoded(data: str, limits: Limits) -> bytes:
    text = data.partition(",")[2] if data.startswith("data:") else data
    if len(text) > limits.dropped * 4 // 3 + 4:
        raise StudioError(f"the dropped picture is too large; expected at most {limits.dropped // 2**20} MB")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise StudioError("the dropped file did not arrive whole; drop it again") from None


def _pixels(content: bytes, name: str) -> Image.Image:
    try:
        with open_image(io.BytesIO(content)) as image:
            if max(image.size) > 4096:
                raise StudioError(f"{name} has {image.width}x{image.height} pixels; expected at most 4096x4096")
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise StudioError(f"{name} cannot be read as a picture ({str(error)[:80]}); drop one that is whole") from None


def _refuse_files(recipe: Recipe) -> None:
    if recipe.image is not None:
        raise StudioError(
            "this picture began with another picture, which the studio does not look for; "
            "unbleed generate --replay draws it on the command line"
        )
