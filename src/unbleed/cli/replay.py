"""From options, and from the picture that is replayed, to a recipe and its pipeline."""

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
"""What a recipe names but does not hold: it can be given anew where it lies elsewhere on this machine."""


def read_replayed(path: Path, given: Mapping[str, Any]) -> tuple[Recipe | None, Mapping[str, Any]]:
    """Return (the recipe of a picture of ours, nothing), or (None, what a picture of another program says).

    `given` are the options that the user wrote. A recipe of ours takes only where its files are now; what another program says
    stands in for options that were not written.

    Raises `OutputError` for a picture that says nothing, `PromptError` for options that a recipe of ours says itself, and
    `ModelError` for a model that is not on this machine: a picture of a stranger must not fetch things.
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
        left = f"; not taken over: {', '.join(foreign.left)}" if foreign.left else ""
        warnings.warn(
            f"{path} is of {foreign.program}, whose noise and samplers are others: expect another picture. "
            f"Taken over: {taken}{left}",
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
                f'the picture was drawn with {flag} "{name}", which is not on this machine; --replay fetches nothing by '
                f"itself: give {flag} {name} if you trust it, or name where you have it"
            )


def initial(image: Path | None, strength: float | None) -> dict[str, Any]:
    """Return the fields of a recipe that begins with a picture; none for no picture."""
    from ..recipes import sha256_of

    if image is None:
        if strength is not None:
            raise PromptError("--strength without --image; name the picture to begin with")
        return {}
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
