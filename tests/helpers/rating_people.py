"""Simulated studies of people whose preferences are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist

import numpy as np

from unbleed.rating.answers import Answer, Choice, Rater
from unbleed.rating.study import Catch, Pair, Study
from unbleed.rating.trials import trials_of

NAMES = ("none", "syngen", "a-star", "initno")


@dataclass(frozen=True)
class People:
    """Preferences: the first method is as good as 0, and an image is preferred by how much better it seems.

    How much that is varies with the prompt, the rater and the answer, each normally; less than `margin` is a tie.
    """

    better: tuple[float, ...] = (0.4,)  # of the other methods, than the first
    prompt_sd: float = 0.5
    rater_sd: float = 0.3
    margin: float = 0.3
    left_bias: float = 0.0
    careless: float = 0.0  # the fraction of answers given without looking

    def win_rate(self, first: int = 0, second: int = 1) -> float:
        """Return the win rate of a method against another, over all prompts and raters there could be."""
        by = (0.0, *self.better)[second] - (0.0, *self.better)[first]
        spread = math.sqrt(1 + self.prompt_sd**2 + self.rater_sd**2)
        phi = NormalDist().cdf
        return (phi((by - self.margin) / spread) + phi((by + self.margin) / spread)) / 2


def made_up_study(prompts: int, seeds: int = 1, methods: int = 2, pairs_per_rater: int | None = None, seed: int = 0) -> Study:
    """Return a study without images."""
    pairs = tuple(
        Pair(prompt, f"prompt {prompt}", image, both, ("0" * 32, "1" * 32))
        for prompt in range(prompts)
        for image in range(seeds)
        for both in combinations(range(methods), 2)
    )
    return Study(
        title="made up",
        question="Which picture looks better?",
        methods=NAMES[:methods],
        pairs=pairs,
        catches=tuple(Catch(f"prompt {number}", ("0" * 32, "2" * 32)) for number in range(3)),
        pairs_per_rater=pairs_per_rater or len(pairs),
        repeats=min(4, pairs_per_rater or len(pairs)),
        break_every=40,
        max_raters=1000,
        seed=seed,
        identical=0,
        created="2026-01-01T00:00:00+00:00",
    )


def rated(study: Study, people: People, raters: int, seed: int) -> list[Rater]:
    """Return people who answered every trial of a study."""
    rng = np.random.default_rng(seed)
    good, methods = np.array([0.0, *people.better]), len(study.methods)
    cases = 1 + max(pair.case for pair in study.pairs)
    of_prompt = rng.normal(0, people.prompt_sd / math.sqrt(2), (cases, methods))
    of_rater = rng.normal(0, people.rater_sd / math.sqrt(2), (raters, methods))
    found = []
    for number in range(raters):
        rater = Rater(number, f"{number:032x}", trials_of(study, number))
        for place, trial in enumerate(rater.trials):
            if trial.kind == "catch":
                second = -10.0
            else:
                pair = study.pairs[trial.index]
                seems = good + of_prompt[pair.case] + of_rater[number]
                second = seems[pair.methods[1]] - seems[pair.methods[0]] + rng.normal()
            left = (second if trial.left == 1 else -second) + people.left_bias
            said: Choice = "left" if left > people.margin else "right" if left < -people.margin else "tie"
            if rng.random() < people.careless:
                said = ("left", "right", "tie", "bad")[rng.integers(4)]
            rater.answers[place] = Answer(place, 1, said, 2.0)
            rater.moments[place] = f"2026-01-01T{place // 60:02}:{place % 60:02}:00.000+00:00"
        found.append(rater)
    return found


def coverage(people: People, prompts: int, raters: int, studies: int, *, seeds: int = 1, pairs: int | None = None) -> float:
    """Return the fraction of simulated studies whose interval holds the win rate."""
    from unbleed.rating.summary import build

    study, truth, held = made_up_study(prompts, seeds, pairs_per_rater=pairs), people.win_rate(), 0
    for number in range(studies):
        one = replace(study, seed=number)
        (found,) = build(one, rated(one, people, raters, number)).comparisons
        held += found.low is not None and found.high is not None and found.low <= truth <= found.high
    return held / studies


def coverage_of_strengths(people: People, prompts: int, raters: int, studies: int) -> float:
    """Return the fraction of simulated studies' intervals of strengths, of all methods together, that hold the true ones.

    The true strengths are those that fit the true win rates best.
    """
    from unbleed.rating.statistics import strengths
    from unbleed.rating.summary import build

    methods, held = 1 + len(people.better), 0
    both = list(combinations(range(methods), 2))
    rates = np.array([people.win_rate(*pair) for pair in both])
    against, method = np.array(both).T
    truth, _ = strengths(rates, method, against, methods)
    study = made_up_study(prompts, methods=methods)
    for number in range(studies):
        one = replace(study, seed=number)
        for found, true in zip(build(one, rated(one, people, raters, number)).strengths, truth, strict=True):
            held += found.low is not None and found.high is not None and found.low <= true <= found.high
    return held / studies / methods
