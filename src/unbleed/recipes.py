"""The recipe of an image: everything that is needed to make it again, stored in a text chunk of its PNG."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from PIL import ExifTags, Image, PngImagePlugin

from . import schema
from .errors import OutputError, PromptError, UnbleedError, UnbleedWarning
from .files import atomic_write, open_image, read_bytes
from .methods import method_from
from .regions.texts import regions_of

_CHUNK = "unbleed"  # the PNG text chunk that holds the recipe


@dataclass(frozen=True)
class Recipe:
    """Everything that an image depends on.

    >>> Recipe("a red cat", seed=3, method="syngen").seed
    3

    Args:
        prompt: The prompt.
        seed: Of the noise.
        method: Name of the method, or of a sum of methods.
        settings: Settings of the method; missing ones have their defaults.
        entities: Entities that overrule the parser's, as in "red cat; blue bench".
        negative_prompt: The negative prompt.
        steps: Number of denoising steps; None, until the image is sampled, for what suits the model.
        guidance_scale: Scale of classifier-free guidance; None as for `steps`, and for a pipeline without one.
        height: In pixels; None for the model's own.
        width: In pixels; None for the model's own.
        model: "emoji", a folder, a file or a hub id, as in `unbleed.load`.
        dtype: Precision; None before the image is sampled.
        config: Of a single-file model, as in `unbleed.load`.
        scheduler: Name of a scheduler; None for the model's own.
        loras: Each PATH, HUB-ID or either with :WEIGHT.
        image: Path of the image to begin with.
        image_sha256: Hash of that file.
        strength: Fraction of the steps that are run, from `image` on.
        regions: Regions by phrase, as texts (see `unbleed.regions.texts`).

    Raises:
        PromptError: for values out of range.
    """

    prompt: str
    seed: int = 0
    method: str = "none"
    settings: Mapping[str, Any] = field(default_factory=dict)
    entities: str | None = None
    negative_prompt: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    height: int | None = None
    width: int | None = None
    model: str = "emoji"
    dtype: str | None = None
    config: str | None = None
    scheduler: str | None = None
    loras: tuple[str, ...] = ()
    image: str | None = None
    image_sha256: str | None = None
    strength: float | None = None
    regions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("prompt", "negative_prompt", "entities"):
            _check_text(name, getattr(self, name))
        if not self.prompt.strip():
            raise PromptError("the prompt is empty; write what the picture should show")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise PromptError(f"{self.steps} steps; expected 1 to 1000")
        if self.guidance_scale is not None and not 0 <= self.guidance_scale <= 100:
            raise PromptError(f"guidance scale {self.guidance_scale:g}; expected 0 to 100")
        for name, size in (("height", self.height), ("width", self.width)):
            if size is not None and (not 64 <= size <= 4096 or size % 8):
                raise PromptError(f"{name} {size}; expected a multiple of 8 from 64 to 4096")
        if self.dtype not in (None, "float32", "float16", "bfloat16"):
            raise PromptError(f"precision {self.dtype}; expected float32, float16 or bfloat16")
        if (self.image is None) != (self.strength is None):
            raise PromptError("expected both an initial image and its strength, or neither")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise PromptError(f"strength {self.strength:g}; expected more than 0, at most 1")
        if self.strength is not None and self.steps is not None and int(self.steps * self.strength) < 1:
            raise PromptError(
                f"strength {self.strength:g} of {self.steps} steps leaves none to run; take a larger strength or more steps"
            )
        if not 0 <= self.seed < 2**63:
            raise PromptError(f"seed {self.seed}; expected 0 to {2**63 - 1}")
        regions_of(self.regions)


def sampled_as(recipe: Recipe) -> str:
    """Return how an image was sampled, for its label.

    >>> sampled_as(Recipe("a red cat", steps=9, guidance_scale=0.0))
    '9 steps, guidance scale 0'
    """
    scale = "" if recipe.guidance_scale is None else f", guidance scale {recipe.guidance_scale:g}"
    return f"{recipe.steps} steps{scale}"


class NoRecipe(OutputError):
    """An image without a recipe of unbleed."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 hash of a file; raise `OutputError` if it cannot be read."""
    return hashlib.sha256(_bytes_of(path)).hexdigest()


