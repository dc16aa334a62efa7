"""Regions: each entity is given its own part of the picture, found in the model's attention, and words stay where they belong.

This project, 2026. The parts, each usable alone:

0. **Choose** (`unbleed.guidance.noise_choice`, `unbleed.regions.score`): of a few first noises, the one in which every noun has
   a place. For given regions each is **arranged** first (`unbleed.regions.arrange`): the piece in which a noun is strongest
   moves into its region. Arranged noises are read twice, so there are fewer of them. Until regions settle, the entity has the
   part of its region around its piece. `candidates=1` keeps the pipeline's own noise, and so does a run that begins with a
   picture (image-to-image).
1. **Locate** (`unbleed.regions.layout`): the nouns' maps of the pipeline's own first forward. In runs of few steps (`wait`) one
   more part of a forward before the first step, which then is masked and pulled too.
2. **Lay out**: centers are chosen together, where each entity is ahead of the others, and a region around each.
3. **Mask** (`unbleed.edits.regions`): from the next step on, text attention inside a region does not see the words of other
   entities.
4. **Pull** (`unbleed.losses.regions`, with `unbleed.losses.binding`): a few small gradient steps, on attention that is not
   masked, so that the noun attends from inside its region. `step_size=0` leaves them out: no backward, no further memory.
5. **Settle** (`unbleed.regions.settle`): the planned region is replaced by what has grown in it.

Attributes get two helps. `emphasis` is added to the logits of an entity's modifiers inside its region. `apart`
(`unbleed.edits.apart`) is how much of the embeddings of an entity's words comes from its phrase encoded alone. It counts where
the text encoder mixes words, and where a word late in the prompt is weaker than the same word at its beginning.

It owes the layout by differentiation and connected parts to the idea of ELA (Zhang et al., ICML 2024), the energy of the pull
to layout guidance (Chen et al., arXiv 2304.03373), the binding term to SynGen (Rassin et al., arXiv 2306.08877), the moving of
pieces of the first noise to Mao et al. (arXiv 2305.03382), and masked text attention to paint-with-words (eDiff-I, arXiv
2211.01324), regional prompting (arXiv 2411.02395) and FreeFuse (arXiv 2510.23515). New are the joint choice of centers from one
forward that the pipeline makes anyway, the gradient through unmasked attention beside masks, and settling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..edits.apart import ApartEdit
from ..edits.regions import RegionEdit
from ..guidance.method import Method
from ..guidance.noise_choice import NoiseChoice
from ..guidance.schedule import Schedule
from ..losses.binding import BindingLoss
from ..losses.regions import RegionLoss
from ..regions.score import LayoutLoss
from ..settings import setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class Regions(PaperMethod):
    """Find a region for each entity, keep its words there, and pull it there.

    This project, 2026.

    >>> from unbleed.methods import Regions
    >>> Regions(step_size=0.0).parts().loss is None  # masks only, no gradient
    True
    """

    name: ClassVar[str] = "regions"
    paper: ClassVar[str] = "This project, 2026"
    year: ClassVar[int] = 2026

    step_size: float = setting(2.0, "ours", help="step size of the update of the latents; 0 for no gradient at all")
    pull_stop: float = setting(0.13, "ours", help="fraction of the run, from its beginning, in which latents are pulled")
    binding: float = setting(2.0, "ours", help="weight of SynGen's loss, added to the loss of the pull")
    settle: float | None = setting(
        0.3, "ours", help="fraction of the run after which planned regions become what has grown in them; none for never"
    )
    stop: float = setting(1.0, "ours: to the end", help="fraction of the run that is masked")
    wait: float = setting(
        0.13, "ours", help="if the first step is a larger fraction of the run than this, regions are found before it"
    )
    background: bool = setting(False, "ours", help="let pixels outside of all regions attend to the words of entities")
    spacing: float = setting(0.45, "ours", help="distance of centers, as a fraction of the grid's size")
    margin: float = setting(
        0.25, "ours", help="distance of a found region's center from the picture's edge, as a fraction of the grid's size"
    )
    radius: float = setting(0.36, "ours", help="radius of a planned region, as a fraction of the grid's size")
    sigma: float = setting(0.125, "ours", help="blur of the maps in which centers are chosen, as a fraction of the grid's size")
    tau: float = setting(0.4, "ours", help="threshold of a settled region, as a fraction of the map's maximum")
    candidates: int = setting(
        6,
        "ours",
        help="number of first noises to choose from, half of it for given regions; 1 keeps the pipeline's own",
    )
    emphasis: float = setting(1.0, "ours", help="added to the logits of an entity's modifiers inside its region")
    apart: float = setting(
        0.75, "ours", help="fraction of the embeddings of an entity's words that comes from its phrase encoded alone"
    )
    grow: float = setting(0.125, "ours", help="margin around a settled region, as a fraction of the grid's size")

    def _parts(self) -> Method:
        loss = RegionLoss() + self.binding * BindingLoss(include_entities=True) if self.binding else RegionLoss()
        score = self.make(LayoutLoss)
        arranged = min(self.candidates, max(2, self.candidates // 2))  # each is read twice
        edit = self.make(RegionEdit, settle_at=self.settle, candidates=arranged)
        return Method(
            loss=loss if self.step_size else None,
            schedule=self.make(Schedule, stop=self.pull_stop),
            noise=NoiseChoice(score, self.candidates) if self.candidates > 1 else None,
            edits=(edit, ApartEdit(self.apart)) if self.apart else (edit,),
        )
