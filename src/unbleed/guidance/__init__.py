"""The act of guidance: when, how far, and how it attaches to a pipeline."""

from .attach import attach
from .method import Method
from .run import Run, Step, StepMaps
from .schedule import Schedule
from .update import Evaluation, Outcome, update

__all__ = ["Evaluation", "Method", "Outcome", "Run", "Schedule", "Step", "StepMaps", "attach", "update"]