def initial_image(recipe: Recipe) -> Image.Image | None:
    """Return the image that a recipe begins with, in the recipe's size if it has one; None without an image.

    Raises `OutputError` if the file cannot be read, is not an image, or has changed.
    """
    if recipe.image is None:
        return None
    data = _bytes_of(Path(recipe.image))
    if recipe.image_sha256 not in (None, hashlib.sha256(data).hexdigest()):
        raise OutputError(f"{recipe.image} is not the image of the recipe; --image gives the path of that one")
    try:
        image = open_image(io.BytesIO(data)).convert("RGB")
    except Exception as error:  # Pillow has many kinds for what it cannot read
        raise OutputError(f"{recipe.image} cannot be read as a picture; name another to begin with") from error
    size = recipe.width or image.width // 8 * 8, recipe.height or image.height // 8 * 8
    if min(size) < 64:
        raise PromptError(
            f"{recipe.image} has {image.width}x{image.height} pixels; expected 64x64, or give --width and --height"
        )
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _bytes_of(path: Path) -> bytes:
    remedy = "name a picture to begin with"
    try:
        return read_bytes(path, error=OutputError, remedy=remedy)
    except FileNotFoundError:
        raise OutputError(f"{path} is not there; {remedy}") from None


def _check_text(name: str, text: str | None) -> None:
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"the {name.replace('_', ' ')} holds half of a character ({error.object[error.start]!a}); expected Unicode text"
        ) from None


@functools.cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("unbleed", "torch", "diffusers", "transformers")}


def as_png(image: Image.Image, recipe: Recipe) -> bytes:
    """Return an image, or a sheet made of it, as PNG that holds the recipe."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(_CHUNK, json.dumps({**asdict(recipe), "versions": _versions()}, ensure_ascii=False))
    stream = io.BytesIO()
    image.save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def save(image: Image.Image, recipe: Recipe, path: Path) -> Path:
    """Write an image, or a sheet made of it, as PNG that holds the recipe; raise `OutputError` if that fails."""
    return atomic_write(path, as_png(image, recipe))


def free_name(path: Path, recipe: Recipe) -> Path:
    """Return the first of `path`, NAME-2, NAME-3, ... that is free or holds an image of the same recipe."""
    candidate, number = path, 1
    while os.path.lexists(candidate) and _recipe_inside(candidate) != recipe:
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


def _recipe_inside(path: Path) -> Recipe | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnbleedWarning)
            return read_recipe(path)
    except OutputError:
        return None


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in an image that `save` wrote.

    Raises `NoRecipe` if there is none, and `OutputError` if a field or a setting of the method is invalid.
    """
    return recipe_in(texts_in(path), str(path))


def recipe_in(texts: Mapping[str, str], name: str) -> Recipe:
    """Return the recipe among the texts of an image; `name` is that of the image in messages. Raises as `read_recipe` does."""
    text = texts.get(_CHUNK)
    if text is None:
        raise NoRecipe(
            f"{name} holds no recipe; expected a picture of unbleed, AUTOMATIC1111, ComfyUI or InvokeAI, as they wrote it"
        )
    try:
        values = dict(schema.check(schema.parse(text), Mapping[str, Any]))
        versions = schema.check({"versions": values.pop("versions", {})}, Mapping[str, Mapping[str, str]])["versions"]
        recipe = schema.check(values, Recipe)
        method_from(recipe.method, recipe.settings)
    except (schema.SchemaError, UnbleedError) as error:
        raise OutputError(
            f"the recipe in {name} cannot be understood: {error}; it was changed, or written by another version of unbleed"
        ) from error
    now = _versions()
    changed = [f"{key} {versions.get(key)} (here {now[key]})" for key in now if versions.get(key) != now[key]]
    if changed:
        warnings.warn(
            f"{name} was made with {', '.join(changed)}; the picture may differ slightly",
            UnbleedWarning,
            stacklevel=2,
        )
    return recipe


def texts_in(path: Path) -> dict[str, str]:
    """Return the texts in an image file: text chunks of a PNG, and the Exif comment of a JPEG or WebP.

    Raises `OutputError` for a file that is not an image.
    """
    return texts_of(path, str(path))


def texts_of(source: Path | IO[bytes], name: str) -> dict[str, str]:
    """Return the texts in an image, as `texts_in` does; `name` is that of the image in messages."""
    try:
        with warnings.catch_warnings(), open_image(source) as image:
            warnings.simplefilter("ignore")  # large pictures; only their texts are of interest here
            texts = {str(key): str(value) for key, value in getattr(image, "text", {}).items()}
            comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    except Exception as error:  # Pillow has many kinds for what it cannot read
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise OutputError(f"{name} cannot be read as a picture: {reason}") from error
    return texts | ({"UserComment": _comment(comment)} if isinstance(comment, bytes) else {})


def _comment(data: bytes) -> str:
    """Return an Exif comment, whose first eight bytes name its encoding."""
    encoding = {b"ASCII": "ascii", b"UNICODE": "utf-16-be"}.get(data[:8].rstrip(b"\0"), "utf-8")
    return data[8:].decode(encoding, errors="replace")
