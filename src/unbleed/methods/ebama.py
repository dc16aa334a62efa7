"""EBAMA: Object-Conditioned Energy-Based Attention Map Alignment in Text-to-Image Diffusion Models.

Zhang et al., ECCV 2024, arXiv 2404.07389. SynGen's binding around the object, and the object's own
intensity (`unbleed.losses.objects`, with what is the authors' and what is ours). `parity="paper"` removes the floor under the
maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..guidance.method import Method, setting
from ..guidance.schedule import Schedule
from ..losses.objects import ObjectLoss
from ..settings import NotNegative
from .attend_and_excite import RenormalisingMethod


@dataclass(frozen=True, kw_only=True)
class EBAMA(RenormalisingMethod):
    """Bind modifiers to their object, keep it from the rest, and do not neglect it."""

    name: ClassVar[str] = "ebama"
    paper: ClassVar[str] = "Zhang et al., ECCV 2024, arXiv 2404.07389"
    year: ClassVar[int] = 2024

    step_size: float = setting(20.0, "authors' code, constant")
    stop: float = setting(0.52, "authors' code: steps 0 to 25 of 50")
    distance: Literal["cosine", "kl"] = setting("cosine", "authors' code")
    weight_intensity: float = setting(0.5, "authors' code: lambda")
    floor: NotNegative = setting(1e-8, "ours: keeps the divergence of distance=kl finite")

    def _parts(self) -> Method:
        return Method(
            loss=ObjectLoss(
                kept=self.kept,
                temperature=self.temperature,
                sigma=self.sigma,
                distance=self.distance,
                weight_intensity=self.weight_intensity,
                floor=0.0 if self.parity == "paper" else self.floor,
            ),
            schedule=Schedule(stop=self.stop, step_size=self.step_size),
        )
