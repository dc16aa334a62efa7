"""The registry of methods, and what is true of every method in it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest

import unbleed
from unbleed.errors import MethodError
from unbleed.guidance import Method, Schedule
from unbleed.guidance.method import LossMethod
from unbleed.losses import BindingLoss, ExciteLoss, Loss
from unbleed.methods import METHODS, AttendAndExcite, NoGuidance, SynGen, method_from

every_method = pytest.mark.parametrize("name", METHODS)


def changed(kind: type[Method]) -> Method:
    """A method of which every setting that is a number or a switch differs from its default."""
    settings: dict[str, Any] = {"parity": "paper"}
    for field in fields(kind):
        value = getattr(kind(), field.name)
        if isinstance(value, bool):
            settings[field.name] = not value
        elif isinstance(value, int | float):
            settings[field.name] = type(value)(value / 2)
        elif isinstance(value, Mapping):
            settings[field.name] = {key / 2: number / 2 for key, number in value.items()}
    return kind(**settings)


def test_the_registry_knows_methods_by_their_names() -> None:
    assert {"none", "attend-and-excite", "syngen"} <= set(METHODS)
    assert all(kind.name == name for name, kind in METHODS.items())
    assert unbleed.METHODS is METHODS


@every_method
def test_a_name_gives_the_method_with_its_defaults(name: str) -> None:
    assert method_from(name) == METHODS[name]()


@every_method
def test_settings_survive_json(name: str) -> None:
    for method in (METHODS[name](), changed(METHODS[name])):
        loaded = json.loads(json.dumps(method.settings()))
        assert method_from(name, loaded) == method
        assert set(loaded) == {field.name for field in fields(method)}


@every_method
def test_every_method_has_a_loss_and_a_schedule(name: str) -> None:
    for method in (METHODS[name](), changed(METHODS[name])):
        assert (method.loss is None) == (name == "none")
        assert method.loss is None or isinstance(method.loss, Loss)
        assert isinstance(method.schedule, Schedule)


@every_method
def test_every_method_names_its_source(name: str) -> None:
    kind = METHODS[name]
    text = sys.modules[kind.__module__].__doc__ or ""
    numbers = re.findall(r"arXiv (\d{4}\.\d{5})", text)
    assert kind.paper
    if name != "none":
        assert numbers
        assert f"arXiv {numbers[0]}" in kind.paper
        assert 2021 <= kind.year <= 2030


@every_method
def test_method_modules_have_settings_in_their_words(name: str) -> None:
    own = {field.name for field in fields(METHODS[name])} - {field.name for field in fields(Method)}
    text = sys.modules[METHODS[name].__module__].__doc__ or ""
    assert {setting for setting in own if setting not in text} <= {"max_refinements", "floor"}


def test_some_settings_can_be_changed() -> None:
    method = method_from("attend-and-excite", {"step_size": 10.0, "thresholds": {"0.1": 0.4}})
    assert method == AttendAndExcite(step_size=10.0, thresholds={0.1: 0.4})


def test_a_method_is_taken_as_it_is() -> None:
    method = SynGen(step_size=3.0)
    assert method_from(method) is method


def test_a_bare_loss_becomes_a_method() -> None:
    loss = ExciteLoss() + 0.5 * BindingLoss()
    method = method_from(loss)
    assert method == LossMethod(own_loss=loss)
    assert method.loss is loss
    assert method.schedule == Schedule()
    assert "BindingLoss" in json.loads(json.dumps(method.settings()))["loss"]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("attend-excite", "did you mean attend-and-excite?"),
        ("SynGen", "did you mean syngen?"),
        ("@@@", f"known: {', '.join(METHODS)}"),
        ("", f"known: {', '.join(METHODS)}"),
    ],
)
def test_an_unknown_method_is_told_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(MethodError) as raised:
        method_from(given)
    assert str(raised.value) == f'there is no method "{given}"; {hint}'


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("step-size", "did you mean step_size?"),
        ("flor", "did you mean floor?"),
        ("@@@", "known: parity, resolution, step_size, stop, include_entities, floor"),
    ],
)
def test_an_unknown_setting_is_told_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(MethodError) as raised:
        method_from("syngen", {given: 1})
    assert str(raised.value) == f'syngen has no setting "{given}"; {hint}'


def test_attend_and_excite_has_the_settings_of_its_authors() -> None:
    schedule = AttendAndExcite().schedule
    assert [i for i in range(50) if schedule.guides(i, 50)] == list(range(25))
    found = {i: target for i in range(50) if (target := schedule.target_at(i, 50)) is not None}
    assert found == pytest.approx({0: 0.95, 10: 0.5, 20: 0.2})
    assert (schedule.step_size, schedule.final_scale, schedule.max_refinements) == (20.0, 0.5, 20)
    assert AttendAndExcite().loss == ExciteLoss(kept="auto", sigma=0.5, pieces="sum")
    assert AttendAndExcite(parity="paper").loss == ExciteLoss(kept="auto", sigma=0.5, pieces="last")


def test_syngen_has_the_settings_of_its_authors() -> None:
    assert SynGen().schedule == Schedule(start=0.0, stop=0.5, step_size=20.0, final_scale=1.0, refine={})
    assert SynGen().loss == BindingLoss(include_entities=False, floor=1e-8)
    assert SynGen(parity="paper").loss == BindingLoss(include_entities=False, floor=0.0)


def test_no_guidance_has_no_loss() -> None:
    assert NoGuidance().loss is None
