"""The update of the latents against a transcription of one image's steps in the code of Attend-and-Excite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from unbleed.guidance.schedule import Refinement
from unbleed.guidance.update import Evaluation, update

STEP = 0.1
GOAL = torch.linspace(-1, 1, 2 * 3 * 4, dtype=torch.float64).reshape(2, 3, 4)
STEEPNESS = (1.0, 0.3, 3.0, 1.0)  # of each image's loss, so that each needs its own number of refinements


def loss_and_gradient(latent: Tensor, steepness: float) -> tuple[Tensor, Tensor]:
    away = latent - GOAL.to(latent.dtype)
    return steepness * away.pow(2).mean() / 2, steepness * away / 2


class Toy:
    """A quadratic loss for each image, and a note of the rows that each evaluation was asked for."""

    def __init__(self, spoil: Callable[[int, int], tuple[float, float]] | None = None) -> None:
        self.calls: list[list[int]] = []
        self.seen: dict[int, int] = {}
        self.spoil = spoil or (lambda row, time: (0.0, 0.0))  # added to the loss and to one value of the gradient

    def __call__(self, latents: Tensor, rows: Sequence[int]) -> Evaluation:
        assert len(latents) == len(rows)
        self.calls.append(list(rows))
        losses, gradients = [], []
        for latent, row in zip(latents, rows, strict=True):
            loss, gradient = loss_and_gradient(latent, STEEPNESS[row])
            time = self.seen[row] = self.seen.get(row, 0) + 1
            more_loss, more_gradient = self.spoil(row, time)
            gradient[0, 0, 0] += more_gradient
            losses.append(loss + more_loss)
            gradients.append(gradient)
        loss = torch.stack(losses)
        return Evaluation(loss, {"near": loss / 4, "far": 3 * loss / 4}, torch.stack(gradients))


def start(images: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    """Latents of which the last are where the loss is lowest."""
    noise = torch.randn(images, *GOAL.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    latents = GOAL + 2 * noise
    latents[-1] = GOAL + 0.01 * noise[-1]
    return latents.to(dtype)


def transcribed(latent: Tensor, steepness: float, target: float | None, most: int) -> tuple[Tensor, list[float]]:
    """Return one image's latents after a step of Attend-and-Excite, and every loss that was measured on the way.

    The authors measure the first position twice; it is noted once.
    """
    loss, gradient = loss_and_gradient(latent, steepness)
    losses = [float(loss)]
    if target is not None and loss > target:
        for iteration in range(most):
            loss, gradient = loss_and_gradient(latent, steepness)
            if iteration > 0:
                losses.append(float(loss))
            latent = latent - STEP * gradient
            if loss <= target:
                break
        loss, gradient = loss_and_gradient(latent, steepness)
        if most > 0:
            losses.append(float(loss))
    return latent - STEP * gradient, losses


@pytest.mark.parametrize("most", [20, 3, 1, 0])
@pytest.mark.parametrize("target", [None, 3.0, 1.0, 0.3, 0.0])
def test_each_image_goes_the_way_of_the_authors(target: float | None, most: int) -> None:
    latents = start()
    outcome = update(latents, Toy(), step_size=STEP, refinement=None if target is None else Refinement(target, most))
    for image, steepness in enumerate(STEEPNESS):
        expected, losses = transcribed(latents[image], steepness, target, most)
        assert torch.equal(outcome.latents[image], expected)
        assert outcome.losses[image] == losses
        assert outcome.refinements[image] == len(losses) - 1
    assert outcome.skipped == [False] * 4


def test_images_need_refinements_of_their_own() -> None:
    outcome = update(start(), Toy(), step_size=STEP, refinement=Refinement(0.4))
    assert len(set(outcome.refinements)) == 4  # or the comparison above would show little
    assert outcome.refinements[3] == 0


def test_the_update_that_was_good_enough_is_still_made() -> None:
    latents = start()[:1]
    outcome = update(latents, Toy(), step_size=STEP, refinement=Refinement(1.0))
    reached = next(i for i, loss in enumerate(outcome.losses[0]) if loss <= 1.0)
    assert outcome.refinements == [reached + 1]


def test_images_that_are_done_are_not_measured_again() -> None:
    toy = Toy()
    outcome = update(start(), toy, step_size=STEP, refinement=Refinement(1.0))
    assert toy.calls[0] == [0, 1, 2, 3]
    for image in range(4):
        assert sum(image in rows for rows in toy.calls[1:]) == outcome.refinements[image]
    assert all(later and set(later) <= set(earlier) for earlier, later in pairwise(toy.calls))


def test_no_refinements_means_one_plain_step() -> None:
    latents = start()
    toy = Toy()
    refined = update(latents, toy, step_size=STEP, refinement=Refinement(0.0, 0))
    assert toy.calls == [[0, 1, 2, 3]]
    assert refined.refinements == [0] * 4
    assert torch.equal(refined.latents, update(latents, Toy(), step_size=STEP).latents)


def test_the_given_latents_stay_as_they_are() -> None:
    latents = start()
    kept = latents.clone()
    update(latents, Toy(), step_size=STEP, refinement=Refinement(0.3))
    assert torch.equal(latents, kept)


def test_the_last_evaluation_is_what_is_reported() -> None:
    latents = start()
    outcome = update(latents, Toy(), step_size=STEP, refinement=Refinement(1.0))
    for image in range(4):
        last = outcome.losses[image][-1]
        assert outcome.terms[image] == pytest.approx({"near": last / 4, "far": 3 * last / 4})
        # the regular step goes along the last gradient: undone, it leads to where that was measured
        measured = (outcome.latents[image] - STEEPNESS[image] * STEP / 2 * GOAL) / (1 - STEEPNESS[image] * STEP / 2)
        gradient = loss_and_gradient(measured, STEEPNESS[image])[1]
        assert outcome.gradient_norms[image] == pytest.approx(float(gradient.norm()))


@pytest.mark.parametrize("when", [1, 2, 4], ids=["at-first", "in-refinement", "later"])
@pytest.mark.parametrize("what", ["nan-loss", "inf-loss", "nan-gradient", "inf-gradient"])
def test_an_image_that_is_not_finite_keeps_its_latents(what: str, when: int) -> None:
    bad = float(what.split("-")[0])

    def spoil(row: int, time: int) -> tuple[float, float]:
        wrong = bad if (row, time) == (0, when) else 0.0
        return (wrong, 0.0) if what.endswith("loss") else (0.0, wrong)

    latents = start()
    outcome = update(latents, Toy(spoil), step_size=STEP, refinement=Refinement(0.3))
    clean = update(latents, Toy(), step_size=STEP, refinement=Refinement(0.3))
    assert outcome.skipped == [True, False, False, False]
    assert torch.equal(outcome.latents[0], latents[0])
    assert torch.equal(outcome.latents[1:], clean.latents[1:])
    assert not torch.equal(outcome.latents[1:], latents[1:])
    assert len(outcome.losses[0]) == when  # it is not measured again
    assert outcome.refinements == [when - 1, *clean.refinements[1:]]


def test_a_batch_of_which_nothing_is_finite_stays_where_it_is() -> None:
    latents = start()
    outcome = update(latents, Toy(lambda row, time: (float("nan"), 0.0)), step_size=STEP, refinement=Refinement(0.3))
    assert outcome.skipped == [True] * 4
    assert torch.equal(outcome.latents, latents)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_latents_keep_their_precision(dtype: torch.dtype) -> None:
    def evaluate(latents: Tensor, rows: Sequence[int]) -> Evaluation:  # the gradient may be more precise
        return Toy()(latents.float(), rows)

    outcome = update(start(dtype=dtype), evaluate, step_size=STEP, refinement=Refinement(1.0))
    assert outcome.latents.dtype == dtype
    assert outcome.latents.isfinite().all()
    assert outcome.skipped == [False] * 4
