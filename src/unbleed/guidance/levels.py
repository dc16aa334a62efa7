"""The noise levels of a run, and which calls of the denoiser are guided."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import ModelError

_TOLERANCE = 0.005  # relative rounding error of a timestep in bfloat16


class NoiseLevel(NamedTuple):
    """One noise level of a run.

    Args:
        index: Position in the run, from 0.
        steps: Number of levels in the run.
        asked: The number of steps that fractions of the run refer to. It equals `steps`, except with `parity="paper"`, where
            PNDM makes one call more than the steps that were asked for.
        timestep: In the scheduler's own units.
    """

    index: int
    steps: int
    asked: int
    timestep: float


def inner_calls(scheduler: Any, calls: int) -> set[int]:
    """Return the calls of a run, from 0, that evaluate the denoiser inside a step; the scheduler discards their sample.

    Heun, KDPM2 and DPM-SDE evaluate twice in every step but the last. PNDM begins with three Runge-Kutta steps of four
    evaluations each, or, where these are skipped, evaluates its first step twice.
    """
    if hasattr(scheduler, "state_in_first_order"):
        return set(range(1, calls, 2))
    if hasattr(scheduler, "prk_timesteps"):
        return {call for call in range(min(len(scheduler.prk_timesteps), calls)) if call % 4} or {1}
    return set()


class Levels:
    """The noise levels that a run goes through. Each is guided once, at the call whose sample the scheduler keeps.

    Image-to-image begins in the middle of the scheduler's list. Some families scale or round the timestep that the denoiser
    gets, so levels are counted by the scheduler's steps, and the timestep is read once, for the first level.
    """

    def __init__(self, scheduler: Any, time: float, *, paper: bool) -> None:
        """`time` is the timestep of the first call; with `paper` every call counts, as in the papers' codes."""
        self.scheduler, self.paper = scheduler, paper
        levels = scheduler.timesteps.tolist()
        first = getattr(scheduler, "begin_index", None)
        if first is None:
            first = min(range(len(levels)), key=lambda at: abs(levels[at] - time))
        self.from_noise = first == 0
        self.timesteps: list[float] = levels[first:]  # per call of the denoiser
        inner = set() if paper else inner_calls(scheduler, len(self.timesteps))
        self.calls = [call for call in range(len(self.timesteps)) if call not in inner]  # the call of each level
        self.literal = self._close(0, time)  # the denoiser gets the scheduler's own timesteps

    def turn(self, done: int) -> NoiseLevel | None:
        """Return the level after `done` steps of the scheduler; None if this call is not guided."""
        if done not in self.calls:
            return None
        steps = len(self.calls)
        asked = self.scheduler.num_inference_steps if self.paper else steps
        return NoiseLevel(self.calls.index(done), steps, asked, self.timesteps[done])

    def check(self, done: int, time: float) -> None:
        """Raise `ModelError` if the denoiser gets another timestep than that after `done` steps of the scheduler."""
        if self.literal and not self._close(done, time):
            raise ModelError(
                f"step {done} of the run should be at timestep {self.timesteps[done]:g}, but the denoiser was called at "
                f"{time:g}: the pipeline does not go through the scheduler's timesteps once, as panoramas do not, so guidance "
                "cannot follow it; take a pipeline that does"
            )

    def _close(self, done: int, time: float) -> bool:
        return abs(self.timesteps[done] - time) <= _TOLERANCE * abs(time) + _TOLERANCE
