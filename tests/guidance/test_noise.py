"""The search for a better first noise: against a transcription with one number at a time, and on a tiny pipeline."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from torch import Tensor

import unbleed
from helpers.engine import CURVE, PROMPTS, draw, guided, noise
from unbleed.guidance import Method, NoiseSearch
from unbleed.guidance.noise import _Normal, fresh_noise, search_noise
from unbleed.guidance.update import Evaluation

SHAPE = (2, 3, 4)
GOAL = torch.linspace(-1, 1, math.prod(SHAPE), dtype=torch.float64).reshape(SHAPE)
STEEPNESS = (1.0, 0.3, 3.0)
LOSS = unbleed.losses.ExciteLoss()  # a search has one, though `search_noise` knows nothing of it
SEARCH = NoiseSearch(LOSS, targets={"near": 0.2, "far": 0.3}, rounds=3, steps=4, last_steps=6, rate=0.02)
EASY, HARD = {"near": 10.0}, {"near": 0.0}


def toy_loss(value: Tensor, steepness: float) -> tuple[float, dict[str, float], Tensor]:
    """Loss, its parts and its gradient; steeper for some images, and not the same slope everywhere."""
    away = value - GOAL
    # sums that are the same wherever the numbers lie in memory
    near, far = (steepness * math.fsum(half.square().flatten().tolist()) / away.numel() for half in away)
    return near + far, {"near": near, "far": far}, 2 * steepness * away / away.numel()


class Toy:
    """A quadratic loss for each image, and a note of where each was evaluated."""

    def __init__(self, spoil: Callable[[int, int], tuple[float, float]] | None = None) -> None:
        self.places: dict[int, list[Tensor]] = {}
        self.spoil = spoil or (lambda row, time: (0.0, 0.0))  # added to the loss and to one value of the gradient

    def __call__(self, values: Tensor, rows: Sequence[int]) -> Evaluation:
        assert len(values) == len(rows)
        losses, terms, gradients = [], {"near": [], "far": []}, []
        for value, row in zip(values, rows, strict=True):
            noted = self.places.setdefault(row, [])
            noted.append(value.clone())
            loss, parts, gradient = toy_loss(value, STEEPNESS[row])
            more_loss, more_slope = self.spoil(row, len(noted))
            gradient[0, 0, 0] += more_slope
            losses.append(loss + more_loss)
            gradients.append(gradient)
            for name, part in parts.items():
                terms[name].append(part)
        parts = {name: torch.tensor(values, dtype=torch.float64) for name, values in terms.items()}
        return Evaluation(torch.tensor(losses, dtype=torch.float64), parts, torch.stack(gradients))


def start(images: int = 3) -> Tensor:
    return torch.randn(images, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class SlowNormal:
    """mu and log sigma^2 of one image as lists of numbers, with Adam as in its paper."""

    def __init__(self, own: Tensor) -> None:
        self.own = own.flatten().tolist()
        self.mu, self.log = [0.0] * len(self.own), [0.0] * len(self.own)
        self.moments = [[0.0, 0.0, 0.0, 0.0] for _ in self.own]  # first and second, of mu and of log sigma^2
        self.count = 0

    def value(self) -> Tensor:
        values = [m + math.sqrt(math.exp(v)) * z for m, v, z in zip(self.mu, self.log, self.own, strict=True)]
        return torch.tensor(values, dtype=torch.float64).reshape(SHAPE)

    def divergence(self) -> float:
        each = [(m * m + math.exp(v) - 1 - v) / 2 for m, v in zip(self.mu, self.log, strict=True)]
        return sum(each) / len(each)

    def step(self, gradient: Tensor, rate: float, limit: float) -> None:
        self.count += 1
        for at, slope in enumerate(gradient.flatten().tolist()):
            # the value is mu + exp(log / 2) z
            slopes = (slope, slope * self.own[at] * math.exp(self.log[at] / 2) / 2)
            for which, (by, place) in enumerate(zip(slopes, (self.mu, self.log), strict=True)):
                moments = self.moments[at]
                moments[2 * which] = 0.9 * moments[2 * which] + 0.1 * by
                moments[2 * which + 1] = 0.999 * moments[2 * which + 1] + 0.001 * by * by
                mean = moments[2 * which] / (1 - 0.9**self.count)
                square = moments[2 * which + 1] / (1 - 0.999**self.count)
                place[at] -= rate * mean / (math.sqrt(square) + 1e-3)
        while self.divergence() > limit:
            scale = 0.99 * math.sqrt(limit / self.divergence())
            self.mu, self.log = [scale * m for m in self.mu], [scale * v for v in self.log]


def slow_search(own: Tensor, steepness: float, search: NoiseSearch) -> tuple[Tensor, list[float], int, bool]:
    """One image: the noise that is taken, the losses of all evaluations, rounds begun, and whether targets were reached."""
    losses: list[float] = []
    best_loss, best_value, best_normal = math.inf, own, SlowNormal(own)

    def descend(normal: SlowNormal, steps: int) -> bool:
        nonlocal best_loss, best_value, best_normal
        for _ in range(steps):
            value = normal.value()
            loss, terms, gradient = toy_loss(value, steepness)
            losses.append(loss)
            done = bool(search.targets) and all(terms[name] <= most for name, most in search.targets.items())
            if loss < best_loss or done:
                best_loss, best_value, best_normal = loss, value, normal
            if done:
                return True
            normal.step(gradient, search.rate, search.divergence)
        return False

    for number in range(search.rounds):
        if descend(SlowNormal(own if number == 0 else fresh_noise(own, number)), search.steps):
            return best_value, losses, number + 1, True
    done = descend(best_normal, search.last_steps)
    return best_value, losses, search.rounds, done


SEARCHES = {
    "some-reach": SEARCH,
    "own-noise": replace(SEARCH, rounds=1),
    "fast": replace(SEARCH, rate=0.5),
    "tight": replace(SEARCH, divergence=1e-5),
    "loose": replace(SEARCH, divergence=10.0, rate=0.05),
    "no-targets": replace(SEARCH, targets={}),
    "no-last-steps": replace(SEARCH, last_steps=0, targets=HARD),
    "second-round": replace(SEARCH, targets={"near": 1.4}),
    "at-once": replace(SEARCH, targets=EASY),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_each_image_goes_the_way_written_down(search: NoiseSearch) -> None:
    taken, outcomes = search_noise(start(), Toy(), search)
    for image, (own, steepness) in enumerate(zip(start(), STEEPNESS, strict=True)):
        value, losses, rounds, reached = slow_search(own, steepness, search)
        torch.testing.assert_close(taken[image], value, atol=1e-12, rtol=1e-9)
        assert outcomes[image].losses == pytest.approx(losses)
        assert (outcomes[image].rounds, outcomes[image].reached) == (rounds, reached)
        assert outcomes[image].terms == pytest.approx(toy_loss(value, steepness)[1])


def test_the_searches_above_end_in_every_way() -> None:
    ends = {name: [outcome.reached for outcome in search_noise(start(), Toy(), s)[1]] for name, s in SEARCHES.items()}
    assert set(ends["loose"]) == {True, False}  # or the comparison above would show little
    assert not any(ends["no-targets"] + ends["no-last-steps"])
    assert all(ends["at-once"])
    rounds = {outcome.rounds for s in SEARCHES.values() for outcome in search_noise(start(), Toy(), s)[1]}
    assert rounds == {1, 2, 3}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_a_batch_is_its_images_one_by_one(search: NoiseSearch) -> None:
    together, outcomes = search_noise(start(), Toy(), search)
    for image in range(3):

        def alone(values: Tensor, rows: Sequence[int], image: int = image) -> Evaluation:
            found = [toy_loss(value, STEEPNESS[image]) for value in values]
            terms = {name: torch.tensor([f[1][name] for f in found], dtype=torch.float64) for name in found[0][1]}
            losses = torch.tensor([f[0] for f in found], dtype=torch.float64)
            return Evaluation(losses, terms, torch.stack([f[2] for f in found]))

        taken, (outcome,) = search_noise(start()[image : image + 1], alone, search)
        assert torch.equal(taken[0], together[image])
        assert outcome.terms == outcomes[image].terms
        assert outcome.rounds == outcomes[image].rounds
        assert outcome.losses == outcomes[image].losses


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limit", [1e-6, 1e-3, 0.1])
def test_no_step_leaves_the_limit_of_divergence(monkeypatch: pytest.MonkeyPatch, limit: float, dtype: torch.dtype) -> None:
    found: list[float] = []
    descend = _Normal.descend

    def noted(self: _Normal, *args: Any) -> None:
        descend(self, *args)
        mu, log = self.parameters.double()
        normal = torch.distributions.Normal
        apart = torch.distributions.kl_divergence(normal(mu, (log / 2).exp()), normal(0.0, 1.0))
        found.append(float(apart.mean()))

    def evaluate(values: Tensor, rows: Sequence[int]) -> Evaluation:
        return toy(values.double(), rows)

    toy = Toy()
    monkeypatch.setattr(_Normal, "descend", noted)
    search_noise(start().to(dtype), evaluate, replace(SEARCH, targets=HARD, rate=0.3, divergence=limit))
    assert len(found) == 3 * (3 * 4 + 6)
    assert max(found) <= limit * 1.001
    assert max(found) > 0.9 * limit  # a search that stays far inside would be held back for nothing


def test_the_last_steps_go_on_with_the_best_round() -> None:
    toy = Toy()
    _, outcomes = search_noise(start(), toy, replace(SEARCH, targets=HARD))
    for image, outcome in enumerate(outcomes):
        rounds = [outcome.losses[4 * k : 4 * k + 4] for k in range(3)]
        best = min(range(3), key=lambda k: min(rounds[k]))
        before, after = toy.places[image][4 * best + 3], toy.places[image][12]
        assert (after - before).abs().max() < 0.1  # one step on, not another noise
        assert outcome.losses[12] < rounds[best][0]
        others = [toy.places[image][4 * k + 3] for k in range(3) if k != best]
        assert all((after - other).abs().max() > 1 for other in others)


def test_the_best_noise_of_all_is_taken_and_not_the_last() -> None:
    """Where a step is too long, the loss rises again; what is taken is the least of all that was seen."""
    toy = Toy()
    taken, outcomes = search_noise(start(), toy, replace(SEARCH, targets={}, rate=5.0, divergence=100.0))
    for image, outcome in enumerate(outcomes):
        least = min(range(len(outcome.losses)), key=outcome.losses.__getitem__)
        assert least < len(outcome.losses) - 1
        torch.testing.assert_close(taken[image], toy.places[image][least], atol=0, rtol=0)


def test_one_round_keeps_to_the_own_noise() -> None:
    toy = Toy()
    taken, outcomes = search_noise(start(), toy, replace(SEARCH, rounds=1, targets=HARD))
    for image, own in enumerate(start()):
        assert torch.equal(toy.places[image][0], own)
        assert all((place - own).abs().max() < 0.3 for place in toy.places[image])
        assert not torch.equal(taken[image], own)
        assert outcomes[image].rounds == 1


def test_an_image_that_has_reached_its_targets_is_left_alone() -> None:
    """It is not looked at again, and what it has is taken though other noise of it had a smaller loss."""
    search = SEARCHES["second-round"]
    toy = Toy(lambda row, time: (100.0 if time > 4 else 0.0, 0.0))  # a worse loss, with the same parts
    taken, outcomes = search_noise(start(), toy, search)
    assert [outcome.reached for outcome in outcomes] == [True] * 3
    assert [outcome.rounds for outcome in outcomes] == [1, 1, 2]
    for image, places in toy.places.items():
        assert torch.equal(taken[image], places[-1])
        assert len(places) == len(outcomes[image].losses)
        assert outcomes[image].terms["near"] <= 1.4
    assert outcomes[2].losses[-1] > 100 > min(outcomes[2].losses)


def test_fresh_noise_is_a_function_of_the_own_noise_and_the_round() -> None:
    own = start()
    made = {(image, number): fresh_noise(own[image], number) for image in range(3) for number in (1, 2, 100)}
    for (image, number), fresh in made.items():
        assert torch.equal(fresh, fresh_noise(own[image].clone(), number))
        assert fresh.dtype == own.dtype
        assert fresh.shape == SHAPE
        others = [own[image], *(other for key, other in made.items() if key != (image, number))]
        assert all((fresh - other).abs().max() > 0.5 for other in others)
    large = fresh_noise(torch.zeros(4, 64, 64), 1)
    assert abs(float(large.mean())) < 0.03
    assert float(large.std()) == pytest.approx(1, abs=0.03)
    state = torch.random.get_rng_state()
    search_noise(own, Toy(), SEARCH)
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody else's noise changes


def test_rounds_begin_at_fresh_noise() -> None:
    toy = Toy()
    search_noise(start(), toy, replace(SEARCH, targets=HARD))
    for image, own in enumerate(start()):
        begun = toy.places[image][0:12:4]
        for place, expected in zip(begun, [own, fresh_noise(own, 1), fresh_noise(own, 2)], strict=True):
            assert torch.equal(place, expected)


@pytest.mark.parametrize("when", [1, 3, 6, 14], ids=["at-first", "later", "second-round", "last-steps"])
@pytest.mark.parametrize("what", ["nan-loss", "inf-loss", "nan-gradient", "inf-gradient"])
def test_an_image_that_is_not_finite_keeps_its_own_noise(what: str, when: int) -> None:
    bad = float(what.split("-")[0])

    def spoil(row: int, time: int) -> tuple[float, float]:
        wrong = bad if (row, time) == (1, when) else 0.0
        return (wrong, 0.0) if what.endswith("loss") else (0.0, wrong)

    search = replace(SEARCH, targets=HARD)
    taken, outcomes = search_noise(start(), Toy(spoil), search)
    clean, others = search_noise(start(), Toy(), search)
    assert torch.equal(taken[1], start()[1])
    assert torch.equal(taken[[0, 2]], clean[[0, 2]])
    assert len(outcomes[1].losses) == when  # it is not measured again
    assert not outcomes[1].reached
    assert outcomes[1].terms == {}
    assert [outcomes[0], outcomes[2]] == [others[0], others[2]]


def test_a_target_for_a_part_that_the_loss_does_not_have_is_refused() -> None:
    with pytest.raises(unbleed.MethodError, match='target for "fra", but the parts of the loss are near, far'):
        search_noise(start(), Toy(), replace(SEARCH, targets={"fra": 0.1}))


@pytest.mark.parametrize(
    "settings",
    [{"rounds": 0}, {"rounds": 101}, {"steps": 0}, {"last_steps": -1}, {"rate": 0.0}, {"divergence": 0.0}],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(unbleed.MethodError, match=r"of a noise search; expected|expected 1 to 100"):
        NoiseSearch(LOSS, **settings)


# --------------------------------------------------------------------------------------------------- on a pipeline


def searching(**settings: Any) -> Method:
    """Noise search alone, without guidance behind it."""
    return Method(noise=NoiseSearch(LOSS, **{"rounds": 1, "steps": 3, "last_steps": 0, "rate": 1e-3} | settings))


@pytest.mark.parametrize("kind", ["ddim", "euler"])
def test_the_run_begins_with_the_noise_that_was_found(tiny_sd: StableDiffusionPipeline, kind: str) -> None:
    own_scheduler = tiny_sd.scheduler
    if kind == "euler":
        tiny_sd.scheduler = EulerDiscreteScheduler(**CURVE)
    try:
        with unbleed.guide(tiny_sd, searching()) as run:
            found = draw(tiny_sd, PROMPTS[:2], noise(2), num_inference_steps=3)
        assert not run.steps
        assert [(first.call, first.image) for first in run.noises] == [(0, 0), (0, 1)]
        sigma = float(tiny_sd.scheduler.init_noise_sigma)
        assert (sigma > 2) == (kind == "euler")
        used = torch.stack([first.used for first in run.noises])
        for first, given in zip(run.noises, noise(2), strict=True):
            if kind == "ddim":
                assert torch.equal(first.own, given)
            torch.testing.assert_close(first.own, given, atol=1e-6, rtol=1e-6)
            assert 1e-4 < (first.used - first.own).abs().max() < 0.1
            assert first.outcome.rounds == 1
            assert len(first.outcome.losses) == 3
            assert first.outcome.losses[-1] == min(first.outcome.losses) < first.outcome.losses[0]
        plain = draw(tiny_sd, PROMPTS[:2], used, num_inference_steps=3)
        assert (found - plain).abs().max() < 1e-5 * plain.abs().max()
        assert (found - draw(tiny_sd, PROMPTS[:2], noise(2), num_inference_steps=3)).abs().max() > 1e-2
    finally:
        tiny_sd.scheduler = own_scheduler


def test_the_losses_of_the_search_are_those_of_the_first_step(tiny_sd: StableDiffusionPipeline) -> None:
    """At a pipeline's own noise the loss is what guidance measures there, with the scheduler's scaling too."""
    own_scheduler = tiny_sd.scheduler
    for scheduler in (own_scheduler, EulerDiscreteScheduler(**CURVE)):
        tiny_sd.scheduler = scheduler
        try:
            with unbleed.guide(tiny_sd, searching(steps=1)) as run:
                draw(tiny_sd, PROMPTS[0], noise(), num_inference_steps=2)
            with unbleed.guide(tiny_sd, LOSS) as plain:
                draw(tiny_sd, PROMPTS[0], noise(), num_inference_steps=2)
        finally:
            tiny_sd.scheduler = own_scheduler
        assert run.noises[0].outcome.losses[0] == pytest.approx(plain.steps[0].loss, abs=1e-6)


def test_the_gradient_of_the_search_is_the_slope_by_the_noise(
    tiny_sd: StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of unit variance, which is not that of the latents of every scheduler: against differences of the loss."""
    slopes: list[tuple[float, float]] = []

    def watched(value: Tensor, evaluate: Any, search: NoiseSearch) -> Any:
        gradient = evaluate(value, [0]).gradient
        along = gradient / gradient.norm()
        ahead, behind = (float(evaluate(value + step * along, [0]).loss) for step in (2e-3, -2e-3))
        slopes.append((float(gradient.norm()), (ahead - behind) / 4e-3))
        return search_noise(value, evaluate, search)

    module = sys.modules["unbleed.guidance.first_noise"]
    monkeypatch.setattr(module, "search_noise", watched)
    own_scheduler = tiny_sd.scheduler
    tiny_sd.scheduler = EulerDiscreteScheduler(**CURVE)
    try:
        guided(tiny_sd, searching(), PROMPTS[0], noise(), num_inference_steps=1)
    finally:
        tiny_sd.scheduler = own_scheduler
    ((gradient, difference),) = slopes
    assert gradient == pytest.approx(difference, rel=0.02)


