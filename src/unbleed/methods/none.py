"""No guidance: the model's own image, the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method
from .base import PaperMethod


@dataclass(frozen=True, kw_only=True)
class NoGuidance(PaperMethod):
    """Leave the latents as they are.

    >>> from unbleed.methods import NoGuidance
    >>> NoGuidance().parts().loss is None
    True
    """

    name: ClassVar[str] = "none"
    paper: ClassVar[str] = "the pipeline's own image"

    def _parts(self) -> Method:
        return Method()
