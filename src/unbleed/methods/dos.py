"""DOS: text embeddings of similar objects, pushed apart.

AAAI 2026 40(4) 2490-2497, arXiv 2510.14376. Objects that look alike, or that live in different places, are mixed or left out.
The embeddings of their tokens and of the end token move apart before the run begins (`unbleed.edits.separation`, with what is
the authors' and what is ours). No gradient; some 80 short texts per object are encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..edits.separation import SeparationEdit
from ..guidance.method import Method
from ..settings import NotNegative, setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class Dos(PaperMethod):
    """Push the text embeddings of the objects of a prompt apart, the more the likelier they are mixed.

    DOS, AAAI 2026, arXiv 2510.14376.

    >>> from unbleed.methods import Dos
    >>> Dos(strength=0.5).parts().edits
    (SeparationEdit(strength=0.5),)
    """

    name: ClassVar[str] = "dos"
    paper: ClassVar[str] = "DOS, AAAI 2026, arXiv 2510.14376"
    year: ClassVar[int] = 2026

    strength: NotNegative = setting(1.0, "the paper's lambda", help="factor of all shifts")

    def _parts(self) -> Method:
        return Method(edits=(self.make(SeparationEdit),))
