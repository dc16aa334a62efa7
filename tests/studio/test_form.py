"""The values of the page, checked, and recipes made of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch

from unbleed.errors import MethodError, PromptError, StudioError, UnbleedError
from unbleed.model_settings import method_of
from unbleed.regions.masks import as_data
from unbleed.studio.form import (
    FIELDS,
    Form,
    House,
    changed_settings,
    describe,
    form_of,
    labels,
    page_values,
    read_form,
    recipes_of,
)
from unbleed.studio.limits import Limits

LIMITS = Limits()
PROMPT = "a red cat and a blue bench"


def form(**values: Any) -> Form:
    return read_form({"prompt": PROMPT, **values}, LIMITS)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prompt": 5}, "prompt is 5; expected a text"),
        ({"prompt": "x" * 2001}, "the prompt has 2001 characters; expected at most 2000"),
        ({"negative_prompt": "x" * 2001}, "the negative prompt has 2001 characters; expected at most 2000"),
        ({"steps": 151}, "steps is 151; expected 1 to 150"),
        ({"steps": 2.5}, "steps is 2.5; expected a whole number"),
        ({"steps": True}, "steps is true; expected a whole number"),
        ({"seeds": 5}, "seeds is 5; expected 1 to 4"),
        ({"seed": -1}, "seed is -1; expected 0 to"),
        ({"seed": 2**63 - 1}, f"seed is {2**63 - 1}; expected 0 to"),
        ({"width": 4096}, "width is 4096; expected 64 to 2048"),
        ({"regions": ["left"]}, "regions is"),
        ({"regions": {"cat": "x" * 70_000}}, "the regions are too large"),
        ({"settings": {"a": "x" * 30_000}}, "the method and its settings are too long"),
        ({"guidance_scale": float("nan")}, "guidance_scale is NaN; expected a finite number"),
        ({"model": "/etc"}, "model is unknown; known: prompt"),
    ],
)
def test_values_out_of_bounds_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(StudioError) as error:
        form(**values)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"method": "no-such-method"}, MethodError),
        ({"settings": {"no_such_setting": 1}}, MethodError),
        ({"settings": {"step_size": "large"}}, MethodError),
        ({"width": 130}, PromptError),
        ({"regions": {"dog": "left"}}, PromptError),
        ({"regions": {"red cat": "/etc/passwd.png"}}, PromptError),
        ({"regions": {"red cat": "0.5,0.5,0.1,0.1"}}, PromptError),
        ({"method": "syngen", "regions": {"red cat": "left"}}, MethodError),
        ({"entities": "dog"}, PromptError),
        ({"prompt": " "}, PromptError),
    ],
)
def test_what_cannot_be_drawn_is_refused(values: dict[str, Any], kind: type[UnbleedError]) -> None:
    with pytest.raises(kind):
        recipes_of(form(**values), House())


def test_an_empty_size_is_the_models_own() -> None:
    assert (form(width=0, height=None).width, form(width=0, height=None).height) == (None, None)


def test_seeds_are_counted_upwards() -> None:
    assert [recipe.seed for recipe in recipes_of(form(seed=7, seeds=4), House())] == [7, 8, 9, 10]


def test_the_form_of_a_recipe_makes_it_again() -> None:
    mask = torch.zeros(64, 64)
    mask[:, :20] = 1
    made = form(
        seed=3, steps=12, guidance_scale=2, method="regions:step_size=3", settings={"candidates": 2}, entities="cat; bench",
        regions={"cat": as_data(mask), "bench": "0.5,0.2,1,1"}, width=128, height=64, negative_prompt=" dogs ",
    )  # fmt: skip
    (recipe,) = recipes_of(made, House(dtype="float32"))
    assert recipes_of(read_form(asdict(form_of(recipe)), LIMITS), House(dtype="float32")) == [recipe]
    assert changed_settings(recipe) == {"step_size": 3, "candidates": 2}


def test_a_mask_is_held_in_one_bit_a_pixel() -> None:
    import base64
    import io

    from PIL import Image

    from unbleed.regions.masks import mask_data

    stream = io.BytesIO()
    picture = Image.new("RGB", (256, 256))
    picture.paste((255, 255, 255), (0, 0, 100, 256))
    picture.save(stream, "PNG")
    text = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    (recipe,) = recipes_of(form(regions={"red cat": text}), House())
    assert recipe.regions["red cat"] != text
    assert torch.equal(mask_data(recipe.regions["red cat"]), mask_data(text))


@pytest.mark.parametrize("label", ["syngen", "syngen + 0.5*overlap-iou", "syngen@paper"])
def test_settings_are_described_with_this_models_defaults(label: str) -> None:
    rows = describe(label, "emoji")
    assert {row["name"]: row["default"] for row in rows} == method_of(label, "emoji").settings()
    assert all(row["help"] for row in rows)


def test_every_method_is_offered_once() -> None:
    assert labels()[0] == "regions"
    assert sorted(labels()) == sorted(set(labels()))
    assert "none" in labels()


def test_values_of_the_page_by_name() -> None:
    raw: list[Any] = [None] * len(FIELDS)
    raw[0], raw[1], raw[3], raw[11] = "a cat", {"entities": "cat"}, {"changes": {"limit": 1}}, {}
    values = page_values(raw)
    assert (values["prompt"], values["entities"], values["settings"], values["regions"]) == ("a cat", "cat", {"limit": 1}, {})
    for bad in (raw[:-1], [*raw, 1], ["a cat", "cat", *raw[2:]]):
        with pytest.raises(StudioError):
            page_values(bad)
