"""Guidance of a run: methods, schedules, updates, and the attachment to a pipeline."""

from .attach import Attachment
from .edit import Edit
from .method import BaseMethod, Composition, Method
from .noise import NoiseSearch
from .run import FirstNoise, RegionStep, Run, Step, StepMaps
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
    "Refinement",
    "RegionStep",
    "Run",
    "Schedule",
    "Step",
    "StepMaps",
    "update",
]
