"""The act of guidance: when, how far, and how it attaches to a pipeline."""

from .attach import Attachment
from .edit import Edit
from .method import BaseMethod, Composition, Method, PaperMethod
from .noise import NoiseSearch
from .run import FirstNoise, Run, Step, StepMaps
from .schedule import Refinement, Schedule
from .update import Descent, Evaluation, Outcome, update

__all__ = [
    "Attachment",
    "BaseMethod",
    "Composition",
    "Descent",
    "Edit",
    "Evaluation",
    "FirstNoise",
    "Method",
    "NoiseSearch",
    "Outcome",
    "PaperMethod",
    "Refinement",
    "Run",
    "Schedule",
    "Step",
    "StepMaps",
    "update",
]
