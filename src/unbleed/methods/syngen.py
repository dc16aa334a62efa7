"""SynGen: Linguistic Binding in Diffusion Models.

Rassin, Hirsch, Glickman, Ravfogel, Goldberg, Chechik, NeurIPS 2023, arXiv 2306.08877. The loss is in
`unbleed.losses.binding`; one gradient step per denoising step, no refinement.

Where the defaults come from (the authors' code): `step_size=20`, constant; `stop=0.5`, steps 0 to 24 of 50;
`include_entities=False`, so an entity without modifiers has no term of its own.

Ours, not the paper's: the parser; a floor of 1e-8 under the maps, without which a place that underflows makes the
divergence infinite; batches (in the authors' code all images but the last keep their latents, and the first prompt's
words are kept for all later prompts); noise levels are counted, not calls; the forward sees the latents as the scheduler
scales them. `parity="paper"` removes the floor, counts calls and scales nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..losses.binding import BindingLoss


@dataclass(frozen=True, kw_only=True)
class SynGen(Method):
    """Bind modifiers to their nouns and keep them from the rest. Settings: see the module."""

    name: ClassVar[str] = "syngen"
    paper: ClassVar[str] = "Rassin et al., NeurIPS 2023, arXiv 2306.08877"
    year: ClassVar[int] = 2023

    step_size: float = 20.0
    stop: float = 0.5
    include_entities: bool = False
    floor: float = 1e-8

    @property
    def loss(self) -> BindingLoss:
        return BindingLoss(include_entities=self.include_entities, floor=0.0 if self.parity == "paper" else self.floor)

    @property
    def schedule(self) -> Schedule:
        return Schedule(stop=self.stop, step_size=self.step_size)
