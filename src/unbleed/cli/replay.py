"""The recipe and the pipeline of a command, from its options and from the picture that is replayed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, PromptError, UnbleedWarning
from .common import load_pipeline

if TYPE_CHECKING:
    from ..recipes import Recipe

_ANYWAY = {"replay", "out", "json", "batch_size", "device"}
_FROM_ELSEWHERE = {"model", "config", "loras", "image"}
"""Files that a recipe names but does not hold: options give them where their paths differ on this machine."""


def read_replayed(path: Path, given: Mapping[str, Any]) -> tuple[Recipe | None, Mapping[str, Any]]:
    """Return (recipe, {}) of a picture made by unbleed, or (None, options) of a picture made by another program.

    `given` are the options that the user wrote. With a recipe they may only name where its files are now. The options of
    another program's picture are defaults for these.

    Raises `OutputError` for a picture without a recipe, `PromptError` for options that the recipe holds itself, and
    `ModelError` for a model that is not on this machine: a picture from elsewhere must not start a download.
    """
    from .. import recipes
    from ..foreign import read_foreign

    try:
        recipe = recipes.read_recipe(path)
    except recipes.NoRecipe:
        foreign = read_foreign(path)
        if foreign is None:
            raise
        taken = ", ".join(name.replace("_", " ") for name in foreign.taken)
        left = f"; not used: {', '.join(foreign.left)}" if foreign.left else ""
        warnings.warn(
            f"{path} was made by {foreign.program}, whose noise and samplers differ: expect another picture. "
            f"Used: {taken}{left}",
            UnbleedWarning,
            stacklevel=2,
        )
        return None, foreign.taken
    if strange := sorted(given.keys() - _ANYWAY - _FROM_ELSEWHERE):
        raise PromptError(f"--replay takes all from the picture; leave out {', '.join(strange)}")
    changes: dict[str, Any] = {name: given[name] for name in ("model", "config") if name in given}
    if "loras" in given:
        changes["loras"] = tuple(given["loras"])
    if "image" in given:
        changes["image"] = str(given["image"])
    recipe = replace(recipe, **changes)
    _check_here(recipe, given)
    return recipe, {}


def _check_here(recipe: Recipe, given: Mapping[str, Any]) -> None:
    from ..loading import is_here, lora_of

    loras = [("loras", "--lora", lora_of(lora)[0]) for lora in recipe.loras]
    for option, flag, name in [("model", "--model", recipe.model), ("config", "--config", recipe.config), *loras]:
        if name is not None and option not in given and not is_here(name):
            raise ModelError(
                f'the picture was made with {flag} "{name}", which is not on this machine; --replay downloads nothing by '
                f"itself: give {flag} {name} if you trust it, or name where you have it"
            )


def check_strength(image: Path | None, strength: float | None) -> None:
    """Raise `PromptError` for a strength without a picture."""
    if image is None and strength is not None:
        raise PromptError("--strength without --image; name the picture to begin with")


def initial(image: Path | None, strength: float | None) -> dict[str, Any]:
    """Return the fields of a recipe that begins with a picture; none without a picture."""
    check_strength(image, strength)
    if image is None:
        return {}
    from ..recipes import sha256_of

    return {"image": str(image), "image_sha256": sha256_of(image), "strength": 0.8 if strength is None else strength}


def load_recipe(recipe: Recipe, device: str | None) -> Any:
    """Return the pipeline that a recipe names."""
    return load_pipeline(
        recipe.model,
        recipe.dtype,
        device=device,
        config=recipe.config,
        scheduler=recipe.scheduler,
        loras=recipe.loras,
    )
