"""Predicated Diffusion: Predicate Logic-Based Attention Guidance for Text-to-Image Diffusion Models.

Sueyoshi, Matsubara, CVPR 2024, arXiv 2311.16117. The prompt becomes statements in fuzzy logic about the maps: every entity
exists, its modifiers are where it is and not where the others are (`unbleed.losses.predicates`, with what is the paper's, the
code's, as known from a third party's fork, and ours).

Possession ("a cat with a hat": the hat only where the cat is) is a loss there and not a part of this method, because the
entities of a prompt do not say who owns what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..guidance.method import Method
from ..guidance.schedule import Refinement, Schedule
from ..losses.maps import Kept
from ..losses.predicates import PredicateLoss
from ..settings import Positive, setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class Predicated(PaperMethod):
    """Fuzzy-logic losses for existence, binding and leakage.

    Sueyoshi, Matsubara, CVPR 2024, arXiv 2311.16117.

    >>> from unbleed.methods import Predicated
    >>> Predicated(form="paper").parts().loss.form
    'paper'
    """

    name: ClassVar[str] = "predicated"
    paper: ClassVar[str] = "Sueyoshi, Matsubara, CVPR 2024, arXiv 2311.16117"
    year: ClassVar[int] = 2024

    step_size: float = setting(
        20.0,
        "authors' code; at step i times sqrt(linspace(1, final_scale)[i])",
        help="step size of the update of the latents",
    )
    final_scale: float = setting(
        0.5, "authors' code", help="the step size falls to sqrt(final_scale) times it at the end of the run"
    )
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50", help="fraction of the run that is guided")
    refinements: Mapping[float, float] = setting(
        {0.0: 5},
        "authors' code, at step 0",
        help="at a fraction of the run: number of additional updates, whatever the loss",
    )
    weight_existence: float = setting(
        PredicateLoss.weight_existence, "authors' code", help="weight of the statement that every entity is somewhere"
    )
    weight_correspondence: float = setting(
        PredicateLoss.weight_correspondence,
        "authors' code",
        help="weight of the statement that a modifier is where its noun is, and the noun where its modifier is",
    )
    weight_leakage: float = setting(
        PredicateLoss.weight_leakage,
        "paper and authors' code",
        help="weight of the statement that a modifier is not where another entity is",
    )
    form: Literal["code", "paper"] = setting(
        PredicateLoss.form,
        "authors' code",
        help='existence from the geometric mean over pixels ("code") or from the product ("paper")',
    )
    temperature: Positive = setting(
        PredicateLoss.temperature, "authors' code", help="factor of the maps in the softmax over tokens, for existence"
    )
    kept: Kept = setting(
        PredicateLoss.kept,
        "authors' code, as Attend-and-Excite's",
        help='tokens in that softmax: "padding" all but first and last, "words" the prompt\'s own, "auto" by the tokenizer',
    )

    def _parts(self) -> Method:
        refine = {at: Refinement(most=round(count)) for at, count in self.refinements.items()}
        return Method(self.make(PredicateLoss), self.make(Schedule, refine=refine))
