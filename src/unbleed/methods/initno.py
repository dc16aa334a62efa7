"""InitNO: Boosting Text-to-Image Diffusion Models via Initial Noise Optimization.

Guo, Liu, Cui, Li, Yang, Huang, CVPR 2024, arXiv 2404.04650. The first noise is changed until every entity is attended to
and no two share what their places attend to (`unbleed.guidance.noise`, `unbleed.losses.self_attention`); then the latents
are guided as in Attend-and-Excite, with a fuller loss where they are refined.

Ours, not the paper's: the seed's own noise is the start, and what became of it is in `Run.noises`; the authors' alignment
with a running average of the maps (weight 0.1 in refinement) is left out; the tokenizer's padding decides which tokens the
softmax keeps, as in Attend-and-Excite, where the authors keep all on any model; see `unbleed.guidance.noise` for the fresh
noise of later rounds and the end of the search. `rounds=1` keeps to the seed's noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..guidance.method import Method, setting
from ..guidance.noise import NoiseSearch
from ..guidance.schedule import Refinement, Schedule
from ..losses import Loss
from ..losses.excite import ExciteLoss
from ..losses.self_attention import ConflictLoss, StrayLoss
from .attend_and_excite import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class InitNO(RenormalisingMethod):
    """Look for a first noise in which every entity has its place, then raise the most neglected."""

    name: ClassVar[str] = "initno"
    paper: ClassVar[str] = "Guo et al., CVPR 2024, arXiv 2404.04650"
    year: ClassVar[int] = 2024
    shared: ClassVar[str] = "conflict"  # the part of the loss that is of self-attention

    rounds: int = setting(5, "authors' code: searches, all but the first from fresh noise, until one succeeds")
    noise_steps: int = setting(10, "authors' code: steps of a round")
    last_noise_steps: int = setting(50, "authors' code: more steps for the best round, if none succeeded")
    noise_rate: float = setting(0.01, "authors' code: of Adam")
    response_target: float = setting(0.2, "authors' code: the most neglected entity's 1 - peak")
    conflict_target: float = setting(0.3, "authors' code: shared self-attention")
    step_size: float = setting(20.0, "authors' code; at step i times sqrt(linspace(1, final_scale)[i])")
    final_scale: float = setting(0.5, "authors' code")
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50")
    refine_at: float = setting(0.2, "authors' code: step 10 of 50; and again at twice that share")
    max_refinements: int = setting(20, "authors' code")

    @property
    def reading(self) -> dict[str, Any]:
        return {"kept": self.kept, "temperature": self.temperature, "sigma": self.sigma}

    def _losses(self) -> tuple[Loss, Loss, Loss]:
        """Return what a step, the refinement, and the search for the first noise lower."""
        response, stray = ExciteLoss(**self.reading), StrayLoss(**self.reading)
        refined = response + 0.1 * stray + ConflictLoss(gate=1.0, **self.reading)
        return response, refined, response + ConflictLoss(**self.reading) + stray

    def _parts(self) -> Method:
        loss, refined, searched = self._losses()
        targets = {"excite": self.response_target, self.shared: self.conflict_target}
        # where a step's loss is the refinement's too, the whole of it is to come down to the target, as in Self-Cross's code
        refinement = Refinement(targets if refined is not loss else self.response_target, self.max_refinements)
        return Method(
            loss=loss,
            refinement=refined if refined is not loss else None,
            schedule=Schedule(
                stop=self.stop,
                step_size=self.step_size,
                final_scale=self.final_scale,
                refine={self.refine_at: refinement, 2 * self.refine_at: refinement},
            ),
            noise=NoiseSearch(
                loss=searched,
                targets=targets,
                rounds=self.rounds,
                steps=self.noise_steps,
                last_steps=self.last_noise_steps,
                rate=self.noise_rate,
            ),
        )
