"""SynGen with entropy: modifiers and nouns attend to few pixels, the rest of the prompt to many.

Jiang, Li, Zi, "Our Own Ideas" of a course project at UCLA (CS 163, team 49), 2024; not peer reviewed. SynGen's loss
(`unbleed.losses.binding`) and entropies (`unbleed.losses.entropy`), with SynGen's schedule.

Ours, not the text's: the two weights, which it does not state; the sign of the outside term, on which formula and text
contradict each other (`sign="intent"` follows the text, `"formula"` the formula); the floor under the maps, which
`parity="paper"` removes, as in SynGen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..guidance.method import Method
from ..guidance.schedule import Schedule
from ..losses.binding import BindingLoss
from ..losses.entropy import EntropyLoss
from ..settings import NotNegative, setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class SynGenEntropy(PaperMethod):
    """Bind modifiers to their nouns, focus both on few pixels, and spread the rest.

    Jiang, Li, Zi, course project at UCLA, 2024; not peer reviewed.

    >>> from unbleed.methods import SynGenEntropy
    >>> method = SynGenEntropy(weight_pair=0.1)
    >>> [type(loss).__name__ for _, loss in method.parts().loss.weighted]
    ['BindingLoss', 'EntropyLoss']
    """

    name: ClassVar[str] = "syngen-entropy"
    paper: ClassVar[str] = "Jiang, Li, Zi, UCLA CS 163 project 2024"
    year: ClassVar[int] = 2024

    step_size: float = setting(20.0, "SynGen's code", help="step size of the update of the latents")
    stop: float = setting(
        0.5, "the text: the first 25 steps, of 50 as in SynGen's code", help="fraction of the run that is guided"
    )
    weight_pair: float = setting(
        EntropyLoss.weight_pair,
        "ours: lambda, which the text does not state",
        help="weight of the entropies, in nats, of a modifier and its noun",
    )
    weight_outside: float = setting(
        EntropyLoss.weight_outside,
        "ours: gamma, which the text does not state",
        help="weight of the entropies of the tokens outside of the entity",
    )
    sign: Literal["intent", "formula"] = setting(
        EntropyLoss.sign,
        "ours: the aim of the text, where its formula says the contrary",
        help='"intent" raises the entropies outside, "formula" lowers them',
    )
    include_entities: bool = setting(False, "SynGen's code", help="give entities without modifiers the outside terms")
    floor: NotNegative = setting(
        BindingLoss.floor, "ours: keeps the divergence finite", help="added to each map before it is made a distribution"
    )

    def _parts(self) -> Method:
        floor = 0.0 if self.parity == "paper" else self.floor
        loss = self.make(BindingLoss, floor=floor) + self.make(EntropyLoss, floor=floor)
        return Method(loss, self.make(Schedule))
