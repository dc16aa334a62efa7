"""SynGen: Linguistic Binding in Diffusion Models.

Rassin, Hirsch, Glickman, Ravfogel, Goldberg, Chechik, NeurIPS 2023, arXiv 2306.08877. The loss is in
`unbleed.losses.binding`. One gradient step per denoising step, no refinement.

Ours, not the paper's: the parser; a floor of 1e-8 under the maps, without which a pixel that underflows makes the divergence
infinite; batches (in the authors' code all images but the last keep their latents, and the words of the first prompt are used
for all later prompts); noise levels are counted instead of calls; the guidance sees the latents as the scheduler scales them.
`parity="paper"` removes the floor, counts calls and scales nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..losses.binding import BindingLoss
from ..settings import NotNegative, setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class SynGen(PaperMethod):
    """Bind modifiers to their nouns and keep them away from other words.

    Rassin et al., NeurIPS 2023, arXiv 2306.08877.

    >>> from unbleed.methods import SynGen
    >>> SynGen(include_entities=True).parts().loss
    BindingLoss(include_entities=True, floor=1e-08)
    """

    name: ClassVar[str] = "syngen"
    paper: ClassVar[str] = "Rassin et al., NeurIPS 2023, arXiv 2306.08877"
    year: ClassVar[int] = 2023

    step_size: float = setting(20.0, "authors' code, constant", help="step size of the update of the latents")
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50", help="fraction of the run that is guided")
    include_entities: bool = setting(
        False,
        "authors' code: an entity without modifiers has no term of its own",
        help="give entities without modifiers the negative term",
    )
    floor: NotNegative = setting(
        BindingLoss.floor, "ours: keeps the divergence finite", help="added to each map before it is made a distribution"
    )

    def _parts(self) -> Method:
        floor = 0.0 if self.parity == "paper" else self.floor
        return Method(self.make(BindingLoss, floor=floor), self.make(Schedule))
