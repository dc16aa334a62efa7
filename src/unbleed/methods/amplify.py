"""Amplify: text that counts for more in early joint blocks.

"Unraveling MMDiT Blocks", arXiv 2601.02211: in models whose attention joins text and image, the text's hidden states are
multiplied by 2 where they enter selected early blocks. No gradient, no further forward (`unbleed.edits.amplify`).

A RECONSTRUCTION: no code is public, and which blocks the authors select is not known here. Ours: the first two blocks; only the
text-conditioned rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..edits.amplify import AmplifyEdit
from ..guidance.method import Method
from ..settings import AtLeastOne, NotNegative, WholeNumber, setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class Amplify(PaperMethod):
    """Multiply the text's hidden states where they enter early joint blocks.

    After arXiv 2601.02211, 2026.

    >>> from unbleed.methods import Amplify
    >>> Amplify(blocks=3).parts().edits
    (AmplifyEdit(factor=2.0, first_block=0, blocks=3),)
    """

    name: ClassVar[str] = "amplify"
    paper: ClassVar[str] = "Unraveling MMDiT Blocks, 2026, arXiv 2601.02211"
    year: ClassVar[int] = 2026
    reconstruction: ClassVar[bool] = True

    factor: NotNegative = setting(2.0, "the paper", help="factor of the text's hidden states, at each of the blocks")
    first_block: WholeNumber = setting(0, "ours", help="the first joint block at which they are multiplied, counted from 0")
    blocks: AtLeastOne = setting(2, "ours", help="number of blocks at which they are multiplied")

    def _parts(self) -> Method:
        return Method(edits=(self.make(AmplifyEdit),))
