"""The registry of methods, and what is true of every method in it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

import unbleed
from unbleed.emoji import WEIGHTS
from unbleed.errors import MethodError
from unbleed.guidance import BaseMethod, Method, Refinement, Schedule
from unbleed.losses import BindingLoss, ExciteLoss, OverlapLoss, SelfCrossLoss, StrayLoss
from unbleed.methods import (
    METHODS,
    AttendAndExcite,
    NoGuidance,
    OverlapIoU,
    PaperMethod,
    StructureDiffusion,
    SynGen,
    method_from,
    names_in,
)
from unbleed.model_settings import method_for

every_method = pytest.mark.parametrize("name", METHODS)


def changed(kind: type[PaperMethod]) -> PaperMethod:
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
def test_every_method_has_parts(name: str) -> None:
    for method in (METHODS[name](), changed(METHODS[name])):
        parts = method.parts()
        assert parts.name == name
        assert (parts.parity, parts.resolution) == (method.parity, method.resolution)
        acts = parts.loss or parts.edits or parts.noise
        assert bool(acts) == (name != "none")
        assert parts.loss or not parts.schedule.refine


@every_method
def test_every_method_names_its_source(name: str) -> None:
    kind = METHODS[name]
    text = sys.modules[kind.__module__].__doc__ or ""
    numbers = re.findall(r"arXiv (\d{4}\.\d{5})", text)
    assert kind.paper
    if name == "none":
        return
    assert 2021 <= kind.year <= 2030
    if name == "regions":  # this project's own
        assert kind.paper.startswith("This project")
    elif numbers:
        assert f"arXiv {numbers[0]}" in kind.paper
    else:  # no preprint is known
        assert name in ("syngen-entropy", "ela", "suppress", "best-of-n")
    assert kind.reconstruction == ("RECONSTRUCTION" in text)


@every_method
def test_every_setting_tells_its_source(name: str) -> None:
    rows = METHODS[name]().describe()
    assert [row.name for row in rows] == [field.name for field in fields(METHODS[name])]
    assert all(row.source and row.value == row.default for row in rows)
    other = {row.name for row in changed(METHODS[name]).describe() if row.value != row.default}
    words = {
        "resolution",
        "layers",
        "direction",
        "limit",
        "enough",
        "kept",
        "sign",
        "form",
        "distance",
        "mode",
        "update",
        "first_block",
        "score",
        "negative",
    }  # not changed above
    assert other == {field.name for field in fields(METHODS[name])} - words


def test_some_settings_can_be_changed() -> None:
    method = method_from("attend-and-excite", {"step_size": 10.0, "thresholds": {"0.1": 0.4}})
    assert method == AttendAndExcite(step_size=10.0, thresholds={0.1: 0.4})


@pytest.mark.parametrize(
    ("label", "folder", "step_size"),
    [("syngen", WEIGHTS, 13.0), ("syngen@paper", WEIGHTS, 20.0), ("syngen:step_size=3", WEIGHTS, 3), ("syngen", None, 20.0)],
)
def test_a_label_means_for_a_pipeline_what_its_folder_says(label: str, folder: Any, step_size: float) -> None:
    pipe = SimpleNamespace(name_or_path=folder and str(folder), unet=nn.Identity())
    assert method_for(pipe, label).settings()["step_size"] == step_size
    assert method_for(pipe, SynGen()) == SynGen()


def test_a_method_is_taken_as_it_is() -> None:
    method = SynGen(step_size=3.0)
    assert method_from(method) is method


def test_a_bare_loss_becomes_a_method() -> None:
    loss = ExciteLoss() + 0.5 * BindingLoss()
    method = method_from(loss)
    assert method == Method(loss)
    assert method.parts().loss is loss
    assert method.parts().schedule == Schedule()
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
        (
            "@@@",
            "known: parity, resolution, layers, direction, limit, enough, update, step_size, stop, include_entities, floor",
        ),
    ],
)
def test_an_unknown_setting_is_told_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(MethodError) as raised:
        method_from("syngen", {given: 1})
    assert str(raised.value) == f'syngen has no setting "{given}"; {hint}'


def test_attend_and_excite_has_the_settings_of_its_authors() -> None:
    parts = AttendAndExcite().parts()
    schedule = parts.schedule
    assert [i for i in range(50) if schedule.guides(i, 50)] == list(range(25))
    found = {i: refinement for i in range(50) if (refinement := schedule.refinement_at(i, 50))}
    assert {i: refinement.target for i, refinement in found.items()} == pytest.approx({0: 0.95, 10: 0.5, 20: 0.2})
    assert {refinement.most for refinement in found.values()} == {20}
    assert (schedule.step_size, schedule.final_scale) == (20.0, 0.5)
    assert parts.loss == ExciteLoss(kept="auto", sigma=0.5, pieces="sum")
    assert AttendAndExcite(parity="paper").parts().loss == ExciteLoss(kept="auto", sigma=0.5, pieces="last")


def test_syngen_has_the_settings_of_its_authors() -> None:
    parts = SynGen().parts()
    assert parts.schedule == Schedule(start=0.0, stop=0.5, step_size=20.0, final_scale=1.0, refine={})
    assert parts.loss == BindingLoss(include_entities=False, floor=1e-8)
    assert SynGen(parity="paper").parts().loss == BindingLoss(include_entities=False, floor=0.0)


def test_no_guidance_has_no_loss() -> None:
    assert NoGuidance().parts().loss is None


# ---------------------------------------------------------------------------------------------------- compositions


def test_a_sum_in_words_is_the_sum_of_objects() -> None:
    named = method_from("syngen + 0.5*overlap-iou", {"step_size": 10.0, "overlap-iou.floor": 1e-6})
    assert named == SynGen(step_size=10.0) + 0.5 * OverlapIoU(floor=1e-6)
    assert named.name == "syngen + 0.5*overlap-iou"
    assert names_in("syngen+0.5 * overlap-iou") == ["syngen", "overlap-iou"]
    parts = named.parts()
    assert parts.loss == BindingLoss() + 0.5 * OverlapLoss("iou", floor=1e-6)
    assert parts.schedule == SynGen(step_size=10.0).parts().schedule


def test_a_sum_survives_json() -> None:
    method = method_from("syngen + 0.5*overlap-iou + structure-diffusion", {"step_size": 10.0, "overlap-iou.floor": 1e-6})
    assert method_from(method.name, json.loads(json.dumps(method.settings()))) == method
    assert len(method.parts().edits) == 1


def test_the_leader_is_the_first_with_a_loss() -> None:
    method: BaseMethod = StructureDiffusion() + OverlapIoU(step_size=7.0, parity="paper")
    assert method.parts().schedule.step_size == 7.0
    assert method.parts().parity == "paper"


def test_refinement_adds_up() -> None:
    both = (method_from("initno") + OverlapIoU()).parts()
    assert both.loss == method_from("initno").parts().loss + OverlapLoss("iou")  # type: ignore[operator]
    assert both.refinement == method_from("initno").parts().refinement + OverlapLoss("iou")  # type: ignore[operator]
    assert both.noise == method_from("initno").parts().noise
    assert both.schedule.refine[0.2] == Refinement({"excite": 0.2, "conflict": 0.3}, 20)


@pytest.mark.parametrize(
    ("text", "target"),
    [("0.5*initno + overlap-iou", {"excite": 0.1, "conflict": 0.15}), ("2*attend-and-excite + overlap-iou", 1.0)],
)
def test_targets_have_the_weight_of_their_loss(text: str, target: Any) -> None:
    assert method_from(text).parts().schedule.refine[0.2].target == pytest.approx(target)


def test_divide_and_bind_refines_until_the_variation_is_there() -> None:
    parts = method_from("divide-and-bind").parts()
    assert [refinement.target for refinement in parts.schedule.refine.values()] == [
        {"variation": -0.05},
        {"variation": -0.2},
        {"variation": -0.3},
    ]


def test_self_cross_looks_for_the_noise_by_its_own_loss() -> None:
    noise = method_from("self-cross").parts().noise
    assert noise is not None
    assert noise.targets == {"excite": 0.2, "self-cross": 0.3}
    assert noise.loss == ExciteLoss(places=16) + StrayLoss() + SelfCrossLoss(places=16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("syngen + 0.5*overlap", "did you mean overlap-"),
        ("syngen + x*overlap-iou", '"x" is not a weight'),
        ("syngen + ", "lacks the name of a method"),
        ("syngen + syngen", "names a method twice"),
        ("0.5*structure-diffusion", "has no loss, so the weight 0.5 has no effect"),
        ("initno + self-cross", "search for the first noise"),
    ],
)
def test_impossible_sums_are_refused(text: str, message: str) -> None:
    with pytest.raises(MethodError, match=re.escape(message)):
        method_from(text)


def test_a_setting_of_another_method_is_refused() -> None:
    with pytest.raises(MethodError, match="is not a setting of syngen"):
        method_from("syngen + overlap-iou", {"ela.tau": 0.3})
