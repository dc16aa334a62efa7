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

from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..losses.overlap import Overlap, OverlapLoss
from ..settings import NotNegative, setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class OverlapMethod(PaperMethod):
    """Base of the four: the loss `kind` with the schedule of the authors' code."""

    paper: ClassVar[str] = "Marioriyad et al., TMLR 2025, arXiv 2410.20972"
    year: ClassVar[int] = 2025
    kind: ClassVar[Overlap]

    step_size: float = setting(
        20.0,
        "authors' code; at step i times sqrt(linspace(1, final_scale)[i])",
        help="step size of the update of the latents",
    )
    final_scale: float = setting(
        0.5, "authors' code", help="the step size falls to sqrt(final_scale) times it at the end of the run"
    )
    stop: float = setting(0.6, "authors' code: steps 0 to 29 of 50", help="fraction of the run that is guided")
    floor: NotNegative = setting(
        OverlapLoss.floor,
        "ours: keeps ratio and logarithm finite",
        help="added to each map before it is made a distribution",
    )

    def _parts(self) -> Method:
        return Method(self.make(OverlapLoss, kind=self.kind), self.make(Schedule))


@dataclass(frozen=True, kw_only=True)
class OverlapIoU(OverlapMethod):
    """Lower the overlap of the entities' maps: the ratio of their product to their sum.

    Marioriyad et al., TMLR 2025, arXiv 2410.20972.

    >>> from unbleed.methods import OverlapIoU
    >>> OverlapIoU().parts().loss
    OverlapLoss(kind='iou', floor=1e-08)
    """

    name: ClassVar[str] = "overlap-iou"
    kind: ClassVar[Overlap] = "iou"


@dataclass(frozen=True, kw_only=True)
class OverlapCoM(OverlapMethod):
    """Move the centres of mass of the entities' maps apart.

    Marioriyad et al., TMLR 2025, arXiv 2410.20972.

    >>> from unbleed.methods import OverlapCoM
    >>> OverlapCoM(enough=-0.8).parts().descent.enough  # a distance of 8 pixels
    -0.8
    """

    name: ClassVar[str] = "overlap-com"
    kind: ClassVar[Overlap] = "com"


@dataclass(frozen=True, kw_only=True)
class OverlapKL(OverlapMethod):
    """Raise the Kullback-Leibler divergence between the entities' maps.

    Marioriyad et al., TMLR 2025, arXiv 2410.20972.

    >>> from unbleed.methods import OverlapKL
    >>> OverlapKL(floor=1e-6).parts().loss
    OverlapLoss(kind='kl', floor=1e-06)
    """

    name: ClassVar[str] = "overlap-kl"
    kind: ClassVar[Overlap] = "kl"


@dataclass(frozen=True, kw_only=True)
class OverlapCC(OverlapMethod):
    """Let the entities together cover many pixels strongly.

    Marioriyad et al., TMLR 2025, arXiv 2410.20972.

    >>> from unbleed.methods import OverlapCC
    >>> OverlapCC(stop=0.4).parts().schedule.stop
    0.4
    """

    name: ClassVar[str] = "overlap-cc"
    kind: ClassVar[Overlap] = "cc"
