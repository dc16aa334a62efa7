"""FOCUS: Optimal Control for Multi-Entity World Modeling in Text-to-Image Generation.

Bill, Simsar, Hofmann 2025, arXiv 2510.02315 (its first version: Optimal Control Meets Flow Matching). The tokens of an entity
are drawn to the same pixels and the entities to different ones (`unbleed.losses.focus`), by a correction of the velocity that
costs one forward and one backward a step (`unbleed.guidance.velocity`), at every step.

Ours, not the paper's: entities come from the parser, with their modifiers, where the authors name token numbers; the layers are
those that the family reads by default (the authors read all double blocks of Stable Diffusion 3.5 and FLUX.1, `layers` chooses
others); the correction lowers the loss on every model, while the authors' code for FLUX has the opposite sign; on Stable
Diffusion 3 the pipeline's own forward is used too, where the authors run one more. On models that predict no velocity, such as
Stable Diffusion 1 and XL, `update="latents"` moves the latents by the gradient of the same loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..guidance.update import Target
from ..losses.focus import FocusLoss
from ..settings import setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class Focus(PaperMethod):
    """Draw the tokens of an entity together and entities apart, through the velocity of a flow model.

    Bill et al. 2025, arXiv 2510.02315.

    >>> from unbleed.methods import Focus
    >>> Focus().parts().descent.update
    'velocity'
    """

    name: ClassVar[str] = "focus"
    paper: ClassVar[str] = "Bill et al. 2025, arXiv 2510.02315"
    year: ClassVar[int] = 2025

    step_size: float = setting(
        1.0, "authors' README; they advise 1 to 5", help="factor of the correction, or step size of the update of the latents"
    )
    stop: float = setting(1.0, "authors' code: every step", help="fraction of the run that is guided")
    update: Target = setting(
        "velocity",
        "the paper's",
        help='"velocity" corrects the velocity of a flow model from the pipeline\'s own forward; "latents" moves the latents '
        "of any model",
    )
    power: float = setting(
        FocusLoss.power, "authors' code", help="power to which the maps are raised before they become distributions"
    )
    sigma: float = setting(
        FocusLoss.sigma, "authors' code", help="standard deviation of the 3x3 smoothing of the maps, in pixels; 0 for none"
    )
    floor: float = setting(FocusLoss.floor, "authors' code", help="added to probabilities inside logarithms")

    def _parts(self) -> Method:
        return Method(self.make(FocusLoss), self.make(Schedule))
