"""What the page's events do: raw values in, values of components by name out. Knows the studio, not Gradio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import wraps
from typing import Any

import numpy as np
from PIL import Image

from .. import schema
from ..emoji import EMBEDDED
from ..emoji.scenes import unknown_words
from ..errors import StudioError, UnbleedError, printable
from ..files import open_image
from ..sizes import own_side
from . import chips as chips_of
from .code import as_command, as_python
from .details import loss_curve
from .form import FIELDS, Form, about, describe, form_of, page_values, read_form
from .markup import facts, failed, said
from .picture_store import Drawn
from .replay import Replay, replay_of
from .run_table import read_wanted
from .studio import Pair, Studio

Values = dict[str, Any]
"""New values of components, by the names of `page.COMPONENTS`."""


def one_line(handler: Callable[..., Values]) -> Callable[..., Values]:
    """Turn an error that a user can fix into a line in the status of the page, and an unforeseen one too."""

    @wraps(handler)
    def guarded(*arguments: Any, **named: Any) -> Values:
        try:
            return handler(*arguments, **named)
        except UnbleedError as error:
            return {"status": failed(str(error))}
        except RecursionError:
            return {"status": failed("a value is nested too deep; expected a plain one")}

    return guarded


def text_of(value: Any, studio: Studio, what: str = "the prompt") -> str:
    """Return a text of bounded length; raise `StudioError` for anything else."""
    if not isinstance(value, str):
        raise StudioError(f"{what} is {str(value)[:40]!r}; expected a text")
    if len(value) > studio.limits.prompt:
        raise StudioError(f"{what} has {len(value)} characters; expected at most {studio.limits.prompt}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise StudioError(f"{what} holds half of a character; expected Unicode text") from None
    return value


def form_from(studio: Studio, raw: Sequence[Any]) -> Form:
    """Return the form of the page's raw values. Entities and regions of words that are gone from the prompt are dropped."""
    form = read_form(page_values(raw), studio.limits)
    text_of(form.prompt, studio)
    read = chips_of.carried(form.prompt, form.entities) if form.prompt.strip() else None
    return form if read is None else replace(form, entities=read.entities)


@one_line
def on_prompt(studio: Studio, prompt: Any, chips: Any) -> Values:
    """Read a prompt that has changed. The user's own entities stay as long as its words allow them."""
    prompt = text_of(prompt, studio)
    own = chips.get("entities") if isinstance(chips, Mapping) else None
    read = chips_of.carried(prompt, text_of(own, studio, "the entities") if own is not None else None)
    return chip_values(studio, read)


@one_line
def on_edit(studio: Studio, prompt: Any, chips: Any) -> Values:
    """Read a prompt with the groups of words that the user clicked together."""
    prompt = text_of(prompt, studio)
    try:
        groups = _groups(chips)
    except schema.SchemaError as error:
        raise StudioError(f"the groups of words: {error}") from None
    if groups is None:
        return chip_values(studio, chips_of.read(prompt))
    try:
        read = chips_of.overruled(prompt, groups)
    except UnbleedError as error:
        before = chips_of.carried(prompt, chips.get("entities") if isinstance(chips.get("entities"), str) else None)
        read = replace(before, note=f"{error}.")
    return chip_values(studio, read)


def _groups(chips: Any) -> list[list[int]] | None:
    groups = chips.get("groups") if isinstance(chips, Mapping) else None
    return None if groups is None else schema.check(groups, list[list[int]])


def chip_values(studio: Studio, read: chips_of.Chips) -> Values:
    """Return the components that show a prompt as it is read."""
    unknown = unknown_words(" ".join(read.labels)) if studio.house.model in EMBEDDED and not read.note else []
    if unknown:
        words = ", ".join(f'"{word}"' for word in unknown[:4]) + (f" and {len(unknown) - 4} more" if len(unknown) > 4 else "")
        read = replace(read, note=f"The embedded model does not know {words} and draws something else there.")
    return {"chips": asdict(replace(read, note=printable(read.note))), "regions": {"labels": list(read.labels)}}


