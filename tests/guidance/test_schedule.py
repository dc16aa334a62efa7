"""Schedules: the windows of the papers at any number of steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unbleed.errors import MethodError
from unbleed.guidance.schedule import Refinement, Schedule

TARGETS = {0.0: 0.95, 0.2: 0.5, 0.4: 0.2}
PAPER = Schedule(stop=0.5, step_size=20.0, final_scale=0.5, refine={at: Refinement(loss) for at, loss in TARGETS.items()})


def guided(schedule: Schedule, steps: int) -> list[int]:
    return [index for index in range(steps) if schedule.guides(index, steps)]


def targets(schedule: Schedule, steps: int) -> dict[int, object]:
    return {i: found.target for i in range(steps) if (found := schedule.refinement_at(i, steps))}


@pytest.mark.parametrize(
    ("steps", "window", "refined"),
    [
        (50, 25, {0: 0.95, 10: 0.5, 20: 0.2}),
        (25, 13, {0: 0.95, 5: 0.5, 10: 0.2}),
        (30, 15, {0: 0.95, 6: 0.5, 12: 0.2}),
        (7, 4, {0: 0.95, 2: 0.5, 3: 0.2}),
        (2, 1, {0: 0.95, 1: 0.2}),  # 0.5 and 0.2 fall together
        (1, 1, {0: 0.95}),
    ],
)
def test_the_papers_windows(steps: int, window: int, refined: dict[int, float]) -> None:
    assert guided(PAPER, steps) == list(range(window))
    assert targets(PAPER, steps) == refined


@pytest.mark.parametrize("steps", [50, 25, 30, 7, 2])
def test_step_sizes_are_those_of_numpy(steps: int) -> None:
    sizes = [PAPER.step_size_at(index, steps) for index in range(steps)]
    np.testing.assert_allclose(sizes, 20 * np.sqrt(np.linspace(1, 0.5, steps)), rtol=1e-12)


def test_a_run_of_one_step_has_the_first_step_size() -> None:
    assert PAPER.step_size_at(0, 1) == 20


def test_the_default_step_size_is_constant() -> None:
    assert {Schedule().step_size_at(index, 50) for index in range(50)} == {20.0}


def test_rounding_moves_no_window() -> None:
    for steps in range(1, 101):
        for index in range(steps):
            share = index / steps
            assert guided(Schedule(stop=share), steps) == list(range(index))
            assert targets(Schedule(refine={share: Refinement(0.5)}), steps) == {index: 0.5}


@pytest.mark.parametrize("steps", [50, 25, 30, 7, 2, 1])
def test_two_windows_that_meet_cover_each_step_once(steps: int) -> None:
    for share in (0.0, 0.1, 0.3, 1 / 3, 0.5, 0.7, 1.0):
        first, second = Schedule(stop=share), Schedule(start=share, stop=1.0)
        assert guided(first, steps) + guided(second, steps) == list(range(steps))


def test_a_window_of_all_and_one_of_none() -> None:
    assert guided(Schedule(stop=1.0), 7) == list(range(7))
    assert guided(Schedule(stop=0.0), 7) == []
    assert targets(Schedule(), 7) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": -0.1}, "start is -0.1; expected a fraction of the run, from 0 to 1"),
        ({"stop": 25}, "stop is 25; expected a fraction of the run, from 0 to 1"),
        ({"stop": math.nan}, "stop is nan; expected a fraction of the run, from 0 to 1"),
        (
            {"refine": {0.0: Refinement(0.95), 10: Refinement(0.5)}},
            "refine at 10 is 10; expected a fraction of the run, from 0 to 1",
        ),
        ({"step_size": math.inf}, "step_size is inf; expected a number from 0 on"),
        ({"step_size": math.nan}, "step_size is nan; expected a number from 0 on"),
        ({"final_scale": -1}, "final_scale is -1; expected a number from 0 on"),
    ],
)
def test_impossible_schedules_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(MethodError) as raised:
        Schedule(**settings)  # type: ignore[arg-type]
    assert str(raised.value) == message
