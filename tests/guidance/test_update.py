"""The update of the latents against a transcription of one image's steps in the code of Attend-and-Excite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from unbleed.errors import MethodError
from unbleed.guidance.schedule import Refinement
from unbleed.guidance.update import Descent, Direction, Evaluation, update

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


def test_refinement_can_follow_a_loss_of_its_own() -> None:
    """The regular update follows the regular loss, measured once where refinement has ended; as in InitNO."""
    regular, other = Toy(), Toy()

    def half(values: Tensor, rows: Sequence[int]) -> Evaluation:
        found = other(values, rows)
        return Evaluation(found.loss / 2, {"half": found.loss / 2}, found.gradient / 2)

    outcome = update(start(), regular, step_size=STEP, refinement=Refinement(0.3, 100), refine_by=half)
    assert regular.calls == [[0, 1, 2, 3]]
    alone = update(start(), half, step_size=STEP, refinement=Refinement(0.3, 100))
    assert outcome.refinements == alone.refinements
    assert len(set(outcome.refinements)) > 2
    for image, steepness in enumerate(STEEPNESS):
        # of the refinement alone: its last update is undone by solving it for where it began
        refined = (alone.latents[image] - STEP * steepness / 4 * GOAL) / (1 - STEP * steepness / 4)
        loss, gradient = loss_and_gradient(refined, steepness)
        torch.testing.assert_close(outcome.latents[image], refined - STEP * gradient)
        assert outcome.losses[image][-1] == pytest.approx(float(loss))
        assert set(outcome.terms[image]) == {"near", "far"}


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


# ------------------------------------------------------------------------------------------------------------ descent


def slow_move(gradient: Tensor, step_size: float, direction: str, limit: float | None) -> Tensor:
    """What one image's latents change by, with sums over single numbers."""
    numbers = gradient.double().flatten().tolist()

    def size(values: list[float]) -> float:
        largest = max(abs(value) for value in values)
        return largest * math.sqrt(sum((value / largest) ** 2 for value in values) / len(values)) if largest else 0.0

    if direction == "unit":
        numbers = [value / size(numbers) if size(numbers) else 0.0 for value in numbers]
    numbers = [step_size * value for value in numbers]
    if limit is not None and size(numbers) > limit:
        numbers = [value * limit / size(numbers) for value in numbers]
    return torch.tensor(numbers, dtype=torch.float64).reshape(gradient.shape)


