"""best-of-n: what it looks ahead to, what it takes, and that a choice by a metric is not reported by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import unbleed
from helpers.families import PROMPTS, draw
from unbleed.bench.analysis.summary import build
from unbleed.bench.api import run_suite
from unbleed.bench.metrics import metric
from unbleed.bench.metrics.base import Metric, Score
from unbleed.bench.plan.cases import Case
from unbleed.bench.plan.variants import variants_from
from unbleed.bench.reporting.text import notes
from unbleed.bench.storage.store import Store
from unbleed.bench.suites import suite
from unbleed.errors import BenchError, MethodError, ModelError
from unbleed.guidance import first_noise
from unbleed.methods import BestOfN


@pytest.mark.parametrize("name", ["sdxl", "sd3", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sana", "z-image"))])
def test_the_steps_ahead_are_those_of_the_pipeline(
    pipes: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pipe, seen = pipes(name), []
    ahead = first_noise.ahead

    def spy(*args: Any) -> Any:
        found = ahead(*args)
        seen.append(found[0])
        return found

    monkeypatch.setattr(first_noise, "ahead", spy)
    kept: list[Tensor] = []

    def keep(pipe: Any, step: int, timestep: Any, given: dict[str, Any]) -> dict[str, Any]:
        kept.append(given["latents"].clone())
        return {}

    plain = draw(pipe, name, PROMPTS, num_inference_steps=4, callback_on_step_end=keep)
    with unbleed.guide(pipe, BestOfN(candidates=2, ahead=2)) as run:
        draw(pipe, name, PROMPTS, num_inference_steps=4)
    torch.testing.assert_close(seen[0], kept[1], atol=1e-5, rtol=1e-5)  # of the first candidate, the seed's own noise
    assert [outcome.rounds for outcome in (one.outcome for one in run.noises)] == [2, 2]
    for one in run.noises:
        own = one.outcome.losses[0] == min(one.outcome.losses)
        assert torch.equal(one.own, one.used) == own
    assert torch.equal(draw(pipe, name, PROMPTS, num_inference_steps=4), plain)  # nothing is left in the scheduler


def test_flux_can_be_chosen_at_the_noise_alone(pipes: Callable[[str], Any]) -> None:
    with unbleed.guide(pipes("flux"), BestOfN(candidates=2, ahead=0)) as run:
        draw(pipes("flux"), "flux", PROMPTS)
    assert len(run.noises) == 2
    too_far = pytest.raises(ModelError, match=r"^best-of-n looks 3 steps ahead, and this run has 3; set ahead to 2 or less")
    with too_far, unbleed.guide(pipes("sd3"), BestOfN(candidates=2, ahead=3)):
        draw(pipes("sd3"), "sd3", PROMPTS)


def test_bad_settings_are_one_line() -> None:
    with pytest.raises(MethodError, match=r"^a choice of 1 first noises; expected 2 to 100"):
        BestOfN(candidates=1)
    with pytest.raises(MethodError, match="score"):
        BestOfN(score="clip")  # type: ignore[arg-type]


def test_an_estimate_counts_the_steps_ahead(pipes: Callable[[str], Any]) -> None:
    near, far = (unbleed.estimate(pipes("sd3"), BestOfN(candidates=4, ahead=steps), steps=10) for steps in (0, 2))
    assert far.ratio - near.ratio == pytest.approx(4 * 2 * 2 / 20)


@dataclass(frozen=True)
class Bright(Metric):
    name = "bright"
    fingerprint = "bright 1"
    scores = (Score("bright", "Brightness", "mean brightness"),)
    rank = 2

    def run(self, images: Sequence[Image.Image], cases: Sequence[Case]) -> list[dict[str, Any]]:
        return [{"mean": float(np.asarray(image.convert("L")).mean()) / 255} for image in images]

    def score(self, case: Case, output: Any) -> dict[str, float]:
        return {"bright": output["mean"]}


@pytest.mark.slow
def test_what_chose_is_not_reported(tmp_path: Path) -> None:
    metrics = [metric("oracle"), Bright()]
    options: dict[str, Any] = {"model": "emoji", "seeds": 1, "steps": 2, "metrics": metrics}
    prompts, labels = suite("emoji-pairs").head(2), ["none", "best-of-3:judge=bright", "best-of-3"]
    found = run_suite(tmp_path, prompts, labels, **options)
    chosen = [row for row in found.images if row.method == labels[1]]
    assert all("bright" not in row.scores and "all_correct" in row.scores for row in chosen)
    for row in chosen:  # the brightest of the three that best-of-3 drew too
        own = row.outputs["bright"]["mean"]
        assert own >= max(other.outputs["bright"]["mean"] for other in found.images if other.case == row.case)
    report = build(Store(tmp_path).plan(), found, metrics=metrics)
    assert {(row.method, row.metric) for row in report.rows if row.metric == "bright"} == {
        ("none", "bright"),
        ("best-of-3", "bright"),
    }
    assert any("bright is not reported for it" in note for note in notes(report))
    with pytest.raises(BenchError, match=r"^best-of-3:judge=bright is chosen by bright, which is not among the metrics"):
        run_suite(tmp_path, prompts, labels, **{**options, "metrics": metrics[:1]})


def test_a_judge_is_part_of_the_variant_and_not_of_the_images() -> None:
    judged, plain = variants_from(["best-of-4:judge=clip", "best-of-4"], "emoji")
    assert (judged.draws, judged.judge, plain.judge) == (4, "clip", "")
    assert judged.settings == plain.settings
