"""Draw every entity of the prompt, each with its own attributes, each in its own place: guidance by cross-attention.

>>> import unbleed
>>> [str(entity) for entity in unbleed.parse("a red cat and a blue bench").entities]
['red cat', 'blue bench']
"""

from .api import guide, load
from .errors import (
    CaptureError,
    MethodError,
    ModelError,
    OutputError,
    PromptError,
    TrainingError,
    UnbleedError,
    UnbleedWarning,
)
from .guidance import Method, Run, Schedule
from .guidance.run import Step, StepMaps
from .losses import BindingLoss, ExciteLoss, Loss
from .methods import METHODS, AttendAndExcite, NoGuidance, SynGen
from .prompt import Entity, Parsed, parse

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "AttendAndExcite",
    "BindingLoss",
    "CaptureError",
    "Entity",
    "ExciteLoss",
    "Loss",
    "Method",
    "MethodError",
    "ModelError",
    "NoGuidance",
    "OutputError",
    "Parsed",
    "PromptError",
    "Run",
    "Schedule",
    "Step",
    "StepMaps",
    "SynGen",
    "TrainingError",
    "UnbleedError",
    "UnbleedWarning",
    "__version__",
    "guide",
    "load",
    "parse",
]
