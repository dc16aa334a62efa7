"""StructureDiffusion: Training-Free Structured Diffusion Guidance for Compositional Text-to-Image Synthesis.

Feng, He, Fu, Jampani, Akula, Narayana, Basu, Wang, Wang, ICLR 2023, arXiv 2212.05032. Noun phrases are encoded apart and laid
over the prompt's embedding, in every text layer and step (`unbleed.edits.values`). No gradient.

Ours, not the paper's: noun phrases come from this library's parser, nested ones by their prepositions, instead of a
constituency tree; every image of a batch has its own; any scheduler. With `mode="keys"` the first key is that of the prompt's
own embedding, as in the paper. In the authors' code the phrases are laid over the embedding in place before it is used, so
there the first key is that of the prompt with all phrases laid over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..edits.values import PhraseEdit
from ..guidance.method import Method
from ..settings import setting
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class StructureDiffusion(PaperMethod):
    """Take the values of the text attention from noun phrases encoded apart.

    Feng et al., ICLR 2023, arXiv 2212.05032.

    >>> from unbleed.methods import StructureDiffusion
    >>> StructureDiffusion(mode="keys").parts().edits
    (PhraseEdit(mode='keys'),)
    """

    name: ClassVar[str] = "structure-diffusion"
    paper: ClassVar[str] = "Feng et al., ICLR 2023, arXiv 2212.05032"
    year: ClassVar[int] = 2023

    mode: Literal["values", "keys"] = setting(
        "values",
        "authors' code; keys is its option for conjunctions",
        help="whether the phrases change the values of the text attention or its keys",
    )

    def _parts(self) -> Method:
        return Method(edits=(self.make(PhraseEdit),))
