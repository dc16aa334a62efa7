"""What a pipeline's denoiser is made of, as far as guidance needs to know: found by calling it, not by its name."""

from .pipeline import inspect
from .result import AttentionModule, Inspection, Span

__all__ = ["AttentionModule", "Inspection", "Span", "inspect"]
