"""Composable Diffusion: Compositional Visual Generation with Composable Diffusion Models.

Liu, Li, Du, Torralba, Tenenbaum, ECCV 2022, arXiv 2206.01714. The predictions for the entities add up
(`unbleed.edits.composition`). No attention, no gradient; one run of the denoiser more per entity and step.

As in the paper each entity has the whole guidance scale, so that two entities have twice of it in all; `weight=0.5` shares
it. Ours: the concepts are the parser's entities, where the paper has the user write them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..edits.composition import ComposeEdit
from ..guidance.method import Method, PaperMethod, setting


@dataclass(frozen=True, kw_only=True)
class Composable(PaperMethod):
    """Add up the predictions for the single entities."""

    name: ClassVar[str] = "composable"
    paper: ClassVar[str] = "Liu et al., ECCV 2022, arXiv 2206.01714"
    year: ClassVar[int] = 2022

    weight: float = setting(1.0, "paper, equation 11 with w_i the guidance scale")

    def _parts(self) -> Method:
        return Method(edits=(ComposeEdit(self.weight),))