def test_guidance_follows_from_the_noise_that_was_found(tiny_sd: StableDiffusionPipeline) -> None:
    method = unbleed.methods.InitNO(rounds=2, noise_steps=2, last_noise_steps=1, max_refinements=0)
    with unbleed.guide(tiny_sd, method) as run:
        found = draw(tiny_sd, PROMPTS[0], noise(), num_inference_steps=4)
    (first,) = run.noises
    assert torch.equal(first.own, noise()[0])
    assert first.outcome.rounds == 2
    assert set(first.outcome.terms) == {"excite", "conflict", "stray"}
    without = replace(method.parts(), noise=None)
    plain = guided(tiny_sd, without, PROMPTS[0], first.used[None], num_inference_steps=4)
    assert (found - plain).abs().max() < 1e-4 * plain.abs().max()
    with unbleed.guide(tiny_sd, method) as again:
        assert torch.equal(draw(tiny_sd, PROMPTS[0], noise(), num_inference_steps=4), found)
    assert torch.equal(again.noises[0].used, first.used)


def test_images_without_entities_keep_their_noise(tiny_sd: StableDiffusionPipeline) -> None:
    with pytest.warns(unbleed.UnbleedWarning, match="runs unguided"), unbleed.guide(tiny_sd, searching()) as run:
        together = draw(tiny_sd, ["and", PROMPTS[0]], noise(2), num_inference_steps=2)
    assert [first.image for first in run.noises] == [1]
    plain = draw(tiny_sd, "and", noise(2)[:1], num_inference_steps=2)
    assert (together[:1] - plain).abs().max() < 1e-4 * plain.abs().max()
    assert torch.equal(run.noises[0].own, noise(2)[1])


def test_a_run_that_begins_in_the_middle_is_refused(tiny_sd: StableDiffusionPipeline) -> None:
    pipe = StableDiffusionImg2ImgPipeline(**tiny_sd.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))

    def run_it(strength: float) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        options: dict[str, Any] = {"num_inference_steps": 4, "generator": generator, "output_type": "latent"}
        return pipe(PROMPTS[0], image=image, strength=strength, **options).images

    before = run_it(0.5)
    with pytest.raises(unbleed.ModelError, match=r"begins in the middle.*without noise search"), unbleed.guide(pipe, "initno"):
        run_it(0.5)
    assert torch.equal(run_it(0.5), before)
    with unbleed.guide(pipe, searching()) as run:
        run_it(1.0)
    assert len(run.noises) == 1
