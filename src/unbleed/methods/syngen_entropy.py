"""SynGen with entropy: modifiers and nouns attend to few places, the rest of the prompt to many.

Jiang, Li, Zi, "Our Own Ideas" of a course project at UCLA (CS 163, team 49), 2024; not peer reviewed. SynGen's loss
(`unbleed.losses.binding`) and entropies (`unbleed.losses.entropy`), with SynGen's schedule.

Ours, not the text's: the two weights, which it does not tell; the sign of the outside term, on which formula and text
contradict each other (`sign="intent"` follows the text, `"formula"` the formula); the floor under the maps, which
`parity="paper"` removes, as in SynGen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..guidance.method import Method, PaperMethod, setting
from ..guidance.schedule import Schedule
from ..losses.binding import BindingLoss
from ..losses.entropy import EntropyLoss
from ..settings import NotNegative


@dataclass(frozen=True, kw_only=True)
class SynGenEntropy(PaperMethod):
    """Bind modifiers to their nouns, both on few places, and spread the rest."""

    name: ClassVar[str] = "syngen-entropy"
    paper: ClassVar[str] = "Jiang, Li, Zi, UCLA CS 163 project 2024"
    year: ClassVar[int] = 2024

    step_size: float = setting(20.0, "SynGen's code")
    stop: float = setting(0.5, "the text: the first 25 steps, of 50 as in SynGen's code")
    weight_pair: float = setting(0.05, "ours: lambda, which the text does not tell")
    weight_outside: float = setting(0.05, "ours: gamma, which the text does not tell")
    sign: Literal["intent", "formula"] = setting("intent", "ours: the text's aim, where its formula says the contrary")
    include_entities: bool = setting(False, "SynGen's code")
    floor: NotNegative = setting(1e-8, "ours: keeps the divergence finite")

    def _parts(self) -> Method:
        floor = 0.0 if self.parity == "paper" else self.floor
        entropies = EntropyLoss(
            weight_pair=self.weight_pair,
            weight_outside=self.weight_outside,
            sign=self.sign,
            include_entities=self.include_entities,
            floor=floor,
        )
        return Method(
            loss=BindingLoss(include_entities=self.include_entities, floor=floor) + entropies,
            schedule=Schedule(stop=self.stop, step_size=self.step_size),
        )
