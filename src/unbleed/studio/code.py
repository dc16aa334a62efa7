"""A recipe as Python and as a command line. Both make the same picture to the bit."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ..recipes import Recipe
from ..regions.masks import DATA
from ..regions.texts import regions_of
from .form import changed_settings


def as_python(recipe: Recipe, *, device: str | None = None, extra: Mapping[str, Any] | None = None) -> str:
    """Return a program that draws a recipe with diffusers and this library.

    Args:
        recipe: The recipe.
        device: The device, if it was chosen.
        extra: Further arguments of the pipeline's call, such as those of `unbleed.sizes.text_length`.
    """
    load = _call("unbleed.load", _shown(recipe.model), dtype=_raw(f"torch.{recipe.dtype}" if recipe.dtype else None),
                 device=device, config=recipe.config)  # fmt: skip
    imports = ["import torch", "import unbleed"]
    lines = [f"pipe = {load}"]
    if recipe.scheduler:
        imports.append("from unbleed.loading import set_scheduler")
        lines.append(f"set_scheduler(pipe, {_shown(recipe.scheduler)})")
    if recipe.loras:
        imports.append("from unbleed.loading import add_loras")
        lines.append(f"add_loras(pipe, {_shown(list(recipe.loras))})")
    changes = changed_settings(recipe)
    plain = {name: value for name, value in changes.items() if name.isidentifier()}
    dotted = {name: value for name, value in changes.items() if name not in plain}
    more = [f"**{_shown(dotted)}"] if dotted else []
    lines.append(f"method = {_call('unbleed.method', _shown(recipe.method), *more, model=_raw('pipe'), **plain)}")
    regions = _regions(recipe.regions)
    if regions.startswith("regions_of"):
        imports.append("from unbleed.regions.texts import regions_of")
    guide = _call(
        "unbleed.guide", "pipe", "method", entities=recipe.entities, regions=_raw(regions if recipe.regions else None)
    )
    call = {
        "negative_prompt": recipe.negative_prompt,
        "height": recipe.height,
        "width": recipe.width,
        "num_inference_steps": recipe.steps,
        "guidance_scale": recipe.guidance_scale,
        "generator": _raw(f'torch.Generator("cpu").manual_seed({recipe.seed})'),
        **(extra or {}),
    }
    given = "".join(f"        {name}={_shown(value)},\n" for name, value in call.items() if value is not None)
    body = [f"with {guide} as run:", "    image = pipe(", f"        {_shown(recipe.prompt)},", f"{given}    ).images[0]"]
    parts = [*imports[:2], *sorted(imports[2:]), "", *lines, *body, 'image.save("picture.png")']
    return "\n".join(parts) + "\n"


def as_command(recipe: Recipe, *, device: str | None = None) -> str:
    """Return the command that draws a recipe.

    >>> as_command(Recipe("a red cat", method="none", steps=30, guidance_scale=3.0))
    "unbleed generate 'a red cat' --method none --seed 0 --steps 30 --guidance-scale 3.0 --out picture.png"
    """
    options: list[tuple[str, Any]] = [
        ("--method", recipe.method),
        *(("--set", f"{name}={_value(value)}") for name, value in changed_settings(recipe).items()),
        ("--seed", recipe.seed),
        ("--steps", recipe.steps),
        ("--guidance-scale", recipe.guidance_scale),
        ("--negative-prompt", recipe.negative_prompt),
        ("--entities", recipe.entities),
        *(("--region", f"{phrase}: {where}") for phrase, where in recipe.regions.items()),
        ("--height", recipe.height),
        ("--width", recipe.width),
        ("--model", None if recipe.model == "emoji" else recipe.model),
        ("--config", recipe.config),
        ("--scheduler", recipe.scheduler),
        *(("--lora", lora) for lora in recipe.loras),
        ("--dtype", recipe.dtype),
        ("--device", device),
        ("--out", "picture.png"),
    ]
    words = [word for name, value in options if value is not None for word in _option(name, str(value))]
    first = ["unbleed", "generate"]
    return shlex.join(
        [*first, *words, "--", recipe.prompt] if recipe.prompt.startswith("-") else [*first, recipe.prompt, *words]
    )


def _option(name: str, value: str) -> list[str]:
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def _value(value: Any) -> str:
    """Return a setting as `--set` reads it: JSON, so that a text such as "1" stays a text."""
    return json.dumps(value)


def _regions(regions: Mapping[str, str]) -> str:
    found = regions_of(regions)
    if any(text.startswith(DATA) or found[phrase].adapter for phrase, text in regions.items()):
        return f"regions_of({_shown(regions)})"
    return _shown({phrase: found[phrase].where if "," in text else text for phrase, text in regions.items()})


class _raw(str):
    """Code that is written as it is; an empty one is left out."""

    def __new__(cls, text: str | None) -> _raw:
        return super().__new__(cls, text or "")


def _shown(value: Any) -> str:
    """Return a value as Python, with double quotes."""
    if isinstance(value, _raw):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return repr(value)


def _call(name: str, *arguments: str, **named: Any) -> str:
    """Return a call as Python: arguments by position, by name where they have a value, and last a mapping (`**`)."""
    given = [f"{key}={_shown(value)}" for key, value in named.items() if value is not None and value != ""]
    last = [one for one in arguments if one.startswith("**")]
    return f"{name}({', '.join([*(one for one in arguments if one not in last), *given, *last])})"
