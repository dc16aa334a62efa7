"""From the values of the page to recipes, and back. Values come from anywhere, so every one is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import schema
from ..errors import StudioError
from ..guidance.checks import refuse_regions
from ..methods import METHODS, method_from
from ..model_settings import method_of
from ..prompt import parse
from ..recipes import Recipe
from ..regions.given import assign
from ..regions.masks import DATA, as_data
from ..regions.texts import regions_of, with_name
from ..sampling import Sampling
from .limits import Limits


@dataclass(frozen=True)
class House:
    """What every picture of a studio shares: the model and its precision, chosen on the command line."""

    model: str = "emoji"
    config: str | None = None
    scheduler: str | None = None
    loras: tuple[str, ...] = ()
    dtype: str | None = None


@dataclass(frozen=True)
class Form:
    """The values of the page. Names and order are those of the page's inputs.

    Args:
        prompt: The prompt.
        entities: Text that overrules the parser, or None.
        method: A label: a name, a sum of names, NAME@paper.
        settings: Settings that differ from those of the label, by name.
        seed: The first seed.
        seeds: How many, counted upwards.
        steps: Denoising steps.
        guidance_scale: Of classifier-free guidance.
        width: In pixels; None, or 0 from the page, for the model's own.
        height: As `width`.
        negative_prompt: The negative prompt; empty for none.
        regions: Texts of regions by phrase.
        attention: Whether the attention maps are recorded.
    """

    prompt: str
    entities: str | None = None
    method: str = "regions"
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    seeds: int = 1
    steps: int = 30
    guidance_scale: float = 7.5
    width: int | None = None
    height: int | None = None
    negative_prompt: str | None = None
    regions: Mapping[str, str] = field(default_factory=dict)
    attention: bool = True


FIELDS = (
    "prompt",
    "entities",
    "method",
    "settings",
    "seed",
    "seeds",
    "steps",
    "guidance_scale",
    "width",
    "height",
    "negative_prompt",
    "regions",
    "attention",
)
"""The page's inputs in their order. Three are components with data of their own, of which `page_values` takes a part."""


def page_values(raw: Sequence[Any]) -> dict[str, Any]:
    """Return the values of the page's inputs by their names; raise `StudioError` for other inputs than the page has."""
    if len(raw) != len(FIELDS):
        raise StudioError(f"{len(raw)} values; expected {len(FIELDS)}: {', '.join(FIELDS)}")
    values: dict[str, Any] = dict(zip(FIELDS, raw, strict=True))
    for name, part in (("entities", "entities"), ("settings", "changes"), ("regions", "regions")):
        if not isinstance(values[name], Mapping):
            raise StudioError(f"{name} is {str(values[name])[:40]!r}; expected an object with {part}")
        values[name] = values[name].get(part) if name == "entities" else values[name].get(part) or {}
    return values


def read_form(values: Mapping[str, Any], limits: Limits) -> Form:
    """Return the values of the page, checked for types and bounds.

    >>> read_form({"prompt": "a red cat", "steps": 30.0}, Limits()).steps
    30
    >>> read_form({"prompt": "a red cat", "steps": 9999}, Limits())
    Traceback (most recent call last):
        ...
    unbleed.errors.StudioError: steps is 9999; expected 1 to 150

    Raises:
        StudioError: a value is of another type, or out of bounds.
    """
    whole = {key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in values.items()}
    whole |= {name: None for name in ("width", "height") if whole.get(name) == 0}  # an empty field of the page
    try:
        form = schema.check(whole, Form)
    except schema.SchemaError as error:
        raise StudioError(str(error)) from None
    for name, value, low, high in (
        ("seed", form.seed, 0, 2**63 - limits.seeds),
        ("seeds", form.seeds, 1, limits.seeds),
        ("steps", form.steps, 1, limits.steps),
        ("width", form.width, 64, limits.side),
        ("height", form.height, 64, limits.side),
    ):
        if value is not None and not low <= value <= high:
            raise StudioError(f"{name} is {value}; expected {low} to {high}")
    for name, text in (("prompt", form.prompt), ("negative prompt", form.negative_prompt), ("entities", form.entities)):
        if len(text or "") > limits.prompt:
            raise StudioError(f"the {name} has {len(text or '')} characters; expected at most {limits.prompt}")
    if len(form.method) > 300 or len(form.settings) > 100 or len(json.dumps(dict(form.settings))) > 20_000:
        raise StudioError("the method and its settings are too long; expected a few of each")
    if len(form.regions) > limits.regions or any(len(text) > limits.region for text in form.regions.values()):
        raise StudioError(f"the regions are too large; expected at most {limits.regions} of {limits.region} characters each")
    return replace(
        form, guidance_scale=float(form.guidance_scale), negative_prompt=(form.negative_prompt or "").strip() or None
    )