def slopes(dtype: torch.dtype) -> Tensor:
    """Gradients of all sizes that a loss can have: usual, nothing, one value alone, vanishing and very large."""
    usual = torch.randn(7, *GOAL.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    usual[1] = 0
    usual[2] = 0
    usual[2, 1, 0, 3] = -0.3
    scale = torch.tensor([1.0, 1.0, 1.0, 1e-24, 1e-30, 1e25, 1e-6], dtype=torch.float64)
    return (usual * scale[:, None, None, None]).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limit", [None, 0.05, 10.0])
@pytest.mark.parametrize("direction", ["plain", "unit"])
def test_a_move_is_what_it_is_said_to_be(direction: Direction, limit: float | None, dtype: torch.dtype) -> None:
    gradient = slopes(dtype)
    moved = Descent(direction, limit).move(gradient, 0.7)
    assert moved.dtype == dtype
    for own, change in zip(gradient, moved, strict=True):
        torch.testing.assert_close(change.double(), slow_move(own, 0.7, direction, limit), atol=0, rtol=1e-5)
        assert torch.equal(Descent(direction, limit).move(own[None], 0.7)[0], change)  # images do not touch each other
    sizes = moved.double().square().mean(dim=(1, 2, 3)).sqrt()
    if direction == "unit":
        expected = torch.full_like(sizes, 0.7 if limit is None else min(limit, 0.7))
        expected[1] = 0  # a gradient of nothing leads nowhere
        torch.testing.assert_close(sizes, expected, atol=0, rtol=1e-5)
    if limit is not None:
        assert (sizes <= limit * (1 + 1e-5)).all()


def test_a_limit_that_is_not_reached_changes_no_bit() -> None:
    gradient = slopes(torch.float32)[[0, 1, 2, 6]]
    assert torch.equal(Descent("plain", 10.0).move(gradient, 0.7), 0.7 * gradient)
    assert torch.equal(Descent().move(gradient, 0.7), 0.7 * gradient)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_limits_that_make_no_sense_are_refused(limit: float) -> None:
    with pytest.raises(MethodError, match=r"limit is .*; expected a number above 0, or none"):
        Descent(limit=limit)


@pytest.mark.parametrize("descent", [Descent("unit"), Descent("plain", 0.03), Descent("unit", 0.03)], ids=str)
def test_every_update_of_a_step_follows_the_descent(descent: Descent) -> None:
    """Refinements too: the places that are evaluated are the transcription's."""
    places: dict[int, list[Tensor]] = {}
    toy = Toy()

    def evaluate(latents: Tensor, rows: Sequence[int]) -> Evaluation:
        for latent, row in zip(latents, rows, strict=True):
            places.setdefault(row, []).append(latent.clone())
        return toy(latents, rows)

    outcome = update(start(), evaluate, step_size=STEP, descent=descent, refinement=Refinement(0.0, 3))
    assert outcome.refinements == [3, 3, 3, 3]
    for image, latent in enumerate(start()):
        for expected in [*places[image], outcome.latents[image]]:
            torch.testing.assert_close(latent, expected)
            gradient = loss_and_gradient(latent, STEEPNESS[image])[1]
            latent = latent - slow_move(gradient, STEP, descent.direction, descent.limit)


# ---------------------------------------------------------------------------------------------------- targets of parts


@pytest.mark.parametrize(
    "targets", [{"near": 0.1, "far": 0.6}, {"near": 0.3, "far": 0.1}, {"far": 0.3}, {"near": 5.0}, {}], ids=str
)
def test_an_image_is_refined_until_all_parts_are_at_their_targets(targets: dict[str, float]) -> None:
    """The parts are a quarter and three quarters of the loss, so targets of parts are one of the loss."""
    whole = min([4 * targets.get("near", math.inf), 4 / 3 * targets.get("far", math.inf)])
    outcome = update(start(), Toy(), step_size=STEP, refinement=Refinement(targets, 30))
    expected = update(start(), Toy(), step_size=STEP, refinement=Refinement(whole, 30))
    assert torch.equal(outcome.latents, expected.latents)
    assert outcome.losses == expected.losses
    assert outcome.refinements == expected.refinements
    for image, terms in enumerate(outcome.terms):
        if outcome.refinements[image] < 30:
            assert all(terms[name] <= most for name, most in targets.items())
    if set(targets) == {"near", "far"}:
        assert len(set(outcome.refinements)) > 2  # or the comparison above would show little


def test_a_target_for_a_part_that_the_loss_does_not_have_is_refused() -> None:
    with pytest.raises(MethodError, match='target for "fra", but the parts of the loss are near, far'):
        update(start(), Toy(), step_size=STEP, refinement=Refinement({"near": 9.0, "fra": 0.1}, 30))


def test_an_image_whose_loss_is_low_enough_is_left_alone() -> None:
    latents, toy = start(), Toy()
    outcome = update(latents, toy, step_size=STEP, descent=Descent(enough=0.5), refinement=Refinement(0.3))
    met = [losses[0] <= 0.5 for losses in outcome.losses]
    assert outcome.met == met
    assert 0 < sum(met) < 4
    usual = update(latents, Toy(), step_size=STEP, refinement=Refinement(0.3))
    for image in range(4):
        expected = latents if met[image] else usual.latents
        assert torch.equal(outcome.latents[image], expected[image])
        assert not (met[image] and outcome.refinements[image])
    with pytest.raises(MethodError, match="enough is nan; expected a loss, or none"):
        Descent(enough=float("nan"))
