"""Attention Overlap Is Responsible for The Entity Missing Problem in Text-to-image Diffusion Models.

Marioriyad, Banayeeanzade, Abbasi, Rohban, Baghshah, TMLR 2025, arXiv 2410.20972. Four losses against overlap
(`unbleed.losses.overlap`): the ratio of product and sum ("IoU"), the distance of the centres of mass, the Kullback-Leibler
divergence, the compactness of clusters.

Ours, not the paper's: more than three entities; a floor under the maps; the weight of 1 for the three losses that the
authors' code defines but does not guide with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method, PaperMethod, setting
from ..guidance.schedule import Schedule
from ..losses.overlap import Overlap, OverlapLoss
from ..settings import NotNegative


@dataclass(frozen=True, kw_only=True)
class OverlapMethod(PaperMethod):
    """What the four have in common."""

    paper: ClassVar[str] = "Marioriyad et al., TMLR 2025, arXiv 2410.20972"
    year: ClassVar[int] = 2025
    kind: ClassVar[Overlap]

    step_size: float = setting(20.0, "authors' code; at step i times sqrt(linspace(1, final_scale)[i])")
    final_scale: float = setting(0.5, "authors' code")
    stop: float = setting(0.6, "authors' code: steps 0 to 29 of 50")
    floor: NotNegative = setting(1e-8, "ours: keeps ratio and logarithm finite")

    def _parts(self) -> Method:
        return Method(
            loss=OverlapLoss(self.kind, floor=self.floor),
            schedule=Schedule(stop=self.stop, step_size=self.step_size, final_scale=self.final_scale),
        )


@dataclass(frozen=True, kw_only=True)
class OverlapIoU(OverlapMethod):
    """Lower the ratio of what entities share."""

    name: ClassVar[str] = "overlap-iou"
    kind: ClassVar[Overlap] = "iou"


@dataclass(frozen=True, kw_only=True)
class OverlapCoM(OverlapMethod):
    """Draw the entities' centres of mass apart."""

    name: ClassVar[str] = "overlap-com"
    kind: ClassVar[Overlap] = "com"


@dataclass(frozen=True, kw_only=True)
class OverlapKL(OverlapMethod):
    """Raise the divergence between entities."""

    name: ClassVar[str] = "overlap-kl"
    kind: ClassVar[Overlap] = "kl"


@dataclass(frozen=True, kw_only=True)
class OverlapCC(OverlapMethod):
    """Let the entities, together, cover many places strongly."""

    name: ClassVar[str] = "overlap-cc"
    kind: ClassVar[Overlap] = "cc"
