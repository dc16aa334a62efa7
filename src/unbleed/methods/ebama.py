"""EBAMA: Object-Conditioned Energy-Based Attention Map Alignment in Text-to-Image Diffusion Models.

Zhang et al., ECCV 2024, arXiv 2404.07389. SynGen's binding around the object, and the object's own intensity
(`unbleed.losses.objects`, with what is the authors' and what is ours). `parity="paper"` removes the floor under the maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..losses.objects import ObjectLoss
from ..settings import NotNegative, setting
from .base import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class EBAMA(RenormalisingMethod):
    """Bind modifiers to their object, keep it away from the rest, and raise its own attention.

    Zhang et al., ECCV 2024, arXiv 2404.07389.

    >>> from unbleed.methods import EBAMA
    >>> EBAMA(distance="kl").parts().loss.distance
    'kl'
    """

    name: ClassVar[str] = "ebama"
    paper: ClassVar[str] = "Zhang et al., ECCV 2024, arXiv 2404.07389"
    year: ClassVar[int] = 2024

    step_size: float = setting(20.0, "authors' code, constant", help="step size of the update of the latents")
    stop: float = setting(0.52, "authors' code: steps 0 to 25 of 50", help="fraction of the run that is guided")
    distance: Literal["cosine", "kl"] = setting(
        ObjectLoss.distance, "authors' code", help="distance of two maps: cosine, or symmetric Kullback-Leibler divergence"
    )
    weight_intensity: float = setting(
        ObjectLoss.weight_intensity, "authors' code: lambda", help="weight of the peak attention of each object"
    )
    floor: NotNegative = setting(
        ObjectLoss.floor,
        "ours: keeps the divergence of distance=kl finite",
        help="added to each map before it is made a distribution",
    )

    def _parts(self) -> Method:
        floor = 0.0 if self.parity == "paper" else self.floor
        return Method(self.make(ObjectLoss, floor=floor), self.make(Schedule))
