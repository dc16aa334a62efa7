"""Which noise level of a run is being denoised, and whether it is its turn to be guided."""

from __future__ import annotations

from typing import Any, NamedTuple


class Place(NamedTuple):
    """Of a noise level in its run. `asked` is what shares of the run refer to.

    It is the length of the run but for the papers' way of counting: PNDM runs one call more than the steps that were asked for.
    """

    index: int
    steps: int  # length of the run
    asked: int
    timestep: float


class Levels:
    """The noise levels that a run walks through, one per step of the scheduler.

    Guidance happens once per level. PNDM runs its second level twice, and the scheduler throws the second sample away; the
    inner evaluations of Heun and its kin are thrown away too. Image-to-image begins in the middle of the scheduler's levels.
    What a denoiser is told of the level is scaled and rounded in some families, so it is looked at once, for the first.
    """

    def __init__(self, scheduler: Any, time: float, *, paper: bool) -> None:
        """`time` is the first level, as the denoiser is told; `paper`: every call counts, as in the papers' codes."""
        self.scheduler, self.paper = scheduler, paper
        levels = scheduler.timesteps.tolist()
        first = getattr(scheduler, "begin_index", None)
        if first is None:
            first = min(range(len(levels)), key=lambda at: abs(levels[at] - time))
        self.from_noise = first == 0
        self.walked: list[float] = levels[first:]
        self.guided: list[float] = []

    def turn(self, done: int) -> Place | None:
        """Return the place of the level behind `done` steps of the scheduler, None where it is not its turn to be guided."""
        level = self.walked[min(done, len(self.walked) - 1)]
        inner = not getattr(self.scheduler, "state_in_first_order", True)
        if not self.paper and (inner or level in self.guided):
            return None
        self.guided.append(level)
        steps = len(self.walked if self.paper else set(self.walked))
        return Place(len(self.guided) - 1, steps, self.scheduler.num_inference_steps if self.paper else steps, level)
