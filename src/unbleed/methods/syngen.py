"""SynGen: Linguistic Binding in Diffusion Models.

Rassin, Hirsch, Glickman, Ravfogel, Goldberg, Chechik, NeurIPS 2023, arXiv 2306.08877. The loss is in
`unbleed.losses.binding`; one gradient step per denoising step, no refinement.

Ours, not the paper's: the parser; a floor of 1e-8 under the maps, without which a place that underflows makes the
divergence infinite; batches (in the authors' code all images but the last keep their latents, and the first prompt's
words are kept for all later prompts); noise levels are counted, not calls; the forward sees the latents as the scheduler
scales them. `parity="paper"` removes the floor, counts calls and scales nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method, PaperMethod, setting
from ..guidance.schedule import Schedule
from ..losses.binding import BindingLoss
from ..settings import NotNegative


@dataclass(frozen=True, kw_only=True)
class SynGen(PaperMethod):
    """Bind modifiers to their nouns and keep them from the rest."""

    name: ClassVar[str] = "syngen"
    paper: ClassVar[str] = "Rassin et al., NeurIPS 2023, arXiv 2306.08877"
    year: ClassVar[int] = 2023

    step_size: float = setting(20.0, "authors' code, constant")
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50")
    include_entities: bool = setting(False, "authors' code: an entity without modifiers has no term of its own")
    floor: NotNegative = setting(1e-8, "ours: keeps the divergence finite")

    def _parts(self) -> Method:
        return Method(
            loss=BindingLoss(include_entities=self.include_entities, floor=0.0 if self.parity == "paper" else self.floor),
            schedule=Schedule(stop=self.stop, step_size=self.step_size),
        )
