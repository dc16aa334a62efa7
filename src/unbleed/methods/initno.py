"""InitNO: Boosting Text-to-Image Diffusion Models via Initial Noise Optimization.

Guo, Liu, Cui, Li, Yang, Huang, CVPR 2024, arXiv 2404.04650. The first noise is changed until every entity is attended to and no
two entities share what their pixels attend to (`unbleed.guidance.noise`, `unbleed.losses.self_attention`). Then the latents are
guided as in Attend-and-Excite, with a fuller loss where they are refined.

Ours, not the paper's: the search starts from the seed's own noise, and `Run.noises` records what became of it; the authors'
alignment with a running average of the maps (weight 0.1 in refinement) is left out; the tokenizer's padding decides which
tokens the softmax keeps, as in Attend-and-Excite, where the authors keep all on any model; see `unbleed.guidance.noise` for the
fresh noise of later rounds and the end of the search. `rounds=1` keeps to the seed's noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.noise import NoiseSearch
from ..guidance.schedule import Refinement, Schedule
from ..losses import Loss
from ..losses.excite import ExciteLoss
from ..losses.self_attention import ConflictLoss, StrayLoss
from ..settings import setting
from .base import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class InitNO(RenormalisingMethod):
    """Search for a first noise in which every entity has its pixels, then raise the most neglected entity.

    Guo et al., CVPR 2024, arXiv 2404.04650.

    >>> from unbleed.methods import InitNO
    >>> InitNO(rounds=1).parts().noise.targets
    {'excite': 0.2, 'conflict': 0.3}
    """

    name: ClassVar[str] = "initno"
    paper: ClassVar[str] = "Guo et al., CVPR 2024, arXiv 2404.04650"
    year: ClassVar[int] = 2024
    shared: ClassVar[str] = "conflict"  # the part of the loss that reads self-attention

    rounds: int = setting(
        5, "authors' code", help="searches, all but the first from fresh noise, until one reaches its targets"
    )
    noise_steps: int = setting(10, "authors' code", help="optimiser steps of a round")
    last_noise_steps: int = setting(50, "authors' code", help="further steps from the best round, if none reached its targets")
    noise_rate: float = setting(0.01, "authors' code", help="learning rate of Adam in the search")
    response_target: float = setting(0.2, "authors' code", help="largest 1 - peak of the most neglected entity, from 0 to 1")
    conflict_target: float = setting(0.3, "authors' code", help="largest part of the loss on self-attention")
    step_size: float = setting(
        20.0,
        "authors' code; at step i times sqrt(linspace(1, final_scale)[i])",
        help="step size of the update of the latents",
    )
    final_scale: float = setting(
        0.5, "authors' code", help="the step size falls to sqrt(final_scale) times it at the end of the run"
    )
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50", help="fraction of the run that is guided")
    refine_at: float = setting(
        0.2, "authors' code: step 10 of 50", help="fraction of the run at which latents are refined, and again at twice of it"
    )
    max_refinements: int = setting(20, "authors' code", help="largest number of updates of one refinement")

    def _losses(self) -> tuple[Loss, Loss, Loss]:
        """Return the losses of a step, of the refinement, and of the search for the first noise."""
        response, stray = self.make(ExciteLoss), self.make(StrayLoss)
        refined = response + 0.1 * stray + self.make(ConflictLoss, gate=1.0)
        return response, refined, response + self.make(ConflictLoss) + stray

    def _parts(self) -> Method:
        loss, refined, searched = self._losses()
        targets = {"excite": self.response_target, self.shared: self.conflict_target}
        # where a step and its refinement have the same loss, all of it must fall to the target, as in Self-Cross's code
        refinement = Refinement(targets if refined is not loss else self.response_target, self.max_refinements)
        return Method(
            loss=loss,
            refinement=refined if refined is not loss else None,
            schedule=self.make(Schedule, refine={self.refine_at: refinement, 2 * self.refine_at: refinement}),
            noise=self.make(
                NoiseSearch,
                loss=searched,
                targets=targets,
                steps=self.noise_steps,
                last_steps=self.last_noise_steps,
                rate=self.noise_rate,
            ),
        )
