"""No guidance: the model's own picture, the baseline of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..guidance.method import Method


@dataclass(frozen=True, kw_only=True)
class NoGuidance(Method):
    """Leave the latents alone."""

    name: ClassVar[str] = "none"
    paper: ClassVar[str] = "the pipeline's own picture"
