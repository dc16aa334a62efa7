"""Composable Diffusion: Compositional Visual Generation with Composable Diffusion Models.

Liu, Li, Du, Torralba, Tenenbaum, ECCV 2022, arXiv 2206.01714. The predictions for the entities are added
(`unbleed.edits.composition`). No attention, no gradient; one additional run of the denoiser per entity and step.

As in the paper each entity has the whole guidance scale, so two entities have twice of it in all; `weight=0.5` halves it. Ours:
the concepts are the parser's entities; in the paper the user writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..edits.composition import ComposeEdit
from ..guidance.method import Method
from ..settings import setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class Composable(PaperMethod):
    """Add the predictions for the single entities.

    Liu et al., ECCV 2022, arXiv 2206.01714.

    >>> from unbleed.methods import Composable
    >>> Composable(weight=0.5).parts().edits
    (ComposeEdit(weight=0.5),)
    """

    name: ClassVar[str] = "composable"
    paper: ClassVar[str] = "Liu et al., ECCV 2022, arXiv 2206.01714"
    year: ClassVar[int] = 2022

    weight: float = setting(
        1.0,
        "paper, equation 11 with w_i the guidance scale",
        help="weight of each entity's prediction, as a multiple of the guidance scale",
    )

    def _parts(self) -> Method:
        return Method(edits=(self.make(ComposeEdit),))