def recipes_of(form: Form, house: House) -> list[Recipe]:
    """Return the recipe of each seed of a form.

    Raises:
        UnbleedError: the prompt, its entities, the method, a setting or a region cannot be used.
    """
    method = method_of(form.method, house.model, form.settings)
    first = Recipe(
        prompt=form.prompt,
        seed=form.seed,
        method=method.name,
        settings=method.settings(),
        entities=form.entities,
        negative_prompt=form.negative_prompt,
        steps=form.steps,
        guidance_scale=form.guidance_scale,
        height=form.height,
        width=form.width,
        regions={phrase: _held(phrase, text) for phrase, text in form.regions.items()},
        **vars(house),
    )
    parsed = parse(first.prompt, first.entities)
    if first.regions:
        refuse_regions(method.parts())
        assign(parsed, regions_of(first.regions))
    return [replace(first, seed=form.seed + number) for number in range(form.seeds)]


def _held(phrase: str, text: str) -> str:
    """Return the text of a region as a recipe holds it: a mask in one bit a pixel. No file is read."""
    region = with_name(phrase, text)
    return as_data(region.where) if text.startswith(DATA) and region.adapter is None else text


def form_of(recipe: Recipe, *, attention: bool = True) -> Form:
    """Return the values of the page that make a recipe again, which `Sampler.check` returned."""
    return Form(
        prompt=recipe.prompt,
        entities=recipe.entities,
        method=recipe.method,
        settings=changed_settings(recipe),
        seed=recipe.seed,
        seeds=1,
        steps=recipe.steps or 1,
        guidance_scale=recipe.guidance_scale or 0.0,
        width=recipe.width,
        height=recipe.height,
        negative_prompt=recipe.negative_prompt,
        regions=dict(recipe.regions),
        attention=attention,
    )


def changed_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of a recipe that differ from those of its method on its model.

    >>> own = method_of("syngen", "emoji", {"step_size": 5.0})
    >>> changed_settings(Recipe("a red cat", method="syngen", settings=own.settings()))
    {'step_size': 5.0}
    """
    own = method_of(recipe.method, recipe.model).settings()
    return {name: value for name, value in recipe.settings.items() if own.get(name) != value}


def describe(label: str, model: str) -> list[dict[str, Any]]:
    """Return the settings of a method: name, the default on this model, what it does, and which kind of value it takes."""
    method = method_of(label, model)
    values = method.settings()
    return [
        {"name": row.name, "default": values[row.name], "help": row.help, "source": row.source, "kind": _kind(values[row.name])}
        for row in method.describe()
    ]


def _kind(value: Any) -> str:
    return "switch" if isinstance(value, bool) else "number" if isinstance(value, int | float) else "json"


def labels() -> list[str]:
    """Return the names of all methods that guide, the default first."""
    from ..methods import DEFAULT_METHOD

    return [DEFAULT_METHOD, *(name for name in METHODS if name not in (DEFAULT_METHOD, "none")), "none"]


def about(label: str) -> str:
    """Return in one line what a method does, and its paper; an empty text for a sum."""
    kind = METHODS.get(label.partition("@")[0].partition(":")[0].strip())
    return "" if kind is None else f"{(kind.__doc__ or '').strip().splitlines()[0]} ({kind.paper})".replace(" ()", "")


def start(sampling: Sampling) -> Form:
    """Return the page's first values: a prompt that needs guidance, and the sampling that suits the model."""
    return Form("a red bench and a blue horse", seed=1, steps=sampling.steps, guidance_scale=sampling.guidance_scale or 0.0)


def check_method(label: str, model: str) -> None:
    """Raise `MethodError` for a label that names no method."""
    method_from(method_of(label, model).name)
