"""Every error that unbleed raises on purpose.

A message says what was seen, what was expected, and what to do, in that order.
"""

from __future__ import annotations


class UnbleedError(Exception):
    """Base of all errors that a user can cause and cure."""


class PromptError(UnbleedError):
    """A prompt, or the entities named for it, cannot be used."""


class MethodError(UnbleedError):
    """A method's name or one of its settings cannot be used."""


class ModelError(UnbleedError):
    """A model cannot be loaded, or is of a kind that cannot be guided."""


class CaptureError(UnbleedError):
    """No attention could be read from the denoiser."""


class OutputError(UnbleedError):
    """A result cannot be written where it was asked for, or cannot be read back."""


class TrainingError(UnbleedError):
    """The embedded model cannot be trained with what is there."""


class BenchError(UnbleedError):
    """A benchmark cannot be run or reported as asked."""


class RatingError(UnbleedError):
    """A rating study cannot be begun, served or reported as asked."""


class PrecisionError(UnbleedError):
    """A picture came out with values that are no numbers."""


class UnbleedWarning(UserWarning):
    """Something that does not stop the run but that its user should know."""
