"""Attend-and-Excite: Attention-Based Semantic Guidance for Text-to-Image Diffusion Models.

Chefer, Alaluf, Vinker, Wolf, Cohen-Or, SIGGRAPH 2023, arXiv 2301.13826. Algorithm 1 with the loss of equations 2 and 3
(`unbleed.losses.excite`).

Ours, not the paper's: the entities come from the prompt instead of a list of token numbers; a noun of several pieces
counts as the sum of its pieces' maps; images are guided together, each by itself; noise levels are counted, not calls; the
forward sees the latents as the scheduler scales them. With `parity="paper"` the last piece counts alone, calls are
counted, and nothing is scaled: on SD 1 the numbers of diffusers' `StableDiffusionAttendAndExcitePipeline` under DDIM, PNDM
and Euler. On SD 2 the authors' own code is followed, from which diffusers departs (it keeps the padding there).

A threshold at a share of the run beyond `stop` has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method, PaperMethod, setting
from ..guidance.schedule import Refinement, Schedule
from ..losses.excite import ExciteLoss
from ..losses.maps import Kept
from ..settings import NotNegative, Positive


@dataclass(frozen=True, kw_only=True)
class RenormalisingMethod(PaperMethod):
    """Settings of the methods that read the maps as Attend-and-Excite makes them."""

    sigma: NotNegative = setting(0.5, "code of Attend-and-Excite: nominal width of the smoothing, in truth sqrt(2) times it")
    temperature: Positive = setting(
        100.0,
        "code of Attend-and-Excite: factor in the softmax over tokens; lower where one token has much attention everywhere",
    )
    kept: Kept = setting("auto", "code of Attend-and-Excite: the tokens in that softmax, by how SD 1 and SD 2 pad")


@dataclass(frozen=True, kw_only=True)
class AttendAndExcite(RenormalisingMethod):
    """Raise the attention of the most neglected entity."""

    name: ClassVar[str] = "attend-and-excite"
    paper: ClassVar[str] = "Chefer et al., SIGGRAPH 2023, arXiv 2301.13826"
    year: ClassVar[int] = 2023

    step_size: float = setting(20.0, "authors' code; at step i times sqrt(linspace(1, final_scale)[i])")
    final_scale: float = setting(0.5, "authors' code, so the step size ends at 14.1; the paper says 10")
    stop: float = setting(0.5, "authors' code: steps 0 to 24 of 50")
    thresholds: Mapping[float, float] = setting(
        {0.0: 0.05, 0.2: 0.5, 0.4: 0.8}, "authors' code: every entity's peak after refinement at steps 0, 10, 20 of 50"
    )
    max_refinements: int = setting(20, "authors' code")

    def _parts(self) -> Method:
        return Method(
            loss=ExciteLoss(
                kept=self.kept,
                temperature=self.temperature,
                sigma=self.sigma,
                pieces="last" if self.parity == "paper" else "sum",
            ),
            schedule=Schedule(
                stop=self.stop,
                step_size=self.step_size,
                final_scale=self.final_scale,
                refine={share: Refinement(1 - peak, self.max_refinements) for share, peak in self.thresholds.items()},
            ),
        )
