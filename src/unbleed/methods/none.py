"""No guidance: the model's own picture, the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method, PaperMethod


@dataclass(frozen=True, kw_only=True)
class NoGuidance(PaperMethod):
    """Leave the latents alone."""

    name: ClassVar[str] = "none"
    paper: ClassVar[str] = "the pipeline's own picture"

    def _parts(self) -> Method:
        return Method()