@one_line
def on_method(studio: Studio, method: Any) -> Values:
    """Show the settings of a method."""
    return {"settings": settings_value(studio, text_of(method, studio, "the method"), {}), "status": said("")}


def settings_value(studio: Studio, label: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of the settings' component."""
    return {"rows": describe(label, studio.house.model), "changes": dict(changes), "about": about(label)}


@one_line
def on_size(studio: Studio, width: Any, height: Any) -> Values:
    """Give the board for regions the proportions of the picture."""
    own = own_side(studio.samplers[0].pipe) or 1
    sides = [side if isinstance(side, int) and 0 < side <= studio.limits.side else own for side in (width, height)]
    return {"regions": {"aspect": sides}}


@one_line
def on_run_table(studio: Studio, value: Any) -> Values:
    """Show another page of a run."""
    run, wanted = _run_of(studio, value), read_wanted(value.get("ask") or {})
    return {"run_table": run_table_value(studio, run, studio.run_tables[run].view(wanted)), "status": said("")}


@one_line
def on_open(studio: Studio, value: Any) -> Values:
    """Fill the form with the recipe of a picture of a run."""
    run = _run_of(studio, value)
    try:
        index, method = schema.check(value.get("open"), tuple[int, int])
    except schema.SchemaError as error:
        raise StudioError(f"the picture to open {error}") from None
    run_table = studio.run_tables[run]
    image, values = run_table.picture(index, method)
    form = read_form({**values, "settings": {}}, studio.limits)
    differs = f" The run was made with {run_table.run.plan.model}." if run_table.run.plan.model != studio.house.model else ""
    note = f"The recipe of {run_table.methods[method]}, seed {image.seed}, is in the form. Press Draw.{differs}"
    label = run_table.run.plan.contenders[method].label.partition(":")[0]
    if label.startswith("best-of-"):
        own = replace(form, method="none")
    else:
        own = replace(form, method=label, settings=_changes(studio, label, values["settings"]))
    return form_values(studio, own) | {"status": said(note), "tabs": "draw"}


def _changes(studio: Studio, label: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    own = {row["name"]: row["default"] for row in describe(label, studio.house.model)}
    return {name: value for name, value in settings.items() if name in own and own[name] != value}


def run_table_value(studio: Studio, run: int, view: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of the component that shows a run."""
    return {**view, "run": run, "runs": [run_table.name for run_table in studio.run_tables]}


def _run_of(studio: Studio, value: Any) -> int:
    run = value.get("run") if isinstance(value, Mapping) else None
    if not isinstance(run, int) or isinstance(run, bool) or not 0 <= run < len(studio.run_tables):
        raise StudioError("there is no such run; the command line names the runs: unbleed studio --bench RUN")
    return run


def form_values(studio: Studio, form: Form) -> Values:
    """Return the page's inputs with the values of a form."""
    read = chips_of.carried(form.prompt, form.entities)
    values = asdict(form) | chip_values(studio, read)
    del values["entities"]
    values["regions"] = {**values["regions"], "regions": dict(form.regions)}
    values["settings"] = settings_value(studio, form.method, form.settings)
    values |= {"negative_prompt": form.negative_prompt or "", "width": form.width or 0, "height": form.height or 0}
    assert values.keys() - {"chips"} == set(FIELDS) - {"entities"}
    return values


def replayed(studio: Studio, value: Any) -> Replay:
    """Return the recipe in a dropped picture; raises `UnbleedError`."""
    try:
        dropped = schema.check(value, Mapping[str, str])
        name, data = dropped["name"], dropped["data"]
    except (schema.SchemaError, KeyError):
        raise StudioError("the dropped file did not arrive; drop it again") from None
    replay = replay_of(name, data, studio.house, studio.samplers[0].dtype, studio.limits, studio.samplers[0].sampling)
    read_form(asdict(replay.form), studio.limits)
    return replay


def verdict(studio: Studio, replay: Replay, key: str) -> str:
    """Return whether the picture that was drawn anew is the dropped one."""
    drawn = studio.store.get(key)
    if drawn is None:
        return ""
    with open_image(studio.store.path(drawn)) as image:
        new = np.asarray(image.convert("RGB")).astype(int)
    old = np.asarray(replay.pixels).astype(int)
    if old.shape != new.shape:
        return f"Drawn again. The dropped picture has another size, {replay.pixels.width}x{replay.pixels.height}."
    most = int(np.abs(old - new).max())
    return "Drawn again: the same to the bit." if most == 0 else f"Drawn again: it differs, by at most {most} of 255."


def methods_from(studio: Studio, value: Any) -> list[str]:
    """Return the labels of methods to be compared; raises `UnbleedError`."""
    try:
        found = schema.check(value, list[str])
    except schema.SchemaError as error:
        raise StudioError(f"the methods: {error}") from None
    if not 1 <= len(set(found)) <= studio.limits.methods:
        raise StudioError(f"{len(set(found))} methods; expected 1 to {studio.limits.methods}")
    return [text_of(one, studio, "the method") for one in dict.fromkeys(found)]


def opened(studio: Studio, pairs: Sequence[Pair], index: int) -> Values:
    """Return the page with the recipe of a compared picture in its form, beside the unguided one if that was compared too."""
    drawn = studio.store.get(pairs[index].guided)
    if drawn is None:
        return {"status": failed("this picture is no longer kept; draw it again")}
    others = [(pair.guided, studio.store.get(pair.guided)) for pair in pairs]
    plain = next((k for k, one in others if one and one.recipe.method == "none" and one.recipe.seed == drawn.recipe.seed), None)
    pair = Pair(pairs[index].guided, plain if plain != pairs[index].guided else None)
    values = form_values(studio, form_of(drawn.recipe))
    detail = shown(studio, pair)
    return values | detail | {"regions": {**values["regions"], **detail["regions"]}, "pairs": [pair], "gallery": []}


def shown(studio: Studio, pair: Pair) -> Values:
    """Return the components that show a picture and what was measured."""
    guided = studio.store.get(pair.guided)
    plain = studio.store.get(pair.plain) if pair.plain else None
    if guided is None:
        return {"status": failed("this picture is no longer kept; draw it again")}
    paths = [str(studio.store.path(one)) for one in (plain or guided, guided)]
    recipe = guided.recipe
    told = {
        "method": recipe.method,
        "seed": recipe.seed,
        "cost": guided.cost,
        "time": f"{guided.seconds:.1f} s",
        "unguided": f"{plain.cost}, {plain.seconds:.1f} s" if plain else "",
        "updates left out": sum(step["skipped"] for step in guided.steps),
        "beyond the text encoder": ", ".join(guided.dropped),
    }
    return {
        "slider": tuple(paths),
        "sides": True,
        "facts": facts(told),
        "save": paths[1],
        "regions": {"picture": guided.preview, "found": dict(guided.regions), "aspect": _aspect(studio.store.path(guided))},
        "maps": maps_value(plain, guided),
        "loss": loss_curve(guided.steps, recipe.steps or 1),
        "python": as_python(recipe, device=studio.device, extra=studio.samplers[0].more_arguments()),
        "command": as_command(recipe, device=studio.device),
    }


def maps_value(plain: Drawn | None, guided: Drawn) -> dict[str, Any]:
    """Return the value of the component that shows attention maps."""
    titled = [("unguided", plain), (guided.recipe.method, guided)]
    return {
        "pictures": [
            {"title": title, "key": one.key, "picture": one.preview, "maps": one.maps}
            for title, one in titled
            if one is not None
        ],
        "empty": "This picture was drawn without attention maps. Switch them on under “More”, and draw it again.",
    }


def _aspect(path: Any) -> list[int]:
    with Image.open(path) as image:
        return [image.width, image.height]


def captioned(studio: Studio, pairs: Sequence[Pair], *, methods: bool) -> list[tuple[str, str]]:
    """Return (path, caption) of pictures for a gallery."""
    found = [studio.store.get(pair.guided) for pair in pairs]
    return [
        (
            str(studio.store.path(one)),
            f"{one.recipe.method}, seed {one.recipe.seed}: {one.forwards:.0f} forwards, {one.seconds:.1f} s"
            if methods
            else f"seed {one.recipe.seed}",
        )
        for one in found
        if one is not None
    ]
