"""Predicated Diffusion: Predicate Logic-Based Attention Guidance for Text-to-Image Diffusion Models.

Sueyoshi, Matsubara, CVPR 2024, arXiv 2311.16117. Statements of the prompt in fuzzy logic, which the maps make true: every
entity exists, its modifiers are where it is and not where the others are (`unbleed.losses.predicates`, with what is the
paper's, the code's, as known from a third party's fork, and ours).

Possession ("a cat with a hat": the hat only where the cat is) is a loss there and not a part of this method, because the
entities of a prompt do not tell who owns whom.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..guidance.method import Method, PaperMethod, setting
from ..guidance.schedule import Refinement, Schedule
from ..losses.maps import Kept
from ..losses.predicates import PredicateLoss
from ..settings import Positive


@dataclass(frozen=True, kw_only=True)
class Predicated(PaperMethod):
    """Make what the prompt says true in fuzzy logic."""

    name: ClassVar[str] = "predicated"
    paper: ClassVar[str] = "Sueyoshi, Matsubara, CVPR 2024, arXiv 2311.16117"
    year: ClassVar[int] = 2024

    step_size: float = setting(20.0, "authors' code; at step i times sqrt(linspace(1, final_scale)[i])")
    final_scale: float = setting(0.5, "authors' code")
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50")
    refinements: Mapping[float, float] = setting({0.0: 5}, "authors' code: five more updates at step 0, whatever the loss")
    weight_existence: float = setting(0.1, "authors' code")
    weight_correspondence: float = setting(1.0, "authors' code")
    weight_leakage: float = setting(0.3, "paper and authors' code")
    form: Literal["code", "paper"] = setting("code", "authors' code: the geometric mean, where the paper has a product")
    temperature: Positive = setting(100.0, "authors' code: of the softmax over tokens that existence reads")
    kept: Kept = setting("auto", "authors' code, as Attend-and-Excite's")

    def _parts(self) -> Method:
        return Method(
            loss=PredicateLoss(
                weight_existence=self.weight_existence,
                weight_correspondence=self.weight_correspondence,
                weight_leakage=self.weight_leakage,
                form=self.form,
                kept=self.kept,
                temperature=self.temperature,
            ),
            schedule=Schedule(
                stop=self.stop,
                step_size=self.step_size,
                final_scale=self.final_scale,
                refine={share: Refinement(most=round(count)) for share, count in self.refinements.items()},
            ),
        )
