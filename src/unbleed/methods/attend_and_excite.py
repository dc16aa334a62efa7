"""Attend-and-Excite: Attention-Based Semantic Guidance for Text-to-Image Diffusion Models.

Chefer, Alaluf, Vinker, Wolf, Cohen-Or, SIGGRAPH 2023, arXiv 2301.13826. Algorithm 1 with the loss of equations 2 and 3
(`unbleed.losses.excite`).

Where the defaults come from (the authors' code, 50 steps; where paper and code differ, the code made the pictures):

- `step_size=20`, `final_scale=0.5`: alpha at step i is 20 sqrt(linspace(1, 0.5, 50)[i]), so it falls to 14.1. The paper says
  that it falls to 10.
- `stop=0.5`: steps 0 to 24 of 50.
- `thresholds`: refinement at steps 0, 10 and 20 until every entity's peak has reached 0.05, 0.5, 0.8, at most 20 times.
- `sigma=0.5`: the smoothing's nominal width, see `unbleed.losses.maps` for its true one.
- `temperature=100`: the factor in the softmax over tokens. Where one token draws much of the attention everywhere, as an
  article does in a small model, 100 leaves nothing of the others, and no gradient.
- `kept="auto"`: the tokens that share in the softmax, by how the tokenizer pads (SD 1 or SD 2).

Ours, not the paper's: the entities come from the prompt instead of a list of token numbers; a noun of several pieces
counts as the sum of its pieces' maps; images are guided together, each by itself; noise levels are counted, not calls; the
forward sees the latents as the scheduler scales them. With `parity="paper"` the last piece counts alone, calls are
counted, and nothing is scaled: on SD 1 the numbers of diffusers' `StableDiffusionAttendAndExcitePipeline` under DDIM, PNDM
and Euler. On SD 2 the authors' own code is followed, from which diffusers departs (it keeps the padding there).

A threshold at a share of the run beyond `stop` has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..errors import MethodError
from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..losses.excite import ExciteLoss
from ..losses.maps import Kept


@dataclass(frozen=True, kw_only=True)
class AttendAndExcite(Method):
    """Raise the attention of the most neglected entity. Settings: see the module."""

    name: ClassVar[str] = "attend-and-excite"
    paper: ClassVar[str] = "Chefer et al., SIGGRAPH 2023, arXiv 2301.13826"
    year: ClassVar[int] = 2023

    step_size: float = 20.0
    final_scale: float = 0.5
    stop: float = 0.5
    thresholds: Mapping[float, float] = field(default_factory=lambda: {0.0: 0.05, 0.2: 0.5, 0.4: 0.8})
    max_refinements: int = 20
    sigma: float = 0.5
    temperature: float = 100.0
    kept: Kept = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma < 0:
            raise MethodError(f"sigma of {self.name} is {self.sigma}; expected 0 (no smoothing) or more")
        if self.temperature <= 0:
            raise MethodError(f"temperature of {self.name} is {self.temperature}; expected a number above 0")

    @property
    def loss(self) -> ExciteLoss:
        return ExciteLoss(
            kept=self.kept,
            temperature=self.temperature,
            sigma=self.sigma,
            pieces="last" if self.parity == "paper" else "sum",
        )

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            stop=self.stop,
            step_size=self.step_size,
            final_scale=self.final_scale,
            refine={share: 1 - peak for share, peak in self.thresholds.items()},
            max_refinements=self.max_refinements,
        )
